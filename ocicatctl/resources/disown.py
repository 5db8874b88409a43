"""Decide how a block stops belonging to any node: with its affinity, in one transaction.

Pure: no I/O. A block in which nobody holds an address goes; one in use stays, belongs to nobody
and goes with its last address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from datamodel.block import WINDOWS_HANDLE, Block
from datamodel.pool import Network
from datastore import keys
from datastore.codec import decode_block, encode_block
from datastore.store import Change, Decision
from ocicatctl.resources.known import Known


def decide_disown(cidr: Network, affinities: Iterable[str], known: Known) -> Decision[None]:
    """Take the block away from the nodes that own it; one that no node owns stays as it is.

    Args:
        cidr: the block.
        affinities: the keys that are known to say that a node owns it, rightly or not.
        known: what has been read.

    Raises:
        Invalid: the block cannot be read.
    """
    key = keys.block(cidr)
    wanted = {key, *affinities}
    if missing := {k for k in wanted if k not in known}:
        return Decision(None, needs=frozenset(missing))
    entry = known[key]
    block = decode_block(key, entry.value) if entry else None
    if block and block.host:
        owner = keys.affinity(block.host, cidr)
        if owner not in known:
            return Decision(None, needs=frozenset({owner}))
        wanted.add(owner)
    seen = {k: found.revision if (found := known[k]) else 0 for k in wanted}
    delete = {k for k, revision in seen.items() if revision and k != key}
    put: Mapping[str, bytes] = {}
    if block and _is_nodes(block):
        if _is_unused(block):
            delete.add(key)
        elif block.host:
            put = {key: encode_block(_nobodys(block))}
    if not (put or delete):
        return Decision(None)
    return Decision(None, Change(expect=seen, put=put, delete=frozenset(delete)))


def _is_nodes(block: Block) -> bool:
    """Whether a node owns the block, or nobody; else it is a load balancer's."""
    return block.affinity is None or block.host is not None


def _is_unused(block: Block) -> bool:
    # Nobody waits for an address that cools down to be released: it would keep the block for ever.
    return all(a.handle_id == WINDOWS_HANDLE or a.released_at for a in block.attributes)


def _nobodys(block: Block) -> Block:
    extra = {name: value for name, value in block.extra.items() if name != _CLAIM_TIME}
    return replace(block, affinity=None, extra=extra).next_write()


_CLAIM_TIME = "affinity_claim_time"  # when the node that lost it had claimed it
