"""The addresses of this machine's links, as the kernel tells them without privileges.

Edge: ioctl, /proc, and a name server where the method names a host. ipamd has no netlink socket
and needs none.
"""

import array
import asyncio
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from datamodel.block import Address
from datamodel.errors import Unavailable
from ipamd.autodetect import KUBERNETES, Interface, Link, Method, choose
from ipamd.config import Config, NodeInKubernetes
from ipamd.kubernetes import internal_addresses

SIOCGIFCONF = 0x8912
SIOCGIFNETMASK = 0x891B
_IFREQ = struct.Struct("16s16s")  # a label and a sockaddr_in; the kernel's struct may be longer
_IFREQ_BYTES = struct.calcsize("16sLLHBBB0L")
_ADDRESS = slice(20, 24)  # of an ifreq with a sockaddr_in
IPV6_ADDR_PREFERENCES = 72
IPV6_PREFER_SRC_PUBLIC = 2
DETECT_TIMEOUT_S = 10.0
REACH_PORT = 80  # Calico's; nothing is sent there

IF_INET6 = Path("/proc/net/if_inet6")
# IFA_F_…: an address that passes, that is not to be used any more or not yet, or that somebody
# else on the link has.
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80
_UNUSABLE = _TEMPORARY | _DAD_FAILED | _DEPRECATED | _TENTATIVE


def detector(
    config: Config, timeout_s: float = DETECT_TIMEOUT_S
) -> Callable[[int], Awaitable[Interface]]:
    """How this node's address of a family is found; off the event loop, since it may be slow."""
    methods = {source.version: source.method for source in config.sources}

    async def detect(version: int) -> Interface:
        method = methods[version]
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(find_address, method, version, config.kubernetes)
        except TimeoutError as error:
            raise Unavailable(
                f"node address: {method.text}: no answer within {timeout_s:g} s"
            ) from error

    return detect


def find_address(method: Method, version: int, node: NodeInKubernetes | None) -> Interface:
    """Find this node's address of one family. Blocks: a name server or an API may be slow.

    Args:
        method: how.
        version: 4 or 6.
        node: what ``kubernetes-internal-ip`` asks about, and where.

    Raises:
        Invalid: no link has a usable one, or the API refuses us.
        Unavailable: the name server or the API does not answer.
    """
    told: Iterable[Address] = ()
    if method.kind == KUBERNETES:
        assert node is not None  # else the settings are refused
        told = internal_addresses(node)
    elif method.host:
        told = [source_address(method.host, version)]
    return choose(method, version, links(version), tuple(told))


def links(version: int) -> list[Link]:
    """Every link that has an address of the family, with all of them, in the order of indexes.

    Raises:
        Unavailable: the kernel does not tell.
    """
    try:
        return _ipv4_links() if version == 4 else _ipv6_links()
    except OSError as error:
        raise Unavailable(f"node address: links cannot be read: {error}") from error


def source_address(host: str, version: int) -> Address:
    """The address that packets to *host* would leave with; none is sent.

    Raises:
        Unavailable: there is no route to it, or its name is not resolved.
    """
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    try:
        target = socket.getaddrinfo(host, REACH_PORT, family, socket.SOCK_DGRAM)[0][4]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if version == 6:  # else the kernel prefers a temporary address
                with suppress(OSError):
                    probe.setsockopt(
                        socket.IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, IPV6_PREFER_SRC_PUBLIC
                    )
            probe.connect(target)
            text = probe.getsockname()[0]
    except (OSError, UnicodeError) as error:  # the latter for a name that is none
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(f"node address: can-reach={host}: {reason}") from error
    return ipaddress.ip_address(text.partition("%")[0])


def _ipv4_links() -> list[Link]:
    """With secondary addresses and those that have a label of their own (``eth0:1``)."""
    found: dict[str, list[Interface]] = {name: [] for _, name in sorted(socket.if_nameindex())}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for request in _ifconf(probe):
            label, _ = _IFREQ.unpack_from(request)
            name = label.partition(b"\0")[0].decode(errors="surrogateescape").partition(":")[0]
            try:
                # The address goes along: of several with one label its own mask is meant.
                netmask = fcntl.ioctl(probe, SIOCGIFNETMASK, request)[_ADDRESS]
            except OSError:
                continue  # gone meanwhile
            address = socket.inet_ntoa(request[_ADDRESS])
            if name in found:
                found[name].append(IPv4Interface(f"{address}/{socket.inet_ntoa(netmask)}"))
    return [Link(name, tuple(addresses)) for name, addresses in found.items() if addresses]


def _ifconf(probe: socket.socket) -> list[bytes]:
    """Every IPv4 address as an ifreq. What does not fit, the kernel leaves out without a word."""
    size = 64 * _IFREQ_BYTES
    while True:
        buffer = array.array("B", bytes(size))
        answer = fcntl.ioctl(probe, SIOCGIFCONF, struct.pack("iP", size, buffer.buffer_info()[0]))
        used: int = struct.unpack_from("i", answer)[0]
        if used <= size - _IFREQ_BYTES:
            raw = buffer.tobytes()
            return [raw[i : i + _IFREQ_BYTES] for i in range(0, used, _IFREQ_BYTES)]
        size *= 2


def _ipv6_links() -> list[Link]:
    try:
        return parse_if_inet6(IF_INET6.read_text())
    except FileNotFoundError:
        return []  # a kernel without IPv6


def parse_if_inet6(text: str) -> list[Link]:
    """Read /proc/net/if_inet6: what may be used, in the order of indexes.

    The kernel lists them in an order of its own; here those come first that somebody has set, so
    that a router's advertisement does not change the node's address.
    """
    found: dict[tuple[int, str], list[tuple[bool, IPv6Interface]]] = {}
    for line in text.splitlines():
        digits, index, length, _, flags, name = line.split(None, 5)
        if not int(flags, 16) & _UNUSABLE:
            address = IPv6Interface((int(digits, 16), int(length, 16)))
            is_passing = not int(flags, 16) & _PERMANENT
            found.setdefault((int(index, 16), name.strip()), []).append((is_passing, address))
    return [
        Link(name, tuple(address for _, address in sorted(addresses)))
        for (_, name), addresses in sorted(found.items())
    ]
