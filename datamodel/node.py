"""A node of the cluster, as BGP and IPAM see it.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

DEFAULT_AS = 64512  # Calico's, a private AS number


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
    vxlan_mac: str = ""  # "": made of the node's name
    vxlan_mac_ipv6: str = ""
