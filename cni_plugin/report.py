"""What this node's kernel has of ours: links by their alias, and the addresses routed to them.

Edge: netlink, /proc. Read in the thread's network namespace, which is the host's.
"""

import contextlib
import functools
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from cni_plugin.netlink import Dump, Netlink, attribute, attributes
from datamodel.attachment import ALIAS_PREFIX, Kernel, LinkOwner, parse_alias
from datamodel.block import Address
from datamodel.errors import Unavailable
from datamodel.report import Report, ReportedLink

RTM_GETLINK, RTM_GETROUTE, RTM_GETNEIGH = 18, 26, 30
IFLA_IFNAME, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_EXT_MASK = 3, 18, 20, 29
IFLA_INFO_KIND = 1
RTEXT_FILTER_SKIP_STATS = 8
RTA_DST, RTA_OIF = 1, 4
RT_TABLE_MAIN = 254
NDA_DST, NDA_LLADDR = 1, 2
NUD_PERMANENT = 0x80

_LINK = struct.Struct("=BxHiII")  # family, device type, index, flags, change mask
_ROUTE = struct.Struct("=8BI")  # family, destination's length, …, table, …, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_INDEX = struct.Struct("=i")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETNS = "/proc/thread-self/ns/net"
_IPV6 = "/proc/sys/net/ipv6"


def read_report() -> Report:
    """List our links and what is routed to them.

    Raises:
        Unavailable: the kernel refuses.
    """
    try:
        with Netlink() as netlink:
            # Links first: one that is listed has had all its routes by the time they are.
            links = netlink.dump(RTM_GETLINK, _VETHS)
            routes = list(_routes(netlink))
            neighbours = netlink.dump(RTM_GETNEIGH, _NEIGHBOUR.pack(0, 0, 0, 0, 0))
            kernel = this_kernel()
    except OSError as error:
        raise Unavailable(f"links: cannot be listed: {error.strerror or error}") from error
    addresses, macs = _addresses(routes), _macs(neighbours)
    return Report(
        kernel=kernel,
        is_complete=all(dump.is_complete for dump in (links, *routes, neighbours)),
        links=tuple(
            ReportedLink(
                interface_name=name,
                attachment=owner.attachment,
                attachment_digest=owner.attachment_digest,
                pod=owner.pod,
                addresses=tuple(sorted(addresses.get(index, ()), key=_by_family)),
                mac=macs.get(index, ""),
            )
            for index, name, owner in _links(links)
        ),
    )


def this_kernel() -> Kernel:
    """The running kernel and the network namespace that the thread is in."""
    return Kernel(_boot_id(), str(os.stat(_NETNS).st_ino))


@functools.cache
def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


_VETHS = b"".join(
    [
        _LINK.pack(0, 0, 0, 0, 0),
        attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"veth\0")),
        attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_bytes(4, "little")),
    ]
)


def _routes(netlink: Netlink) -> Iterator[Dump]:
    """The main tables of both families."""
    has_ipv6 = os.path.exists(_IPV6)  # not if the kernel was booted with ipv6.disable=1
    for family in (socket.AF_INET, socket.AF_INET6) if has_ipv6 else (socket.AF_INET,):
        with contextlib.suppress(FileNotFoundError):  # no route was ever made: there is no table
            main_table = _ROUTE.pack(family, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
            yield netlink.dump(RTM_GETROUTE, main_table)


def _links(dump: Dump) -> Iterator[tuple[int, str, LinkOwner]]:
    """Index, name and owner of our links.

    One without an alias is what a killed ADD left: nobody's.
    """
    for message in dump.messages:
        if ALIAS_PREFIX.encode() not in message:
            continue  # most of a node's other links, without reading them
        found = attributes(message, _LINK.size)
        owner = parse_alias(_text(found.get(IFLA_IFALIAS, b"")))
        if owner is not None:
            _, _, index, _, _ = _LINK.unpack_from(message)
            yield index, _text(found[IFLA_IFNAME]), owner


def _addresses(dumps: Iterable[Dump]) -> dict[int, set[Address]]:
    """The single addresses that are routed to each link."""
    found: dict[int, set[Address]] = {}
    for dump in dumps:
        for message in dump.messages:
            family, length, _, _, table, *_ = _ROUTE.unpack_from(message)
            if table != RT_TABLE_MAIN or length != (32 if family == socket.AF_INET else 128):
                continue
            route = attributes(message, _ROUTE.size)
            if RTA_OIF in route:
                (index,) = _INDEX.unpack(route[RTA_OIF])
                found.setdefault(index, set()).add(ip_address(route[RTA_DST]))
    return found


def _macs(dump: Dump) -> dict[int, str]:
    """The MAC behind each link, by its permanent neighbour entries."""
    found = {}
    for message in dump.messages:
        _, index, state, _, _ = _NEIGHBOUR.unpack_from(message)
        if state & NUD_PERMANENT:
            mac = attributes(message, _NEIGHBOUR.size).get(NDA_LLADDR, b"")
            found[index] = mac.hex(":")
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")


def _by_family(address: Address) -> tuple[int, int]:
    return address.version, int(address)
