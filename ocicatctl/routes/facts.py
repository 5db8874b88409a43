"""What routing is judged by: what etcd says, and what BIRD and the kernel of this node do.

Pure: no I/O.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from bird_api.protocols import Session
from bird_api.routes import BirdRoute
from datamodel.affinity import Affinity
from datamodel.block import Address
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datamodel.tunnel import IPIP, VXLAN, VXLAN_V6
from kernel_api.lookup import KernelRoute

R = TypeVar("R", BirdRoute, KernelRoute)

# By kind and family: the device through which it goes.
TUNNELS = {
    ("IPIP", 4): IPIP.device,
    ("VXLAN", 4): VXLAN.device,
    ("VXLAN", 6): VXLAN_V6.device,
}


@dataclass(frozen=True, slots=True)
class Destination:
    """A block, or one address whose node is another than its block's."""

    cidr: Network
    node: str | None  # who has it; None: nobody
    affinity: str | None = None  # its state; None: there is none
    block: Network | None = None  # of a borrowed address
    block_node: str | None = None  # whose that block is

    @property
    def is_borrowed(self) -> bool:
        """Whether it is an address, not a block."""
        return self.block is not None

    @property
    def owner(self) -> str:
        """In a column."""
        if self.node is None:
            return "nobody"
        if self.is_borrowed:
            return f"{self.node}, borrowed of {self.block_node or 'nobody'}"
        return self.node if self.is_confirmed else f"{self.node}, {self.affinity or 'no affinity'}"

    @property
    def is_confirmed(self) -> bool:
        """Whether peers may be told of it."""
        if self.is_borrowed:
            return True
        if self.node is None or self.affinity is None:
            return False
        return Affinity(self.node, self.cidr, self.affinity).is_confirmed


@dataclass(frozen=True)
class Bird:
    """What BIRD on this node answers."""

    sessions: Sequence[Session] = ()
    routes: Sequence[BirdRoute] = ()
    mistake: str = ""  # why there is no answer

    @cached_property
    def by_network(self) -> Mapping[Network, Sequence[BirdRoute]]:
        """Its routes by their destination."""
        return _by_network(self.routes)


@dataclass(frozen=True)
class Kernel:
    """What the kernel of this node has."""

    routes: Sequence[KernelRoute] = ()  # of the main table
    links: Mapping[str, bool] = field(default_factory=dict)  # by name, whether each is up
    silent: frozenset[tuple[str, Address]] = frozenset()  # link and neighbour that does not answer

    @cached_property
    def by_network(self) -> Mapping[Network, Sequence[KernelRoute]]:
        """Its routes by their destination, the one that is used first."""
        found = _by_network(self.routes)
        return {cidr: sorted(some, key=lambda route: route.metric) for cidr, some in found.items()}


def _by_network(routes: Sequence[R]) -> dict[Network, list[R]]:
    found: dict[Network, list[R]] = {}
    for route in routes:
        found.setdefault(route.network, []).append(route)
    return found


@dataclass(frozen=True)
class View:
    """The cluster with the eyes of one node."""

    node: str  # this one
    nodes: Mapping[str, Node]
    pools: Sequence[Pool]
    is_mesh: bool  # every node is to have a session with every other
    bird: Bird
    kernel: Kernel

    @property
    def stranger(self) -> str:
        """Why this is no node of the cluster; "" if it is one."""
        if self.node in self.nodes:
            return ""
        return f"node {self.node}: is not in etcd; run this on a node, with its NODENAME"

    def pool_of(self, cidr: Network) -> Pool | None:
        """The pool in which a block or address lies, enabled or not."""
        return next((pool for pool in self.pools if pool.contains(cidr)), None)

    def address_of(self, node: str | None, version: int) -> Address | None:
        """A node's own address of a family, if it has one."""
        found = self.nodes.get(node or "")
        interface = found and found.address(version)
        return interface.ip if interface else None

    def name_of(self, address: Address | None) -> str | None:
        """The node that has the address as its own."""
        return self._names.get(address) if address else None

    @cached_property
    def _names(self) -> Mapping[Address, str]:
        # Of several nodes with one address this one has it, else the first by name: the route
        # distributor gives the session to the same one.
        found: dict[Address, str] = {}
        for node in sorted(self.nodes.values(), key=lambda n: (n.name != self.node, n.name)):
            for interface in (node.ipv4, node.ipv6):
                if interface:
                    found.setdefault(interface.ip, node.name)
        return found

    def session(self, name: str) -> Session | None:
        """The session that BIRD has under that name."""
        return self._sessions.get(name)

    @cached_property
    def _sessions(self) -> Mapping[str, Session]:
        return {session.name: session for session in self.bird.sessions}

    def sessions_with(self, node: str | None, version: int | None = None) -> list[Session]:
        """This node's sessions with another one."""
        return [
            session
            for session in self._by_node.get(node, ())
            if version in (None, session.peer_address.version)
        ]

    @cached_property
    def _by_node(self) -> Mapping[str | None, Sequence[Session]]:
        found: dict[str | None, list[Session]] = {}
        for session in self.bird.sessions:
            found.setdefault(self.name_of(session.peer_address), []).append(session)
        return found

    def tunnel(self, destination: Destination) -> str:
        """The tunnel device through which it is to be reached from here; "": no tunnel."""
        cidr = destination.cidr
        pool = self.pool_of(cidr)
        if pool is None or destination.node == self.node:
            return ""
        mode, kind = encapsulation(pool)
        own, remote = self.nodes.get(self.node), self.nodes.get(destination.node or "")
        near = own is not None and remote is not None and is_near(own, remote, cidr.version)
        if mode == "Never" or (mode == "CrossSubnet" and near):
            return ""
        return TUNNELS.get((kind, cidr.version), "")


def is_near(own: Node, remote: Node, version: int) -> bool:
    """Whether the other node's address is in the first one's subnet."""
    here, there = own.address(version), remote.address(version)
    return here is not None and there is not None and there.ip in here.network


def encapsulation(pool: Pool) -> tuple[str, str]:
    """When a pool's packets travel in a tunnel, and in which kind of one."""
    if pool.has_ipip:
        return pool.ipip_mode, "IPIP"
    return (pool.vxlan_mode, "VXLAN") if pool.has_vxlan else ("Never", "")


def encapsulation_text(pool: Pool | None) -> str:
    """The same in a column."""
    mode, kind = encapsulation(pool) if pool else ("Never", "")
    return f"{kind} {mode}" if kind else "none"
