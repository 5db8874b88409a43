"""Links, addresses, routes and neighbours in the messages of the kernel: how we ask, what it says.

Pure: no I/O. The numbers are those of <linux/rtnetlink.h>, if_link.h, if_addr.h and neighbour.h.
"""

import struct
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)

from kernel_api.netlink import Request, attribute, attributes

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

AF_BRIDGE, AF_INET, AF_INET6 = 7, 2, 10

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
# Multicast groups to which changes are announced.
RTNLGRP_LINK, RTNLGRP_NEIGH = 1, 3
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE = 5, 7
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 9, 11
RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF = 24, 25

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_IFALIAS = 1, 3, 4, 18, 20
IFLA_GROUP, IFLA_EXT_MASK = 27, 29
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
RTEXT_FILTER_SKIP_STATS = 8
IFF_UP = 0x1

IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD = 0x2

RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH = 1, 4, 5, 6, 9
RT_TABLE_MAIN = 254
RTPROT_BOOT = 3  # Calico's for pod routes; `ip route` leaves it out
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
RTN_UNSPEC, RTN_UNICAST = 0, 1
RTNH_F_ONLINK = 0x4

NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
NUD_NOARP, NUD_PERMANENT = 0x40, 0x80

LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
ADDRESS = struct.Struct("=4Bi")  # family, prefix length, flags, scope, link
# family, lengths of destination and source, tos, table, protocol, scope, type, flags
ROUTE = struct.Struct("=8BI")
NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
INT = struct.Struct("=i")
UINT = struct.Struct("=I")


# ---- links -------------------------------------------------------------------------------------


def set_link(
    index: int,
    *,
    is_up: bool | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    alias: str | None = None,
    further: bytes = b"",
) -> Request:
    """Change a link; what is not given stays. *further* are attributes."""
    body = LINK.pack(0, 0, index, IFF_UP if is_up else 0, 0 if is_up is None else IFF_UP)
    body += b"" if mtu is None else attribute(IFLA_MTU, UINT.pack(mtu))
    body += b"" if mac is None else attribute(IFLA_ADDRESS, mac_bytes(mac))
    body += b"" if alias is None else attribute(IFLA_IFALIAS, alias.encode())
    return Request(RTM_SETLINK, 0, body + further, f"link {index}")


def delete_link(index: int) -> Request:
    """Delete a link, and with it its peer."""
    return Request(RTM_DELLINK, 0, LINK.pack(0, 0, index, 0, 0), f"link {index}")


def get_link(name: str) -> Request:
    """Ask for the link of that name."""
    body = LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, text_bytes(name)) + NO_STATISTICS
    return Request(RTM_GETLINK, 0, body, f"link {name}")


def get_link_by_index(index: int) -> Request:
    """Ask for the link of that index."""
    return Request(RTM_GETLINK, 0, LINK.pack(0, 0, index, 0, 0) + NO_STATISTICS, f"link {index}")


NO_STATISTICS = attribute(IFLA_EXT_MASK, UINT.pack(RTEXT_FILTER_SKIP_STATS))


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
    _, _, index, flags, _ = LINK.unpack_from(message)
    found = attributes(message, LINK.size)
    return Link(
        index=index,
        name=_words(found[IFLA_IFNAME]),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=UINT.unpack(found[IFLA_MTU])[0],
        group=UINT.unpack(found[IFLA_GROUP])[0],
        alias=_words(found.get(IFLA_IFALIAS, b"")),
        is_up=bool(flags & IFF_UP),
    )


# ---- addresses ---------------------------------------------------------------------------------


def add_address(index: int, address: Interface) -> Request:
    """Give a link an address; an IPv6 one is used at once, without asking whether another has it.

    One that is there stays.
    """
    body = _address(index, address)
    if address.version == 6:
        body += attribute(IFA_FLAGS, UINT.pack(IFA_F_NODAD))
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, f"address {address}")


def delete_address(index: int, address: Interface) -> Request:
    """Take an address from a link."""
    return Request(RTM_DELADDR, 0, _address(index, address), f"address {address}")


def _address(index: int, address: Interface) -> bytes:
    packed = address.ip.packed
    body = ADDRESS.pack(family_of(address.ip), address.network.prefixlen, 0, 0, index)
    return body + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)


def addresses(index: int = 0) -> Request:
    """List the addresses of both families, of all links or of one."""
    return Request(RTM_GETADDR, 0, ADDRESS.pack(0, 0, 0, 0, index), "addresses")


def parse_address(message: bytes) -> Interface:
    """Read an address."""
    _, length, _, _, _ = ADDRESS.unpack_from(message)
    found = attributes(message, ADDRESS.size)
    return ip_interface((found.get(IFA_LOCAL) or found[IFA_ADDRESS], length))


# ---- routes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnicastRoute:
    """A unicast route of the main table through one link."""

    destination: Network
    index: int  # of the link; 0: it leads to none
    via: Address | None = None
    metric: int = 0  # 0: the kernel's default
    protocol: int = RTPROT_BOOT  # who made it
    is_onlink: bool = False  # ``via`` is on the link, whatever other routes say


def route(kind: int, flags: int, route: UnicastRoute) -> Request:
    """Make, replace or delete a route: RTM_NEWROUTE or RTM_DELROUTE, and NLM_F_….

    What is deleted may be of any type and scope.
    """
    network = route.destination
    how = (RT_SCOPE_UNIVERSE if route.via else RT_SCOPE_LINK, RTN_UNICAST)
    body = ROUTE.pack(
        family_of(network.network_address),
        network.prefixlen,
        0,
        0,
        RT_TABLE_MAIN,
        route.protocol,
        *(how if kind == RTM_NEWROUTE else (RT_SCOPE_NOWHERE, RTN_UNSPEC)),
        RTNH_F_ONLINK if route.is_onlink else 0,
    )
    body += attribute(RTA_DST, network.network_address.packed) if network.prefixlen else b""
    body += attribute(RTA_OIF, INT.pack(route.index)) if route.index else b""
    body += attribute(RTA_GATEWAY, route.via.packed) if route.via else b""
    body += attribute(RTA_PRIORITY, UINT.pack(route.metric)) if route.metric else b""
    return Request(kind, flags, body, f"route {network}")


def main_routes(family: int, index: int = 0, protocol: int = 0) -> Request:
    """List the routes of a family's main table, of all links and protocols or of one."""
    body = ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, protocol, 0, 0, 0)
    body += attribute(RTA_OIF, INT.pack(index)) if index else b""
    return Request(RTM_GETROUTE, 0, body, "routes")


# ---- neighbours --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the table of neighbours, or with AF_BRIDGE of a device's forwarding table."""

    family: int
    index: int  # of the link
    address: Address
    mac: str
    state: int = NUD_PERMANENT
    flags: int = 0  # NTF_…


def neighbour(kind: int, flags: int, entry: Entry) -> Request:
    """Make, replace or delete an entry: RTM_NEWNEIGH or RTM_DELNEIGH, and NLM_F_…."""
    body = NEIGHBOUR.pack(entry.family, entry.index, entry.state, entry.flags, 0)
    body += attribute(NDA_DST, entry.address.packed) + attribute(NDA_LLADDR, mac_bytes(entry.mac))
    what = "forwarding entry" if entry.family == AF_BRIDGE else "neighbour"
    return Request(kind, flags, body, f"{what} {entry.address}")


def neighbours(index: int = 0, family: int = 0) -> Request:
    """List the neighbours of both families, of all links or of one; with AF_BRIDGE its table."""
    body = NEIGHBOUR.pack(family, 0, 0, 0, 0)
    if index:
        body += attribute(NDA_IFINDEX, INT.pack(index))
    return Request(RTM_GETNEIGH, 0, body, "neighbours")


def family_of(address: Address) -> int:
    """AF_INET or AF_INET6."""
    return AF_INET if address.version == 4 else AF_INET6


def mac_bytes(mac: str) -> bytes:
    """A MAC as the kernel has it."""
    return bytes.fromhex(mac.replace(":", ""))


def text_bytes(text: str) -> bytes:
    """A text as the kernel has it."""
    return text.encode() + b"\0"


def _words(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
