"""Links, addresses, routes and neighbours in the messages of the kernel: how we ask, what it says.

Pure: no I/O. The numbers are those of <linux/rtnetlink.h>, if_link.h, if_addr.h and neighbour.h.
"""

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface, ip_network

from cni_plugin.podnet import Neighbour, Route
from datamodel.block import Address
from kernel_api.netlink import Message, Request, attribute, attributes

AF_INET, AF_INET6 = 2, 10

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTM_NEWNEIGH, RTM_GETNEIGH = 28, 30
RTM_SETNEIGHTBL = 67
RTNLGRP_LINK = 1  # the multicast group to which changes of links are announced

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 18, 20
IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK = 26, 27, 28, 29
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER, IFLA_INET_CONF = 1, 2, 1, 1
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP, IFF_RUNNING = 0x1, 0x40

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x2

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH = 1, 4, 5, 6, 9
RT_TABLE_UNSPEC, RT_TABLE_MAIN, RT_TABLE_LOCAL = 0, 254, 255
RTPROT_BOOT = 3  # Calico's for pod routes; `ip route` leaves it out
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RTN_UNICAST, RTN_LOCAL = 1, 2

NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
NUD_REACHABLE, NUD_PERMANENT = 0x02, 0x80
NUD_VALID = 0xDE  # every state in which a frame is sent at once
NTF_EXT_LEARNED = 0x10  # never removed because it was not used
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX = 1, 6, 1
NDTPA_UCAST_PROBES, NDTPA_PROXY_DELAY = 10, 13

_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_ADDRESS = struct.Struct("=4Bi")  # family, prefix length, flags, scope, link
# family, lengths of destination and source, tos, table, protocol, scope, type, flags
_ROUTE = struct.Struct("=8BI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_NEXT_HOP_INDEX = slice(4, 8)  # behind length, flags and weight
_INT = struct.Struct("=i")
_UINT = struct.Struct("=I")
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
    other = _new_link(peer) + attribute(IFLA_NET_NS_FD, _INT.pack(peer_netns_fd))
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
            _LINK.pack(0, 0, 0, 0, 0),
            attribute(IFLA_IFNAME, _text(link.name)),
            attribute(IFLA_ADDRESS, _mac(link.mac)),
            attribute(IFLA_GROUP, _UINT.pack(link.group)),
            b"" if link.mtu is None else attribute(IFLA_MTU, _UINT.pack(link.mtu)),
        ]
    )


def set_link(
    index: int,
    *,
    is_up: bool = False,
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
    body = _LINK.pack(0, 0, index, IFF_UP if is_up else 0, IFF_UP if is_up else 0)
    if alias is not None:
        body += attribute(IFLA_IFALIAS, alias.encode())
    if group is not None:
        body += attribute(IFLA_GROUP, _UINT.pack(group))
    if mtu is not None:
        body += attribute(IFLA_MTU, _UINT.pack(mtu))
    if ipv4_conf:
        values = b"".join(attribute(kind, _INT.pack(value)) for kind, value in ipv4_conf.items())
        inet = attribute(AF_INET, attribute(IFLA_INET_CONF, values))
        body += attribute(IFLA_AF_SPEC, inet)
    return Request(RTM_SETLINK, 0, body, f"link {index}")


def delete_link(index: int) -> Request:
    """Delete a link, and with it its peer."""
    return Request(RTM_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0), f"link {index}")


def delete_group(group: int) -> Request:
    """Delete every link of a group."""
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_GROUP, _UINT.pack(group))
    return Request(RTM_DELLINK, 0, body, f"links of group {group}")


def get_link(name: str) -> Request:
    """Ask for the link of that name."""
    body = _LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _text(name)) + _NO_STATISTICS
    return Request(RTM_GETLINK, 0, body, f"link {name}")


def get_link_by_index(index: int) -> Request:
    """Ask for the link of that index."""
    return Request(RTM_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0) + _NO_STATISTICS, f"link {index}")


def veths() -> Request:
    """List all veth ends."""
    kind = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth"))
    return Request(RTM_GETLINK, 0, _LINK.pack(0, 0, 0, 0, 0) + kind + _NO_STATISTICS, "links")


_NO_STATISTICS = attribute(IFLA_EXT_MASK, _UINT.pack(RTEXT_FILTER_SKIP_STATS))


@dataclass(frozen=True, slots=True)
class Link:
    """A link as the kernel tells of it."""

    index: int
    name: str
    mac: str
    mtu: int
    group: int
    alias: str
    is_up: bool


def parse_link(message: bytes) -> Link:
    """Read a link."""
    _, _, index, flags, _ = _LINK.unpack_from(message)
    found = attributes(message, _LINK.size)
    return Link(
        index=index,
        name=_words(found[IFLA_IFNAME]),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_UINT.unpack(found[IFLA_MTU])[0],
        group=_UINT.unpack(found[IFLA_GROUP])[0],
        alias=_words(found.get(IFLA_IFALIAS, b"")),
        is_up=bool(flags & IFF_UP),
    )


@dataclass(frozen=True, slots=True)
class LinkState:
    """What of a link is read in no time."""

    index: int
    is_running: bool  # up, and packets pass


def parse_link_state(message: bytes) -> LinkState:
    """Read the head of a link."""
    _, _, index, flags, _ = _LINK.unpack_from(message)
    return LinkState(index, bool(flags & IFF_RUNNING))


def deleted_link(message: Message) -> int | None:
    """The index of a link that is announced as gone; ``None`` if that is something else's news."""
    if message.kind != RTM_DELLINK:
        return None
    family, _, index, _, _ = _LINK.unpack_from(message.payload)
    return None if family else int(index)  # a link may leave a bridge, which is of that family


# ---- addresses ---------------------------------------------------------------------------------


def add_address(index: int, address: IPv4Interface | IPv6Interface) -> Request:
    """Give a link an address; an IPv6 one is used at once, without asking whether another has it.

    One that is there stays.
    """
    family, packed = _family(address.ip), address.ip.packed
    body = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, index)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if family == AF_INET6:
        body += attribute(IFA_FLAGS, _UINT.pack(IFA_F_NODAD))
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, f"address {address}")


def addresses(index: int) -> Request:
    """List a link's addresses of both families."""
    return Request(RTM_GETADDR, 0, _ADDRESS.pack(0, 0, 0, 0, index), "addresses")


def parse_address(message: bytes) -> IPv4Interface | IPv6Interface:
    """Read an address."""
    _, length, _, _, _ = _ADDRESS.unpack_from(message)
    found = attributes(message, _ADDRESS.size)
    return ip_interface((found.get(IFA_LOCAL) or found[IFA_ADDRESS], length))


# ---- routes ------------------------------------------------------------------------------------


def add_route(index: int, route: Route) -> Request:
    """Add a route through a link to the main table; one to that destination must not be there."""
    network = _network(route.destination)
    family = _family(network.network_address)
    scope = RT_SCOPE_UNIVERSE if route.via else RT_SCOPE_LINK
    body = _ROUTE.pack(
        family, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0
    )
    body += attribute(RTA_DST, network.network_address.packed) if network.prefixlen else b""
    body += attribute(RTA_OIF, _INT.pack(index))
    body += attribute(RTA_GATEWAY, _address(route.via).packed) if route.via else b""
    body += attribute(RTA_PRIORITY, _UINT.pack(route.metric)) if route.metric else b""
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body, f"route {route.destination}")


def main_routes(family: int, index: int = 0) -> Request:
    """List the routes of a family's main table, of all links or of one."""
    body = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
    if index:
        body += attribute(RTA_OIF, _INT.pack(index))
    return Request(RTM_GETROUTE, 0, body, "routes")


def routes_through(family: int, index: int) -> Request:
    """List the routes of a family that lead to a link, of every table."""
    body = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_UNSPEC, 0, 0, 0, 0)
    return Request(RTM_GETROUTE, 0, body + attribute(RTA_OIF, _INT.pack(index)), "routes")


def get_route_to(address: Address, index: int) -> Request:
    """Ask where a packet to *address* would go that is on a link."""
    family = _family(address)
    body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(RTA_DST, address.packed) + attribute(RTA_OIF, _INT.pack(index))
    return Request(RTM_GETROUTE, 0, body, f"route to {address}")


def leads_here(message: bytes) -> bool:
    """Whether a route is that of an own address."""
    return bool(_ROUTE.unpack_from(message)[7] == RTN_LOCAL)


@dataclass(frozen=True, slots=True)
class LinkRoute:
    """A route. ``index`` is 0 if it leads to no link."""

    index: int
    route: Route


def parse_route(message: bytes, is_any_table: bool = False) -> LinkRoute | None:
    """Read a route; ``None`` if it is not of the main table, or of any but the kernel's own."""
    family, length, _, _, table, *_ = _ROUTE.unpack_from(message)
    if table == RT_TABLE_LOCAL or not (is_any_table or table == RT_TABLE_MAIN):
        return None
    found = attributes(message, _ROUTE.size)
    destination = found.get(RTA_DST) or bytes(4 if family == AF_INET else 16)
    via = found.get(RTA_GATEWAY)
    # Of several next hops the first one's link.
    link = found.get(RTA_OIF) or found.get(RTA_MULTIPATH, b"")[_NEXT_HOP_INDEX]
    route = Route(
        destination=f"{ip_address(destination)}/{length}",
        via=str(ip_address(via)) if via else None,
        metric=_UINT.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0,
    )
    return LinkRoute(_INT.unpack(link)[0] if link else 0, route)


# ---- neighbours --------------------------------------------------------------------------------


def put_neighbour(index: int, neighbour: Neighbour) -> Request:
    """Make a neighbour known, whatever was known of it: for good, or until it says otherwise."""
    ip = _address(neighbour.address)
    known = (NUD_PERMANENT, 0) if neighbour.is_permanent else (NUD_REACHABLE, NTF_EXT_LEARNED)
    body = _NEIGHBOUR.pack(_family(ip), index, *known, 0)
    body += attribute(NDA_DST, ip.packed) + attribute(NDA_LLADDR, _mac(neighbour.mac))
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Request(RTM_NEWNEIGH, flags, body, f"neighbour {neighbour.address}")


def neighbours(index: int = 0) -> Request:
    """List the neighbours of both families, of all links or of one."""
    body = _NEIGHBOUR.pack(0, 0, 0, 0, 0)
    if index:
        body += attribute(NDA_IFINDEX, _INT.pack(index))
    return Request(RTM_GETNEIGH, 0, body, "neighbours")


@dataclass(frozen=True, slots=True)
class LinkNeighbour:
    """A neighbour entry of a link."""

    index: int
    neighbour: Neighbour


def parse_neighbour(message: bytes) -> LinkNeighbour | None:
    """Read a neighbour; ``None`` if its MAC is not known, or it is not known by an IP address."""
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(message)
    if not state & NUD_VALID or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(message, _NEIGHBOUR.size)
    mac = found.get(NDA_LLADDR, b"").hex(":")
    address = str(ip_address(found[NDA_DST]))
    return LinkNeighbour(index, Neighbour(address, mac, bool(state & NUD_PERMANENT)))


def set_ipv4_neigh(index: int, values: Mapping[int, int]) -> Request:
    """What is else written below /proc/sys/net/ipv4/neigh of a link, by its number (NDTPA_…)."""
    parameters = attribute(NDTPA_IFINDEX, _INT.pack(index))
    for kind, value in values.items():
        size = _ULONG if kind == NDTPA_PROXY_DELAY else _UINT
        parameters += attribute(kind, size.pack(value))
    body = struct.pack("=Bxxx", AF_INET) + attribute(NDTA_NAME, b"arp_cache\0")
    body += attribute(NDTA_PARMS, parameters)
    return Request(RTM_SETNEIGHTBL, 0, body, f"table of neighbours of link {index}")


# Most are the same for every pod.
_address = functools.lru_cache(maxsize=64)(ip_address)
_network = functools.lru_cache(maxsize=64)(ip_network)


def _family(address: Address) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def _mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _words(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
