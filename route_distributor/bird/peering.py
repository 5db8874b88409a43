"""Which sessions this node has: the mesh, and what BGPPeers ask for.

Pure: no I/O. The rules are Calico's:

* A BGPPeer without node and nodeSelector is everybody's ("Global"); it goes before one of a node
  ("Node") to the same address and port, and both before what only follows from another node's
  BGPPeer: that the nodes it selects have the session as well, unless it says ``Manual``.
* Nodes with a routeReflectorClusterID are outside the mesh. They reflect for every peer of their
  AS that has not the same id.
* Of two nodes that both have a session for the other, the one with the smaller address dials;
  addresses are compared as text, because both ends must come to the same answer and one of them
  may run Calico.

One thing differs: a node that has a session by a BGPPeer has none by the mesh. Two sessions of
the same two addresses could not be told apart.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from datamodel.bgp import BGP_PORT, RESTART_TIMES_S, beyond
from datamodel.bgp_peer import BgpPeer
from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.node import Node
from route_distributor.bird.peer_options import filters_of, password_of, peer_mistakes
from route_distributor.bird.values import (
    NOTHING,
    OF_CLUSTER,
    REFLECTED,
    Filter,
    Options,
    Peer,
)
from route_distributor.bird.view import View, addresses_of, is_of, is_with

_BFD_HOLDS = (
    "BFD and a restart time exclude each other: BFD holds, and a peer that restarts loses its "
    "routes meanwhile; take one of them away"
)


@dataclass(frozen=True, slots=True)
class _End:
    """The other end that a BGPPeer leads to."""

    address: Address
    as_number: int
    port: int | None  # None: BGP's own
    node: Node | None  # None: a router
    is_mutual: bool  # the other end has the session as well
    is_back: bool = False  # the BGPPeer is the other end's, not ours


def mesh_options(view: View, problems: list[str]) -> Options | None:
    """How sessions of the mesh are held; ``None``: this node has none."""
    bgp = view.bgp
    if not bgp.is_mesh_enabled or view.own.route_reflector_cluster_id:
        return None
    try:
        password = password_of(bgp.mesh_password, view.settings.secrets)
    except Invalid as error:
        problems.append(f"BGPConfiguration default: nodeMeshPassword: {error}; there is no mesh")
        return None
    if bgp.is_mesh_bfd and bgp.mesh_restart_time_s is not None:
        problems.append(f"BGPConfiguration default: {_BFD_HOLDS}")
    wrong = beyond("nodeMeshMaxRestartTime", bgp.mesh_restart_time_s, RESTART_TIMES_S, "s")
    problems += [f"BGPConfiguration default: {mistake}; correct it" for mistake in wrong]
    return Options(
        local_as=view.as_number,
        password=password,
        is_bfd=bgp.is_mesh_bfd,
        restart_time_s=None if bgp.is_mesh_bfd or wrong else bgp.mesh_restart_time_s,
    )


def all_peers(
    view: View, peers: Iterable[BgpPeer], mesh: Options | None, problems: list[str]
) -> tuple[Peer, ...]:
    """Every session, by family and address."""
    found = _explicit(view, peers, problems)
    if mesh is not None:
        explicit = {address for address, _ in found}
        for peer in _mesh(view, mesh):
            if peer.address not in explicit:
                found[peer.address, peer.port] = peer
    return tuple(
        sorted(found.values(), key=lambda peer: (peer.address.version, peer.address, peer.port))
    )


def _mesh(view: View, options: Options) -> Iterator[Peer]:
    for node in view.others:
        if node.route_reflector_cluster_id:
            continue
        for address in addresses_of(node):
            source = view.own_address(address.version)
            if source is not None:
                yield Peer(
                    kind="Mesh",
                    address=address,
                    as_number=view.as_of(node),
                    port=view.port_of(node),
                    is_port_named=False,
                    is_passive=str(address) > str(source),
                    options=options,
                )


def _explicit(
    view: View, peers: Iterable[BgpPeer], problems: list[str]
) -> dict[tuple[Address, int], Peer]:
    usable = []
    for peer in sorted(peers, key=lambda peer: peer.name):
        if mistakes := peer_mistakes(peer):
            problems.append(f"BGPPeer {peer.name}: {'; '.join(mistakes)}; mend it with ocicatctl")
        else:
            usable.append(peer)
    own = [peer for peer in usable if is_of(peer, view.own)]
    for_all = [peer for peer in own if not peer.node and not peer.node_selector]
    for_this = [peer for peer in own if peer.node or peer.node_selector]
    ways = (
        *((peer, "Global", list(_ends(view, peer))) for peer in for_all),
        *((peer, "Node", list(_ends(view, peer))) for peer in for_this),
        *((peer, "Node", list(_ends_back(view, peer))) for peer in usable),
    )
    found: dict[tuple[Address, int], Peer] = {}
    known: dict[str, Filter] = {}
    told = set()
    for peer, kind, ends in ways:
        try:
            for session in _sessions(view, peer, kind, ends, known):
                found.setdefault((session.address, session.port), session)
        except Invalid as error:
            told.add(f"BGPPeer {peer.name}: {error}")
        told.update(f"BGPPeer {peer.name}: {what}" for what in _notes(view, peer, ends))
    problems += sorted(told)
    return found


def _ends(view: View, peer: BgpPeer) -> Iterator[_End]:
    """Where the sessions lead that a BGPPeer gives this node."""
    has_way_back = peer.reverse_peering != "Manual"
    if peer.peer_ip is None:
        for node in view.others:
            if is_with(peer, node):
                yield from _ends_at(view, node, view.as_of(node), is_mutual=has_way_back)
    elif peer.peer_ip not in addresses_of(view.own):
        as_number = peer.as_number or view.bgp.as_number
        there = view.node_at(peer.peer_ip)
        is_node = there is not None and view.as_of(there) == as_number
        listens = view.port_of(there) if there is not None else BGP_PORT
        port = _unusual(listens) if peer.peer_port is None and is_node else peer.peer_port
        is_mutual = has_way_back and is_node and port in (None, listens)
        yield _End(peer.peer_ip, as_number, port, there, is_mutual)


def _ends_back(view: View, peer: BgpPeer) -> Iterator[_End]:
    """Where sessions lead because a BGPPeer of other nodes leads here."""
    if peer.reverse_peering == "Manual":
        return
    if not (is_with(peer, view.own) or _is_this_node(view, peer)):
        return
    for node in view.others:
        if is_of(peer, node):
            as_number = peer.local_as_number or view.as_of(node)
            for end in _ends_at(view, node, as_number, is_mutual=True):
                if peer.peer_ip is None or end.address.version == peer.peer_ip.version:
                    yield replace(end, is_back=True)


def _is_this_node(view: View, peer: BgpPeer) -> bool:
    return (
        peer.peer_ip is not None
        and peer.peer_ip in addresses_of(view.own)
        and peer.as_number == view.as_number
        and peer.peer_port in (None, view.port_of(view.own))
    )


def _ends_at(view: View, node: Node, as_number: int, *, is_mutual: bool) -> Iterator[_End]:
    for address in addresses_of(node):
        if view.own_address(address.version) is not None:
            yield _End(address, as_number, _unusual(view.port_of(node)), node, is_mutual)


def _unusual(port: int) -> int | None:
    return None if port == BGP_PORT else port


def _sessions(
    view: View, peer: BgpPeer, kind: str, ends: list[_End], known: dict[str, Filter]
) -> Iterator[Peer]:
    if not ends:
        return
    try:
        password = password_of(peer.password, view.settings.secrets)
    except Invalid as error:
        raise Invalid(f"password: {error}") from error
    filters = filters_of(peer, view.filters, known)
    for end in ends:
        source = view.own_address(end.address.version)
        if source is None:
            raise Invalid(
                f"peerIP {end.address}: this node has no IPv{end.address.version} address; "
                "give it one, or select other nodes"
            )
        yield Peer(
            kind=kind,
            address=end.address,
            as_number=end.as_number,
            port=end.port or BGP_PORT,
            is_port_named=end.port is not None,
            is_passive=end.is_mutual and str(end.address) > str(source),
            options=_options(view, peer, end, password, filters),
            gateway=_gateway(peer, end),
        )


def _gateway(peer: BgpPeer, end: _End) -> Address | None:
    gateway = peer.reachable_by
    if gateway is None or end.is_back or gateway.version != end.address.version:
        return None
    return None if gateway == end.address else gateway


def _options(
    view: View, peer: BgpPeer, end: _End, password: str | None, filters: tuple[Filter, ...]
) -> Options:
    local_as = None if end.is_back else peer.local_as_number
    is_ibgp = end.as_number == (local_as or view.as_number)
    peers_id = None if end.node is None else end.node.route_reflector_cluster_id
    own_id = view.own.route_reflector_cluster_id
    return Options(
        local_as=local_as or view.as_number,
        has_source=peer.source_address != "None" or view.bgp.bind_mode == "NodeIP",
        password=password,
        hops=peer.ttl_security,
        is_bfd=peer.is_bfd,
        restart_time_s=None if peer.is_bfd else peer.restart_time_s,
        keepalive_s=peer.keepalive_s,
        allowed_local_as=peer.allowed_local_as or None,
        next_hop=_next_hop(peer, is_ibgp=is_ibgp),
        cluster_id=view.cluster_id if is_ibgp and peers_id != own_id else None,
        told=_told(view, is_ibgp=is_ibgp),
        filters=filters,
    )


def _told(view: View, *, is_ibgp: bool) -> str:
    if not is_ibgp:
        return OF_CLUSTER
    return NOTHING if view.cluster_id is None else REFLECTED


def _next_hop(peer: BgpPeer, *, is_ibgp: bool) -> str:
    if peer.next_hop_mode in ("Self", "Keep"):
        return peer.next_hop_mode.lower()
    return "keep" if peer.keeps_original_next_hop and not is_ibgp else ""


def _notes(view: View, peer: BgpPeer, ends: list[_End]) -> Iterator[str]:
    """What an operator asked for together and cannot have together."""
    if not ends:
        return
    if peer.is_bfd and peer.restart_time_s is not None:
        yield _BFD_HOLDS
    if peer.source_address == "None" and view.bgp.bind_mode == "NodeIP":
        yield (
            "sourceAddress None and bindMode NodeIP exclude each other: the node's address holds; "
            "take one of them away"
        )
