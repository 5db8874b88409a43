"""From which block an address comes: one of the node's own, a new one, or none and why.

Pure: no I/O. Calico's order: own blocks first, in the order of their keys; then the first unclaimed
block, looked for from a place that depends on the node's name.
"""

from datamodel.block import Block
from datamodel.errors import Exhausted, Invalid, OcicatError
from datamodel.pool import Network, Pool
from datastore import codec, keys
from ipamd.draft import Draft, Unknown


def choose_block(draft: Draft, wanted: tuple[str, ...], version: int) -> Block:
    """Find a block with a free address in a pool that serves the request, claiming one if need be.

    Raises:
        Exhausted: no pool has room for this node; the text says of each pool why.
        Invalid: a requested pool does not exist or is not enabled.
        Unknown: the cluster's blocks must be read first.
    """
    pools, refused = _candidates(draft, wanted, version)
    for block in draft.own_blocks(version):
        if block.unallocated and any(_contains(pool, block.cidr) for pool in pools):
            draft.confirm(block.cidr)
            return block
    if pools and not codec.auto_allocates_blocks(draft.value(keys.IPAM_CONFIG)):
        refused.append(
            "auto_allocate_blocks is off and this node's blocks are full; "
            "allow new blocks with calicoctl ipam configure"
        )
    else:
        for pool in pools:
            if cidr := _unclaimed(draft, pool):
                return draft.claim(cidr)
            refused.append(_full(draft, pool))
    raise Exhausted(f"no addresses: {'; '.join(refused) or _NO_POOL.format(version)}")


_NO_POOL = "there is no IPv{} pool; create one with calicoctl apply -f"


def _candidates(
    draft: Draft, wanted: tuple[str, ...], version: int
) -> tuple[list[Pool], list[str]]:
    """The pools to try, in order, and of the others why not."""
    pools, refused = [], []
    for key in sorted(k for k in draft.view.mirrored if k.startswith(keys.POOLS)):
        try:
            pool = codec.decode_pool(key, draft.view.mirrored[key].value)
        except OcicatError as error:
            refused.append(str(error))
            continue
        if pool.cidr.version == version:
            pools.append(pool)
    if wanted:
        return [_named(pools, name) for name in wanted], refused
    chosen = []
    for pool in pools:
        if reason := _unfit(pool):
            refused.append(f"{pool}: {reason}")
        else:
            chosen.append(pool)
    return chosen, refused


def _named(pools: list[Pool], name: str) -> Pool:
    for pool in pools:
        if name in (pool.name, str(pool.cidr)) and not pool.disabled:
            return pool
    known = ", ".join(f"{pool.name} ({pool.cidr})" for pool in pools if not pool.disabled)
    raise Invalid(
        f"pool {name}: does not exist, or is not enabled; "
        f"the enabled pools are {known or 'none'}: correct ipv4_pools or create the pool"
    )


def _unfit(pool: Pool) -> str | None:
    """Why the pool is not for a pod that asks for no pool in particular."""
    if pool.disabled:
        return "is disabled"
    if pool.assignment_mode != "Automatic":
        return f"assignmentMode is {pool.assignment_mode}"
    if "Workload" not in pool.allowed_uses:
        return f"allowedUses is {', '.join(pool.allowed_uses)}"
    if pool.node_selector.strip() not in ("all()", ""):
        return f"nodeSelector {pool.node_selector!r} is not evaluated yet, only all()"
    return None


def _contains(pool: Pool, cidr: Network) -> bool:
    return (
        pool.cidr.version == cidr.version
        and pool.cidr.prefixlen <= cidr.prefixlen
        and cidr.network_address in pool.cidr
    )


def _unclaimed(draft: Draft, pool: Pool) -> Network | None:
    prefix = keys.blocks(pool.cidr.version)
    if prefix not in draft.view.claimed:
        raise Unknown([prefix])
    taken = draft.view.claimed[prefix]
    for cidr in pool.blocks_for(draft.view.node):
        key = keys.block(cidr)
        is_taken = key in taken or key in draft.view.mirrored or draft.view.facts.get(key)
        if not is_taken and cidr not in draft.blocks:
            return cidr
    return None


def _full(draft: Draft, pool: Pool) -> str:
    own = sum(_contains(pool, block.cidr) for block in draft.own_blocks(pool.cidr.version))
    return (
        f"{pool}: all {pool.block_count} blocks are claimed and the {own} of node "
        f"{draft.view.node} are full; release addresses or add a pool"
    )
