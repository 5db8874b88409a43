"""When the tunnels' addresses are decided: at once after a change, and never over pods."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from datamodel.block import Block
from datamodel.tunnel import IPIP
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change
from ipamd.known import decode_block
from ipamd.tunnel_keeper import RETRY_PAUSE_S, TunnelKeeper
from tests.consistency import assert_consistent
from tests.ipam import (
    NODE,
    STAMP,
    Serving,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    content,
    filled,
    serving,
)
from tests.virtual_time import in_virtual_time

POOL = a_pool("a", "10.0.0.0/28", block_size=28)
IN_IPIP = replace(POOL, ipip_mode="Always")
KEY = keys.node(NODE)
SOON_S = 0.5


class CountingStore(MemoryStore):
    """Counts the commits; before one of them somebody else may write."""

    def __init__(self):
        super().__init__()
        self.commits = 0
        self.before: list[Change] = []

    async def commit(self, change):
        self.commits += 1
        if self.before:
            await super().commit(self.before.pop(0))
        return await super().commit(change)


@asynccontextmanager
async def keeping(store: MemoryStore, *, is_open: bool = True) -> AsyncIterator[Serving]:
    """A node that keeps its tunnels; afterwards it is as if killed."""
    async with serving(store, is_open=is_open) as node:

        def blocks() -> list[Block]:
            entries = node.mirror.entries.items()
            return [decode_block(k, e.value) for k, e in entries if k.startswith(keys.ALL_BLOCKS)]

        keeper = TunnelKeeper(node.mirror, node.allocator, NODE, blocks)
        task = asyncio.create_task(keeper.run())
        try:
            yield node
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def address_in(store: MemoryStore) -> object:
    """The address of tunl0 that the Node names."""
    values = await content(store)
    assert_consistent(values)
    return codec.decode_node(KEY, values[KEY]).ipip_address


async def put_pool(store: MemoryStore, pool) -> None:
    await store.commit(Change(put={keys.pool(pool.name): codec.encode_pool(pool, STAMP)}))
    await asyncio.sleep(SOON_S)


@in_virtual_time
async def test_a_pools_mode_is_obeyed_at_once():
    store = await filled(MemoryStore(), a_store(POOL))
    async with keeping(store):
        await asyncio.sleep(SOON_S)
        assert await address_in(store) is None

        await put_pool(store, IN_IPIP)
        assert await address_in(store) in POOL.cidr

        await put_pool(store, POOL)
        assert await address_in(store) is None
        assert not any(key.startswith(keys.ALL_HANDLES) for key in await content(store))


@in_virtual_time
async def test_what_somebody_takes_out_of_the_node_is_back_at_once():
    store = await filled(MemoryStore(), a_store(IN_IPIP))
    async with keeping(store):
        await asyncio.sleep(SOON_S)
        address = await address_in(store)

        await store.commit(Change(put={KEY: a_store().values[KEY]}))
        await asyncio.sleep(SOON_S)

        assert address is not None
        assert await address_in(store) == address


@in_virtual_time
async def test_a_node_that_is_edited_at_the_same_moment_keeps_the_edit():
    store = await filled(CountingStore(), a_store(IN_IPIP))
    document = json.loads((await content(store))[KEY])
    document["metadata"]["labels"] = {"rack": "r1"}
    store.before = [Change(put={KEY: json.dumps(document).encode()})]
    async with keeping(store):
        await asyncio.sleep(SOON_S)

        assert await address_in(store) in POOL.cidr
    node = codec.decode_node(KEY, (await content(store))[KEY])
    assert node.labels == {"rack": "r1"}


@in_virtual_time
async def test_pods_come_and_go_without_a_decision_about_tunnels():
    store = await filled(CountingStore(), a_store(IN_IPIP))
    async with keeping(store) as node:
        await node.submit(an_allocate("c0", "p0"))
        await asyncio.sleep(SOON_S)
        before = store.commits

        for _ in range(5):
            await node.submit(an_allocate("c1", "p1"))
            await asyncio.sleep(SOON_S)
            await node.submit(a_release("c1", "p1"))
            await asyncio.sleep(SOON_S)

    assert store.commits - before == 10


@in_virtual_time
async def test_no_address_is_given_before_the_kernel_was_compared():
    store = await filled(MemoryStore(), a_store(IN_IPIP))
    async with keeping(store, is_open=False) as node:
        await asyncio.sleep(SOON_S)
        assert await address_in(store) is None

        node.allocator.open(0)
        await asyncio.sleep(SOON_S)
        assert await address_in(store) in POOL.cidr


@in_virtual_time
async def test_where_there_was_no_room_it_is_tried_again():
    theirs = a_foreign_block(POOL.cidr, taken=16)
    store = await filled(MemoryStore(), a_store(IN_IPIP, nodes=(NODE, "node-2"), **theirs))
    async with keeping(store):
        await asyncio.sleep(SOON_S)
        assert await address_in_inconsistent(store) is None

        await store.commit(Change(delete=frozenset(theirs)))
        await asyncio.sleep(RETRY_PAUSE_S + SOON_S)

        assert await address_in(store) in POOL.cidr


async def address_in_inconsistent(store: MemoryStore) -> object:
    """As ``address_in``; the other node's pods have no handles here."""
    return codec.decode_node(KEY, (await content(store))[KEY]).ipip_address


@pytest.mark.parametrize("applied", [False, True])
def test_a_commit_without_an_answer_is_made_up_for(applied):
    @in_virtual_time
    async def story():
        store = await filled(MemoryStore(), a_store(IN_IPIP))
        store.fail_next(2, applied=applied)
        async with keeping(store):
            await asyncio.sleep(2 * RETRY_PAUSE_S + SOON_S)

            assert await address_in(store) in POOL.cidr
        [handle] = [key for key in await content(store) if key.startswith(keys.ALL_HANDLES)]
        assert handle == keys.handle(IPIP.handle_id(NODE))

    story()
