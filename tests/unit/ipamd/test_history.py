"""Who held what: differences of blocks, lines, files, and answers over restarts and losses."""

import asyncio
import errno
import json
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.attachment import Pod
from datamodel.block import Attribute, Block
from datamodel.errors import Invalid, Unavailable
from datamodel.gotime import go_time
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.mirror import Mirror
from datastore.store import Change, Entry
from ipam_api import ipam_pb2
from ipamd.facts import ranges_of
from ipamd.historian import BATCH_S, MAX_WAITING, History
from ipamd.history import HELD, RELEASED, Event, Moment, changes, event_of, following, line_of
from ipamd.history_answer import get_history, wanted_of
from ipamd.history_file import Segments
from ipamd.holdings import Holding, Wanted, holdings

NODE = "node-1"
CIDR = ip_network("10.233.64.0/29")
FIRST, SECOND = CIDR[0], CIDR[1]
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
T = NOW.timestamp()
LIVE = Moment(NODE, T + 50)
LATE = Moment(NODE, T + 50, is_late=True)
MEGABYTE = 1_000_000


def a_block(host: str = NODE) -> Block:
    return Block.new(CIDR, host, 1_000)


def an_attribute(container: str = "c1", at_s: float = 0, node: str = NODE) -> Attribute:
    facts = {"namespace": "default", "pod": f"web-{container}", "node": node}
    return Attribute(f"net.{container}", {**facts, "timestamp": time_text(at_s)})


def time_text(at_s: float) -> str:
    return go_time(NOW + timedelta(seconds=at_s))


def assigned(block: Block, container: str = "c1", at_s: float = 0, node: str = NODE) -> Block:
    return block.assign(an_attribute(container, at_s, node))[0].next_write()


def released(block: Block, container: str = "c1", **rest) -> Block:
    return block.release(f"net.{container}", **{"now": NOW, **rest})[0].next_write()


def believed(block: Block) -> dict[int, Event]:
    return following({}, changes({}, block, LIVE))


def told(events: list[Event]) -> list[tuple[str, str, float | None]]:
    return [(e.kind, str(e.address), None if e.at is None else e.at - T) for e in events]


# ---- differences -------------------------------------------------------------------------------


def test_an_allocation_is_told_with_its_own_time():
    (event,) = changes({}, assigned(a_block(), at_s=3), LIVE)

    assert (event.kind, event.address, event.at) == (HELD, FIRST, T + 3)
    assert (event.handle_id, event.pod) == ("net.c1", Pod("default", "web-c1"))
    assert (event.node, event.sequence, event.seen) == (NODE, 1_000, None)


def test_a_release_is_told_with_the_time_of_noticing_and_its_begin():
    block = assigned(a_block(), at_s=3)

    (event,) = changes(believed(block), released(block), LIVE)

    assert (event.kind, event.at, event.since) == (RELEASED, T + 50, T + 3)


def test_an_address_that_changes_hands_is_released_when_the_next_one_got_it():
    block = assigned(a_block(), "c1", at_s=3)
    after = replace(block, attributes=(an_attribute("c2", at_s=7),))

    assert told(changes(believed(block), after, LIVE)) == [
        (RELEASED, "10.233.64.0", 7),
        (HELD, "10.233.64.0", 7),
    ]


def test_the_next_holding_of_the_same_handle_is_another_one():
    block = assigned(a_block())
    again = replace(block, sequence_numbers={0: 1_005})

    assert [e.kind for e in changes(believed(block), again, LIVE)] == [RELEASED, HELD]


def test_nothing_has_happened_to_a_block_that_was_only_rewritten():
    block = assigned(a_block())

    assert changes(believed(block), block.next_write(), LIVE) == []


def test_a_cooldown_begins_with_a_release_and_ends_silently():
    block = assigned(a_block())
    cooling = released(block, cooldown_s=60)
    held = believed(block)

    events = changes(held, cooling, LIVE)

    assert told(events) == [(RELEASED, "10.233.64.0", 50)]
    over = cooling.collected(NOW + timedelta(hours=1), 60)
    assert changes(following(held, events), over, LIVE) == []


def test_a_deleted_block_releases_everything():
    block = assigned(assigned(a_block(), "c1"), "c2")

    assert [e.kind for e in changes(believed(block), None, LIVE)] == [RELEASED, RELEASED]


def test_of_a_foreign_block_only_what_our_pods_borrow_is_told():
    block = assigned(assigned(a_block("node-2"), "c1", node="node-2"), "c2", node=NODE)

    assert told(changes({}, block, LIVE)) == [(HELD, "10.233.64.1", 0)]


def test_what_others_borrow_of_our_block_is_told_even_after_we_lost_it():
    block = assigned(a_block(), node="node-2")
    lost = replace(block, affinity=None)

    assert changes(believed(block), lost, LIVE) == []
    assert told(changes(believed(block), released(lost), LIVE)) == [(RELEASED, "10.233.64.0", 50)]


def test_what_is_noticed_late_says_so_and_has_the_best_time_there_is():
    block = assigned(a_block(), at_s=3)
    nameless = replace(block, attributes=(Attribute("ipip-tunnel-addr-node-1", {"node": NODE}),))
    cooling = released(block, now=NOW + timedelta(seconds=9), cooldown_s=60)

    assert told(changes({}, block, LATE)) == [(HELD, "10.233.64.0", 3)]
    assert told(changes({}, nameless, LATE)) == [(HELD, "10.233.64.0", None)]
    assert told(changes(believed(block), cooling, LATE)) == [(RELEASED, "10.233.64.0", 9)]
    assert told(changes(believed(block), None, LATE)) == [(RELEASED, "10.233.64.0", 50)]
    assert changes({}, block, LATE)[0].seen == T + 50


def test_a_time_in_the_future_is_not_believed():
    block = assigned(a_block(), at_s=5_000)

    assert told(changes({}, block, LIVE)) == [(HELD, "10.233.64.0", 50)]


# ---- lines -------------------------------------------------------------------------------------

TEXTS = st.text(max_size=20)
TIMES = st.none() | st.integers(0, 2**32).map(float)


@given(
    st.builds(
        Event,
        kind=st.just(HELD),
        address=st.sampled_from(list(CIDR)),
        block=st.just(CIDR),
        handle_id=st.none() | TEXTS,
        pod=st.none() | st.builds(Pod, TEXTS.map(lambda t: t.replace("/", "")), TEXTS),
        node=st.none() | TEXTS,
        sequence=st.integers(0, 2**63),
        at=TIMES,
        seen=TIMES,
    )
)
def test_a_line_is_read_as_it_was_written(event):
    end = replace(event, kind=RELEASED, since=event.at)

    assert [event_of(line_of(e)) for e in (event, end)] == [event, end]
    assert line_of(event).count(b"\n") == 1


def test_a_line_looks_as_documented():
    (event,) = changes({}, assigned(a_block(), at_s=0.25), LIVE)

    assert line_of(event) == (
        b'{"at":1795176000.25,"held":"10.233.64.0/29","handle":"net.c1",'
        b'"pod":"default/web-c1","node":"node-1","seq":1000}\n'
    )


def test_a_spoilt_line_is_none():
    line = line_of(changes({}, assigned(a_block()), LIVE)[0]).rstrip()
    spoilt = [
        *(line[:i] for i in range(len(line))),
        line.replace(b"10.233.64.0/29", b"10.233.64.0/99"),
        line.replace(b"1000", b"1e999"),
        line.replace(b'"net.c1"', b"7"),
        line.replace(b"default/web-c1", b"default"),
        line.replace(b'"at":', b'"at":NaN,"x":'),
        b"[" * 100_000,
        b"[1]",
        b'"held"',
        b"\xff\x00",
    ]

    assert [event_of(text) for text in spoilt] == [None] * len(spoilt)


# ---- holdings ----------------------------------------------------------------------------------


def an_event(kind: str, at: float | None, container: str = "c1", **rest) -> Event:
    fields = {"sequence": 7, "node": NODE, "pod": None, **rest}
    return Event(kind, FIRST, CIDR, f"net.{container}", at=at, **fields)


def spans(events: list[Event]) -> list[tuple[str | None, float | None, float | None]]:
    return [(h.handle_id, h.start, h.end) for h in holdings(events)]


def test_a_release_whose_begin_was_dropped_is_still_a_holding():
    assert spans([an_event(RELEASED, 5, since=2)]) == [("net.c1", 2, 5)]
    assert spans([an_event(RELEASED, 5, since=None)]) == [("net.c1", None, 5)]


def test_what_was_written_twice_counts_once():
    events = [an_event(HELD, 2), an_event(RELEASED, 5, since=2)]

    assert spans(events * 2) == spans([events[0], *events]) == [("net.c1", 2, 5)]


def test_a_begin_without_end_ends_when_the_next_one_begins():
    events = [an_event(HELD, 2), an_event(HELD, 6, "c2", sequence=9)]

    assert spans(events) == [("net.c1", 2, 6), ("net.c2", 6, None)]


def test_a_clock_that_was_set_back_gives_no_negative_time():
    assert spans([an_event(HELD, 9), an_event(RELEASED, 4, since=9)]) == [("net.c1", 9, 9)]


def test_a_container_is_found_by_its_id_whatever_its_network_and_interface():
    wanted = Wanted(container_id="c1")
    fitting = replace(an_event(HELD, 1), handle_id="net.c1.net1")

    assert wanted.fits(an_event(HELD, 1))
    assert wanted.fits(fitting)
    assert wanted.needle in line_of(fitting)
    assert not wanted.fits(an_event(HELD, 1, "c11"))
    assert not wanted.fits(replace(fitting, handle_id="c1.net"))


# ---- files -------------------------------------------------------------------------------------


def lines_of(n: int, size: int = 100, start: int = 0) -> list[bytes]:
    return [str(i).encode().rjust(size - 1, b".") + b"\n" for i in range(start, start + n)]


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def test_the_room_is_never_exceeded_and_the_latest_lines_stay(tmp_path):
    segments = Segments(tmp_path / "a" / "b", 10_000)

    for start in range(0, 3_000, 7):
        segments.append(lines_of(7, start=start))

        assert segments.size() == sum(f.stat().st_size for f in files(tmp_path / "a" / "b"))
        assert segments.size() <= 10_000
    left = [line + b"\n" for line in segments.lines()]
    assert left == lines_of(3_003)[-len(left) :]
    assert 75 <= len(left) <= 100


def test_more_lines_than_there_is_room_for_leave_the_latest(tmp_path):
    segments = Segments(tmp_path, 10_000)

    segments.append(lines_of(1_000))

    assert segments.size() <= 10_000
    assert list(segments.lines())[-1] + b"\n" == lines_of(1_000)[-1]


def test_a_torn_line_does_not_spoil_the_next_one(tmp_path):
    segments = Segments(tmp_path, 10_000)
    segments.append(lines_of(2))
    files(tmp_path)[0].write_bytes(files(tmp_path)[0].read_bytes()[:-30])

    segments.append(lines_of(1, start=2))

    assert [len(line) for line in segments.lines()] == [99, 70, 99]


def test_a_write_that_stops_half_way_leaves_the_file_as_it_was(tmp_path):
    segments = Segments(tmp_path, 10_000)
    segments.append(lines_of(2))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, before[1]))

    try:
        with pytest.raises(OSError, match="No space left") as caught:
            segments.append(lines_of(1, start=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert caught.value.errno == errno.ENOSPC
    assert files(tmp_path)[0].stat().st_size == 200


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    segments = Segments(tmp_path, 1_000)

    segments.append(lines_of(50))

    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert b"mine" not in b"".join(segments.texts())


# ---- a running history -------------------------------------------------------------------------


@dataclass
class Node:
    """A store, a clock, and if its ipamd runs that one's mirror and history."""

    directory: Path
    store: MemoryStore
    now_s: float = 0
    max_bytes: int = MEGABYTE
    mirror: Mirror | None = None
    history: History | None = None

    @property
    def running(self) -> History:
        assert self.history is not None
        return self.history

    @asynccontextmanager
    async def ipamd(self) -> AsyncIterator[History]:
        clock = lambda: T + self.now_s  # noqa: E731
        self.history = history = History(self.directory, self.max_bytes, NODE, clock)
        self.mirror = mirror = Mirror(self.store, ranges_of(NODE), history.observe)
        work = [mirror.run(), history.run(self.store, mirror)]
        tasks = [asyncio.create_task(w) for w in work]
        try:
            while not mirror.is_ready:
                await mirror.ready_changed()
            await asyncio.sleep(0)  # the history has heard of it, too
            yield history
            assert not any(task.done() for task in tasks)
        finally:
            self.history = self.mirror = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def put(self, *blocks: Block) -> None:
        await self.change(Change(put={keys.block(b.cidr): codec.encode_block(b) for b in blocks}))

    async def change(self, change: Change) -> None:
        answer = await self.store.commit(change)
        if self.mirror:
            learnt = {k: Entry(k, v, answer.revision) for k, v in change.put.items()}
            self.mirror.learn(answer.revision, learnt | dict.fromkeys(change.delete))

    async def holdings(self, **wanted) -> list[tuple[str, str | None, float | None, float | None]]:
        found, _ = await self.running.query(Wanted(**wanted))
        return [
            (
                str(h.address),
                h.handle_id,
                None if h.start is None else h.start - T,
                None if h.end is None else h.end - T,
            )
            for h in found
        ]


AFFINITY = {keys.affinity(NODE, CIDR): b'{"state":"confirmed","deleted":false}'}


@pytest.fixture
async def node(tmp_path) -> Node:
    return await a_node(tmp_path / "history")


async def a_node(directory: Path) -> Node:
    node = Node(directory, MemoryStore())
    await node.change(Change(put=AFFINITY))
    await node.put(a_block())
    return node


async def test_every_way_of_asking_finds_the_holding(node):
    async with node.ipamd():
        block = assigned(a_block())
        await node.put(block)
        node.now_s = 20
        await node.put(released(block))
        expected = [("10.233.64.0", "net.c1", 0, 20)]

        assert await node.holdings(address=FIRST) == expected
        assert await node.holdings(pod=Pod("default", "web-c1")) == expected
        assert await node.holdings(container_id="c1") == expected
        assert await node.holdings(handle_id="net.c1") == expected
        assert await node.holdings(address=SECOND) == []


async def test_the_first_start_tells_what_is_held_already(node):
    await node.put(assigned(a_block(), at_s=3))
    node.now_s = 100

    async with node.ipamd() as history:
        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 3, None)]
        assert (await history.query(Wanted(address=FIRST)))[1] == T + 100


async def test_a_restart_repeats_nothing(node):
    await node.put(assigned(a_block()))
    for _ in range(3):
        async with node.ipamd():
            assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, None)]

    assert len(b"".join(Segments(node.directory, MEGABYTE).texts()).splitlines()) == 1


async def test_what_happened_while_ipamd_did_not_run_is_filled_in(node):
    block = assigned(a_block())
    async with node.ipamd():
        await node.put(block)
    node.now_s = 10
    await node.put(assigned(released(block), "c2", at_s=10))
    node.now_s = 30

    async with node.ipamd():
        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, 30)]
        assert await node.holdings(address=SECOND) == [("10.233.64.1", "net.c2", 10, None)]


async def eventually(question, expected):
    for _ in range(500):
        if await question() == expected:
            return
        await asyncio.sleep(0.01)
    assert await question() == expected


async def test_a_block_that_was_deleted_while_ipamd_did_not_run_is_noticed(node):
    async with node.ipamd():
        await node.put(assigned(a_block()))
    await node.change(Change(delete=frozenset({keys.block(CIDR)})))
    node.now_s = 30

    async with node.ipamd():
        expected = [("10.233.64.0", "net.c1", 0, 30)]
        await eventually(lambda: node.holdings(address=FIRST), expected)


async def test_a_block_that_is_deleted_releases_what_was_held(node):
    async with node.ipamd():
        await node.put(assigned(a_block()))
        assert len(await node.holdings(address=FIRST)) == 1
        node.now_s = 30
        await node.change(Change(delete=frozenset({keys.block(CIDR)})))

        expected = [("10.233.64.0", "net.c1", 0, 30)]
        await eventually(lambda: node.holdings(address=FIRST), expected)


async def is_followed(node) -> bool:
    return keys.block(CIDR) in node.mirror.entries


async def test_a_block_that_is_not_followed_any_more_releases_nothing(node):
    lent = assigned(a_block(), node="node-2")
    async with node.ipamd():
        await node.put(lent)
        assert len(await node.holdings(address=FIRST)) == 1
        node.now_s = 30
        await node.put(replace(lent, affinity="host:node-2"))
        await node.change(Change(delete=frozenset(AFFINITY)))
        await eventually(lambda: is_followed(node), False)
        await asyncio.sleep(2 * BATCH_S)

        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, None)]


async def test_the_oldest_holdings_go_and_ends_remember_their_begin(node):
    node.max_bytes = 8_000
    block = a_block()
    async with node.ipamd() as history:
        for i in range(100):
            node.now_s = 2 * i
            block = assigned(block, "c1", at_s=node.now_s)
            await node.put(block)
            node.now_s = 2 * i + 1
            block = released(block, "c1")
            await node.put(block)
            if i % 10 == 0:
                await node.holdings(address=FIRST)
        found, begins = await history.query(Wanted(handle_id="net.c1"))

        assert history.bytes <= 8_000
        assert 10 < len(found) < 40
        assert [(h.start - T, h.end - T) for h in found][-1] == (198, 199)
        assert all(h.end - h.start == 1 for h in found)
        assert begins is not None
        assert found[0].end >= begins


async def test_other_keys_and_unreadable_blocks_are_no_news(node):
    async with node.ipamd() as history:
        await node.put(assigned(a_block()))
        await node.change(Change(put={keys.block(CIDR): b"{"}))
        history.observe(keys.node(NODE), None, Entry(keys.node(NODE), b"{}", 1))

        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, None)]


async def test_an_unwritable_directory_is_complained_about_once_and_recovered_from(node, caplog):
    caplog.set_level(logging.INFO)
    node.directory.write_text("in the way")
    async with node.ipamd() as history:
        await node.put(assigned(a_block()))
        for _ in range(2):
            with pytest.raises(Unavailable, match="cannot be read"):
                await history.query(Wanted(address=FIRST))
        node.directory.unlink()

        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, None)]
    ours = [r for r in caplog.records if r.name == "ipamd.historian"]
    assert [r.levelname for r in ours] == ["WARNING", "INFO"]


async def test_a_directory_that_somebody_removes_is_made_again(node):
    async with node.ipamd():
        await node.put(block := assigned(a_block()))
        assert len(await node.holdings(address=FIRST)) == 1
        for file in files(node.directory):
            file.unlink()
        node.directory.rmdir()
        node.now_s = 5
        await node.put(released(block))

        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, 5)]


async def test_states_that_wait_too_long_leave_the_latest(node):
    async with node.ipamd() as history:
        block = a_block()
        for i in range(2 * MAX_WAITING):
            block = assigned(block, f"c{i}") if i % 2 == 0 else released(block, f"c{i - 1}")
            entry = Entry(keys.block(CIDR), codec.encode_block(block), 1)
            history.observe(keys.block(CIDR), None, entry)
        history.observe(
            keys.block(CIDR),
            None,
            Entry(keys.block(CIDR), codec.encode_block(assigned(block, "last")), 1),
        )

        assert history.dropped >= MAX_WAITING
        assert [h[1:] for h in await node.holdings(handle_id="net.last")] == [("net.last", 0, None)]


async def test_spoilt_lines_are_counted_and_passed_over(node):
    async with node.ipamd():
        await node.put(assigned(a_block()))
    with files(node.directory)[0].open("ab") as file:
        file.write(b"\x00\xff\n{}\n{" + b'"at":17')

    async with node.ipamd() as history:
        assert await node.holdings(address=FIRST) == [("10.233.64.0", "net.c1", 0, None)]
        assert history.unreadable == 3


async def test_without_a_directory_there_is_no_history():
    history = History(None, MEGABYTE, NODE)
    entry = Entry(keys.block(CIDR), codec.encode_block(assigned(a_block())), 1)

    history.observe(keys.block(CIDR), None, entry)
    await history.run(MemoryStore(), Mirror(MemoryStore(), ranges_of(NODE)))

    assert not history.is_on
    with pytest.raises(Invalid, match="history: is switched off"):
        await history.query(Wanted(address=FIRST))


# ---- against a naive model ---------------------------------------------------------------------


@dataclass
class Truth:
    """Every holding there really was: who, from when, to when."""

    spans: list[list]

    def update(self, before: Block, after: Block, now_s: float) -> None:
        for address in CIDR:
            was, now = (holder(b, address) for b in (before, after))
            if was != now:
                for span in self.spans:
                    if span[0] == address and span[3] is None:
                        span[3] = now_s
                if now:
                    self.spans.append([address, now[0], now_s, None])


def holder(block: Block, address):
    found = block.holder_of(address)
    return (found.handle_id, block.sequence_numbers[block.ordinal(address)]) if found else None


CONTAINERS = st.sampled_from(["c1", "c2", "c3"])
WRITES = st.lists(st.tuples(st.booleans(), CONTAINERS), min_size=1, max_size=3)
# What is written while ipamd runs; how many bytes are lost at its end; what is written meanwhile.
LIVES = st.tuples(st.lists(WRITES, max_size=6), st.integers(0, 400), st.lists(WRITES, max_size=3))


def written(block: Block, write: list[tuple[bool, str]], now_s: float) -> Block:
    for is_assign, container in write:
        if is_assign and not block.held_by(f"net.{container}"):
            block = block.assign(an_attribute(container, now_s))[0]
        elif not is_assign:
            block = block.release(f"net.{container}", now=NOW)[0]
    return block.next_write()


def lose(directory: Path, n: int) -> float | None:
    """Cut off the last bytes; return the time of the first line that is lost."""
    path = files(directory)[-1] if directory.exists() and files(directory) else None
    if path is None:
        return None
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - n)])
    before, left = readable(data), readable(path.read_bytes())
    lost = before[len(left) :]
    return json.loads(lost[0])["at"] - T if lost else None


def readable(data: bytes) -> list[bytes]:
    return [line for line in data.splitlines() if event_of(line)]


async def live_through(directory: Path, lives) -> None:
    node, block, truth = await a_node(directory), a_block(), Truth([])
    gaps: list[tuple[float, float]] = []  # what happened then may be known late, or never

    async def write(what) -> None:
        nonlocal block
        node.now_s += 1
        after = written(block, what, node.now_s)
        truth.update(block, after, node.now_s)
        block = after
        await node.put(block)

    for alive, lost_bytes, meanwhile in lives:
        async with node.ipamd():
            for what in alive:
                await write(what)
            for address in CIDR:
                found, _ = await node.running.query(Wanted(address=address))
                check(truth, address, found, gaps)
        lost_from = lose(directory, lost_bytes)
        gap_from = node.now_s + 1 if lost_from is None else lost_from
        while gaps and gap_from <= gaps[-1][1]:  # what filled that gap is lost
            gap_from = min(gap_from, gaps.pop()[0])
        for what in meanwhile:
            await write(what)
        node.now_s += 1
        gaps.append((gap_from, node.now_s))


def check(truth: Truth, address, found: list[Holding], gaps) -> None:
    true = {(handle, start): end for a, handle, start, end in truth.spans if a == address}
    answered = {(h.handle_id, h.start - T): h.end and h.end - T for h in found}
    assert len(answered) == len(found)
    assert answered.keys() <= true.keys()
    for key, end in true.items():
        in_gap = [g for g in gaps if end is not None and g[0] <= end <= g[1]]
        if key not in answered:
            assert any(g[0] <= key[1] for g in in_gap)
        elif in_gap:
            assert any(end <= answered[key] <= g[1] for g in in_gap)
        else:
            assert answered[key] == end


@given(st.lists(LIVES, min_size=1, max_size=4))
def test_answers_equal_a_naive_model_over_restarts_and_losses(tmp_path_factory, lives):
    asyncio.run(live_through(tmp_path_factory.mktemp("lives") / "history", lives))


# ---- the RPC -----------------------------------------------------------------------------------


async def test_the_answer_to_the_rpc(node):
    async with node.ipamd() as history:
        node.now_s = 3
        await node.put(block := assigned(a_block(), at_s=3))
        node.now_s = 5
        await node.put(assigned(released(block), "c2", at_s=5))

        answer = await get_history(history, ipam_pb2.GetHistoryRequest(address="10.233.64.0"))

        assert answer.begins_s == T + 3
        assert list(answer.holdings) == [
            ipam_pb2.Holding(
                address="10.233.64.0",
                handle_id="net.c1",
                pod=ipam_pb2.Pod(namespace="default", name="web-c1"),
                node=NODE,
                from_s=T + 3,
                to_s=T + 5,
            )
        ]
        still = await get_history(history, ipam_pb2.GetHistoryRequest(container_id="c2"))
        assert [h.to_s for h in still.holdings] == [0]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ipam_pb2.GetHistoryRequest(), "history: ask for one of"),
        (ipam_pb2.GetHistoryRequest(address="1.2.3.4", handle_id="x"), "history: ask for one of"),
        (ipam_pb2.GetHistoryRequest(address="1.2.3"), "address '1.2.3'"),
        (ipam_pb2.GetHistoryRequest(pod=ipam_pb2.Pod(namespace="a/b", name="c")), "pod: "),
    ],
)
def test_a_request_must_ask_for_one_thing(request_, message):
    with pytest.raises(Invalid, match=message):
        wanted_of(request_)


def test_a_request_is_read():
    pod = ipam_pb2.Pod(namespace="default", name="web-0")

    assert wanted_of(ipam_pb2.GetHistoryRequest(address="fd00::1")).address == ip_address("fd00::1")
    assert wanted_of(ipam_pb2.GetHistoryRequest(pod=pod)) == Wanted(pod=Pod("default", "web-0"))
