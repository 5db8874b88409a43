"""The loop, with a mirror and a BIRD that hold their state in memory."""

import asyncio
import contextlib
import logging
import time

from datamodel.errors import Invalid, Unavailable
from datastore import keys
from route_distributor.agent import Agent
from route_distributor.debounce import Debounce
from tests.cluster import NODE, a_node, an_affinity, stored

OWN = a_node(NODE, "10.0.0.11")


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


class FakeBird:
    """The file, and what BIRD has read of it."""

    def __init__(self):
        self.file = ""
        self.running = ""  # what BIRD does
        self.is_up = True
        self.refuses = "\0"  # any text that this is a part of
        self.writes = self.checks = self.configures = 0

    async def write(self, text):
        if text == self.file:
            return False
        self.checks += 1
        if self.refuses in text:
            raise Invalid("file x: bird -p refuses it: x:1:1 syntax error")
        self.writes += 1
        self.file = text
        return True

    async def configure(self):
        if not self.is_up:
            raise Unavailable("BIRD x: no such file")
        self.configures += 1
        self.running = self.file


def an_agent(mirror, bird, **rest) -> Agent:
    return Agent(NODE, mirror, bird, time.monotonic, **rest)


@contextlib.asynccontextmanager
async def running(agent):
    task = asyncio.create_task(agent.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition):
    deadline = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def test_what_etcd_says_is_what_bird_does():
    mirror, bird = FakeMirror(OWN, an_affinity("10.233.77.0/24")), FakeBird()

    assert await an_agent(mirror, bird).bring_up_to_date()

    assert "route 10.233.77.0/24 blackhole;" in bird.running


async def test_nothing_is_done_when_nothing_that_matters_changed():
    mirror, bird = FakeMirror(OWN), FakeBird()
    agent = an_agent(mirror, bird)
    await agent.bring_up_to_date()
    mirror.put(an_affinity("10.233.77.0/24", host="node-2"), ("/calico/other", b"x"))

    await agent.bring_up_to_date()

    assert (bird.writes, bird.configures) == (1, 1)


async def test_after_a_restart_of_ours_bird_is_told_once_more_and_the_file_stays():
    mirror, bird = FakeMirror(OWN), FakeBird()
    await an_agent(mirror, bird).bring_up_to_date()

    agent = an_agent(mirror, bird)
    await agent.bring_up_to_date()
    await agent.bring_up_to_date()

    assert (bird.writes, bird.configures) == (1, 2)


async def test_the_last_configuration_stays_while_etcd_is_away():
    mirror, bird = FakeMirror(OWN), FakeBird()
    agent = an_agent(mirror, bird)
    await agent.bring_up_to_date()
    before = bird.running
    mirror.is_ready, mirror.entries = False, {}

    assert await agent.bring_up_to_date()

    assert bird.running == before


async def test_the_last_configuration_stays_while_our_node_is_missing(caplog):
    mirror, bird = FakeMirror(OWN), FakeBird()
    agent = an_agent(mirror, bird)
    await agent.bring_up_to_date()
    before = bird.running
    mirror.entries = {}

    await agent.bring_up_to_date()

    assert bird.running == before
    assert "has no usable IPv4 address" in caplog.text


async def test_without_any_knowledge_bird_is_left_alone():
    mirror, bird = FakeMirror(), FakeBird()
    mirror.is_ready = False

    await an_agent(mirror, bird).bring_up_to_date()

    assert (bird.writes, bird.configures) == (0, 0)


async def test_a_bird_that_is_not_there_is_told_when_it_is_and_complained_about_once(caplog):
    mirror, bird = FakeMirror(OWN), FakeBird()
    bird.is_up = False
    agent = an_agent(mirror, bird)

    assert not await agent.bring_up_to_date()
    assert not await agent.bring_up_to_date()
    assert (bird.writes, bird.running) == (1, "")
    bird.is_up = True
    assert await agent.bring_up_to_date()

    assert bird.running == bird.file
    assert caplog.text.count("no such file") == 1


async def test_a_refused_text_is_checked_and_complained_about_once(caplog):
    mirror, bird = FakeMirror(OWN), FakeBird()
    agent = an_agent(mirror, bird)
    await agent.bring_up_to_date()
    before = bird.file
    bird.refuses = "10.233.77.0/24"
    mirror.put(an_affinity("10.233.77.0/24"))

    assert await agent.bring_up_to_date()
    assert await agent.bring_up_to_date()

    assert bird.file == bird.running == before
    assert bird.checks == 2
    assert caplog.text.count("syntax error") == 1


async def test_after_a_refused_text_the_next_one_is_applied():
    mirror, bird = FakeMirror(OWN), FakeBird()
    agent = an_agent(mirror, bird)
    bird.refuses = "10.233.77.0/24"
    mirror.put(an_affinity("10.233.77.0/24"))
    await agent.bring_up_to_date()
    mirror.entries = dict(stored(OWN, an_affinity("10.233.78.0/24")))

    await agent.bring_up_to_date()

    assert "10.233.78.0/24" in bird.running


async def test_an_entry_that_cannot_be_read_is_logged_once_and_quoted(caplog):
    mirror = FakeMirror(OWN, (keys.node("a\nb"), b"{"))
    agent = an_agent(mirror, FakeBird())

    await agent.bring_up_to_date()
    await agent.bring_up_to_date()

    assert caplog.text.count("not JSON") == 1
    assert r"a\nb" in caplog.text


async def test_a_line_is_logged_when_something_is_applied(caplog):
    caplog.set_level(logging.INFO)
    mirror = FakeMirror(OWN, a_node("node-2", "10.0.0.12"), an_affinity("10.233.77.0/24"))
    agent = an_agent(mirror, FakeBird())

    await agent.bring_up_to_date()
    await agent.bring_up_to_date()

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("applied address=10.0.0.11 peers=1 blocks=1 took_ms=")


async def test_a_burst_is_one_act_at_once_and_one_at_its_end():
    mirror, bird = FakeMirror(OWN), FakeBird()
    async with running(an_agent(mirror, bird, pace=Debounce(0.2))):
        started = time.monotonic()
        await until(lambda: bird.configures)
        assert time.monotonic() - started < 0.1
        for i in range(50):
            mirror.put(an_affinity(f"10.233.{64 + i}.0/24"))
            await asyncio.sleep(0.001)
        await until(lambda: "10.233.113.0/24" in bird.running)

    assert time.monotonic() - started >= 0.2
    assert bird.configures == 2


async def test_the_loop_goes_on_until_bird_answers():
    mirror, bird = FakeMirror(OWN), FakeBird()
    bird.is_up = False
    async with running(an_agent(mirror, bird, pace=Debounce(0.02))):
        await until(lambda: bird.writes)
        bird.is_up = True

        await until(lambda: bird.running)


async def test_a_bug_in_one_pass_does_not_end_the_loop(caplog):
    class Buggy(FakeBird):
        async def write(self, text):
            if not self.checks:
                self.checks = 1
                raise ZeroDivisionError
            return await super().write(text)

    bird = Buggy()
    async with running(an_agent(FakeMirror(OWN), bird, pace=Debounce(0.02))):
        await until(lambda: bird.running)

    assert "ZeroDivisionError" in caplog.text


async def test_the_loop_can_be_ended_while_it_waits():
    bird = FakeBird()

    async with running(an_agent(FakeMirror(OWN), bird)):
        await until(lambda: bird.configures)

    assert bird.configures == 1
