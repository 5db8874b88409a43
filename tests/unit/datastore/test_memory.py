"""The faults that a MemoryStore can be asked for; the rest is in tests/contract."""

import asyncio
from contextlib import aclosing

import pytest

from datamodel.errors import Unavailable
from datastore.memory import MemoryStore
from datastore.store import Change, Committed, Doubt


@pytest.mark.parametrize("applied", [True, False])
async def test_a_commit_that_fails_may_have_taken_place(applied):
    store = MemoryStore()
    store.fail_next(1, applied=applied)

    with pytest.raises(Unavailable):
        await store.commit(Change(put={"/a": b"1"}))

    assert ("/a" in (await store.read("/a")).entries) is applied
    assert isinstance(await store.commit(Change(put={"/a": b"1"})), Committed)


async def test_only_as_many_commits_fail_as_were_asked_for():
    store = MemoryStore()
    store.fail_next(2, applied=False)

    for _ in range(2):
        with pytest.raises(Unavailable):
            await store.commit(Change(put={"/a": b"1"}))
    await store.commit(Change(put={"/a": b"1"}))


async def test_a_failed_watch_delivers_what_it_knows_and_then_is_in_doubt():
    store = MemoryStore()
    await store.commit(Change(put={"/a": b"1"}))

    async with aclosing(store.watch(frozenset({"/a"}), 1)) as events:
        assert (await anext(events)).revision == 2
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        store.fail_watches()
        with pytest.raises(Doubt):
            await waiting


async def test_a_new_watch_works_after_the_old_ones_have_failed():
    store = MemoryStore()
    store.fail_watches()
    await store.commit(Change(put={"/a": b"1"}))

    async with aclosing(store.watch(frozenset({"/a"}), 1)) as events:
        assert (await anext(events)).revision == 2


async def test_a_restored_store_is_as_it_was_and_in_a_new_epoch():
    store = MemoryStore()
    await store.commit(Change(put={"/a": b"1", "/b": b"1"}))
    await store.commit(Change(put={"/a": b"2"}, delete=frozenset({"/b"})))

    store.restore(2)

    snapshot = await store.read("/a", "/b")
    assert {key: entry.value for key, entry in snapshot.entries.items()} == {
        "/a": b"1",
        "/b": b"1",
    }
    assert (snapshot.revision, store.epoch) == (2, 1)
