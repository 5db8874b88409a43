"""Blocks ⇔ affinities ⇔ nodes ⇔ pools, and handles ⇔ what they hold.

Pure: no I/O.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

from datamodel.affinity import Affinity
from datamodel.block import Address, Block
from datamodel.pool import Network
from datastore import keys
from ocicatctl.check.cluster import Cluster
from ocicatctl.check.problem import Kind, Problem


def ownership_problems(cluster: Cluster, now: datetime) -> Iterator[Problem]:
    """Every problem of blocks, affinities, nodes and handles."""
    for key, mistake in cluster.unreadable.items():
        yield Problem(
            Kind.UNREADABLE,
            f"etcd key {key}",
            mistake.removeprefix(f"etcd key {key}: "),
            mark=cluster.revision(key),
        )
    if keys.CLUSTER_INFORMATION not in cluster.entries:
        yield Problem(
            Kind.NO_CLUSTER_INFORMATION,
            "ClusterInformation default",
            "does not exist, and calicoctl refuses to check without it; ipamd writes it at a start",
        )
    yield from _blocks(cluster, now)
    yield from _affinities(cluster)
    yield from _handles(cluster)
    yield from _nodes(cluster)


# ---- blocks ------------------------------------------------------------------------------------


def _blocks(cluster: Cluster, now: datetime) -> Iterator[Problem]:
    claimed = {(affinity.host, affinity.cidr) for affinity in cluster.affinities}
    are_pools_known = not cluster.is_unreadable(keys.POOLS)
    for cidr, read in cluster.blocks.items():
        block, host, subject = read.block, read.block.host, f"block {cidr}"
        mark = cluster.revision(keys.block(cidr))
        if read.mistakes:
            what = "; ".join(read.mistakes)
            yield Problem(Kind.INVALID_BLOCK, subject, what, cidr=cidr, mark=mark)
        if host is None:
            if block.affinity is None and block.collected(now, cluster.cooldown_s).is_empty:
                what = "is nobody's and empty, so that no node can claim it"
                yield Problem(Kind.EMPTY_BLOCK, subject, what, cidr=cidr, mark=mark)
        elif host not in cluster.nodes:
            what = f"belongs to node {host}, which does not exist"
            yield Problem(Kind.NO_SUCH_NODE, subject, what, name=host, cidr=cidr, mark=mark)
        elif (host, cidr) not in claimed and not _is_unreadable_affinity(cluster, host, cidr):
            what = f"belongs to node {host}, which has no affinity for it: its route is missing"
            yield Problem(
                Kind.BLOCK_WITHOUT_AFFINITY, subject, what, name=host, cidr=cidr, mark=mark
            )
        if are_pools_known:
            yield from _place(cluster, block)


def _is_unreadable_affinity(cluster: Cluster, host: str, cidr: Network) -> bool:
    return keys.affinity(host, cidr) in cluster.unreadable


def _place(cluster: Cluster, block: Block) -> Iterator[Problem]:
    subject = f"block {block.cidr}"
    pools = [pool for pool in cluster.pools if pool.cidr.overlaps(block.cidr)]
    if not pools:
        what = "is in no pool; release its addresses, or create the pool again"
        yield Problem(Kind.BLOCK_OUTSIDE_POOLS, subject, what, cidr=block.cidr)
    elif all(pool.block_size != block.cidr.prefixlen for pool in pools):
        what = f"has another size than the /{pools[0].block_size} of {pools[0]}"
        yield Problem(Kind.WRONG_BLOCK_SIZE, subject, what, cidr=block.cidr)


# ---- affinities --------------------------------------------------------------------------------


def _affinities(cluster: Cluster) -> Iterator[Problem]:
    for affinity in cluster.affinities:
        host, cidr = affinity.host, affinity.cidr
        if keys.block(cidr) in cluster.unreadable:
            continue
        kind, what = _affinity_problem(cluster, affinity)
        if kind:
            mark = cluster.revision(keys.affinity(host, cidr))
            subject = f"affinity {host} {cidr}"
            yield Problem(kind, subject, what, name=host, cidr=cidr, mark=mark)


def _affinity_problem(cluster: Cluster, affinity: Affinity) -> tuple[Kind | None, str]:
    host, cidr = affinity.host, affinity.cidr
    read = cluster.blocks.get(cidr)
    if read is None:
        return Kind.AFFINITY_WITHOUT_BLOCK, "its block does not exist"
    if read.block.host != host:
        owner = read.block.affinity or "nobody"
        return Kind.STALE_AFFINITY, f"the block itself says that it belongs to {owner}"
    if host in cluster.nodes and not affinity.is_confirmed:
        return Kind.UNCONFIRMED_AFFINITY, f"is {affinity.state}: nobody routes to the block"
    return None, ""


# ---- handles -----------------------------------------------------------------------------------


def _handles(cluster: Cluster) -> Iterator[Problem]:
    for handle_id, counts in cluster.handles.items():
        if "/" in handle_id or "\r" in handle_id:
            what = "has a character with which no other reader finds it"
            yield Problem(Kind.HIDDEN_HANDLE, f"handle {handle_id!r}", what, name=handle_id)
        if counts is None or any(keys.block(cidr) in cluster.unreadable for cidr in counts):
            continue
        held = cluster.counts(handle_id)
        subject, mark = f"handle {handle_id}", cluster.revision(keys.handle(handle_id))
        if not held:
            what = f"holds no address, but counts {_told(counts)}"
            yield Problem(Kind.LEAKED_HANDLE, subject, what, name=handle_id, mark=mark)
        elif held != counts:
            what = f"counts {_told(counts)}, but holds {_told(held)}"
            yield Problem(Kind.MISCOUNTED_HANDLE, subject, what, name=handle_id, mark=mark)
    for handle_id in sorted(cluster.held_by.keys() - cluster.handles.keys()):
        what = f"does not exist, but holds {_told(cluster.counts(handle_id))}"
        mark = max(holding.sequence for holding in cluster.held_by[handle_id])
        yield Problem(Kind.MISSING_HANDLE, f"handle {handle_id}", what, name=handle_id, mark=mark)


def _told(counts: Mapping[Network, int]) -> str:
    return ", ".join(f"{n} in {cidr}" for cidr, n in counts.items()) or "none"


# ---- nodes -------------------------------------------------------------------------------------


def _nodes(cluster: Cluster) -> Iterator[Problem]:
    having: dict[Address, list[str]] = {}
    for name, node in cluster.nodes.items():
        if node is None:
            continue
        addresses = [interface.ip for interface in (node.ipv4, node.ipv6) if interface]
        for address in addresses:
            having.setdefault(address, []).append(name)
        if not addresses:
            what = "has no address, so that nobody has a BGP session with it; start its ipamd"
            yield Problem(Kind.NODE_WITHOUT_ADDRESS, f"node {name}", what, name=name)
    for address, names in having.items():
        if len(names) > 1:
            what = f"is that of the nodes {', '.join(names)}; delete those that are gone"
            yield Problem(Kind.SHARED_NODE_ADDRESS, f"address {address}", what)
