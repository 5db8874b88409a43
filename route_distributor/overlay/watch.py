"""Whether what the kernel announces is against what should be: then somebody else was at it.

Pure: no I/O. A message is judged by what it says, so that pods that come and go cost a look at its
head, and what we did ourselves is nothing to do something about. Of several messages about the
same thing the last one counts; but not about a link or an address that is back: when it went, the
kernel removed routes, and does not say so.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kernel_api import rtnetlink
from kernel_api.netlink import Message, attributes
from kernel_api.rtnetlink import (
    INT,
    LINK,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    Address,
)
from route_distributor.overlay import messages
from route_distributor.overlay.difference import is_right, place
from route_distributor.overlay.items import Item, Overlay, Uplink, version_of

GROUPS = (
    rtnetlink.RTNLGRP_LINK,
    rtnetlink.RTNLGRP_NEIGH,
    rtnetlink.RTNLGRP_IPV4_IFADDR,
    rtnetlink.RTNLGRP_IPV4_ROUTE,
    rtnetlink.RTNLGRP_IPV6_IFADDR,
    rtnetlink.RTNLGRP_IPV6_ROUTE,
    rtnetlink.RTNLGRP_IPV4_NETCONF,
    rtnetlink.RTNLGRP_IPV6_NETCONF,
)
RTM_NEWNETCONF = 80
NETCONFA_IFINDEX, NETCONFA_FORWARDING, NETCONFA_RP_FILTER = 1, 2, 3
ALL_LINKS = -1
_NETCONF_HEAD = 4  # the family, and room to the next four bytes

Judgement = tuple[Hashable, bool]  # what a message is about, and whether it is against us
FOR_GOOD = ()  # what no later message is about


@dataclass(frozen=True)  # no slots: what is computed from a value is kept with it
class Watched:
    """What should be, and by which indices the kernel speaks of it."""

    overlay: Overlay = field(default_factory=Overlay)
    devices: Mapping[int, str] = field(default_factory=dict)  # index -> name of a tunnel device
    uplinks: tuple[Uplink, ...] = ()
    node_addresses: frozenset[Address] = frozenset()

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Tunnel devices and uplinks by index."""
        return {**self.devices, **{uplink.index: uplink.name for uplink in self.uplinks}}

    @cached_property
    def missing(self) -> frozenset[str]:
        """The devices that there should be and are not."""
        return frozenset(self.overlay.devices.keys() - set(self.devices.values()))

    @cached_property
    def places(self) -> frozenset[tuple[object, ...]]:
        """What must not be taken by something else."""
        return frozenset(map(place, self.overlay.items))


def is_disturbed(watched: Watched, announced: Iterable[Message]) -> bool:
    """Whether something should be looked after, going by what was announced."""
    judged: dict[Hashable, bool] = {}
    for message in announced:
        judged.update(_judgements(watched, message))
    return any(judged.values())


def _judgements(watched: Watched, message: Message) -> Iterator[Judgement]:
    kind, payload = message.kind, message.payload
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        yield from _route(watched, kind == RTM_NEWROUTE, payload)
    elif kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
        yield from _neighbour(watched, kind == RTM_NEWNEIGH, payload)
    elif kind in (RTM_NEWLINK, RTM_DELLINK):
        yield from _link(watched, kind == RTM_NEWLINK, payload)
    elif kind in (RTM_NEWADDR, RTM_DELADDR):
        yield from _address(watched, kind == RTM_NEWADDR, payload)
    elif kind == RTM_NEWNETCONF:
        yield from _sysctls(watched, payload)


def _item(watched: Watched, is_new: bool, item: Item) -> Judgement:
    """Judge an item that is ours by the rules: it is there now, or it is gone."""
    is_wanted = item in watched.overlay.items
    is_known = version_of(item) not in watched.overlay.unknown
    return place(item), is_known and is_wanted != is_new


def _route(watched: Watched, is_new: bool, payload: bytes) -> Iterator[Judgement]:
    route = messages.parse_route(payload, watched.names)
    if route is None:
        return
    if messages.is_ours(payload, route):
        yield _item(watched, is_new, route)
    elif is_new and place(route) in watched.places:  # ours was replaced
        yield place(route), True


def _neighbour(watched: Watched, is_new: bool, payload: bytes) -> Iterator[Judgement]:
    found = messages.parse_neighbour(payload, watched.devices)
    if found is None:
        return
    item, is_permanent = found
    if is_permanent:
        yield _item(watched, is_new, item)
    elif is_new and place(item) in watched.places:
        yield place(item), True


def _address(watched: Watched, is_new: bool, payload: bytes) -> Iterator[Judgement]:
    _, _, _, _, index = rtnetlink.ADDRESS.unpack_from(payload)
    if (own := messages.parse_address(payload, watched.devices)) is not None:
        if _item(watched, is_new, own)[1]:
            yield FOR_GOOD, True
    elif index not in watched.devices:
        ip = rtnetlink.parse_address(payload).ip
        if ip in watched.node_addresses:
            is_there = any(uplink.index == index for uplink in watched.uplinks)
            if is_new != is_there:
                yield FOR_GOOD, True


def _link(watched: Watched, is_new: bool, payload: bytes) -> Iterator[Judgement]:
    family, _, index, _, _ = LINK.unpack_from(payload)
    if family:  # what a bridge says of a port
        return
    uplink = next((uplink for uplink in watched.uplinks if uplink.index == index), None)
    wanted = watched.overlay.devices.get(watched.devices.get(index, ""))
    if uplink is not None:
        is_against = not is_new or messages.parse_uplink(payload) != uplink
    elif wanted is not None:
        is_against = not is_new or not is_right(messages.parse_device(payload), wanted)
    else:
        # One that we could not make: perhaps it is there now, or what is in its way has gone.
        missing = watched.missing
        is_against = bool(missing) and rtnetlink.parse_link(payload).name in missing
    if is_against:
        yield FOR_GOOD, True


def _sysctls(watched: Watched, payload: bytes) -> Iterator[Judgement]:
    found = attributes(payload, _NETCONF_HEAD)
    index = INT.unpack(found[NETCONFA_IFINDEX])[0]
    name = "all" if index == ALL_LINKS else watched.devices.get(index)
    if name is None:
        return
    version = 4 if payload[0] == rtnetlink.AF_INET else 6
    for kind, key in ((NETCONFA_FORWARDING, "forwarding"), (NETCONFA_RP_FILTER, "rp_filter")):
        path = f"net/ipv{version}/conf/{name}/{key}"
        wanted = watched.overlay.sysctls.get(path)
        if wanted is not None and kind in found:
            yield path, str(INT.unpack(found[kind])[0]) != wanted
