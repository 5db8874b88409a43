"""The cluster as this node sees it, made of what etcd holds now.

Pure: no I/O. It depends on the current entries only, never on what came before them or in which
order. One entry that cannot be read must not keep the others from being routed: it is left out,
and ``skipped`` says so.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from datamodel.affinity import Affinity
from datamodel.bgp import AS_NUMBERS, BgpConfiguration
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import BLOCK_SIZES, Pool
from datastore import keys
from datastore.codec import decode_affinity, decode_node, decode_pool
from datastore.codec_bgp import decode_bgp_configuration
from datastore.store import Entry

T = TypeVar("T")

_DEFAULT = "default"  # the BGPConfiguration of all nodes


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """What routing on one node depends on."""

    node: str
    own: Node | None  # None: there is none, or none that can be used
    others: tuple[Node, ...]  # those with an IPv4 address of their own, by name
    blocks: tuple[IPv4Network, ...]  # this node's confirmed ones, in order
    pools: tuple[Pool, ...]  # by name
    bgp: BgpConfiguration | None  # None: there is one and it cannot be read
    skipped: tuple[str, ...]  # what was left out, and why
    peers: tuple[BgpPeer, ...] = ()  # by name
    filters: Mapping[str, BgpFilter] = field(default_factory=dict)  # by name
    # Of nodes (this one too) whose own BGPConfiguration says another port than the cluster's.
    listen_ports: Mapping[str, int] = field(default_factory=dict)


def ranges_of(node: str) -> frozenset[str]:
    """Name the ranges of the store that a snapshot is made of."""
    return frozenset(
        {keys.NODES, keys.affinities(node, 4), keys.BGP_CONFIGURATIONS, keys.POOLS},
    )


def cluster_snapshot(node: str, entries: Mapping[str, Entry]) -> ClusterSnapshot:
    """See the cluster with the eyes of *node*."""
    skipped: list[str] = []
    named = _read(entries, keys.NODES, decode_node, skipped)
    # The key is the name: what the value says of it could be anybody's.
    nodes = [replace(value, name=name) for name, value in named.items()]
    usable = [n for n in nodes if not _says_mistake(n, skipped)]
    own = next((n for n in usable if n.name == node), None)
    affinities = _read(entries, keys.affinities(node, 4), decode_affinity, skipped)
    configurations = _read(entries, keys.BGP_CONFIGURATIONS, decode_bgp_configuration, skipped)
    # Defaults in place of a configuration that cannot be read could tear every session down.
    is_there = f"{keys.BGP_CONFIGURATIONS}{_DEFAULT}" in entries
    return ClusterSnapshot(
        node=node,
        own=own,
        others=_with_own_address(own, [n for n in usable if n.name != node], skipped),
        blocks=_blocks(affinities.values(), skipped),
        pools=tuple(_read(entries, keys.POOLS, decode_pool, skipped).values()),
        bgp=configurations.get(_DEFAULT, None if is_there else BgpConfiguration()),
        skipped=tuple(skipped),
    )


def _read(
    entries: Mapping[str, Entry],
    prefix: str,
    decode: Callable[[str, bytes], T],
    skipped: list[str],
) -> dict[str, T]:
    """Decode what lies below *prefix*, by name and in the names' order."""
    values = {}
    for key in sorted(k for k in entries if k.startswith(prefix)):
        try:
            values[key.removeprefix(prefix)] = decode(key, entries[key].value)
        except Invalid as error:
            skipped.append(str(error))
    return values


def _says_mistake(node: Node, skipped: list[str]) -> bool:
    """Tell whether a node cannot take part in BGP, and note why."""
    found = []
    if node.ipv4 is not None and not _is_host_address(node.ipv4.ip):
        found.append(f"ipv4Address {node.ipv4} is no host's address")
    if node.as_number is not None and node.as_number not in AS_NUMBERS:
        found.append(f"asNumber {node.as_number} is not in 1..{AS_NUMBERS[-1]}")
    if found:
        skipped.append(f"node {node.name}: {'; '.join(found)}")
    return bool(found)


def _is_host_address(address: IPv4Address) -> bool:
    return not (
        address.is_multicast
        or address.is_unspecified
        or address.is_loopback
        or address.is_reserved  # 240.0.0.0/4, broadcast included
    )


def _with_own_address(own: Node | None, others: list[Node], skipped: list[str]) -> tuple[Node, ...]:
    """Keep nodes with an IPv4 address that no node before them has.

    Two peers of one address would be one name twice in BIRD's file, which BIRD refuses whole.
    """
    holders = {own.ipv4.ip: own.name} if own is not None and own.ipv4 is not None else {}
    kept = []
    for node in others:
        if node.ipv4 is None:
            continue
        holder = holders.setdefault(node.ipv4.ip, node.name)
        if holder == node.name:
            kept.append(node)
        else:
            skipped.append(
                f"node {node.name}: has the address {node.ipv4.ip} of node {holder}; "
                "give each its own"
            )
    return tuple(kept)


def _blocks(affinities: Collection[Affinity], skipped: list[str]) -> tuple[IPv4Network, ...]:
    sizes = BLOCK_SIZES[4]
    found = set()
    for affinity in affinities:
        cidr = affinity.cidr
        if not isinstance(cidr, IPv4Network) or cidr.prefixlen not in sizes:
            # A block of /0 would be a blackhole for everything.
            skipped.append(f"affinity {cidr}: no IPv4 block of /{sizes[0]} to /{sizes[-1]}")
        elif affinity.is_confirmed:
            found.add(cidr)
    return tuple(sorted(found))
