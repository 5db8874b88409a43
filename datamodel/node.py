"""A node of the cluster, as BGP and IPAM see it.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

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
