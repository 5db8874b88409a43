"""What this node's kernel has of ours: links by their alias, and the addresses routed to them.

Edge: netlink, /proc. Read in the thread's network namespace, which is the host's.
"""

import errno
import functools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from cni_plugin import pod_rtnetlink
from cni_plugin.observe import owned_link
from datamodel.attachment import Kernel
from datamodel.block import Address
from datamodel.errors import Unavailable
from datamodel.report import Report, ReportedLink
from kernel_api import rtnetlink
from kernel_api.netlink import Dump, Netlink, Refused
from kernel_api.sysctl import families

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETNS = "/proc/thread-self/ns/net"


def read_report() -> Report:
    """List our links and what is routed to them.

    Raises:
        Unavailable: the kernel refuses.
    """
    try:
        with Netlink() as netlink:
            # Links first: one that is listed has had all its routes by the time they are.
            links = netlink.dump(pod_rtnetlink.veths())
            routes = list(_routes(netlink))
            neighbours = netlink.dump(rtnetlink.neighbours())
            kernel = this_kernel()
    except OSError as error:
        raise Unavailable(f"links: cannot be listed: {error.strerror or error}") from error
    addresses = _addresses(routes)
    macs = _macs(neighbours, addresses)
    return Report(
        kernel=kernel,
        is_complete=all(dump.is_complete for dump in (links, *routes, neighbours)),
        links=tuple(
            ReportedLink(
                interface_name=owned.link.name,
                attachment=owned.owner.attachment,
                attachment_digest=owned.owner.attachment_digest,
                pod=owned.owner.pod,
                addresses=tuple(sorted(addresses.get(owned.link.index, ()), key=_by_family)),
                mac=macs.get(owned.link.index, ""),
            )
            for owned in filter(None, map(owned_link, links.messages))
        ),
    )


def this_kernel() -> Kernel:
    """The running kernel and the network namespace that the thread is in."""
    return Kernel(_boot_id(), str(os.stat(_NETNS).st_ino))


@functools.cache
def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _routes(netlink: Netlink) -> Iterator[Dump]:
    """The main tables of both families."""
    for family in families():
        try:
            yield netlink.dump(rtnetlink.main_routes(family))
        except Refused as error:
            if error.errno != errno.ENOENT:  # no route was ever made: there is no table
                raise


def _addresses(dumps: Iterable[Dump]) -> dict[int, set[Address]]:
    """The single addresses that are routed to each link."""
    found: dict[int, set[Address]] = {}
    for dump in dumps:
        for route in filter(None, map(pod_rtnetlink.parse_route, dump.messages)):
            address, _, length = route.route.destination.partition("/")
            if length == ("128" if ":" in address else "32"):
                found.setdefault(route.index, set()).add(ip_address(address))
    return found


def _macs(dump: Dump, addresses: Mapping[int, Collection[Address]]) -> dict[int, str]:
    """The MAC behind each link, by the neighbour entries of its own addresses."""
    return {
        entry.index: entry.neighbour.mac
        for entry in filter(None, map(pod_rtnetlink.parse_neighbour, dump.messages))
        if ip_address(entry.neighbour.address) in addresses.get(entry.index, ())
    }


def _by_family(address: Address) -> tuple[int, int]:
    return address.version, int(address)
