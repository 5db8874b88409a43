"""From which block an address comes: one of the node's own, a new one, or none and why.

Pure: no I/O. Calico's order: own blocks first, in the order of their keys; then a claim that broke
off, then the first unclaimed block, looked for from a place that depends on the node's name; then
an empty block of another node; and without strict affinity at last any block that has room.
"""

from collections.abc import Mapping
from itertools import islice
from types import MappingProxyType

from datamodel import refusal
from datamodel.block import Address, Block
from datamodel.errors import Exhausted, Invalid, Unavailable
from datamodel.pool import MAX_SKIPPED, Network, Pool
from datamodel.pool_choice import WORKLOAD, closed
from datastore import keys
from ipamd.draft import Draft, Unknown
from ipamd.foreign_blocks import borrow, reclaim

# So many blocks are claimed on the guess that they are free before all of them are listed.
MAX_GUESSES = 4


def choose_block(
    draft: Draft,
    version: int,
    names: tuple[str, ...] = (),
    namespace_labels: Mapping[str, str] = MappingProxyType({}),
    use: str = WORKLOAD,
) -> Block:
    """Find a block with a free address in a pool that serves, claiming one if need be.

    Args:
        draft: where a claim is added.
        version: the family.
        names: pools by name or CIDR, in order of preference; none: any that select the node.
        namespace_labels: of the pod's namespace.
        use: what the pools must be for.

    Raises:
        Exhausted: no pool has room for this node; the text says of each pool why.
        Invalid: a requested pool does not exist or is not enabled; the node is not registered.
        Unknown: something must be read first.
        Unavailable: the store was restored a moment ago.
    """
    known = draft.known
    pools, rejected = known.choose_pools(version, names, use, namespace_labels)
    refused = [*known.unreadable_pools, *(f"{r.pool}: {r.reason}" for r in rejected)]
    if block := _own_with_room(draft, pools, version):
        return block
    if pools:
        found, reasons = _another(draft, pools, version)
        if found:
            return found
        refused += reasons
    raise Exhausted(refusal.no_addresses(refused or [refusal.no_pool(version)]))


def block_of(draft: Draft, address: Address, is_recovery: bool) -> Block:
    """The block of a certain address, claimed if nobody has.

    As in Calico, neither selectors nor reservations nor the limit of blocks matter.

    Raises:
        Invalid: no enabled pool for workloads has the address, or its block is not ours and
            affinity strict.
        Unknown: the block must be read first.
    """
    known = draft.known
    pools = [p for p in known.pools if p.cidr.version == address.version and address in p.cidr]
    pool = next((p for p in pools if is_recovery or not closed(p)), None)
    if pool is None:
        enabled = ", ".join(str(p) for p in known.pools if not closed(p)) or "none"
        raise Invalid(f"address {address}: is in no enabled pool; the enabled pools are {enabled}")
    if WORKLOAD not in pool.allowed_uses and not is_recovery:
        raise Invalid(
            f"address {address}: {pool} is for {', '.join(pool.allowed_uses)} only; "
            "ask for an address of another pool"
        )
    cidr = pool.block_of(address)
    _expect_to_stay(draft)
    block = draft.block(cidr)
    if block is None:
        _check_may_claim(draft, is_recovery)
        return draft.claim(cidr, pool.name)
    if block.host == draft.node:
        draft.confirm(cidr)
    elif known.config.strict_affinity and not is_recovery:
        raise Invalid(
            f"address {address}: block {cidr} is {_owner(block)} and affinity is strict; "
            "ask for an address of another block"
        )
    return block


def _owner(block: Block) -> str:
    return f"{f'node {block.host}' if block.host else block.affinity or 'nobody'}'s"


def _own_with_room(draft: Draft, pools: list[Pool], version: int) -> Block | None:
    for block in draft.own_blocks(version):
        has_room = block.free(draft.known.reserved(block.cidr)) is not None
        if has_room and any(pool.contains(block.cidr) for pool in pools):
            draft.confirm(block.cidr)
            return block
    return None


def _another(draft: Draft, pools: list[Pool], version: int) -> tuple[Block | None, list[str]]:
    """A block with room that the node did not have, or why it gets none."""
    config = draft.known.config
    _expect_to_stay(draft)
    _check_may_claim(draft, False)
    affine = draft.known.affine[version]
    fresh = [c for c, b in draft.blocks.items() if c not in affine and b.host == draft.node]
    owned = sum(any(pool.contains(cidr) for pool in pools) for cidr in (*affine, *fresh))
    if reason := refusal.may_not_claim(draft.node, config, owned):
        return None, [reason]
    found = (
        _resume_claim(draft, pools, version)
        or _claim(draft, pools)
        or reclaim(draft, pools)
        or (None if config.strict_affinity else borrow(draft, pools))
    )
    if found:
        return found, []
    own = [block.cidr for block in draft.own_blocks(version)]
    return None, [
        refusal.full(
            pool, draft.node, sum(map(pool.contains, own)), config, draft.known.reservations
        )
        for pool in pools
    ]


def _expect_to_stay(draft: Draft) -> None:
    """Make the transaction fail if an operator changes the rules, or deletes the node, first."""
    for key in (keys.IPAM_CONFIG, keys.node(draft.known.node.name)):
        draft.value(key)


def _check_may_claim(draft: Draft, is_recovery: bool) -> None:
    if not draft.known.view.may_claim and not is_recovery:
        raise Unavailable(
            "etcd: was restored a moment ago; no block is claimed before the other nodes have "
            "recorded the addresses of their pods; try again"
        )


def _resume_claim(draft: Draft, pools: list[Pool], version: int) -> Block | None:
    """A block for which the node has an affinity but which nobody made: a claim that broke off."""
    for cidr in draft.known.affine[version]:
        pool = next((pool for pool in pools if pool.contains(cidr)), None)
        is_there = keys.block(cidr) in draft.known.view.mirrored or cidr in draft.blocks
        is_useful = not draft.known.reservations.covers(cidr)
        if pool and not is_there and is_useful and cidr.prefixlen == pool.block_size:
            return draft.claim(cidr, pool.name)
    return None


def _claim(draft: Draft, pools: list[Pool]) -> Block | None:
    for pool in pools:
        if cidr := _unclaimed(draft, pool):
            return draft.claim(cidr, pool.name)
    return None


def _unclaimed(draft: Draft, pool: Pool) -> Network | None:
    view, reservations = draft.known.view, draft.known.reservations
    prefix = keys.blocks(pool.cidr.version)
    taken = view.claimed.get(prefix)
    wrong_guesses = 0
    # Among so many there is a free one, unless the pool is full or nearly all of it reserved.
    for cidr in islice(pool.blocks_for(draft.node), len(taken or ()) + MAX_SKIPPED):
        key = keys.block(cidr)
        if key in view.mirrored or cidr in draft.blocks or (taken and key in taken):
            continue
        if view.facts.get(key) or key in view.passed:
            wrong_guesses += 1
        elif not reservations.covers(cidr):
            if taken is None and wrong_guesses >= MAX_GUESSES:
                raise Unknown([prefix])
            return cidr
    return None
