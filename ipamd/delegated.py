"""Addresses for interfaces that other plugins make: what is noted of them, and their gateway.

Pure: no I/O. ``ptp`` and ``bridge`` take a block for a network on the link and want a gateway in
it, an address that nobody else has. The node holds one in each block with such addresses, for as
long as anything else in the block is held.
"""

from datamodel.attribute import DELEGATED, GATEWAY, GATEWAY_HANDLE, Attribute
from datamodel.block import WINDOWS_HANDLE, Address, Block
from datamodel.gotime import go_time
from datamodel.pool import Network
from datastore import codec, keys
from ipamd.draft import Draft

NO_GATEWAY = 2  # addresses of a block that is too small for one


def kind(is_delegated: bool) -> dict[str, str]:
    """What the attribute says besides who holds the address."""
    return {"type": DELEGATED} if is_delegated else {}


def edges(cidr: Network) -> frozenset[int]:
    """The ordinals that a plugin takes for those of the network itself, and of a broadcast."""
    return frozenset({0, cidr.num_addresses - 1})


def gateway(draft: Draft, cidr: Network) -> Address | None:
    """The address of the block that is the node's gateway; from now on, if there was none.

    Raises:
        Exhausted: the block has no room for it.
    """
    block = draft.block(cidr)
    if block is None or cidr.num_addresses <= NO_GATEWAY:
        return None
    handle_id = _handle(draft)
    held = block.held_by(handle_id)
    if held:
        return block.address(held[0])
    key = keys.handle(handle_id)
    value = draft.value(key, assume_absent=True)
    counts = codec.decode_handle(key, value) if value is not None else {}
    now = go_time(draft.known.view.now)
    attribute = Attribute(handle_id, {"node": draft.node, "timestamp": now, "type": GATEWAY})
    reserved = draft.known.reserved(cidr)
    is_room_inside = block.free(reserved | edges(cidr)) is not None
    changed, address = block.assign(
        attribute, reserved | edges(cidr) if is_room_inside else reserved
    )
    draft.change(changed)
    draft.write(key, codec.encode_handle({**counts, cidr: 1}, value))
    return address


def without_idle_gateway(draft: Draft, block: Block) -> Block:
    """*block* without its gateway if that is all that is held in it."""
    handle_id = _handle(draft)
    holders = {a.handle_id for a in block.attributes if a.released_at is None}
    if holders - {WINDOWS_HANDLE} != {handle_id}:
        return block
    key = keys.handle(handle_id)
    value = draft.value(key)
    counts = dict(codec.decode_handle(key, value)) if value is not None else {}
    counts.pop(block.cidr, None)
    if counts:
        draft.write(key, codec.encode_handle(counts, value))
    elif value is not None:
        draft.remove(key)
    return block.release(handle_id, now=draft.known.view.now)[0]


def _handle(draft: Draft) -> str:
    return f"{GATEWAY_HANDLE}{draft.node}"
