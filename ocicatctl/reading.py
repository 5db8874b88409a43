"""Read of a large store no more than is asked for, and no more at once than gRPC takes.

Story. The blocks of some thousand nodes are 100 MB.
"""

import contextlib
from collections.abc import Iterable

from datamodel.block import Address
from datamodel.errors import Invalid
from datastore import keys
from datastore.store import Snapshot, Store


async def read_in_portions(store: Store, *ranges: str) -> Snapshot:
    """Return what the ranges hold, at one revision; what is made meanwhile may be missing."""
    listed = await store.read(*ranges, keys_only=True)
    # The store asks for so many keys in several requests.
    return await store.read(*sorted(listed.entries)) if listed.entries else listed


async def block_keys(store: Store, version: int) -> list[str]:
    """The keys of all blocks of one family, in order."""
    return sorted((await store.read(keys.blocks(version), keys_only=True)).entries)


def keys_with(address: Address, block_keys: Iterable[str]) -> list[str]:
    """Those of the blocks that have the address: one, if pools do not overlap."""
    found = []
    for key in block_keys:
        with contextlib.suppress(Invalid):
            if address in keys.cidr_of(key):
                found.append(key)
    return found
