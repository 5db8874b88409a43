"""What BIRD should do, as values: ``desired.py`` fills them, ``render.py`` writes them down.

Pure: no I/O. Nothing here is free text of etcd but passwords and patterns of interface names, and
those hold no character that ends a string in BIRD's language. Addresses have no zone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from datamodel.bgp import SecretRef
from datamodel.block import Address
from datamodel.pool import Network

Community = tuple[int, ...]  # two numbers of 16 bits, or three of 32 (a large community)

# What peers of a session are told of routes that other peers told us.
NOTHING = "nothing"
OF_CLUSTER = "of cluster"  # to a router: pods' prefixes that nodes of this node's AS announce
REFLECTED = "reflected"  # to a peer within the AS: pods' prefixes, whoever announces them


@dataclass(frozen=True, slots=True)
class Settings:
    """What routing on this node depends on besides the cluster."""

    secrets: Mapping[SecretRef, str] = field(default_factory=dict)  # the passwords that are known
    router_id: str = ""  # an IPv4 address; "hash": made of the node's name; "": the node's IPv4
    free_addresses: str = "blackhole"  # or "unreachable": what packets to them meet
    is_ipip_ready: bool = True  # tunl0 is there; routes into it are refused as long as it is not


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a filter: what matches, and what becomes of it."""

    is_accept: bool
    cidr: Network | None
    is_inverted: bool  # everything but cidr
    lengths: tuple[int, int] | None  # of prefixes in cidr; None: cidr exactly
    is_from_peer: bool
    interface: str  # a pattern; "": any
    is_ibgp: bool | None  # None: whichever the session is
    communities: tuple[Community, ...]
    as_path_prefix: tuple[int, ...]
    priority: int | None
    add_communities: tuple[Community, ...]
    prepend: tuple[int, ...]
    set_priority: int | None


@dataclass(frozen=True, slots=True)
class Filter:
    """A BGPFilter that BIRD can express, under the symbol that it has there."""

    symbol: str
    imports: Mapping[int, tuple[Rule, ...]]  # by family
    exports: Mapping[int, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True)
class Options:
    """How a session is held; all of the mesh share one value."""

    local_as: int
    has_source: bool = True  # it comes from the node's address
    password: str | None = None
    hops: int | None = None  # ttl security: how far away the peer may be
    is_bfd: bool = False  # then there is no graceful restart
    restart_time_s: int | None = None
    keepalive_s: int | None = None
    allowed_local_as: int | None = None
    next_hop: str = ""  # "self" or "keep"
    cluster_id: IPv4Address | None = None  # the peer is a client of ours in this cluster
    told: str = NOTHING  # NOTHING, OF_CLUSTER or REFLECTED
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of one session."""

    kind: str  # "Mesh", "Global" or "Node", as ``ocicatctl node status`` shows it
    address: Address
    as_number: int
    port: int
    is_port_named: bool  # it is part of the session's name
    is_passive: bool  # we wait for the peer to dial
    options: Options
    gateway: Address | None = None  # the router over which it is reached


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A pool whose routes lead through tunl0."""

    cidr: Network
    is_cross_subnet: bool  # only to nodes outside this node's own subnet


@dataclass(frozen=True, slots=True)
class Family:
    """What concerns one family of addresses; everything is in the order of addresses."""

    version: int
    address: Address  # this node's
    subnet: Network  # the node's, as its resource says
    blocks: tuple[Network, ...]  # this node's
    advertised: tuple[Network, ...]  # those of them that peers are told of
    pools: tuple[Network, ...]  # in which an address of another node's block may be borrowed
    withheld: tuple[Network, ...]  # the pools of which peers are told nothing
    tunnels: tuple[Tunnel, ...]
    others_program: tuple[Network, ...]  # pools whose routes BIRD keeps out of the kernel
    services: tuple[Network, ...]
    communities: tuple[tuple[Network, tuple[Community, ...]], ...]


@dataclass(frozen=True, slots=True)
class BirdConfig:
    """All that BIRD needs to know."""

    address: Address  # this node's; its IPv4 address if it has one
    router_id: IPv4Address
    port: int  # on which this node listens
    listens_everywhere: bool  # and not at the node's address only
    log_severity: str  # as in BGPConfiguration
    ignored_interfaces: tuple[str, ...]
    free_addresses: str
    is_ipip_ready: bool
    mesh: Options | None  # None: there is none, or this node is not in it
    families: tuple[Family, ...]
    peers: tuple[Peer, ...]  # by family and address
    problems: tuple[str, ...]  # what was left out, and why

    @property
    def blocks(self) -> tuple[Network, ...]:
        """This node's blocks of both families."""
        return tuple(block for family in self.families for block in family.blocks)


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nothing can be configured; whatever BIRD does now, it should go on doing."""

    reason: str


def in_order(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Sort by address, each once: no name may change the file, and no order of keys."""
    # As the networks' own order, several times faster.
    return tuple(sorted(set(networks), key=lambda n: (int(n.network_address), n.prefixlen)))
