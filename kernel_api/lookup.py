"""What the kernel does with destinations, in its messages: routes, one lookup, neighbours.

Pure: no I/O. For who looks and changes nothing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from kernel_api import rtnetlink
from kernel_api.netlink import Request, attribute, attributes
from kernel_api.rtnetlink import (
    INT,
    NDA_DST,
    NEIGHBOUR,
    ROUTE,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_GETROUTE,
    RTNH_F_ONLINK,
    UINT,
    Address,
    Network,
    family_of,
)

BIRD = "bird"

NUD_FAILED = 0x20
RTA_TABLE, RTA_VIA = 15, 18
RTNH_F_DEAD, RTNH_F_LINKDOWN = 0x1, 0x10
RTM_F_CLONED, RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x200, 0x1000, 0x2000

_HOP = struct.Struct("=HBBi")  # length, flags, weight, link

_KINDS = {1: "unicast", 2: "local", 6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
# Of iproute2's rt_protos those that one may meet on a node.
_PROTOCOLS = {
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    11: "zebra",
    12: BIRD,
    16: "dhcp",
    186: "bgp",
}


@dataclass(frozen=True, slots=True)
class KernelHop:
    """Where a route leads next."""

    device: str
    via: Address | None = None
    is_onlink: bool = False
    is_dead: bool = False  # the kernel does not use it: the link is down


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One route of the kernel."""

    network: Network
    kind: str  # unicast, local, blackhole, unreachable, prohibit, …
    protocol: str  # who put it there, as ip(8) names it: bird, boot, static, 80
    metric: int = 0  # of several for one destination the smallest goes first
    table: int = RT_TABLE_MAIN
    hops: tuple[KernelHop, ...] = ()

    @property
    def action(self) -> str:
        """What it does, in the words of ``ip route``, without its destination."""
        kind = "" if self.kind == "unicast" else f"{self.kind} "
        hops = f"{' and '.join(map(_words, self.hops))} " if self.hops else ""
        metric = f" metric {self.metric}" if self.metric else ""
        return f"{kind}{hops}proto {self.protocol}{metric}"

    def __str__(self) -> str:
        return f"{self.network} {self.action}"


def _words(hop: KernelHop) -> str:
    via = f"via {hop.via} " if hop.via else ""
    flags = "".join(
        f" {flag}" for flag, is_set in (("onlink", hop.is_onlink), ("dead", hop.is_dead)) if is_set
    )
    return f"{via}dev {hop.device}{flags}"


def list_links() -> Request:
    """List every link."""
    body = rtnetlink.LINK.pack(0, 0, 0, 0, 0) + rtnetlink.NO_STATISTICS
    return Request(rtnetlink.RTM_GETLINK, 0, body, "links")


def look_up(address: Address) -> Request:
    """Ask by which route a packet of this node would go to an address; refused if by none."""
    # IPv6 always tells the table.
    flags = RTM_F_FIB_MATCH | (RTM_F_LOOKUP_TABLE if address.version == 4 else 0)
    body = ROUTE.pack(family_of(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, flags)
    return Request(RTM_GETROUTE, 0, body + attribute(RTA_DST, address.packed), f"route {address}")


def parse_route(message: bytes, names: dict[int, str]) -> KernelRoute | None:
    """Read a route; ``None`` for a copy that the kernel made of one."""
    family, length, _, _, table, protocol, _, kind, flags = ROUTE.unpack_from(message)
    if flags & RTM_F_CLONED:
        return None
    found = attributes(message, ROUTE.size)
    packed = found.get(RTA_DST) or bytes(4 if family == rtnetlink.AF_INET else 16)
    return KernelRoute(
        network=ip_network((packed, length)),
        kind=_KINDS.get(kind, str(kind)),
        protocol=_PROTOCOLS.get(protocol, str(protocol)),
        metric=UINT.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0,
        table=UINT.unpack(found[RTA_TABLE])[0] if RTA_TABLE in found else table,
        hops=tuple(_hops(found, flags, names)),
    )


def _hops(found: dict[int, bytes], flags: int, names: dict[int, str]) -> Iterator[KernelHop]:
    if RTA_OIF in found:
        yield _hop(INT.unpack(found[RTA_OIF])[0], flags, found, names)
    rest = found.get(RTA_MULTIPATH, b"")
    while len(rest) >= _HOP.size:
        length, hop_flags, _, index = _HOP.unpack_from(rest)
        yield _hop(index, hop_flags, attributes(rest[:length], _HOP.size), names)
        rest = rest[max((length + 3) & ~3, _HOP.size) :]


def _hop(index: int, flags: int, found: dict[int, bytes], names: dict[int, str]) -> KernelHop:
    # A gateway of the other family has its family in front.
    gateway = found.get(RTA_GATEWAY) or found.get(RTA_VIA, b"")[2:]
    return KernelHop(
        device=names.get(index, f"link {index}"),
        via=ip_address(gateway) if gateway else None,
        is_onlink=bool(flags & RTNH_F_ONLINK),
        is_dead=bool(flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)),
    )


def parse_silent(message: bytes, names: dict[int, str]) -> tuple[str, Address] | None:
    """Read a neighbour that was asked for and did not answer, with its link's name; else none."""
    family, index, state, _, _ = NEIGHBOUR.unpack_from(message)
    is_ip = family in (rtnetlink.AF_INET, rtnetlink.AF_INET6)
    if state != NUD_FAILED or not is_ip or index not in names:
        return None
    packed = attributes(message, NEIGHBOUR.size).get(NDA_DST)
    return (names[index], ip_address(packed)) if packed else None
