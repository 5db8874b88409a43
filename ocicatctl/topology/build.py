"""Make the topology of what etcd holds and what BIRDs say.

Pure: no I/O. What cannot be read is named and left out; a node of which that is so, or that only a
block tells of, has its place all the same.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bird_api.protocols import Session
from datamodel.affinity import Affinity
from datamodel.bgp import BgpConfiguration
from datamodel.bgp_peer import BgpPeer
from datamodel.block import Address, Block
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Network
from datamodel.reservation import Reservations
from datamodel.tunnel import TUNNELS
from datastore import codec, keys
from datastore.codec_bgp import (
    decode_bgp_configuration,
    decode_bgp_filter,
    decode_bgp_peer,
    decode_listen_port,
)
from datastore.store import Entry
from ocicatctl.entries import decoded
from ocicatctl.ipam.borrowed import Borrowed, Borrowing
from ocicatctl.ipam.usage import Counts, Usage
from ocicatctl.topology.model import BlockFill, Place, PoolFill, Topology
from ocicatctl.topology.sessions import Speakers, routers, session_ends, wanted_sessions
from ocicatctl.topology.tunnels import tunnels

T = TypeVar("T")
Seen = Mapping[str, Sequence[Session]]

RANGES = (
    keys.NODES,
    keys.POOLS,
    keys.RESERVATIONS,
    keys.BGP_CONFIGURATIONS,
    keys.BGP_PEERS,
    keys.BGP_FILTERS,
    keys.ALL_AFFINITIES,
    keys.ALL_BLOCKS,
)
_CLUSTER = f"{keys.BGP_CONFIGURATIONS}default"
_PER_NODE = f"{keys.BGP_CONFIGURATIONS}node."
UNREADABLE = "cannot be read"
_Filled = tuple[Block, Counts]


def topology(entries: Mapping[str, Entry], seen: Seen, problems: Sequence[str] = ()) -> Topology:
    """Make the topology.

    Args:
        entries: what the store holds of ``RANGES``.
        seen: the sessions of each node whose BIRD was asked.
        problems: what went wrong before.
    """
    store = _Reading(entries, list(problems))
    nodes = store.nodes()
    speakers = store.speakers(nodes)
    wanted = wanted_sessions(speakers) if speakers else []
    names = {i.ip: node.name for node in nodes for i in (node.ipv4, node.ipv6) if i}
    ends = session_ends(wanted, names, seen)
    pools = store.below(keys.POOLS, codec.decode_pool)
    blocks = _Blocks(store, Usage.of(pools, store.blocks(), store.reservations()))
    places = [_place(node, speakers) for node in nodes]
    places += _absent({place.name for place in places}, blocks, store, seen)
    return Topology(
        places=tuple(sorted((blocks.put_into(p) for p in places), key=_by_name)),
        routers=routers(wanted, ends, names),
        pools=tuple(
            PoolFill(used.pool, used.counts, len(used.blocks)) for used in blocks.usage.pools
        ),
        sessions=tuple(ends),
        tunnels=tunnels(nodes, pools),
        strays=blocks.nobodys,
        problems=tuple(dict.fromkeys(store.problems)),
    )


def _place(node: Node, speakers: Speakers | None) -> Place:
    default = speakers.bgp.as_number if speakers else None
    found = [(tunnel.device, tunnel.address_of(node)) for tunnel in TUNNELS]
    return Place(
        name=node.name,
        addresses=tuple(str(i) for i in (node.ipv4, node.ipv6) if i),
        as_number=node.as_number or default,
        is_own_as=node.as_number is not None,
        cluster_id=node.route_reflector_cluster_id or "",
        tunnels=tuple((device, address) for device, address in found if address),
        problem="" if node.ipv4 or node.ipv6 else "has no address of its own",
    )


def _absent(known: set[str], blocks: "_Blocks", store: "_Reading", seen: Seen) -> list[Place]:
    """Whatever is called a node and is none, or none that can be read."""
    unreadable = {key.removeprefix(keys.NODES) for key in store.entries if _is_node(key)} - known
    others = (blocks.owners | seen.keys()) - known - unreadable
    return [
        *(Place(name, problem=UNREADABLE) for name in unreadable),
        *(Place(name, problem="is not in etcd") for name in others),
    ]


def _is_node(key: str) -> bool:
    return key.startswith(keys.NODES)


@dataclass
class _Reading:
    """The entries, and what was wrong with those that were looked at."""

    entries: Mapping[str, Entry]
    problems: list[str] = field(default_factory=list)

    def below(self, prefix: str, decode: Callable[[str, bytes], T]) -> list[T]:
        """What can be read of a range, by key."""
        some = [e for key, e in sorted(self.entries.items()) if key.startswith(prefix)]
        values, mistakes = decoded(some, lambda e: decode(e.key, e.value))
        self.problems += mistakes
        return values

    def nodes(self) -> list[Node]:
        """The nodes by name, each with the addresses that none before it has."""
        holders: dict[Address, str] = {}
        found = []
        for node in self.below(keys.NODES, _decode_node):
            taken = [
                i
                for i in (node.ipv4, node.ipv6)
                if i is not None and holders.setdefault(i.ip, node.name) != node.name
            ]
            self.problems += [
                f"node {node.name}: has the address {i.ip} of node {holders[i.ip]}; "
                "give each its own"
                for i in taken
            ]
            self.problems += [f"node {node.name}: {what}" for what in node.unreadable]
            ipv4 = None if node.ipv4 in taken else node.ipv4
            ipv6 = None if node.ipv6 in taken else node.ipv6
            found.append(replace(node, ipv4=ipv4, ipv6=ipv6))
        return found

    def speakers(self, nodes: Sequence[Node]) -> Speakers | None:
        """What sessions follow from; ``None``: the cluster's settings cannot be read."""
        bgp: BgpConfiguration | None = BgpConfiguration()
        if _CLUSTER in self.entries:
            bgp = next(iter(self.below(_CLUSTER, decode_bgp_configuration)), None)
        if bgp is None:
            return None
        filters = {found.name for found in self.below(keys.BGP_FILTERS, decode_bgp_filter)}
        peers = [p for p in self.below(keys.BGP_PEERS, decode_bgp_peer) if self._can(p, filters)]
        ports = dict(self.below(_PER_NODE, _decode_port))
        own = {name: port for name, port in ports.items() if port is not None}
        return Speakers(tuple(nodes), bgp, tuple(peers), own)

    def _can(self, peer: BgpPeer, filters: set[str]) -> bool:
        if missing := [name for name in peer.filters if name not in filters]:
            self.problems.append(
                f"BGPPeer {peer.name}: has no sessions without its BGPFilter {', '.join(missing)}; "
                "create it"
            )
        return not missing and not peer.local_workload_selector

    def blocks(self) -> list[Block]:
        """The blocks that can be read."""
        return self.below(keys.ALL_BLOCKS, codec.decode_block)

    def reservations(self) -> Reservations:
        """What is reserved."""
        some = sorted(self.entries.items())
        listed = [(key, e.value) for key, e in some if key.startswith(keys.RESERVATIONS)]
        found, mistakes = codec.decode_reservations(listed)
        self.problems += mistakes
        return found

    def affinities(self) -> list[Affinity]:
        """Who owns what; one whose value nobody can read is there all the same."""
        known = {
            (a.host, a.cidr): a for a in self.below(keys.ALL_AFFINITIES, codec.decode_affinity)
        }
        found = []
        for key in sorted(key for key in self.entries if key.startswith(keys.ALL_AFFINITIES)):
            host = key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
            cidr = _cidr(key)
            if cidr is not None:
                found.append(known.get((host, cidr), Affinity(host, cidr, "unreadable")))
        return found

    def unreadable_blocks(self, known: set[Network]) -> set[Network]:
        """The blocks that are there and cannot be read."""
        listed = (_cidr(key) for key in self.entries if key.startswith(keys.ALL_BLOCKS))
        return {cidr for cidr in listed if cidr is not None} - known


class _Blocks:
    """Whose blocks there are."""

    def __init__(self, store: _Reading, usage: Usage) -> None:
        self.usage = usage
        readable = [*(b for used in usage.pools for b in used.blocks), *usage.strays]
        self._strays = {block.cidr for block, _ in usage.strays}
        by_cidr: dict[Network, _Filled] = {found[0].cidr: found for found in readable}
        self._unreadable = store.unreadable_blocks(set(by_cidr))
        self._borrowers: dict[str, list[Borrowed]] = {}
        self._lent: dict[Network, list[Borrowed]] = {}
        for one in Borrowing.of(block for block, _ in readable).addresses:
            self._borrowers.setdefault(one.node, []).append(one)
            self._lent.setdefault(one.block, []).append(one)
        affinities = store.affinities()
        fills: dict[str, dict[Network, BlockFill]] = {}
        for affinity in affinities:
            fill = self._fill(affinity, by_cidr.get(affinity.cidr))
            fills.setdefault(affinity.host, {})[affinity.cidr] = fill
        claimed = {affinity.cidr for affinity in affinities}
        nobodys = [BlockFill(cidr, None, UNREADABLE) for cidr in self._unreadable - claimed]
        for block, counts in readable:
            if block.host is None:
                nobodys.append(self._filled(block, counts, self._note(block.cidr)))
            elif block.cidr not in fills.get(block.host, {}):
                note = f"{block.host} has no affinity"
                fill = self._filled(block, counts, note)
                fills.setdefault(block.host, {})[block.cidr] = fill
        self._fills = fills
        self.nobodys = tuple(sorted(nobodys, key=_by_cidr))

    @property
    def owners(self) -> set[str]:
        """Every node that has a block, or an address of another's."""
        return self._fills.keys() | self._borrowers.keys()

    def put_into(self, place: Place) -> Place:
        """The place with its blocks."""
        fills = self._fills.get(place.name, {}).values()
        mine = self._borrowers.get(place.name, ())
        return replace(
            place,
            blocks=tuple(sorted(fills, key=_by_cidr)),
            borrowed=_counted(mine, lambda b: b.block_owner or "nobody"),
        )

    def _fill(self, affinity: Affinity, found: _Filled | None) -> BlockFill:
        state = "" if affinity.is_confirmed else affinity.state
        if found is None:
            is_there = affinity.cidr in self._unreadable
            return BlockFill(affinity.cidr, None, UNREADABLE if is_there else state or "no block")
        block, counts = found
        if block.host != affinity.host:
            state = f"the block says {block.host or 'nobody'}"
        return self._filled(block, counts, state or self._note(block.cidr))

    def _filled(self, block: Block, counts: Counts, note: str) -> BlockFill:
        lent = _counted(self._lent.get(block.cidr, ()), lambda b: b.node)
        return BlockFill(block.cidr, counts, note, lent)

    def _note(self, cidr: Network) -> str:
        return "in no pool" if cidr in self._strays else ""


def _counted(
    some: Iterable[Borrowed], of: Callable[[Borrowed], str]
) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(of(one) for one in some).items()))


def _by_name(place: Place) -> tuple[list[tuple[int, str]], str]:
    """So that node-10 comes after node-9."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+", place.name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts], place.name


def _by_cidr(fill: BlockFill) -> tuple[int, int, int]:
    return fill.cidr.version, int(fill.cidr.network_address), fill.cidr.prefixlen


def _decode_node(key: str, value: bytes) -> Node:
    # The key is the name: what the value says of it could be anybody's.
    return replace(codec.decode_node(key, value), name=key.removeprefix(keys.NODES))


def _decode_port(key: str, value: bytes) -> tuple[str, int | None]:
    return key.removeprefix(_PER_NODE), decode_listen_port(key, value)


def _cidr(key: str) -> Network | None:
    try:
        return keys.cidr_of(key)
    except Invalid:
        return None
