"""The addresses of this machine's links, as the kernel tells them without privileges.

Edge: ioctl. ipamd has no netlink socket and needs none.
"""

import fcntl
import socket
import struct
from ipaddress import IPv4Interface

SIOCGIFADDR = 0x8915
SIOCGIFNETMASK = 0x891B


def ipv4_addresses() -> list[tuple[str, IPv4Interface]]:
    """Every link's name and primary IPv4 address, in the order of link indexes."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in sorted(socket.if_nameindex()):
            request = struct.pack("256s", name.encode())
            try:
                address = fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24]
                netmask = fcntl.ioctl(probe, SIOCGIFNETMASK, request)[20:24]
            except OSError:
                continue  # a link without an IPv4 address
            interface = f"{socket.inet_ntoa(address)}/{socket.inet_ntoa(netmask)}"
            found.append((name, IPv4Interface(interface)))
    return found
