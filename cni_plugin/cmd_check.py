"""CHECK: the desired network of ADD, compared with the kernel and with ipamd.

Read-only. Says in plain words everything that differs.
"""

from dataclasses import replace
from typing import Any

from cni_plugin import dataplane
from cni_plugin.args import CmdArgs
from cni_plugin.cmd_add import netns_of
from cni_plugin.cni_error import INVALID_CONFIG, CniError
from cni_plugin.parts import Parts, left_s
from cni_plugin.podnet import PodNet, differences, host_names, plan, plan_links
from datamodel.errors import OcicatError


class Differs(OcicatError):
    """The pod's network is not what ADD made it."""


def cmd_check(args: CmdArgs, parts: Parts) -> None:
    """Run one CHECK.

    Raises:
        Differs: with every difference.
        CniError: 7, prevResult is missing.
    """
    netns_fd = netns_of(args)
    if args.conf.prev_result is None:
        raise CniError(INVALID_CONFIG, "prevResult: is missing; CHECK needs the result of ADD")
    holding = parts.ipam.get(args.attachment, args.pod, left_s(args.deadline))
    if not holding.addresses:
        raise Differs(f"ipamd holds no address for {args.attachment.handle_id}")
    network = _with_names(args, holding.interface_name)
    network = plan(network, holding.addresses, args.conf.allows_ip_forwarding)
    host, pod = dataplane.observe(network, netns_fd)
    found = [
        *_result_differences(args, network),
        *differences(network.host, host, "on the host"),
        *differences(network.pod, pod, "in the container"),
    ]
    alias = dataplane.alias_of(network.host.name)
    if host is not None and not args.attachment.owns(alias):
        found.append(f"link {network.host.name} on the host is {alias or 'nobody'}'s")
    if not holding.interface_name:
        found.append("no workload endpoint is recorded")
    if found:
        raise Differs("; ".join(found))


def _with_names(args: CmdArgs, recorded: str) -> PodNet:
    """The links as ADD named them, with the MAC that a later plugin (tuning) may have set."""
    links = plan_links(args.attachment, args.pod, args.conf.mtu)
    if recorded in host_names(args.attachment, args.pod):
        links = replace(links, host=replace(links.host, name=recorded))
    mac = str(_own_interface(args).get("mac") or links.pod.mac).lower()
    return replace(links, pod=replace(links.pod, mac=mac))


def _own_interface(args: CmdArgs) -> dict[str, Any]:
    for interface in (args.conf.prev_result or {}).get("interfaces") or ():
        if (interface.get("name"), interface.get("sandbox")) == (
            args.attachment.ifname,
            args.netns,
        ):
            return dict(interface)
    return {}


def _result_differences(args: CmdArgs, network: PodNet) -> list[str]:
    """What ADD's result says that is not what we hold."""
    result = args.conf.prev_result or {}
    found = []
    if not _own_interface(args):
        found.append(f"prevResult lists no interface {args.attachment.ifname} of {args.netns}")
    listed = {ip.get("address") for ip in result.get("ips") or ()}
    missing = [str(a) for a in network.pod.addresses if str(a) not in listed]
    return found + [f"address {address} is not in prevResult" for address in missing]
