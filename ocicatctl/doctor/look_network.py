"""Looks at the node's network: links, addresses, routes, sysctls, firewalls.

Edge: netlink, /proc/sys, and nft(8) and iptables(8) through ``programs.py``.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from datamodel.errors import OcicatError
from datamodel.tunnel import TUNNELS
from kernel_api import lookup, netlink, rtnetlink
from kernel_api.rtnetlink import ADDRESS, Interface, Link
from kernel_api.sysctl import has_ipv6, read_sysctl
from ocicatctl.doctor import programs
from ocicatctl.doctor.facts import POD_LINKS, Filter, Network
from ocicatctl.doctor.forwarding import Chain, Firewall, legacy_chains, nft_chains
from ocicatctl.doctor.settings import Settings
from ocicatctl.routes.here import ask_kernel

_WHOLE = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv6/neigh/default/gc_thresh3",
)
_PER_LINK = {
    4: ("rp_filter", "forwarding", "proxy_arp"),
    6: ("forwarding", "proxy_ndp", "disable_ipv6"),
}


def look_at_network(settings: Settings) -> Iterator[object]:
    """What this network namespace has."""
    with netlink.Netlink() as kernel:
        links = [
            rtnetlink.parse_link(message) for message in kernel.dump(lookup.list_links()).messages
        ]
        names = {link.index: link.name for link in links}
        addresses: dict[str, tuple[Interface, ...]] = {}
        for message in kernel.dump(rtnetlink.addresses()).messages:
            name = names.get(ADDRESS.unpack_from(message)[4], "")
            addresses[name] = (*addresses.get(name, ()), rtnetlink.parse_address(message))
        neighbours = len(kernel.dump(rtnetlink.neighbours()).messages)
    routes, _, _ = ask_kernel()
    yield Network(
        {link.name: link for link in links}, addresses, routes, dict(_sysctls(links)), neighbours
    )


def _sysctls(links: list[Link]) -> Iterator[tuple[str, str]]:
    tunnels = {tunnel.device for tunnel in TUNNELS}
    wanted = ["all", "default"] + [
        link.name
        for link in links
        if link.name.startswith(POD_LINKS) or link.name in tunnels or link.is_up
    ]
    paths = [*_WHOLE]
    for version, keys in _PER_LINK.items():
        if version == 4 or has_ipv6():
            paths += [f"net/ipv{version}/conf/{name}/{key}" for name in wanted for key in keys]
    for path in paths:
        with contextlib.suppress(OSError):
            yield path, read_sysctl(path)


def look_at_firewalls(settings: Settings) -> Iterator[object]:
    """The rules of nftables (iptables-nft's are among them) and of iptables-legacy."""
    chains: list[Chain] = []
    unasked: list[str] = []

    def ask(name: str, *arguments: str) -> str | None:
        program = programs.find(name)
        if program is None:
            unasked.append(f"{name}: is not there")
            return None
        try:
            return programs.output([program, *arguments])
        except OcicatError as error:
            unasked.append(str(error))
            return None

    if (text := ask("nft", "-j", "list", "ruleset")) is not None:
        chains += nft_chains(text)
    for family, names in (("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")):
        # iptables-legacy would make the table that it is to list.
        with contextlib.suppress(OSError):
            if "filter" in Path("/proc/net", names).read_text().split():
                text = ask(f"{family}tables-legacy", "-S")
                chains += legacy_chains(text or "", family)
    yield Filter(Firewall.of(chains), tuple(unasked))
