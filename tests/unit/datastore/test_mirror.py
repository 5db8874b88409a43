"""List, watch, and list again on any doubt; over the store in memory."""

import asyncio
from contextlib import asynccontextmanager

from datamodel.errors import Unavailable
from datastore.memory import MemoryStore
from datastore.mirror import RETRY_PAUSE_S, Mirror, within
from datastore.store import Change, Committed, Doubt, Entry
from tests.virtual_time import in_virtual_time


def everything(entries):
    return frozenset({"/a/"})


def affine(entries):
    """As ipamd: the affinities of a node, and the block of each."""
    return frozenset({"/host/"}) | {
        "/block/" + key.removeprefix("/host/") for key in entries if key.startswith("/host/")
    }


class LateStore(MemoryStore):
    """Events come a second after the write."""

    async def watch(self, ranges, after):
        async for events in super().watch(ranges, after):
            await asyncio.sleep(1)
            yield events


class MuteStore(MemoryStore):
    """Watches end before they have told of anything."""

    def __init__(self):
        super().__init__()
        self.end = asyncio.Event()

    async def watch(self, ranges, after):
        await self.end.wait()
        self.end.clear()
        raise Doubt("store: watch ended")
        yield


class SlowlyReadStore(MemoryStore):
    """The answer to a read takes a second."""

    async def read(self, *ranges, keys_only=False):
        snapshot = await super().read(*ranges, keys_only=keys_only)
        await asyncio.sleep(1)
        return snapshot


class UnreliableStore(MemoryStore):
    """Some reads go unanswered."""

    def __init__(self):
        super().__init__()
        self.unanswered = 0

    async def read(self, *ranges, keys_only=False):
        if self.unanswered:
            self.unanswered -= 1
            raise Unavailable("store: does not answer")
        return await super().read(*ranges, keys_only=keys_only)


async def put(store, **values) -> int:
    """Put ``a_b="x"`` at "/a/b"; return the revision."""
    changes = {"/" + key.replace("_", "/"): value.encode() for key, value in values.items()}
    answer = await store.commit(Change(put=changes))
    assert isinstance(answer, Committed)
    return answer.revision


async def delete(store, *keys) -> int:
    answer = await store.commit(Change(delete=frozenset(keys)))
    assert isinstance(answer, Committed)
    return answer.revision


def values(mirror) -> dict[str, bytes]:
    return {key: entry.value for key, entry in mirror.entries.items()}


@asynccontextmanager
async def following(store, ranges_of=everything):
    mirror = Mirror(store, ranges_of)
    task = asyncio.create_task(mirror.run())
    try:
        while not mirror.is_ready:
            await mirror.ready_changed()
        yield mirror
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# ---- list and watch ----------------------------------------------------------------------------


@in_virtual_time
async def test_before_it_has_listed_a_mirror_is_empty_and_not_ready():
    store = MemoryStore()
    await put(store, a_x="1")

    mirror = Mirror(store, everything)

    assert not mirror.is_ready
    assert mirror.entries == {}


@in_virtual_time
async def test_what_is_there_is_listed():
    store = MemoryStore()
    revision = await put(store, a_x="1", b_y="2")

    async with following(store) as mirror:
        assert mirror.entries == {"/a/x": Entry("/a/x", b"1", revision)}
        assert mirror.revision == revision


@in_virtual_time
async def test_what_changes_is_followed():
    store = MemoryStore()
    await put(store, a_x="1", a_y="1")

    async with following(store) as mirror:
        await put(store, a_x="2", a_z="3", b="4")
        revision = await delete(store, "/a/y")
        await asyncio.sleep(1)

        assert values(mirror) == {"/a/x": b"2", "/a/z": b"3"}
        assert mirror.revision == revision


@in_virtual_time
async def test_one_who_waits_is_told_of_a_change():
    store = MemoryStore()
    async with following(store) as mirror:
        await mirror.changed()  # the list itself

        waiting = asyncio.create_task(mirror.changed())
        await asyncio.sleep(1)
        assert not waiting.done()
        await put(store, a_x="1")
        await waiting

        assert values(mirror) == {"/a/x": b"1"}


@in_virtual_time
async def test_changes_that_came_while_nobody_waited_are_told_once():
    store = MemoryStore()
    async with following(store) as mirror:
        await put(store, a_x="1")
        await put(store, a_x="2")
        await asyncio.sleep(1)

        await mirror.changed()

        waiting = asyncio.create_task(mirror.changed())
        await asyncio.sleep(1)
        assert not waiting.done()
        waiting.cancel()


# ---- doubt -------------------------------------------------------------------------------------


@in_virtual_time
async def test_after_a_watch_broke_off_everything_is_listed_again():
    store = LateStore()
    await put(store, a_gone="1", a_kept="1")

    async with following(store) as mirror:
        store.fail_watches()
        await delete(store, "/a/gone")
        await put(store, a_new="2")
        await asyncio.sleep(10)

        assert mirror.is_ready
        assert values(mirror) == {"/a/kept": b"1", "/a/new": b"2"}


@in_virtual_time
async def test_a_mirror_in_doubt_says_so_until_it_has_listed():
    store = UnreliableStore()
    await put(store, a_x="1")

    async with following(store) as mirror:
        store.unanswered = 3
        store.fail_watches()
        await mirror.ready_changed()
        assert not mirror.is_ready
        assert values(mirror) == {"/a/x": b"1"}  # stale, but better than nothing

        await mirror.ready_changed()
        assert mirror.is_ready


@in_virtual_time
async def test_a_store_that_does_not_answer_at_first_is_waited_for():
    store = UnreliableStore()
    store.unanswered = 20
    await put(store, a_x="1")

    async with following(store) as mirror:
        assert values(mirror) == {"/a/x": b"1"}


@in_virtual_time
async def test_after_doubt_changes_are_followed_as_before():
    store = MemoryStore()
    async with following(store) as mirror:
        for i in range(3):
            store.fail_watches()
            await asyncio.sleep(2)
            await put(store, a_x=str(i))
            await asyncio.sleep(1)

            assert values(mirror) == {"/a/x": str(i).encode()}


# ---- ranges that follow from what is there -----------------------------------------------------


@in_virtual_time
async def test_the_first_list_holds_what_its_own_content_names():
    store = MemoryStore()
    await put(store, host_b1="", block_b1="mine", block_b2="not mine")

    async with following(store, affine) as mirror:
        assert set(mirror.entries) == {"/host/b1", "/block/b1"}


@in_virtual_time
async def test_a_new_affinity_makes_the_mirror_follow_its_block():
    store = MemoryStore()
    async with following(store, affine) as mirror:
        await put(store, host_b1="", block_b1="first")
        await asyncio.sleep(1)
        assert values(mirror)["/block/b1"] == b"first"

        await put(store, block_b1="second")
        await asyncio.sleep(1)
        assert values(mirror)["/block/b1"] == b"second"


@in_virtual_time
async def test_a_block_whose_affinity_is_gone_is_let_go():
    store = MemoryStore()
    await put(store, host_b1="", block_b1="mine", host_b2="", block_b2="mine")

    async with following(store, affine) as mirror:
        await delete(store, "/host/b1")
        await asyncio.sleep(1)

        assert set(mirror.entries) == {"/host/b2", "/block/b2"}


@in_virtual_time
async def test_a_mirror_stays_ready_while_its_ranges_grow():
    store = MemoryStore()
    async with following(store, affine) as mirror:
        flips = asyncio.create_task(mirror.ready_changed())

        for i in range(5):
            await put(store, **{f"host_b{i}": "", f"block_b{i}": "mine"})
            await asyncio.sleep(1)

        assert not flips.done()
        assert len(mirror.entries) == 10
        flips.cancel()


# ---- what its user has learnt ------------------------------------------------------------------


@in_virtual_time
async def test_what_is_learnt_is_there_at_once():
    store = LateStore()
    async with following(store) as mirror:
        revision = await put(store, a_x="1")

        mirror.learn(revision, {"/a/x": Entry("/a/x", b"1", revision)})

        assert values(mirror) == {"/a/x": b"1"}


@in_virtual_time
async def test_what_is_learnt_is_not_overtaken_by_older_events():
    store = LateStore()
    async with following(store) as mirror:
        await put(store, a_x="old")
        revision = await put(store, a_x="new")
        mirror.learn(revision, {"/a/x": Entry("/a/x", b"new", revision)})

        seen = set()
        for _ in range(50):
            await asyncio.sleep(0.1)
            seen.add(mirror.entries["/a/x"].value)

        assert seen == {b"new"}


@in_virtual_time
async def test_a_learnt_deletion_is_not_undone_by_older_events():
    store = LateStore()
    async with following(store) as mirror:
        await put(store, a_x="old")
        revision = await delete(store, "/a/x")
        mirror.learn(revision, {"/a/x": None})

        for _ in range(50):
            await asyncio.sleep(0.1)
            assert mirror.entries == {}


@in_virtual_time
async def test_newer_events_count_more_than_what_was_learnt():
    store = LateStore()
    async with following(store) as mirror:
        revision = await put(store, a_x="mine")
        mirror.learn(revision, {"/a/x": Entry("/a/x", b"mine", revision)})

        await put(store, a_x="theirs")
        await asyncio.sleep(5)

        assert values(mirror) == {"/a/x": b"theirs"}


@in_virtual_time
async def test_what_is_learnt_late_does_not_replace_what_is_newer():
    store = MemoryStore()
    async with following(store) as mirror:
        old = await put(store, a_x="old")
        await put(store, a_x="new")
        await asyncio.sleep(1)

        mirror.learn(old, {"/a/x": Entry("/a/x", b"old", old)})

        assert values(mirror) == {"/a/x": b"new"}


@in_virtual_time
async def test_keys_outside_the_ranges_are_not_learnt():
    store = MemoryStore()
    async with following(store) as mirror:
        mirror.learn(1, {"/b/x": Entry("/b/x", b"1", 1)})

        assert mirror.entries == {}


@in_virtual_time
async def test_what_the_watch_has_not_told_yet_can_be_asked_for():
    store = LateStore()
    await put(store, a_x="1", a_y="1", a_b_y="1", a_b_z="1")
    async with following(store) as mirror:
        await put(store, a_x="2", a_b_z="2")
        await delete(store, "/a/y", "/a/b/y")

        assert await mirror.refresh("/a/b/")
        assert values(mirror) == {"/a/x": b"1", "/a/y": b"1", "/a/b/z": b"2"}
        assert not await mirror.refresh("/a/b/")

        await asyncio.sleep(10)
        assert values(mirror) == {"/a/x": b"2", "/a/b/z": b"2"}


@in_virtual_time
async def test_a_block_is_learnt_together_with_its_affinity():
    store = LateStore()
    async with following(store, affine) as mirror:
        revision = await put(store, host_b1="", block_b1="mine")

        written = {k: Entry(k, b"x", revision) for k in ("/block/b1", "/host/b1")}
        mirror.learn(revision, written)
        assert set(mirror.entries) == {"/host/b1", "/block/b1"}

        await asyncio.sleep(10)  # the watch tells of the affinity; the mirror lists the block
        assert set(mirror.entries) == {"/host/b1", "/block/b1"}


# ---- a store that is not the same any more -----------------------------------------------------


@in_virtual_time
async def test_a_revision_that_went_back_makes_the_mirror_forget_everything():
    store = MemoryStore()
    backup = await put(store, a_x="old")
    async with following(store) as mirror:
        for i in range(5):
            await put(store, a_x=f"new {i}", a_y="later")
        await asyncio.sleep(1)

        store.restore(backup)
        await asyncio.sleep(5)

        assert mirror.entries == {"/a/x": Entry("/a/x", b"old", backup)}
        assert mirror.revision == backup


@in_virtual_time
async def test_after_a_restore_the_store_is_followed_again():
    store = MemoryStore()
    backup = await put(store, a_x="old")
    async with following(store) as mirror:
        await put(store, a_x="lost")
        await asyncio.sleep(1)
        store.restore(backup)
        await asyncio.sleep(5)

        await put(store, a_x="after", a_y="1")
        await asyncio.sleep(1)

        assert values(mirror) == {"/a/x": b"after", "/a/y": b"1"}


@in_virtual_time
async def test_what_was_learnt_of_a_lost_revision_is_forgotten_too():
    """The watch had not told of any of it when the store was restored."""
    store = MuteStore()
    await put(store, a_x="first")
    async with following(store) as mirror:
        backup = await put(store, a_x="kept")
        lost = await put(store, a_x="lost")
        mirror.learn(lost, {"/a/x": Entry("/a/x", b"lost", lost)})
        store.restore(backup)
        store.end.set()
        await asyncio.sleep(10)

        assert mirror.entries == {"/a/x": Entry("/a/x", b"kept", backup)}


@in_virtual_time
async def test_what_is_learnt_while_the_list_is_read_is_not_taken_for_a_restore():
    store = SlowlyReadStore()
    await put(store, a_x="old")
    async with following(store) as mirror:
        store.fail_watches()
        await asyncio.sleep(RETRY_PAUSE_S + 0.1)  # the answer to the next list is under way
        revision = await put(store, a_x="new")
        mirror.learn(revision, {"/a/x": Entry("/a/x", b"new", revision)})

        seen = set()
        for _ in range(50):
            await asyncio.sleep(0.1)
            seen.add(mirror.entries["/a/x"].value)

        assert seen == {b"new"}


# ---- ranges ------------------------------------------------------------------------------------


def test_a_prefix_holds_what_is_below_it_and_a_key_only_itself():
    assert within("/a/b", {"/a/"})
    assert within("/a/b", {"/a/b"})
    assert not within("/a/b/c", {"/a/b"})
    assert not within("/ab", {"/a/"})
    assert not within("/a", {"/a/"})


@in_virtual_time
async def test_what_was_read_before_the_last_list_and_told_after_it_changes_nothing():
    store = MemoryStore()
    await put(store, a_x="1")
    old = await store.read("/a/x")
    await put(store, a_x="2")
    await put(store, a_y="2")

    async with following(store) as mirror:
        mirror.learn(old.revision, {**old.entries, "/a/y": None})

        assert values(mirror) == {"/a/x": b"2", "/a/y": b"2"}
