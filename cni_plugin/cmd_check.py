"""CHECK: the desired network of ADD, compared with the kernel and with ipamd.

Read-only. Says in plain words everything that differs. What plugins after us change on purpose
shows in prevResult, and is no difference: ``tuning`` sets a MAC or an MTU, Multus takes the default
route away. ``sbr`` moves routes into tables of their own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cni_plugin import dataplane
from cni_plugin.args import CmdArgs
from cni_plugin.cmd_add import netns_of
from cni_plugin.cni_error import INVALID_CONFIG, CniError
from cni_plugin.parts import Parts, left_s
from cni_plugin.podnet import PodNet, Side, differences, host_names, plan, plan_links
from cni_plugin.result import ANYWHERE
from datamodel.block import Address
from datamodel.errors import OcicatError
from ipam_api.answers import Held


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
    holding = held_by(args, parts)
    if not holding.addresses:
        raise Differs(f"ipamd holds no address for {args.attachment.handle_id}")
    network = _with_names(args, holding.interface_name)
    network = plan(network, holding.addresses, args.conf.allows_ip_forwarding)
    network = replace(network, pod=_as_later_plugins_leave_it(args, network.pod))
    host, pod = dataplane.observe(network, netns_fd)
    found = [
        *_result_differences(args, network),
        *_missing_families(args, holding.addresses),
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


def held_by(args: CmdArgs, parts: Parts) -> Held:
    """What ipamd says that the attachment holds."""
    left = left_s(args.deadline)
    return parts.ipam.get(args.attachment, args.pod, left, args.is_caller_there)


def _with_names(args: CmdArgs, recorded: str) -> PodNet:
    """The links as ADD named them, with the MAC and the MTUs that they have by prevResult."""
    links = plan_links(args.attachment, args.pod, args.conf.mtu)
    if recorded in host_names(args.attachment, args.pod):
        links = replace(links, host=replace(links.host, name=recorded))
    pod = _listed(args, args.attachment.ifname, args.netns)
    host = _listed(args, links.host.name, "")
    return replace(
        links,
        host=replace(links.host, mtu=host.get("mtu") or args.conf.mtu),
        pod=replace(
            links.pod,
            mac=str(pod.get("mac") or links.pod.mac).lower(),
            mtu=pod.get("mtu") or args.conf.mtu,
        ),
    )


def _listed(args: CmdArgs, name: str, sandbox: str) -> Mapping[str, Any]:
    """What prevResult says of an interface; found by its name, others may come before it."""
    for interface in _previous(args).get("interfaces") or ():
        if (interface.get("name"), interface.get("sandbox") or "") == (name, sandbox):
            return dict(interface)
    return {}


def _previous(args: CmdArgs) -> Mapping[str, Any]:
    return args.conf.prev_result or {}


def _as_later_plugins_leave_it(args: CmdArgs, pod: Side) -> Side:
    """The pod's side without what is taken away on purpose.

    These are default routes that are not in prevResult any more, and behind a change of its MAC
    its neighbours: the kernel forgets them and asks anew. (A MAC that the pod asked us for looks
    like one that was changed.)
    """
    listed = {route.get("dst") for route in _previous(args).get("routes") or ()}
    routes = (r for r in pod.routes if r.destination not in ANYWHERE or r.destination in listed)
    is_as_made = pod.mac == plan_links(args.attachment, args.pod, None, args.mac).pod.mac
    return replace(pod, routes=tuple(routes), neighbours=pod.neighbours if is_as_made else ())


def _result_differences(args: CmdArgs, network: PodNet) -> Iterator[str]:
    """What ADD's result says that is not what we hold."""
    if not _listed(args, args.attachment.ifname, args.netns):
        yield f"prevResult lists no interface {args.attachment.ifname} of {args.netns}"
    listed = {ip.get("address") for ip in _previous(args).get("ips") or ()}
    for address in network.pod.addresses:
        if str(address) not in listed:
            yield f"address {address} is not in prevResult"


def _missing_families(args: CmdArgs, held: Iterable[Address]) -> Iterator[str]:
    """Wanted ones that ADD has given: the pod's annotations may have wanted others."""
    versions = {address.version for address in held}
    ips = _previous(args).get("ips") or ()
    given = {6 if ":" in str(ip.get("address")) else 4 for ip in ips}
    for family in args.conf.families:
        if family in given and family not in versions:
            yield f"ipamd holds no IPv{family} address for {args.attachment.handle_id}"
