"""The loops, with a mirror that holds its state in memory and parts that note what happens."""

import asyncio
import contextlib
import json
import logging
from datetime import UTC, datetime
from functools import partial

import pytest

from datamodel.errors import Invalid, Unavailable
from datastore import keys
from route_distributor.agent import Agent
from route_distributor.debounce import Debounce
from route_distributor.ledger import Ledger
from route_distributor.meter import Meter
from route_distributor.part import Applied
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import NODE, a_node, a_pool, an_affinity, stored
from tests.virtual_time import in_virtual_time

OWN = a_node(NODE, "10.0.0.11")
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PACE = Debounce(1.0)


def now():
    return asyncio.get_running_loop().time()


class FakeMirror:
    def __init__(self, *pairs):
        self.is_ready = True
        self.entries = dict(stored(*pairs))
        self._change = asyncio.Event()
        self._change.set()

    def put(self, *pairs):
        self.entries |= stored(*pairs)
        self._change.set()

    async def changed(self):
        await self._change.wait()
        self._change.clear()


class RecordingPart:
    """Holds the blocks that it is told of, as the kernel would, and notes each pass."""

    def __init__(self, name="one", diary=None):
        self.name = name
        self.diary = diary if diary is not None else []  # of all parts, in the order of events
        self.held = None
        self.passes = 0
        self.fails_with = None
        self.takes_s = 0.0
        self.problems = ()
        self._disturbed = asyncio.Event()

    def damage(self):
        self.held = None
        self._disturbed.set()

    async def apply(self, snapshot):
        self.passes += 1
        self.diary.append(f"{self.name} begins")
        self._disturbed.clear()
        await asyncio.sleep(self.takes_s)
        if self.fails_with is not None:
            raise self.fails_with
        changed = self.held != snapshot.blocks
        self.held = snapshot.blocks
        self.diary.append(f"{self.name} ends")
        return Applied(int(changed), self.problems)

    async def disturbed(self):
        await self._disturbed.wait()


class RecordingMeter(Meter):
    def __init__(self):
        self.passes = []
        self.problems = 0

    def count(self, done):
        self.passes.append(done)

    def show_problems(self, number):
        self.problems = number

    def healed(self):
        return sum(done.changed for done in self.passes if done.is_healing)


class World:
    """A mirror, parts, and the agent between them."""

    def __init__(self, directory, mirror, *chains, pace=PACE):
        self.file = directory / "run" / "routes.json"
        self.meter = RecordingMeter()
        self.ledger = Ledger(self.file, self.meter, now, lambda: NOW)
        self.agent = Agent(mirror, partial(cluster_snapshot, NODE), chains, self.ledger, pace)

    @property
    def status(self):
        return json.loads(self.file.read_text())


@contextlib.asynccontextmanager
async def running(world):
    task = asyncio.create_task(world.agent.run())
    try:
        yield world
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition):
    deadline = now() + 100
    while not condition():
        assert now() < deadline
        await asyncio.sleep(0.001)


async def a_while():
    """Long enough for several passes if there were any."""
    await asyncio.sleep(5 * PACE.interval_s)


def blocks(part):
    return [str(block) for block in part.held or ()]


# ---- snapshots ---------------------------------------------------------------------------------


@in_virtual_time
async def test_every_part_gets_what_etcd_says(tmp_path):
    one, two = RecordingPart("one"), RecordingPart("two")
    mirror = FakeMirror(OWN, an_affinity("10.233.77.0/24"))
    async with running(World(tmp_path, mirror, [one], [two])):
        await until(lambda: blocks(one) == blocks(two) == ["10.233.77.0/24"])

        mirror.put(an_affinity("10.233.78.0/24"))

        await until(lambda: len(blocks(one)) == len(blocks(two)) == 2)


@in_virtual_time
async def test_a_part_is_not_asked_when_nothing_that_matters_changed(tmp_path):
    part = RecordingPart()
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: part.passes)
        mirror.put(("/calico/other", b"x"), an_affinity("10.233.77.0/24", host="node-2"))
        await a_while()
        mirror.put(an_affinity("10.233.78.0/24"))
        await until(lambda: blocks(part))

    assert part.passes == 2


@in_virtual_time
async def test_while_etcd_is_away_the_last_snapshot_stays_and_damage_is_mended(tmp_path):
    part = RecordingPart()
    mirror = FakeMirror(OWN, an_affinity("10.233.77.0/24"))
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: blocks(part))
        mirror.is_ready, mirror.entries = False, {}
        mirror.put()

        part.damage()

        await until(lambda: blocks(part) == ["10.233.77.0/24"])


@in_virtual_time
async def test_before_anything_is_known_no_part_is_touched(tmp_path):
    part = RecordingPart()
    mirror = FakeMirror()
    mirror.is_ready = False
    async with running(World(tmp_path, mirror, [part])):
        part.damage()
        await a_while()
        assert part.passes == 0

        mirror.is_ready = True
        mirror.put(OWN)

        await until(lambda: part.passes)


@in_virtual_time
async def test_a_burst_is_one_act_at_once_and_one_at_its_end(tmp_path):
    part = RecordingPart()
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: part.passes)
        assert now() < 0.1
        for i in range(50):
            mirror.put(an_affinity(f"10.233.{64 + i}.0/24"))
            await asyncio.sleep(0.01)
        await until(lambda: len(blocks(part)) == 50)

        assert now() == pytest.approx(1.0, abs=0.01)
    assert part.passes == 2


@in_virtual_time
async def test_the_loop_can_be_ended_while_it_waits(tmp_path):
    part = RecordingPart()
    async with running(World(tmp_path, FakeMirror(OWN), [part])):
        await until(lambda: part.passes)


# ---- failures ----------------------------------------------------------------------------------


@in_virtual_time
async def test_a_part_that_fails_is_repeated_and_complained_about_once(tmp_path, caplog):
    part = RecordingPart()
    part.fails_with = Unavailable("BIRD x: no such file")
    async with running(World(tmp_path, FakeMirror(OWN), [part])) as world:
        await until(lambda: part.passes >= 3)
        assert world.status["parts"]["one"] == {
            "ok": False,
            "error": "BIRD x: no such file",
            "lastApplied": None,
        }
        assert world.meter.problems == 1
        part.fails_with = None

        await until(lambda: part.held is not None)

    assert caplog.text.count("no such file") == 1
    assert world.status["parts"]["one"]["lastApplied"] == NOW.isoformat()
    assert world.status["parts"]["one"]["error"] == ""
    assert world.meter.problems == 0


@in_virtual_time
async def test_what_is_refused_is_not_repeated_before_something_changes(tmp_path):
    part = RecordingPart()
    part.fails_with = Invalid("file x: refused")
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])) as world:
        await until(lambda: part.passes)
        await a_while()
        assert part.passes == 1
        part.fails_with = None

        mirror.put(an_affinity("10.233.77.0/24"))

        await until(lambda: blocks(part))
    assert [done.outcome for done in world.meter.passes] == ["invalid", "ok"]


@in_virtual_time
async def test_a_bug_in_one_pass_does_not_end_the_loop(tmp_path, caplog):
    part = RecordingPart()
    part.fails_with = ZeroDivisionError()
    async with running(World(tmp_path, FakeMirror(OWN), [part])) as world:
        await until(lambda: world.meter.passes)
        assert world.status["parts"]["one"]["error"] == "one: a bug, see the log"
        part.fails_with = None

        await until(lambda: part.held is not None)

    assert "ZeroDivisionError" in caplog.text


@in_virtual_time
async def test_a_part_that_hangs_or_fails_holds_up_no_other_chain(tmp_path):
    hanging, failing, good = RecordingPart("a"), RecordingPart("b"), RecordingPart("c")
    hanging.takes_s = 3600
    failing.fails_with = Unavailable("no")
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [hanging], [failing], [good])):
        for i in range(3):
            mirror.put(an_affinity(f"10.233.{64 + i}.0/24"))
            await until(lambda i=i: len(blocks(good)) == i + 1)

    assert hanging.passes == 1


@in_virtual_time
async def test_what_cannot_be_seen_by_a_bug_leaves_what_was_seen_last(tmp_path, caplog):
    part = RecordingPart()
    mirror = FakeMirror(OWN, an_affinity("10.233.77.0/24"))
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: blocks(part))
        mirror.entries[keys.node(NODE)] = None  # no entry at all
        mirror.put()
        await until(lambda: "the cluster cannot be seen" in caplog.text)

        mirror.put(OWN, an_affinity("10.233.78.0/24"))

        await until(lambda: len(blocks(part)) == 2)


# ---- chains ------------------------------------------------------------------------------------


@in_virtual_time
async def test_in_a_chain_each_waits_for_those_before_it(tmp_path):
    diary = []
    first, second = RecordingPart("first", diary), RecordingPart("second", diary)
    first.takes_s = 0.05
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [first, second])):
        await until(lambda: second.held is not None)
        mirror.put(an_affinity("10.233.77.0/24"))
        await until(lambda: blocks(second))

    order = [entry for entry in diary if entry in ("first ends", "second begins")]
    assert order[0] == "first ends"
    assert diary.index("second begins") > diary.index("first ends")
    assert "first begins" not in diary[diary.index("first ends") + 1 : diary.index("second begins")]


@in_virtual_time
async def test_news_that_come_while_a_part_waits_do_not_overtake_those_before_it(tmp_path):
    first = RecordingPart("first")
    first.takes_s = 1.5
    early = []

    class Second(RecordingPart):
        async def apply(self, snapshot):
            early.extend(block for block in snapshot.blocks if block not in first.held)
            return await super().apply(snapshot)

    second = Second("second")
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [first, second])):
        await asyncio.sleep(1.2)  # the first is at work, the second waits for it
        mirror.put(an_affinity("10.233.77.0/24"))
        await until(lambda: blocks(second))

    assert not early


@in_virtual_time
async def test_what_comes_first_may_fail_and_the_next_has_its_turn_and_one_more_when_it_works(
    tmp_path,
):
    first, second = RecordingPart("first"), RecordingPart("second")
    first.fails_with = Unavailable("no device")
    async with running(World(tmp_path, FakeMirror(OWN), [first, second])):
        await until(lambda: second.held is not None)
        passes = second.passes
        first.fails_with = None

        await until(lambda: second.passes > passes)

    assert first.held is not None


@in_virtual_time
async def test_what_comes_first_may_hang_and_the_next_does_not_wait_for_ever(tmp_path):
    first, second = RecordingPart("first"), RecordingPart("second")
    first.takes_s = 3600
    async with running(World(tmp_path, FakeMirror(OWN), [first, second])):
        await until(lambda: second.held is not None)


@in_virtual_time
async def test_a_part_can_be_asked_for_once_more_though_the_cluster_is_as_it_was(tmp_path):
    part, other = RecordingPart("bird"), RecordingPart("nat")
    async with running(World(tmp_path, FakeMirror(OWN), [part], [other])) as world:
        world.agent.again("bird")  # too early to mean anything
        await until(lambda: part.passes and other.passes)

        world.agent.again("bird")

        await until(lambda: part.passes == 2)
    assert other.passes == 1
    assert world.meter.healed() == 0


# ---- healing -----------------------------------------------------------------------------------


@in_virtual_time
async def test_what_somebody_disturbs_is_mended_at_once_and_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    part = RecordingPart()
    mirror = FakeMirror(OWN, an_affinity("10.233.77.0/24"))
    async with running(World(tmp_path, mirror, [part])) as world:
        await until(lambda: blocks(part))
        await asyncio.sleep(2)
        started = now()

        part.damage()
        await until(lambda: blocks(part))

        assert now() - started < 0.1
        await until(lambda: len(world.meter.passes) == 2)
        assert world.meter.healed() == 1
    assert "healed part=one changed=1 took_ms=" in caplog.text


@in_virtual_time
async def test_who_disturbs_without_end_is_answered_once_per_interval(tmp_path):
    part = RecordingPart()
    async with running(World(tmp_path, FakeMirror(OWN), [part])):
        await until(lambda: part.passes)
        started = now()
        while now() - started < 9.5:
            part.damage()
            await asyncio.sleep(0.01)

        assert part.passes == 10


@in_virtual_time
async def test_damage_that_cannot_be_mended_at_first_counts_when_it_is(tmp_path):
    part = RecordingPart()
    async with running(World(tmp_path, FakeMirror(OWN), [part])) as world:
        await until(lambda: part.held is not None)
        part.fails_with = Unavailable("busy")
        part.damage()
        await until(lambda: part.passes >= 3)
        part.fails_with = None

        await until(lambda: part.held is not None)
        await until(lambda: world.meter.healed() == 1)


@in_virtual_time
async def test_a_part_that_cannot_tell_whether_it_is_disturbed_goes_on(tmp_path, caplog):
    class Deaf(RecordingPart):
        async def disturbed(self):
            raise OSError("no such socket")

    part = Deaf()
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: part.held is not None)
        mirror.put(an_affinity("10.233.77.0/24"))

        await until(lambda: blocks(part))

    assert "part=one cannot tell whether it is disturbed" in caplog.text


# ---- what is told ------------------------------------------------------------------------------


@in_virtual_time
async def test_problems_are_in_the_file_and_in_the_log_once(tmp_path, caplog):
    part = RecordingPart()
    part.problems = ("BGPPeer rack: password is missing; create it",)
    mirror = FakeMirror(OWN, (keys.node("a\nb"), b"{"))
    async with running(World(tmp_path, mirror, [part])) as world:
        await until(lambda: world.meter.problems == 2)
        mirror.put(an_affinity("10.233.77.0/24"))
        await until(lambda: blocks(part))

    assert caplog.text.count("not JSON") == 1
    assert r"a\nb" in caplog.text
    assert caplog.text.count("password is missing") == 1
    assert len(world.status["problems"]) == 2
    assert "BGPPeer rack: password is missing; create it" in world.status["problems"]


@in_virtual_time
async def test_a_problem_that_is_solved_is_gone(tmp_path):
    mirror = FakeMirror(OWN, (keys.node("bad"), b"{"))
    async with running(World(tmp_path, mirror, [RecordingPart()])) as world:
        await until(lambda: world.meter.problems == 1)
        del mirror.entries[keys.node("bad")]
        mirror.put()

        await until(lambda: world.meter.problems == 0)

    assert world.status["problems"] == []


@in_virtual_time
async def test_the_file_may_be_unwritable(tmp_path, caplog):
    (tmp_path / "run").write_text("in the way")
    part = RecordingPart()
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])):
        await until(lambda: part.held is not None)
        mirror.put(an_affinity("10.233.77.0/24"))
        await until(lambda: blocks(part))

    assert caplog.text.count("routes.json: cannot be written") == 1


@in_virtual_time
async def test_convergence_is_measured_from_the_first_change_of_a_burst(tmp_path):
    part = RecordingPart()
    mirror = FakeMirror(OWN)
    async with running(World(tmp_path, mirror, [part])) as world:
        await until(lambda: world.meter.passes)
        await asyncio.sleep(0.3)
        mirror.put(an_affinity("10.233.77.0/24"))
        await asyncio.sleep(0.3)
        mirror.put(an_affinity("10.233.78.0/24"))
        await until(lambda: len(world.meter.passes) == 2)
        mirror.put(a_pool("some", "10.99.0.0/16"))  # nothing to this part
        await until(lambda: len(world.meter.passes) == 3)

    first, second, third = (done.converged_s for done in world.meter.passes)
    assert first == pytest.approx(0)
    assert second == pytest.approx(0.7, abs=0.01)
    assert third is None
