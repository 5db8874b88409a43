"""A cluster's topology as one value: what is drawn, and what programs get.

Pure: no I/O. The ends of sessions are nodes, by name, and routers outside, as ``router_name`` calls
them: with a blank, which no node's name has.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from datamodel.block import Address
from datamodel.pool import Network, Pool
from ocicatctl.ipam.usage import Counts

UP, DOWN, UNKNOWN = STATES = ("up", "down", "unknown")


@dataclass(frozen=True, slots=True)
class BlockFill:
    """A block and how full it is."""

    cidr: Network
    counts: Counts | None  # None: there is no such block, or none that can be read
    note: str = ""  # what is unusual about it
    lent: tuple[tuple[str, int], ...] = ()  # to which nodes, and how many addresses

    @property
    def lent_count(self) -> int:
        """How many of its addresses other nodes use."""
        return sum(count for _, count in self.lent)


@dataclass(frozen=True, slots=True)
class Place:
    """A node, or a name that something in etcd gives to one that is not there."""

    name: str
    addresses: tuple[str, ...] = ()  # with the underlay's prefix length
    as_number: int | None = None
    is_own_as: bool = False  # not the cluster's
    cluster_id: str = ""  # of a route reflector
    tunnels: tuple[tuple[str, Address], ...] = ()  # device and its address
    blocks: tuple[BlockFill, ...] = ()
    borrowed: tuple[tuple[str, int], ...] = ()  # of whose blocks, and how many addresses
    problem: str = ""  # why there is no more to tell


@dataclass(frozen=True, slots=True)
class Router:
    """A BGP speaker that is no node of the cluster."""

    address: Address
    as_number: int | None  # None: only a session tells of it
    peers: tuple[str, ...]  # the BGPPeers that lead to it

    @property
    def name(self) -> str:
        """How sessions name it."""
        return router_name(self.address)


@dataclass(frozen=True, slots=True)
class PoolFill:
    """A pool and how full it is."""

    pool: Pool
    counts: Counts
    block_count: int  # that are claimed

    @property
    def tunnel(self) -> str:
        """Its kind of tunnel; "" if it has none, or says two."""
        if self.pool.is_contradictory:
            return ""
        return "IPIP" if self.pool.has_ipip else "VXLAN" if self.pool.has_vxlan else ""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """A BGP session as one of its ends has it: two nodes have two of each session."""

    node: str  # whose BIRD has it
    address: Address  # where it leads
    other: str  # the Place or Router there
    why: str  # the BGPPeer that asks for it; "": the mesh
    state: str  # UP, DOWN or UNKNOWN
    info: str = ""  # BIRD's words
    is_wanted: bool = True  # False: BIRD has it, and nothing in etcd asks for it


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Packets between two nodes' pods, of some pool, go through a tunnel."""

    nodes: tuple[str, str]
    kind: str  # "IPIP" or "VXLAN"
    pool: str


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, in order: nodes and pools by name, everything else by its address."""

    places: tuple[Place, ...]
    routers: tuple[Router, ...]
    pools: tuple[PoolFill, ...]
    sessions: tuple[SessionEnd, ...]
    tunnels: tuple[Tunnel, ...]
    strays: tuple[BlockFill, ...]  # blocks that are nobody's
    problems: tuple[str, ...]  # what could not be read, or contradicts itself

    @property
    def summary(self) -> str:
        """One line."""
        parts = [_count(len(self.places), "node")]
        if self.routers:
            parts.append(f"{_count(len(self.routers), 'router')} outside")
        return " · ".join([*parts, _count(len(self.pools), "pool"), states(self.sessions)])


def router_name(address: Address) -> str:
    """How sessions name whoever has an address and is no node."""
    return f"router {address}"


def session_states(ends: Iterable[SessionEnd]) -> list[str]:
    """The state of each session; of two ends one that was asked is enough for it to be up."""
    found: dict[tuple[frozenset[str], int], set[str]] = {}
    for end in ends:
        session = frozenset((end.node, end.other)), end.address.version
        found.setdefault(session, set()).add(end.state)
    return [DOWN if DOWN in some else UP if UP in some else UNKNOWN for some in found.values()]


def states(ends: Iterable[SessionEnd]) -> str:
    """How many sessions are in which state, in words."""
    each = session_states(ends)
    if not each:
        return "no BGP sessions"
    found = Counter(each)
    parts = ", ".join(f"{found[state]} {state}" for state in STATES if found[state])
    return f"{_count(len(each), 'BGP session')}: {parts}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
