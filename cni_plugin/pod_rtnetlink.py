"""What pods need of the kernel beyond ``kernel_api/rtnetlink.py``: veth pairs and what is on them.

Pure: no I/O. The numbers are those of <linux/rtnetlink.h>, if_link.h and neighbour.h.
"""

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from cni_plugin.podnet import Neighbour, Route
from datamodel.block import Address
from kernel_api import rtnetlink
from kernel_api.netlink import Message, Request, attribute, attributes
from kernel_api.rtnetlink import (
    AF_INET,
    AF_INET6,
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    INT,
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NO_STATISTICS,
    NUD_PERMANENT,
    ROUTE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    UINT,
    Entry,
    UnicastRoute,
    family_of,
    mac_bytes,
    text_bytes,
)

RTM_SETNEIGHTBL = 67
IFLA_AF_SPEC, IFLA_NET_NS_FD = 26, 28
VETH_INFO_PEER, IFLA_INET_CONF = 1, 1
IFF_RUNNING = 0x40
RT_TABLE_UNSPEC, RT_TABLE_LOCAL = 0, 255
RTN_LOCAL = 2
NUD_REACHABLE = 0x02
NUD_VALID = 0xDE  # every state in which a frame is sent at once
NTF_EXT_LEARNED = 0x10  # never removed because it was not used
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX = 1, 6, 1
NDTPA_UCAST_PROBES, NDTPA_PROXY_DELAY = 10, 13

_NEXT_HOP_INDEX = slice(4, 8)  # behind length, flags and weight
_ULONG = struct.Struct("=Q")


# ---- links -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewLink:
    """One end of a veth pair, as it is to be made. The kernel takes no alias at this point."""

    name: str
    mac: str
    mtu: int | None  # None: the kernel's default
    group: int = 0


def create_veth(link: NewLink, peer: NewLink, peer_netns_fd: int) -> Request:
    """Make a veth pair whose second end is in another network namespace."""
    other = _new_link(peer) + attribute(IFLA_NET_NS_FD, INT.pack(peer_netns_fd))
    info = attribute(IFLA_INFO_KIND, b"veth") + attribute(
        IFLA_INFO_DATA, attribute(VETH_INFO_PEER, other)
    )
    return Request(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        _new_link(link) + attribute(IFLA_LINKINFO, info),
        f"veth pair {link.name}–{peer.name}",
    )


def _new_link(link: NewLink) -> bytes:
    return b"".join(
        [
            LINK.pack(0, 0, 0, 0, 0),
            attribute(IFLA_IFNAME, text_bytes(link.name)),
            attribute(IFLA_ADDRESS, mac_bytes(link.mac)),
            attribute(IFLA_GROUP, UINT.pack(link.group)),
            b"" if link.mtu is None else attribute(IFLA_MTU, UINT.pack(link.mtu)),
        ]
    )


def set_link(
    index: int,
    *,
    is_up: bool | None = None,
    alias: str | None = None,
    group: int | None = None,
    mtu: int | None = None,
    ipv4_conf: Mapping[int, int] | None = None,
) -> Request:
    """Change a link; what is not given stays.

    Args:
        ipv4_conf: what is else written below /proc/sys/net/ipv4/conf, by its number in
            <linux/ip.h>. Unlike there nothing waits for others that change links.
    """
    further = b""
    if group is not None:
        further += attribute(IFLA_GROUP, UINT.pack(group))
    if ipv4_conf:
        values = b"".join(attribute(kind, INT.pack(value)) for kind, value in ipv4_conf.items())
        inet = attribute(AF_INET, attribute(IFLA_INET_CONF, values))
        further += attribute(IFLA_AF_SPEC, inet)
    return rtnetlink.set_link(index, is_up=is_up, mtu=mtu, alias=alias, further=further)


def delete_group(group: int) -> Request:
    """Delete every link of a group."""
    body = LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_GROUP, UINT.pack(group))
    return Request(RTM_DELLINK, 0, body, f"links of group {group}")


def veths() -> Request:
    """List all veth ends."""
    kind = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"))
    return Request(RTM_GETLINK, 0, LINK.pack(0, 0, 0, 0, 0) + kind + NO_STATISTICS, "links")


@dataclass(frozen=True, slots=True)
class LinkState:
    """What of a link is read in no time."""

    index: int
    is_running: bool  # up, and packets pass


def parse_link_state(message: bytes) -> LinkState:
    """Read the head of a link."""
    _, _, index, flags, _ = LINK.unpack_from(message)
    return LinkState(index, bool(flags & IFF_RUNNING))


def deleted_link(message: Message) -> int | None:
    """The index of a link that is announced as gone; ``None`` if that is something else's news."""
    if message.kind != RTM_DELLINK:
        return None
    family, _, index, _, _ = LINK.unpack_from(message.payload)
    return None if family else int(index)  # a link may leave a bridge, which is of that family


# ---- routes ------------------------------------------------------------------------------------


def add_route(index: int, route: Route) -> Request:
    """Add a route through a link to the main table; one to that destination must not be there."""
    via = _address(route.via) if route.via else None
    wanted = UnicastRoute(_network(route.destination), index, via, route.metric)
    return rtnetlink.route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, wanted)


def routes_through(family: int, index: int) -> Request:
    """List the routes of a family that lead to a link, of every table."""
    body = ROUTE.pack(family, 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, 0, 0)
    return Request(RTM_GETROUTE, 0, body + attribute(RTA_OIF, INT.pack(index)), "routes")


def get_route_to(address: Address, index: int) -> Request:
    """Ask where a packet to *address* would go that is on a link."""
    family = family_of(address)
    body = ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(RTA_DST, address.packed) + attribute(RTA_OIF, INT.pack(index))
    return Request(RTM_GETROUTE, 0, body, f"route to {address}")


def leads_here(message: bytes) -> bool:
    """Whether a route is that of an own address."""
    return bool(ROUTE.unpack_from(message)[7] == RTN_LOCAL)


@dataclass(frozen=True, slots=True)
class LinkRoute:
    """A route. ``index`` is 0 if it leads to no link."""

    index: int
    route: Route


def parse_route(message: bytes, is_any_table: bool = False) -> LinkRoute | None:
    """Read a route; ``None`` if it is not of the main table, or of any but the kernel's own."""
    family, length, _, _, table, *_ = ROUTE.unpack_from(message)
    if table == RT_TABLE_LOCAL or not (is_any_table or table == RT_TABLE_MAIN):
        return None
    found = attributes(message, ROUTE.size)
    destination = found.get(RTA_DST) or bytes(4 if family == AF_INET else 16)
    via = found.get(RTA_GATEWAY)
    # Of several next hops the first one's link.
    link = found.get(RTA_OIF) or found.get(RTA_MULTIPATH, b"")[_NEXT_HOP_INDEX]
    route = Route(
        destination=f"{ip_address(destination)}/{length}",
        via=str(ip_address(via)) if via else None,
        metric=UINT.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0,
    )
    return LinkRoute(INT.unpack(link)[0] if link else 0, route)


# ---- neighbours --------------------------------------------------------------------------------


def put_neighbour(index: int, neighbour: Neighbour) -> Request:
    """Make a neighbour known, whatever was known of it: for good, or until it says otherwise."""
    ip = _address(neighbour.address)
    known = (NUD_PERMANENT, 0) if neighbour.is_permanent else (NUD_REACHABLE, NTF_EXT_LEARNED)
    entry = Entry(family_of(ip), index, ip, neighbour.mac, *known)
    return rtnetlink.neighbour(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry)


@dataclass(frozen=True, slots=True)
class LinkNeighbour:
    """A neighbour entry of a link."""

    index: int
    neighbour: Neighbour


def parse_neighbour(message: bytes) -> LinkNeighbour | None:
    """Read a neighbour; ``None`` if its MAC is not known, or it is not known by an IP address."""
    family, index, state, _, _ = NEIGHBOUR.unpack_from(message)
    if not state & NUD_VALID or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(message, NEIGHBOUR.size)
    mac = found.get(NDA_LLADDR, b"").hex(":")
    address = str(ip_address(found[NDA_DST]))
    return LinkNeighbour(index, Neighbour(address, mac, bool(state & NUD_PERMANENT)))


def set_ipv4_neigh(index: int, values: Mapping[int, int]) -> Request:
    """What is else written below /proc/sys/net/ipv4/neigh of a link, by its number (NDTPA_…)."""
    parameters = attribute(NDTPA_IFINDEX, INT.pack(index))
    for kind, value in values.items():
        size = _ULONG if kind == NDTPA_PROXY_DELAY else UINT
        parameters += attribute(kind, size.pack(value))
    body = struct.pack("=Bxxx", AF_INET) + attribute(NDTA_NAME, b"arp_cache\0")
    body += attribute(NDTA_PARMS, parameters)
    return Request(RTM_SETNEIGHTBL, 0, body, f"table of neighbours of link {index}")


# Most are the same for every pod.
_address = functools.lru_cache(maxsize=64)(ip_address)
_network = functools.lru_cache(maxsize=64)(ip_network)
