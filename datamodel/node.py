"""A node of the cluster, as BGP and IPAM see it.

Pure: no I/O.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

DEFAULT_AS = 64512  # Calico's, a private AS number
MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    name: str
    ipv4: IPv4Interface | None = None  # with the underlay's prefix length
    ipv6: IPv6Interface | None = None
    as_number: int | None = None  # None: the cluster's default
    route_reflector_cluster_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    # The addresses of its tunnel devices, as ipamd allocated them; None: it has no such tunnel.
    ipip_address: IPv4Address | None = None  # of tunl0
    vxlan_ipv4: IPv4Address | None = None  # of vxlan.calico
    vxlan_ipv6: IPv6Address | None = None  # of vxlan-v6.calico
    vxlan_mac: str = ""  # six bytes, as MAC reads them; "": made of the node's name
    vxlan_mac_ipv6: str = ""
    # What is stored of its tunnels and cannot be read: no reason to lose its BGP sessions.
    unreadable: tuple[str, ...] = ()

    def address(self, version: int) -> IPv4Interface | IPv6Interface | None:
        """Its own address of a family."""
        return self.ipv4 if version == 4 else self.ipv6

    def vxlan_address(self, version: int) -> IPv4Address | IPv6Address | None:
        """The address of its VXLAN device of a family."""
        return self.vxlan_ipv4 if version == 4 else self.vxlan_ipv6


def is_host_address(address: IPv4Address | IPv6Address) -> bool:
    """Whether a machine can have it for its own, and another reach it there through a router."""
    if isinstance(address, IPv6Address):
        is_other = address.is_link_local or address.ipv4_mapped is not None
    else:
        is_other = address.is_reserved  # 240.0.0.0/4, broadcast included
    return not (is_other or address.is_multicast or address.is_unspecified or address.is_loopback)
