"""Reads what the kernel has: one link, our links, all that belongs to one side of a pod's network.

Edge: /proc/sys; netlink through the socket that is given, so in the namespace of that.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from cni_plugin import pod_rtnetlink
from cni_plugin.pod_rtnetlink import LinkRoute, LinkState
from cni_plugin.podnet import Side
from datamodel.attachment import ALIAS_PREFIX, LinkOwner, parse_alias
from kernel_api import rtnetlink
from kernel_api.netlink import Netlink, Refused
from kernel_api.rtnetlink import AF_INET, AF_INET6, Link
from kernel_api.sysctl import has_ipv6, read_sysctl

SEARCH_TRIES = 100  # a link that a DEL looks for must not be missed because others come and go


def link_state(netlink: Netlink, name: str) -> LinkState:
    """The head of a link's description: enough for its index, and read in no time."""
    return pod_rtnetlink.parse_link_state(netlink.get(rtnetlink.get_link(name)))


def find_link(netlink: Netlink, name: str) -> Link | None:
    """The link of that name, if there is one."""
    try:
        return rtnetlink.parse_link(netlink.get(rtnetlink.get_link(name)))
    except Refused as error:
        if error.errno == errno.ENODEV:
            return None
        raise


@dataclass(frozen=True, slots=True)
class OwnedLink:
    """A link of ours, and whose it is."""

    link: Link
    owner: LinkOwner


def our_links(netlink: Netlink) -> Iterator[OwnedLink]:
    """All of them.

    Raises:
        TimeoutError: the kernel never came to the end of a list without a change.
    """
    dump = netlink.dump(pod_rtnetlink.veths(), SEARCH_TRIES)
    if not dump.is_complete:
        raise TimeoutError("links come and go faster than they can be listed")
    for message in dump.messages:
        if owned := owned_link(message):
            yield owned


def owned_link(message: bytes) -> OwnedLink | None:
    """Read a link that is ours and has an owner; one without is what a killed ADD left."""
    if ALIAS_PREFIX.encode() not in message:
        return None  # most of a node's other links, without reading them
    link = rtnetlink.parse_link(message)
    owner = parse_alias(link.alias)
    return OwnedLink(link, owner) if owner else None


def observe_side(netlink: Netlink, desired: Side, is_any_table: bool = False) -> Side | None:
    """What there is of a side, of its sysctls the desired ones; ``None`` without its link.

    Args:
        is_any_table: take routes for there in whichever table they are.
    """
    link = find_link(netlink, desired.name)
    if link is None:
        return None
    addresses = netlink.dump(rtnetlink.addresses(link.index)).messages
    neighbours = netlink.dump(rtnetlink.neighbours(link.index)).messages
    return Side(
        name=link.name,
        mac=link.mac,
        mtu=link.mtu,
        is_up=link.is_up,
        addresses=tuple(map(rtnetlink.parse_address, addresses)),
        routes=tuple(
            found.route
            for family in (AF_INET, AF_INET6)
            for found in _routes(netlink, family, link.index, is_any_table=is_any_table)
        ),
        neighbours=tuple(
            found.neighbour for found in map(pod_rtnetlink.parse_neighbour, neighbours) if found
        ),
        sysctls=tuple((path, read_sysctl(path)) for path, _ in desired.sysctls),
    )


def main_routes(netlink: Netlink, family: int, index: int = 0) -> Iterator[LinkRoute]:
    """The main table's routes of a family, of all links or of one."""
    return _routes(netlink, family, index, is_any_table=False)


def _routes(
    netlink: Netlink, family: int, index: int, *, is_any_table: bool
) -> Iterator[LinkRoute]:
    if family == AF_INET6 and not has_ipv6():
        return
    request = pod_rtnetlink.routes_through if is_any_table else rtnetlink.main_routes
    try:
        messages = netlink.dump(request(family, index)).messages
    except Refused as error:
        if error.errno == errno.ENOENT:  # no route was ever made: there is no table
            return
        raise
    yield from filter(None, (pod_rtnetlink.parse_route(m, is_any_table) for m in messages))
