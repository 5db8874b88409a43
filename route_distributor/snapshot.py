"""The cluster as this node sees it, made of what etcd holds now.

Pure: no I/O. It depends on the current entries only, never on what came before them or in which
order. One entry that cannot be read must not keep the others from being routed: it is left out,
and ``skipped`` says so. Sessions go only where an object says so that can be read:

* without a readable BGPConfiguration of the cluster, or of this node where it has one, ``bgp`` is
  ``None``: defaults in its place could tear every session down, so BIRD goes on as it is;
* of another node's BGPConfiguration only the port matters, and is read whatever else is wrong;
* a BGPPeer that cannot be read, or that names a BGPFilter that is not there, has no session:
  without its filter it could announce what it must not;
* what cannot be read of a node's tunnels costs it the tunnel, not its sessions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from datamodel.bgp import AS_NUMBERS, BgpConfiguration, beyond
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.node import Node, is_host_address
from datamodel.pool import BLOCK_SIZES, Network, Pool
from datastore import keys
from datastore.codec import decode_affinity, decode_node, decode_pool
from datastore.codec_bgp import (
    decode_bgp_configuration,
    decode_bgp_filter,
    decode_bgp_peer,
    decode_listen_port,
    decode_node_bgp_configuration,
)
from datastore.store import Entry
from route_distributor.decoded import Decoded

_CLUSTER = f"{keys.BGP_CONFIGURATIONS}default"  # the BGPConfiguration of all nodes
_PER_NODE = f"{keys.BGP_CONFIGURATIONS}node."  # and, with a node's name behind it, of one


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """What routing on one node depends on."""

    node: str
    own: Node | None  # None: there is none, or none that can be used
    others: tuple[Node, ...]  # those with an address of their own in a family, by name
    blocks: tuple[Network, ...]  # this node's confirmed ones, IPv4 first, in order
    pools: tuple[Pool, ...]  # by name
    bgp: BgpConfiguration | None  # with this node's own say; None: there is one that is unreadable
    skipped: tuple[str, ...]  # what was left out, and why
    peers: tuple[BgpPeer, ...] = ()  # by name
    filters: Mapping[str, BgpFilter] = field(default_factory=dict)  # by name
    # Of other nodes that listen on another port than this one does (``bgp.listen_port``).
    listen_ports: Mapping[str, int] = field(default_factory=dict)


def ranges_of(node: str) -> frozenset[str]:
    """Name the ranges of the store that a snapshot is made of."""
    return frozenset(
        {
            keys.NODES,
            keys.affinities(node, 4),
            keys.affinities(node, 6),
            keys.BGP_CONFIGURATIONS,
            keys.BGP_PEERS,
            keys.BGP_FILTERS,
            keys.POOLS,
        },
    )


def cluster_snapshot(
    node: str, entries: Mapping[str, Entry], decoded: Decoded | None = None
) -> ClusterSnapshot:
    """See the cluster with the eyes of *node*.

    Args:
        node: whose eyes.
        entries: what the store holds.
        decoded: from pass to pass the same one, so that only what changed is decoded.
    """
    decoded = decoded or Decoded()
    skipped: list[str] = []
    nodes = decoded.below(entries, keys.NODES, _decode_node, skipped)
    own, others = _with_own_addresses(node, nodes.values(), skipped)
    cluster = _cluster_configuration(entries, skipped)
    bgp = _with_own_say(node, entries, cluster, skipped) if cluster is not None else None
    filters = decoded.below(entries, keys.BGP_FILTERS, decode_bgp_filter, skipped)
    peers = decoded.below(entries, keys.BGP_PEERS, decode_bgp_peer, skipped)
    listen_ports: Mapping[str, int] = {}
    if cluster is not None and bgp is not None:
        said = {node: bgp.listen_port, **_ports_of_others(node, entries, decoded, skipped)}
        ports = {**dict.fromkeys(nodes, cluster.listen_port), **said}
        listen_ports = {name: port for name, port in ports.items() if port != bgp.listen_port}
    return ClusterSnapshot(
        node=node,
        own=own,
        others=others,
        blocks=_blocks(node, entries, decoded, skipped),
        pools=tuple(decoded.below(entries, keys.POOLS, decode_pool, skipped).values()),
        bgp=bgp,
        peers=tuple(peer for peer in peers.values() if not _lacks(peer, filters, skipped)),
        filters=filters,
        listen_ports=listen_ports,
        skipped=tuple(skipped),
    )


def _decode_node(key: str, value: bytes) -> Node:
    """Read what BGP needs of a node; what it cannot use is in ``unreadable``.

    Raises:
        Invalid: it cannot be read, or there can be no such AS number.
    """
    # The key is the name: what the value says of it could be anybody's.
    node = replace(decode_node(key, value), name=key.removeprefix(keys.NODES))
    if found := beyond("asNumber", node.as_number, AS_NUMBERS):
        raise Invalid(f"node {node.name}: {found[0]}")
    wrong = list(node.unreadable)
    ipv4, ipv6 = node.ipv4, node.ipv6
    if ipv4 is not None and not is_host_address(ipv4.ip):
        wrong.append(f"ipv4Address {ipv4} is no host's address")
        ipv4 = None
    if ipv6 is not None and not is_host_address(ipv6.ip):
        wrong.append(f"ipv6Address {ipv6} is no host's address")
        ipv6 = None
    return replace(node, ipv4=ipv4, ipv6=ipv6, unreadable=tuple(wrong)) if wrong else node


def _with_own_addresses(
    name: str, nodes: Iterable[Node], skipped: list[str]
) -> tuple[Node | None, tuple[Node, ...]]:
    """Part this node from the others, each with the addresses that no node before it has.

    This one comes before all others. Two peers of one address would be one name twice in BIRD's
    file, which BIRD refuses whole.
    """
    holders: dict[Address, str] = {}
    kept = []
    for node in sorted(nodes, key=lambda node: node.name != name):
        taken = [
            address
            for address in (node.ipv4, node.ipv6)
            if address is not None and holders.setdefault(address.ip, node.name) != node.name
        ]
        skipped += [f"node {node.name}: {what}" for what in node.unreadable]
        skipped += [
            f"node {node.name}: has the address {address.ip} of node {holders[address.ip]}; "
            "give each its own"
            for address in taken
        ]
        if node.name != name and not (node.ipv4 or node.ipv6 or node.unreadable):
            skipped.append(
                f"node {node.name}: has no address, so nobody can reach its pods; see whether its "
                "ipamd runs"
            )
        ipv4 = None if node.ipv4 in taken else node.ipv4
        ipv6 = None if node.ipv6 in taken else node.ipv6
        kept.append(replace(node, ipv4=ipv4, ipv6=ipv6) if taken else node)
    own = kept.pop(0) if kept and kept[0].name == name else None
    return own, tuple(node for node in kept if node.ipv4 is not None or node.ipv6 is not None)


def _cluster_configuration(
    entries: Mapping[str, Entry], skipped: list[str]
) -> BgpConfiguration | None:
    if _CLUSTER not in entries:
        return BgpConfiguration()
    try:
        return decode_bgp_configuration(_CLUSTER, entries[_CLUSTER].value)
    except Invalid as error:
        skipped.append(str(error))
        return None


def _with_own_say(
    node: str, entries: Mapping[str, Entry], cluster: BgpConfiguration, skipped: list[str]
) -> BgpConfiguration | None:
    key = f"{_PER_NODE}{node}"
    if key not in entries:
        return cluster
    try:
        return decode_node_bgp_configuration(key, entries[key].value, cluster)
    except Invalid as error:
        skipped.append(str(error))
        return None


def _ports_of_others(
    node: str, entries: Mapping[str, Entry], decoded: Decoded, skipped: list[str]
) -> dict[str, int]:
    own = f"{_PER_NODE}{node}"
    others = {k: e for k, e in entries.items() if k.startswith(_PER_NODE) and k != own}
    said = decoded.below(others, _PER_NODE, decode_listen_port, skipped)
    return {name: port for name, port in said.items() if port is not None}


def _lacks(peer: BgpPeer, filters: Mapping[str, BgpFilter], skipped: list[str]) -> bool:
    """Tell whether there can be no session with a peer, and note why."""
    found = [
        f"there is no BGPFilter {name!r} that can be read"
        for name in peer.filters
        if name not in filters
    ]
    if peer.local_workload_selector:
        found.append("localWorkloadSelector: there are no sessions with pods here")
    if found:
        skipped.append(f"BGPPeer {peer.name}: {'; '.join(found)}")
    return bool(found)


def _blocks(
    node: str, entries: Mapping[str, Entry], decoded: Decoded, skipped: list[str]
) -> tuple[Network, ...]:
    found: list[Network] = []
    for version, sizes in BLOCK_SIZES.items():
        affinities = decoded.below(
            entries, keys.affinities(node, version), decode_affinity, skipped
        )
        confirmed = set()
        for affinity in affinities.values():
            cidr = affinity.cidr
            if cidr.version != version or cidr.prefixlen not in sizes:
                # A block of /0 would be a blackhole for everything.
                skipped.append(
                    f"affinity {cidr}: no IPv{version} block of /{sizes[0]} to /{sizes[-1]}"
                )
            elif affinity.is_confirmed:
                confirmed.add(cidr)
        found += sorted(confirmed)
    return tuple(found)
