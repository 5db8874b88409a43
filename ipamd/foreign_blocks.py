"""Blocks of other nodes: which one to reclaim because it is empty, which one to borrow from.

Pure: no I/O. They are read in portions, in an order of this node's own, and only as long as none
serves; what was read in vain is passed over for a moment (``View.passed``).
"""

import zlib
from collections.abc import Callable

from datamodel.block import Block
from datamodel.errors import Invalid
from datamodel.pool import Network, Pool
from datastore import keys
from ipamd.draft import Draft, Unknown

PORTION = 64  # blocks that are read at first; then as many as were read in vain


def serves_nobody_else(block: Block) -> bool:
    """Whether a block is neither empty nor has a free address: neither of the two can use it."""
    return not block.is_empty and not block.unallocated


def reclaim(draft: Draft, pools: list[Pool]) -> Block | None:
    """Take over a block in which nobody holds anything, if it was not claimed just now.

    Raises:
        Unknown: blocks must be read first.
    """

    def is_free(block: Block) -> bool:
        has_room = block.free(draft.known.reserved(block.cidr)) is not None
        return has_room and block.may_be_reclaimed(draft.node, draft.known.view.now)

    if block := _first(draft, pools, is_free):
        return draft.take_over(block)
    return None


def borrow(draft: Draft, pools: list[Pool]) -> Block | None:
    """A block that has a free address, whose ever it is.

    Raises:
        Unknown: blocks must be read first.
    """
    block = _first(draft, pools, lambda b: b.free(draft.known.reserved(b.cidr)) is not None)
    if block is not None:
        # A fence rewrites our own blocks: should this come late, it then comes too late.
        own = next(draft.own_blocks(block.cidr.version), None)
        if own is not None:
            draft.block(own.cidr)
    return block


def _first(draft: Draft, pools: list[Pool], serves: Callable[[Block], bool]) -> Block | None:
    """The first foreign block that serves, of the pools in their order."""
    facts, mirrored = draft.known.view.facts, draft.known.view.mirrored
    portion = max(PORTION, len(draft.known.view.passed))  # for each of them the rest is sorted
    for pool in pools:
        unread: list[str] = []
        for cidr in _foreign(draft, pool):
            key = keys.block(cidr)
            if unread or not (cidr in draft.blocks or key in facts or key in mirrored):
                unread.append(key)
                if len(unread) == portion:
                    break
                continue
            block = draft.peek(cidr)
            if block is not None and serves(block):
                draft.block(cidr)  # expect it to stay so
                return block
        if unread:
            raise Unknown(unread)
    return None


def _foreign(draft: Draft, pool: Pool) -> list[Network]:
    """The pool's claimed blocks that are not this node's, in an order of this node's own."""
    prefix, view = keys.blocks(pool.cidr.version), draft.known.view
    if prefix not in view.claimed:
        raise Unknown([prefix])
    own = set(draft.known.affine[pool.cidr.version])
    found = []
    for key in view.claimed[prefix]:
        if key in view.passed:
            continue
        cidr = _cidr_of(key)
        if cidr is not None and pool.contains(cidr) and cidr not in own:
            found.append(cidr)
    return sorted(found, key=lambda c: zlib.crc32(f"{draft.node} {c}".encode()))


def _cidr_of(key: str) -> Network | None:
    try:
        return keys.cidr_of(key)
    except Invalid:
        return None
