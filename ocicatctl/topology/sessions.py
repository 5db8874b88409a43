"""Which BGP sessions the nodes should have by what etcd says, and which of them BIRD has.

Pure: no I/O. The rules are those of ``route_distributor/bird/peering.py``, for all nodes at once
and without what only the node itself knows, such as its passwords; a test holds both together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bird_api.protocols import Session
from datamodel.bgp import BgpConfiguration
from datamodel.bgp_peer import BgpPeer
from datamodel.block import Address
from datamodel.node import Node
from datamodel.selector import parse
from ocicatctl.topology.model import DOWN, UNKNOWN, UP, Router, SessionEnd, router_name


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that a node should have."""

    node: str
    address: Address
    port: int
    as_number: int
    why: str  # the BGPPeer that asks for it; "": the mesh


@dataclass(frozen=True, slots=True)
class Speakers:
    """What the sessions follow from."""

    nodes: tuple[Node, ...]  # by name, each with the addresses that no other has
    bgp: BgpConfiguration
    peers: tuple[BgpPeer, ...] = ()  # that can have sessions
    own_ports: Mapping[str, int] | None = None  # of nodes that do not listen on the cluster's

    def as_of(self, node: Node) -> int:
        """The AS of a node."""
        return node.as_number or self.bgp.as_number

    def port_of(self, node: Node) -> int:
        """Where a node listens."""
        return (self.own_ports or {}).get(node.name, self.bgp.listen_port)


def wanted_sessions(speakers: Speakers) -> list[Wanted]:
    """Every session end that there should be, by node, family and address."""
    found: list[Wanted] = []
    ways = [_Way.of(peer, speakers) for peer in sorted(speakers.peers, key=lambda p: p.name)]
    for node in speakers.nodes:
        explicit = _explicit(node, ways, speakers)
        taken = {address for address, _ in explicit}
        mesh = [w for w in _mesh(node, speakers) if w.address not in taken]
        found += sorted([*explicit.values(), *mesh], key=_order)
    return found


def _order(wanted: Wanted) -> tuple[int, int, int]:
    return wanted.address.version, int(wanted.address), wanted.port


def _mesh(own: Node, speakers: Speakers) -> Iterator[Wanted]:
    if not speakers.bgp.is_mesh_enabled or own.route_reflector_cluster_id:
        return
    for node in speakers.nodes:
        if node.name != own.name and not node.route_reflector_cluster_id:
            yield from _with_node(own, node, speakers.as_of(node), "", speakers)


@dataclass(frozen=True, slots=True)
class _Way:
    """One BGPPeer, and the nodes at its two sides."""

    peer: BgpPeer
    ours: frozenset[str]
    theirs: tuple[Node, ...]  # that it selects, or that have its peerIP

    @classmethod
    def of(cls, peer: BgpPeer, speakers: Speakers) -> "_Way":
        there = [node for node in speakers.nodes if _is_with(peer, node, speakers)]
        ours = frozenset(node.name for node in speakers.nodes if _is_of(peer, node))
        return cls(peer, ours, tuple(there))


def _is_of(peer: BgpPeer, node: Node) -> bool:
    if peer.node:
        return peer.node == node.name
    return not peer.node_selector or parse(peer.node_selector).matches(node.labels)


def _is_with(peer: BgpPeer, node: Node, speakers: Speakers) -> bool:
    if peer.peer_ip is None:
        return bool(peer.peer_selector) and parse(peer.peer_selector).matches(node.labels)
    has_address = any(peer.peer_ip == i.ip for i in (node.ipv4, node.ipv6) if i)
    has_port = peer.peer_port in (None, speakers.port_of(node))
    return has_address and has_port and peer.as_number == speakers.as_of(node)


def _explicit(
    own: Node, ways: Sequence[_Way], speakers: Speakers
) -> dict[tuple[Address, int], Wanted]:
    """What BGPPeers ask for; of two that lead to one place the first by precedence counts."""
    here = [way for way in ways if own.name in way.ours]
    for_all = [w for w in here if not w.peer.node and not w.peer.node_selector]
    for_this = [w for w in here if w.peer.node or w.peer.node_selector]
    found: dict[tuple[Address, int], Wanted] = {}
    for way in (*for_all, *for_this):
        for wanted in _forth(own, way, speakers):
            found.setdefault((wanted.address, wanted.port), wanted)
    for way in ways:
        for wanted in _back(own, way, speakers):
            found.setdefault((wanted.address, wanted.port), wanted)
    return found


def _forth(own: Node, way: _Way, speakers: Speakers) -> Iterator[Wanted]:
    peer = way.peer
    if peer.peer_ip is None:
        for node in way.theirs:
            if node.name != own.name:
                yield from _with_node(own, node, speakers.as_of(node), peer.name, speakers)
        return
    is_own = any(peer.peer_ip == i.ip for i in (own.ipv4, own.ipv6) if i)
    if is_own or own.address(peer.peer_ip.version) is None:
        return
    listens = next((speakers.port_of(node) for node in way.theirs), 179)
    as_number = peer.as_number or speakers.bgp.as_number
    yield Wanted(own.name, peer.peer_ip, peer.peer_port or listens, as_number, peer.name)


def _back(own: Node, way: _Way, speakers: Speakers) -> Iterator[Wanted]:
    """The other end of what a BGPPeer gives other nodes."""
    peer = way.peer
    if peer.reverse_peering == "Manual" or all(node.name != own.name for node in way.theirs):
        return
    for node in speakers.nodes:
        if node.name != own.name and node.name in way.ours:
            as_number = peer.local_as_number or speakers.as_of(node)
            for wanted in _with_node(own, node, as_number, peer.name, speakers):
                if peer.peer_ip is None or wanted.address.version == peer.peer_ip.version:
                    yield wanted


def _with_node(
    own: Node, node: Node, as_number: int, why: str, speakers: Speakers
) -> Iterator[Wanted]:
    for interface in (node.ipv4, node.ipv6):
        if interface is not None and own.address(interface.version) is not None:
            yield Wanted(own.name, interface.ip, speakers.port_of(node), as_number, why)


# ---- what BIRD has of it -----------------------------------------------------------------------


def session_ends(
    wanted: Iterable[Wanted],
    names: Mapping[Address, str],
    seen: Mapping[str, Sequence[Session]],
) -> list[SessionEnd]:
    """Put what should be beside what is.

    Args:
        wanted: the sessions that there should be.
        names: the nodes by their addresses; whoever has another address is a router.
        seen: the sessions of each node whose BIRD was asked.
    """
    left = {node: list(sessions) for node, sessions in seen.items()}
    found = []
    for w in wanted:
        other = names.get(w.address) or router_name(w.address)
        mine = left.get(w.node)
        if mine is None:
            found.append(SessionEnd(w.node, w.address, other, w.why, UNKNOWN))
            continue
        session = next((s for s in mine if s.peer_address == w.address), None)
        if session is None:
            end = SessionEnd(w.node, w.address, other, w.why, DOWN, "BIRD does not have it")
        else:
            mine.remove(session)
            end = SessionEnd(w.node, w.address, other, w.why, *_state(session))
        found.append(end)
    for node, sessions in left.items():
        for s in sessions:
            other = names.get(s.peer_address) or router_name(s.peer_address)
            found.append(
                SessionEnd(node, s.peer_address, other, "", *_state(s), is_wanted=False),
            )
    return sorted(found, key=lambda s: (s.node, s.address.version, int(s.address), s.why))


def _state(session: Session) -> tuple[str, str]:
    if session.is_established:
        return UP, session.info
    return DOWN, f"{session.state}: {session.info}" if session.info else session.state


def routers(
    wanted: Iterable[Wanted], ends: Iterable[SessionEnd], names: Mapping[Address, str]
) -> tuple[Router, ...]:
    """Whoever the sessions lead to and is no node, by address."""
    numbers: dict[Address, int] = {}
    peers: dict[Address, set[str]] = {}
    for end in ends:
        if end.address not in names:
            peers.setdefault(end.address, set()).update({end.why} - {""})
    for w in wanted:
        if w.address not in names:
            numbers.setdefault(w.address, w.as_number)
    ordered = sorted(peers, key=lambda a: (a.version, int(a)))
    return tuple(Router(a, numbers.get(a), tuple(sorted(peers[a]))) for a in ordered)
