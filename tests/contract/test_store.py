"""What every Store does: the same tests on a dictionary and on a real etcd."""

import asyncio
from contextlib import aclosing

import pytest

from datamodel.errors import Invalid
from datastore.etcd import VALUES_PER_PAGE
from datastore.memory import MemoryStore
from datastore.store import (
    MAX_OPERATIONS,
    Change,
    Committed,
    Doubt,
    Entry,
    Events,
    Rejected,
    Store,
)


@pytest.fixture(params=["memory", "etcd"])
def store(request) -> Store:
    if request.param == "memory":
        return MemoryStore()
    return request.getfixturevalue("empty_etcd_store")


async def put(store: Store, **values: str) -> int:
    """Put ``a_b="x"`` at "/a/b"; return the revision."""
    changes = {"/" + key.replace("_", "/"): value.encode() for key, value in values.items()}
    answer = await store.commit(Change(put=changes))
    assert isinstance(answer, Committed)
    return answer.revision


async def collect(store: Store, ranges: set[str], after: int, n: int) -> list[Events]:
    """The first *n* events; fails rather than waits for ever."""
    found: list[Events] = []
    async with asyncio.timeout(5), aclosing(store.watch(frozenset(ranges), after)) as events:
        while len(found) < n:
            found.append(await anext(events))
    return found


# ---- read --------------------------------------------------------------------------------------


async def test_a_key_that_was_never_written_is_absent(store):
    snapshot = await store.read("/a/b")

    assert snapshot.entries == {}
    assert snapshot.revision >= 1


async def test_a_key_is_read_with_the_revision_of_its_last_write(store):
    await put(store, a_b="old")
    revision = await put(store, a_b="new")
    later = await put(store, c="x")

    snapshot = await store.read("/a/b")

    assert snapshot.entries == {"/a/b": Entry("/a/b", b"new", revision)}
    assert snapshot.revision == later


async def test_a_range_without_slash_is_one_key_and_with_slash_every_key_below(store):
    await put(store, a_b="1", a_bc="2", a_b_c="3", a_b_d="4", a0="5")

    assert set((await store.read("/a/b")).entries) == {"/a/b"}
    assert set((await store.read("/a/b/")).entries) == {"/a/b/c", "/a/b/d"}
    assert set((await store.read("/a/")).entries) == {"/a/b", "/a/bc", "/a/b/c", "/a/b/d"}


async def test_ranges_that_hold_more_than_one_answer_does_are_read_whole(store):
    n = 2 * VALUES_PER_PAGE + 1
    wanted = {f"/{folder}/{i:05}": b"x" for folder in "ab" for i in range(n)}
    names = list(wanted)
    for i in range(0, len(names), MAX_OPERATIONS):
        await store.commit(Change(put=dict.fromkeys(names[i : i + MAX_OPERATIONS], b"x")))

    snapshot = await store.read("/a/", "/b/", "/c/")
    only_keys = await store.read("/a/", "/b/", keys_only=True)

    assert {key: entry.value for key, entry in snapshot.entries.items()} == wanted
    assert only_keys.entries.keys() == wanted.keys()


async def test_several_ranges_are_read_together_and_may_overlap(store):
    revision = await put(store, a_b="1", c="2", d="3")

    snapshot = await store.read("/a/", "/c", "/a/b", "/none/")

    assert set(snapshot.entries) == {"/a/b", "/c"}
    assert snapshot.revision == revision


async def test_more_ranges_than_a_transaction_takes_are_still_read_at_one_revision(store):
    keys = [f"/many/{i}" for i in range(MAX_OPERATIONS + 2)]
    for some in (keys[:MAX_OPERATIONS], keys[MAX_OPERATIONS:]):
        await store.commit(Change(put=dict.fromkeys(some, b"x")))

    reading = asyncio.create_task(store.read(*keys))
    for _ in range(20):
        await store.commit(Change(put={keys[0]: b"y", keys[-1]: b"y"}))
    snapshot = await reading

    assert len(snapshot.entries) == len(keys)
    assert snapshot.entries[keys[0]].revision <= snapshot.revision
    assert snapshot.entries[keys[0]].value == snapshot.entries[keys[-1]].value


async def test_keys_only_leaves_the_values_out(store):
    revision = await put(store, a_b="1", a_c="2")

    snapshot = await store.read("/a/", keys_only=True)

    assert snapshot.entries == {key: Entry(key, b"", revision) for key in ("/a/b", "/a/c")}


async def test_reading_nothing_tells_the_revision(store):
    revision = await put(store, a="1")

    assert (await store.read()).revision == revision


# ---- commit ------------------------------------------------------------------------------------


async def test_a_key_expected_to_be_absent_is_made_once(store):
    make = Change(expect={"/a": 0}, put={"/a": b"mine"})

    first, second = await store.commit(make), await store.commit(make)

    assert isinstance(first, Committed)
    assert second == Rejected(first.revision, {"/a": Entry("/a", b"mine", first.revision)})


async def test_a_key_expected_at_its_revision_is_replaced(store):
    revision = await put(store, a="1")

    answer = await store.commit(Change(expect={"/a": revision}, put={"/a": b"2"}))

    assert answer == Committed(revision + 1)
    assert (await store.read("/a")).entries == {"/a": Entry("/a", b"2", revision + 1)}


async def test_one_wrong_expectation_leaves_everything_as_it_was(store):
    revision = await put(store, a="1", b="1")
    change = Change(
        expect={"/a": revision, "/b": revision + 7, "/c": 0},
        put={"/a": b"2", "/c": b"2"},
        delete=frozenset({"/b"}),
    )

    answer = await store.commit(change)

    a, b = Entry("/a", b"1", revision), Entry("/b", b"1", revision)
    assert answer == Rejected(revision, {"/a": a, "/b": b, "/c": None})
    assert (await store.read("/a", "/b", "/c")).entries == {"/a": a, "/b": b}


async def test_below_an_expected_prefix_nothing_was_written_since(store):
    empty = await store.commit(Change(expect={"/a/": 0}, put={"/a/b": b"1"}))
    assert isinstance(empty, Committed)
    unchanged = await store.commit(Change(expect={"/a/": empty.revision}, put={"/c": b"1"}))
    assert isinstance(unchanged, Committed)
    later = await put(store, a_d="1")

    refused = await store.commit(Change(expect={"/a/": later - 1, "/e": 0}, put={"/e": b"1"}))

    b, d = Entry("/a/b", b"1", empty.revision), Entry("/a/d", b"1", later)
    assert refused == Rejected(later, {"/a/b": b, "/a/d": d, "/e": None})
    assert "/e" not in (await store.read("/e")).entries


async def test_a_deletion_below_an_expected_prefix_is_no_write(store):
    revision = await put(store, a_b="1", a_c="1")
    await store.commit(Change(delete=frozenset({"/a/b"})))

    assert isinstance(await store.commit(Change(expect={"/a/": revision})), Committed)


async def test_a_change_that_only_expects_tells_whether_it_is_so(store):
    revision = await put(store, a="1")

    right = await store.commit(Change(expect={"/a": revision, "/b": 0}))
    wrong = await store.commit(Change(expect={"/a": 0}))

    assert right == Committed(revision)
    assert wrong == Rejected(revision, {"/a": Entry("/a", b"1", revision)})


async def test_puts_and_deletes_of_one_change_share_a_revision(store):
    revision = await put(store, a="1", b="1")
    change = Change(
        expect={"/a": revision, "/b": revision, "/c": 0},
        put={"/a": b"2", "/c": b"2"},
        delete=frozenset({"/b"}),
    )

    answer = await store.commit(change)

    assert answer == Committed(revision + 1)
    assert (await store.read("/a", "/b", "/c")).entries == {
        "/a": Entry("/a", b"2", revision + 1),
        "/c": Entry("/c", b"2", revision + 1),
    }


async def test_deleting_what_is_absent_succeeds_and_is_no_revision(store):
    revision = await put(store, a="1")

    answer = await store.commit(Change(expect={"/b": 0}, delete=frozenset({"/b"})))

    assert answer == Committed(revision)


async def test_a_deleted_key_counts_as_absent(store):
    await put(store, a="1")
    await store.commit(Change(delete=frozenset({"/a"})))

    answer = await store.commit(Change(expect={"/a": 0}, put={"/a": b"2"}))

    assert isinstance(answer, Committed)


async def test_keys_and_values_may_be_any_text_and_bytes(store):
    key, value = "/a/fd80:24e2:f998:72d6::-122/\u00e9", bytes(range(256))

    await store.commit(Change(expect={key: 0}, put={key: value}))

    assert (await store.read("/a/")).entries[key].value == value


async def test_a_change_may_be_as_large_as_it_says_and_no_larger(store):
    keys = [f"/many/{i}" for i in range(MAX_OPERATIONS + 1)]

    def change(n: int) -> Change:
        return Change(expect=dict.fromkeys(keys[:n], 0), put=dict.fromkeys(keys[:n], b"x"))

    with pytest.raises(Invalid, match="operations"):
        await store.commit(change(MAX_OPERATIONS + 1))
    assert isinstance(await store.commit(change(MAX_OPERATIONS)), Committed)


async def test_a_key_cannot_be_put_and_deleted_in_one_change(store):
    with pytest.raises(Invalid):
        await store.commit(Change(put={"/a": b"1"}, delete=frozenset({"/a"})))


async def test_of_many_that_make_the_same_key_one_succeeds(store):
    changes = [Change(expect={"/a": 0}, put={"/a": str(i).encode()}) for i in range(10)]

    answers = await asyncio.gather(*(store.commit(change) for change in changes))

    assert sum(isinstance(answer, Committed) for answer in answers) == 1


# ---- watch -------------------------------------------------------------------------------------


async def test_a_watch_tells_what_came_before_it_and_what_comes_after(store):
    start = await put(store, a_x="0")
    first = await put(store, a_x="1")
    watching = asyncio.create_task(collect(store, {"/a/"}, start, 2))
    await store.read("/a/")  # let the watch begin; it may or may not be in time for the next
    second = await put(store, a_x="2")

    assert await watching == [
        Events(first, {"/a/x": Entry("/a/x", b"1", first)}),
        Events(second, {"/a/x": Entry("/a/x", b"2", second)}),
    ]


async def test_a_watch_tells_everything_once_and_in_order(store):
    start = (await store.read()).revision
    watching = asyncio.create_task(collect(store, {"/a/"}, start, 50))
    revisions = [await put(store, a_x=str(i)) for i in range(50)]

    events = await watching

    assert [event.revision for event in events] == revisions
    assert [event.entries["/a/x"].value for event in events] == [b"%d" % i for i in range(50)]


async def test_what_one_revision_changed_in_a_range_comes_together(store):
    start = await put(store, a_x="0", a_y="0")
    change = Change(put={"/a/x": b"1", "/a/z": b"1", "/b": b"1"}, delete=frozenset({"/a/y"}))
    revision = (await store.commit(change)).revision

    (events,) = await collect(store, {"/a/"}, start, 1)

    assert events == Events(
        revision,
        {
            "/a/x": Entry("/a/x", b"1", revision),
            "/a/y": None,
            "/a/z": Entry("/a/z", b"1", revision),
        },
    )


async def test_a_watch_keeps_to_its_ranges(store):
    start = await put(store, a_b="0")
    await put(store, a_bc="1", a_b="1", a_b_c="1", a0="1")
    end = await put(store, a_b_z="end", d="end")

    below = await collect(store, {"/a/b/"}, start, 2)
    exact = await collect(store, {"/a/b"}, start, 1)

    assert [set(events.entries) for events in below] == [{"/a/b/c"}, {"/a/b/z"}]
    assert below[-1].revision == end
    assert [set(events.entries) for events in exact] == [{"/a/b"}]


async def test_every_watched_range_is_told_and_none_twice(store):
    start = await put(store, a_x="0")
    await put(store, a_x="1", b_x="1", c="1", d="1")
    await put(store, a_x="2", c="2")

    # "/a/x" lies in "/a/": it must not be told for both.
    events = await collect(store, {"/a/", "/a/x", "/b/", "/c"}, start, 5)

    told = sorted((event.revision - start, key) for event in events for key in event.entries)
    assert told == [(1, "/a/x"), (1, "/b/x"), (1, "/c"), (2, "/a/x"), (2, "/c")]


async def test_a_watch_after_a_revision_that_has_not_come_is_in_doubt(store):
    """Who knows of a later revision than the store has listed another store."""
    revision = await put(store, a="1")

    with pytest.raises(Doubt):
        await collect(store, {"/a"}, revision + 1000, 1)


async def test_many_watches_follow_one_store(store):
    start = await put(store, a_x="0")
    watching = [asyncio.create_task(collect(store, {"/a/"}, start, 3)) for _ in range(20)]
    for i in range(3):
        await put(store, a_x=str(i))

    told = await asyncio.gather(*watching)

    assert all(events == told[0] for events in told)


# ---- leases ------------------------------------------------------------------------------------


async def test_what_is_put_with_a_lease_is_there_as_long_as_the_lease_is_kept_alive(store):
    ended, kept = await store.grant(1), await store.grant(1)
    await store.commit(Change(put={"/a/b": b"x"}, lease=ended))
    revision = (await store.commit(Change(put={"/c": b"x"}, lease=kept))).revision
    gone = asyncio.create_task(collect(store, {"/a/", "/c"}, revision, 1))
    while not gone.done():
        assert await store.keep_alive(kept)
        await asyncio.wait({gone}, timeout=0.2)

    assert gone.result()[0].entries == {"/a/b": None}
    assert set((await store.read("/")).entries) == {"/c"}
    assert not await store.keep_alive(ended)
    assert await store.kept_alive_s(ended) is None
    assert await store.kept_alive_s(kept) <= 1


async def test_what_is_put_again_or_not_at_all_has_nothing_to_do_with_the_lease(store):
    lease = await store.grant(1)
    await store.commit(Change(put={"/a": b"x", "/b": b"x"}, lease=lease))
    revision = await put(store, a="y")
    rejected = await store.commit(Change({"/a": 0}, {"/a": b"z", "/c": b"z"}, lease=lease))

    gone = await collect(store, {"/a", "/b", "/c"}, revision, 1)

    assert isinstance(rejected, Rejected)
    assert gone[0].entries == {"/b": None}
    assert set((await store.read("/")).entries) == {"/a"}


async def test_a_lease_that_is_no_more_keeps_nothing(store):
    assert not await store.keep_alive(12345)
    assert await store.kept_alive_s(12345) is None
