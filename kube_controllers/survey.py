"""What etcd says that nodes hold: who holds which addresses, and what shows that a node lives.

Pure: no I/O.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from datamodel.attachment import Attachment, Pod
from datamodel.attribute import DELEGATED, GATEWAY, Attribute
from datamodel.block import WINDOWS_HANDLE, Address, Block
from datamodel.errors import Invalid
from datamodel.pool import Network
from datamodel.tunnel import tunnel_handles
from datastore import codec, keys
from datastore.store import Entry

RANGES = frozenset(
    {keys.NODES, keys.ALL_BLOCKS, keys.ALL_AFFINITIES, keys.CLAIMS, keys.ALL_DEPARTED}
)
_FACTS = {"namespace", "pod", "node", "timestamp", "boot", "netns", "type"}
_NODES_OWN = {
    GATEWAY,
    "ipipTunnelAddress",
    "vxlanTunnelAddress",
    "vxlanV6TunnelAddress",
    "wireguardTunnelAddress",
    "wireguardV6TunnelAddress",
}


class Kind(Enum):
    """Whose an address is."""

    POD = "a pod's"
    NODE = "its node's own"  # of a tunnel, or a gateway
    UNKNOWN = "nobody knows whose"


@dataclass(frozen=True, slots=True)
class Holding:
    """What one handle holds for one node: addresses, each with its sequence number."""

    handle_id: str
    node: str
    kind: Kind
    pod: Pod | None
    addresses: Mapping[Address, int]
    blocks: frozenset[Network]
    is_ipamds: bool  # whether the node's ipamd can see in its kernel if it is in use


@dataclass(frozen=True, slots=True)
class StoredNode:
    """A node that etcd knows, or one that is being taken back."""

    name: str
    kubernetes_names: tuple[str, ...]  # none: it is no node of Kubernetes
    entry: Entry | None  # None: its resource is deleted
    is_departed: bool  # we have begun to take it back
    is_claimed: bool  # an ipamd runs under its name
    holdings: tuple[Holding, ...] = ()
    # Whoever works on the node changes these: keys, and the revision of each.
    signs: frozenset[tuple[str, int]] = frozenset()

    @property
    def addresses(self) -> dict[Address, int]:
        """All that it holds."""
        return {a: n for holding in self.holdings for a, n in holding.addresses.items()}


@dataclass(frozen=True, slots=True)
class Survey:
    """All nodes, and what cannot be read."""

    nodes: Mapping[str, StoredNode]
    mistakes: tuple[str, ...] = ()
    # Holdings and affinities whose node has no resource, by its name.
    strays: Mapping[str, int] = field(default_factory=dict)


def survey(entries: Mapping[str, Entry]) -> Survey:
    """Read what the store holds of nodes."""
    mistakes: list[str] = []
    held = _held(entries, mistakes)
    affine: dict[str, set[tuple[str, int]]] = {}
    for key, entry in entries.items():
        if key.startswith(keys.ALL_AFFINITIES):
            name = key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
            affine.setdefault(name, set()).add((key, entry.revision))
    nodes = {}
    for name, names, is_departed in _names(entries, mistakes):
        resource = entries.get(keys.node(name))
        claim = entries.get(keys.claim(name))
        nodes[name] = StoredNode(
            name,
            names,
            resource,
            is_departed,
            is_claimed=claim is not None,
            holdings=tuple(held.get(name, ())),
            signs=frozenset(
                {(e.key, e.revision) for e in (resource, claim) if e} | affine.get(name, set())
            ),
        )
    strays = {
        name: len(affine.get(name, ())) + len(held.get(name, ()))
        for name in affine.keys() | held.keys()
        if name and name not in nodes
    }
    return Survey(nodes, tuple(mistakes), strays)


def _names(
    entries: Mapping[str, Entry], mistakes: list[str]
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Every node's name, what Kubernetes calls it, and whether we have begun to take it back."""
    known = {key.removeprefix(keys.NODES) for key in entries if key.startswith(keys.NODES)}
    departed = {
        key.removeprefix(keys.ALL_DEPARTED) for key in entries if key.startswith(keys.ALL_DEPARTED)
    }
    for name in sorted(known | departed):
        try:
            if name in departed:
                entry = entries[keys.departed(name)]
                names = codec.decode_departed(entry.key, entry.value).kubernetes_names
            else:
                entry = entries[keys.node(name)]
                names = _kubernetes_names(entry.key, entry.value)
        except Invalid as error:
            mistakes.append(str(error))
            names = ()
        yield name, names, name in departed


def _held(entries: Mapping[str, Entry], mistakes: list[str]) -> dict[str, list[Holding]]:
    """What is held, by node; what a handle holds for two nodes is nothing that we know."""
    found: dict[tuple[str, str], Holding] = {}
    for key, entry in entries.items():
        if not key.startswith(keys.ALL_BLOCKS):
            continue
        try:
            holdings = _holdings(key, entry.value)
        except Invalid as error:
            mistakes.append(str(error))
            continue
        for new in holdings:
            where = (new.node, new.handle_id)
            found[where] = _together(found[where], new) if where in found else new
    nodes_of: dict[str, int] = {}
    for _, handle_id in found:
        nodes_of[handle_id] = nodes_of.get(handle_id, 0) + 1
    by_node: dict[str, list[Holding]] = {}
    for (node, handle_id), holding in found.items():
        is_shared = nodes_of[handle_id] > 1
        by_node.setdefault(node, []).append(_unknown(holding) if is_shared else holding)
    return by_node


def _together(one: Holding, other: Holding) -> Holding:
    both = Holding(
        one.handle_id,
        one.node,
        one.kind,
        one.pod,
        {**one.addresses, **other.addresses},
        one.blocks | other.blocks,
        one.is_ipamds and other.is_ipamds,
    )
    return both if (one.kind, one.pod) == (other.kind, other.pod) else _unknown(both)


def _unknown(what: Holding) -> Holding:
    return Holding(
        what.handle_id, what.node, Kind.UNKNOWN, None, what.addresses, what.blocks, what.is_ipamds
    )


# Most blocks are the same at the next look. To read one with 110 holders takes a millisecond.
@lru_cache(maxsize=16_384)
def _holdings(key: str, value: bytes) -> tuple[Holding, ...]:
    block = codec.decode_block(key, value)
    found: dict[tuple[str, str], Holding] = {}
    for index, attribute in enumerate(block.attributes):
        if attribute.handle_id == WINDOWS_HANDLE or attribute.released_at is not None:
            continue
        node = attribute.node or _node_of_tunnel(attribute.handle_id or "")
        new = _holding(block, index, attribute, node)
        where = (node, new.handle_id)
        found[where] = _together(found[where], new) if where in found else new
    return tuple(found.values())


def _holding(block: Block, index: int, attribute: Attribute, node: str) -> Holding:
    facts = attribute.secondary or {}
    handle_id = attribute.handle_id or ""
    sequence = block.sequence_numbers
    addresses = {
        block.address(o): sequence.get(o, 0) for o, i in enumerate(block.allocations) if i == index
    }
    is_ipamds = {"boot", "netns", "timestamp"} <= facts.keys() and bool(
        Attachment.of_handle(handle_id)
    )
    kind = _kind(attribute, handle_id, node)
    pod = attribute.pod if kind is Kind.POD else None
    blocks = frozenset({block.cidr})
    return Holding(handle_id, node, kind, pod, addresses, blocks, is_ipamds)


def _kind(attribute: Attribute, handle_id: str, node: str) -> Kind:
    facts = attribute.secondary or {}
    kind = facts.get("type")
    if attribute.extra or not handle_id or not node or not facts.keys() <= _FACTS:
        return Kind.UNKNOWN
    if kind in _NODES_OWN or handle_id in _tunnel_handles(node):
        return Kind.NODE
    return Kind.POD if attribute.pod and kind in (None, DELEGATED) else Kind.UNKNOWN


def _node_of_tunnel(handle_id: str) -> str:
    """The node of a tunnel's handle whose attribute does not name it, as very old ones do not."""
    name = handle_id.partition("-tunnel-addr-")[2]
    return name if name and handle_id in _tunnel_handles(name) else ""


@lru_cache(maxsize=4096)
def _tunnel_handles(node: str) -> frozenset[str]:
    return frozenset(tunnel_handles(node))


@lru_cache(maxsize=16_384)
def _kubernetes_names(key: str, value: bytes) -> tuple[str, ...]:
    return codec.decode_kubernetes_names(key, value)
