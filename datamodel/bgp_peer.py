"""A BGP session that an operator asks for: Calico's BGPPeer.

Pure: no I/O.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from datamodel.bgp import SecretRef


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """Sessions of some nodes of ours with a router, or with other nodes; absent fields as Calico's.

    Which nodes: ``node``, or those that ``node_selector`` selects, or (neither) all. With whom:
    ``peer_ip`` and ``as_number``, or the nodes that ``peer_selector`` selects.
    """

    name: str
    node: str = ""
    node_selector: str = ""
    peer_ip: IPv4Address | IPv6Address | None = None
    peer_port: int | None = None  # None: the peer node's listenPort, or 179
    as_number: int | None = None
    peer_selector: str = ""
    keeps_original_next_hop: bool = False  # of eBGP only; older than next_hop_mode
    next_hop_mode: str | None = None  # "Auto", "Self" or "Keep"
    password: SecretRef | None = None
    source_address: str = "UseNodeIP"  # or "None"
    restart_time_s: int | None = None  # of a graceful restart; None: BIRD's default
    keepalive_s: int | None = None
    allowed_local_as: int | None = None  # how often our AS number may be in a path
    local_as_number: int | None = None  # instead of the node's
    ttl_security: int | None = None  # hops
    reachable_by: IPv4Address | IPv6Address | None = None  # a gateway for a static route to it
    filters: tuple[str, ...] = ()  # names of BGPFilters, in order
    reverse_peering: str = "Auto"  # "Manual": the selected peers get no session back by themselves
    is_bfd: bool = False  # annotation ocicat.io/bfd: "true"
