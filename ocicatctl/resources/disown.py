"""Decide how a block stops belonging to any node: with its affinity, in one transaction.

Pure: no I/O. A block in which nobody holds an address goes; one in use stays, belongs to nobody
and goes with its last address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from datamodel.block import Block
from datamodel.pool import Network
from datastore import keys
from datastore.codec import decode_block, encode_block
from datastore.known import Known
from datastore.store import Change, Decision


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
        if block.is_unused:
            delete.add(key)
        elif block.host:
            put = {key: encode_block(replace(block, affinity=None).next_write())}
    if not (put or delete):
        return Decision(None)
    return Decision(None, Change(expect=seen, put=put, delete=frozenset(delete)))


def _is_nodes(block: Block) -> bool:
    """Whether a node owns the block, or nobody; else it is a load balancer's."""
    return block.affinity is None or block.host is not None
