"""Which address each of the node's tunnel devices has: kept, given, replaced or taken back.

Pure: no I/O. Decided as Calico decides it, but block, handle and Node change together: a node that
is killed in between has both or neither. ``tunnel_keeper.py`` says when.
"""

from dataclasses import dataclass

from datamodel.block import Address, Attribute, Block
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datamodel.pool_choice import TUNNEL, closed
from datamodel.selector import parse
from datamodel.tunnel import Tunnel
from datastore import codec, keys
from ipamd.allocate import holding_blocks
from ipamd.block_choice import choose_block
from ipamd.delegated import without_idle_gateway
from ipamd.draft import Draft
from ipamd.request import Done, KeepTunnel


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the tunnel has once the draft is written; *address* ``None``: nothing."""

    address: Address | None
    block: Network | None


def keep_tunnel(draft: Draft, request: KeepTunnel) -> Done:
    """Add to *draft* what gives the node exactly the address that its tunnel needs, if any.

    An address that the node holds in a pool that serves is kept, first of all the one that its
    Node resource names. One in another pool stays only as long as no pool that serves has room.

    Raises:
        Exhausted: no pool that uses the tunnel has room.
        Invalid: the node is not registered, or a value that is needed cannot be read.
        Unknown, Unavailable: as ``choose_block``.
    """
    tunnel, handle_id = request.tunnel, request.tunnel.handle_id(draft.node)
    key = keys.node(draft.known.node.name)  # raises if it is not registered
    value = draft.value(key)
    assert value is not None
    node = codec.decode_node(key, value)
    stated = tunnel.address_of(node)
    pools = [pool for pool in draft.known.pools if _serves(pool, tunnel, node)]
    held = holding_blocks(draft, handle_id)
    kept = _kept(held, handle_id, pools, stated)
    for block in held:
        _release_others(draft, block, handle_id, kept.address)
    if pools and kept.address is None:
        kept = _assign(draft, tunnel, pools, stated)
    _write_handle(draft, handle_id, kept)
    if stated != kept.address:
        if kept.block:
            draft.block(kept.block)  # expect that the address stays held
        draft.write(key, codec.with_tunnel_address(key, value, tunnel, kept.address))
    return Done()


def _serves(pool: Pool, tunnel: Tunnel, node: Node) -> bool:
    """Whether the node's address of the tunnel may be of the pool, however pods get theirs."""
    if closed(pool) or TUNNEL not in pool.allowed_uses or not tunnel.is_used_by(pool):
        return False
    try:
        return parse(pool.node_selector).matches(node.labels)
    except Invalid:
        return False


def _kept(held: list[Block], handle_id: str, pools: list[Pool], stated: Address | None) -> _Kept:
    """Which of the addresses that the node holds already stays."""
    good = {
        address: block.cidr
        for block in held
        for address in block.sequences_of(handle_id)
        if any(pool.contains(block.cidr) for pool in pools)
    }
    address = stated if stated in good else min(good, default=None)
    return _Kept(address, good[address] if address else None)


def _release_others(draft: Draft, block: Block, handle_id: str, kept: Address | None) -> None:
    gone = [o for o in block.held_by(handle_id) if block.address(o) != kept]
    if gone:
        now, cooldown_s = draft.known.view.now, draft.known.cooldown_s
        changed = block.release_ordinals(gone, now=now, cooldown_s=cooldown_s)
        draft.change(without_idle_gateway(draft, changed))


def _assign(draft: Draft, tunnel: Tunnel, pools: list[Pool], stated: Address | None) -> _Kept:
    """Give the tunnel the address that the Node names, if it is free in a block of ours, or any."""
    facts = {"node": draft.node, "type": tunnel.attribute_type}
    attribute = Attribute(tunnel.handle_id(draft.node), facts)
    block = _own_block(draft, pools, stated)
    if stated and block and _is_free(draft, block, stated):
        draft.confirm(block.cidr)
        draft.change(block.assign_address(stated, attribute))
        return _Kept(stated, block.cidr)
    names = tuple(pool.name for pool in pools)
    block = choose_block(draft, tunnel.version, names, use=TUNNEL)
    changed, address = block.assign(attribute, draft.known.reserved(block.cidr))
    draft.change(changed)
    return _Kept(address, block.cidr)


def _own_block(draft: Draft, pools: list[Pool], address: Address | None) -> Block | None:
    """The block of this node that has *address*, if it is of one of *pools*."""
    for block in draft.own_blocks(address.version) if address else ():
        if address in block.cidr and any(pool.contains(block.cidr) for pool in pools):
            return block
    return None


def _is_free(draft: Draft, block: Block, address: Address) -> bool:
    ordinal = block.ordinal(address)
    return ordinal in block.unallocated and ordinal not in draft.known.reserved(block.cidr)


def _write_handle(draft: Draft, handle_id: str, kept: _Kept) -> None:
    key = keys.handle(handle_id)
    value = draft.value(key, assume_absent=True)
    counts = {kept.block: 1} if kept.block else {}
    if not counts and value is not None:
        draft.remove(key)
    elif counts and (value is None or codec.decode_handle(key, value) != counts):
        draft.write(key, codec.encode_handle(counts, value))
