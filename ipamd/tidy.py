"""Keeps the node's blocks in order: a first one, half-claims, cooldowns, those not needed.

Pure: no I/O.
"""

from datamodel.block import Block
from datamodel.errors import OcicatError
from datamodel.pool import Network
from datamodel.selector import parse
from datastore import keys
from ipamd.block_choice import choose_block
from ipamd.claimed_store import ROOM
from ipamd.draft import Draft
from ipamd.known import decode_block
from ipamd.request import Done, Fence, Prepare, Tidy


def prepare(draft: Draft, request: Prepare) -> Done:
    """Add to *draft* the claim of a first block, unless the node owns one."""
    if not any(True for _ in draft.own_blocks(request.version)):
        choose_block(draft, request.version)
    return Done()


def fence(draft: Draft, request: Fence) -> Done:
    """Add to *draft* that the block is written anew."""
    block = draft.peek(request.block)
    if block is not None:
        draft.change(block)
    return Done()


def tidy(draft: Draft, request: Tidy) -> Done:
    """Add to *draft* what brings the node's blocks in order; usually nothing.

    As much as fits into one transaction; the rest has time until the next report.
    """
    for version in (4, 6):
        for cidr in draft.known.affine[version]:
            if _is_full(draft):
                return Done()
            _mend(draft, cidr)
        for block in [b for b in draft.own_blocks(version) if b.is_empty]:
            if _is_full(draft):
                return Done()
            is_needed = sum(1 for _ in draft.own_blocks(version)) == 1
            if _is_unselected(draft, block) or (block.cidr in request.surplus and not is_needed):
                draft.give_up(block.cidr)
    for cidr in {*draft.known.mirrored_blocks, *draft.known.borrowed}:
        if _is_full(draft):
            return Done()
        draft.check_note(cidr)
    return Done()


def _is_full(draft: Draft) -> bool:
    """Whether there is no room for one more block and its affinity, or its note."""
    return draft.operations + 2 > ROOM


def _mend(draft: Draft, cidr: Network) -> None:
    """Bring one affinity and its block in order, as Calico does before it uses the block."""
    affinity_key, block_key = keys.affinity(draft.node, cidr), keys.block(cidr)
    entry = draft.known.view.mirrored.get(block_key)
    block = draft.peek(cidr)
    if entry is None and cidr not in draft.blocks:
        if draft.value(block_key) is None:  # a claim or a release that broke off
            draft.value(affinity_key)
            draft.remove(affinity_key)
    elif block is None:
        return  # nobody can read it: not ours to mend
    elif block.host != draft.node:  # somebody else was faster
        draft.value(affinity_key)
        draft.remove(affinity_key)
    else:
        draft.confirm(cidr)
        is_collected = entry is not None and block != decode_block(block_key, entry.value)
        if affinity_key in draft.put or is_collected:
            draft.change(block)


def _is_unselected(draft: Draft, block: Block) -> bool:
    """Whether the block's pool is there and has ceased to select this node."""
    try:
        labels = draft.known.node.labels
        pool = next((p for p in draft.known.pools if p.contains(block.cidr)), None)
        return pool is not None and not parse(pool.node_selector).matches(labels)
    except OcicatError:
        return False
