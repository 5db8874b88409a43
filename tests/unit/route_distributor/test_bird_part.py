"""BIRD's part, with a BIRD that holds its state in memory."""

import asyncio
import logging

import pytest

from datamodel.bgp import SecretRef
from datamodel.errors import Invalid, Unavailable
from route_distributor.bird.desired import desired
from route_distributor.bird.part import BirdPart
from route_distributor.part import Applied
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import NODE, a_node, an_affinity, stored

OWN = a_node(NODE, "10.0.0.11")
BLOCK = an_affinity("10.233.77.0/24")


def seen(*pairs):
    return cluster_snapshot(NODE, stored(*pairs))


class FakeBird:
    """The file, and what BIRD has read of it."""

    def __init__(self):
        self.file = ""
        self.running = ""  # what BIRD does
        self.is_up = True
        self.refuses = "\0"  # any text that this is a part of
        self.writes = self.checks = self.configures = self.scans = 0

    async def is_written(self, text):
        return text == self.file

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

    async def lacks_socket(self):
        return False

    async def put_routes_back(self):
        self.scans += 1


class FakeRoutes:
    """Routes of which somebody deletes some."""

    def __init__(self):
        self.missing = 0
        self._deleted = asyncio.Event()

    def delete(self, count):
        self.missing += count
        self._deleted.set()

    def are_missing(self):
        return bool(self.missing)

    async def disturbed(self):
        await self._deleted.wait()

    async def put_back(self):
        self._deleted.clear()
        count, self.missing = self.missing, 0
        return count


def plainly(snapshot, _):
    return desired(snapshot)


def a_part(bird, secrets=dict, decide=plainly, routes=None) -> BirdPart:
    return BirdPart(bird, decide, secrets, routes or FakeRoutes(), look_s=0.01)


async def test_what_etcd_says_is_what_bird_does():
    bird = FakeBird()

    assert await a_part(bird).apply(seen(OWN, BLOCK)) == Applied(1)

    assert "route 10.233.77.0/24 blackhole;" in bird.running


async def test_nothing_is_done_when_nothing_that_matters_changed():
    bird = FakeBird()
    part = a_part(bird)
    await part.apply(seen(OWN))

    assert await part.apply(seen(OWN, an_affinity("10.233.77.0/24", host="node-2"))) == Applied()

    assert (bird.writes, bird.configures) == (1, 1)


async def test_after_a_restart_of_ours_bird_is_told_once_more_and_the_file_stays():
    bird = FakeBird()
    await a_part(bird).apply(seen(OWN))

    part = a_part(bird)
    await part.apply(seen(OWN))
    await part.apply(seen(OWN))

    assert (bird.writes, bird.configures) == (1, 2)


async def test_the_last_configuration_stays_while_our_node_is_missing():
    bird = FakeBird()
    part = a_part(bird)
    await part.apply(seen(OWN))
    before = bird.running

    applied = await part.apply(seen())

    assert bird.running == before
    assert applied.changed == 0
    assert "node node-1: has no usable IPv4 address in etcd" in applied.problems[0]


async def test_without_any_knowledge_bird_is_left_alone():
    bird = FakeBird()

    await a_part(bird).apply(seen())

    assert (bird.writes, bird.configures) == (0, 0)


async def test_a_bird_that_is_not_there_is_told_when_it_is():
    bird = FakeBird()
    bird.is_up = False
    part = a_part(bird)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no such file"):
            await part.apply(seen(OWN))
    assert (bird.writes, bird.running) == (1, "")
    bird.is_up = True

    assert await part.apply(seen(OWN)) == Applied(1)

    assert bird.running == bird.file


async def test_what_bird_was_not_told_is_told_even_if_our_node_is_gone_meanwhile():
    bird = FakeBird()
    bird.is_up = False
    part = a_part(bird)
    with pytest.raises(Unavailable):
        await part.apply(seen(OWN, BLOCK))
    bird.is_up = True

    await part.apply(seen())

    assert "10.233.77.0/24" in bird.running


async def test_a_refused_text_is_checked_once():
    bird = FakeBird()
    part = a_part(bird)
    await part.apply(seen(OWN))
    before = bird.file
    bird.refuses = "10.233.77.0/24"

    for _ in range(2):
        with pytest.raises(Invalid, match="syntax error"):
            await part.apply(seen(OWN, BLOCK))

    assert bird.file == bird.running == before
    assert bird.checks == 2


async def test_after_a_refused_text_the_next_one_is_applied():
    bird = FakeBird()
    part = a_part(bird)
    bird.refuses = "10.233.77.0/24"
    with pytest.raises(Invalid):
        await part.apply(seen(OWN, BLOCK))

    await part.apply(seen(OWN, an_affinity("10.233.78.0/24")))

    assert "10.233.78.0/24" in bird.running


async def test_a_file_that_somebody_changed_is_a_disturbance_and_is_put_back():
    bird = FakeBird()
    part = a_part(bird)
    await part.apply(seen(OWN))
    before = bird.file
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await part.disturbed()
    bird.file = "# mine"

    await asyncio.wait_for(part.disturbed(), 5)
    assert await part.apply(seen(OWN)) == Applied(1)

    assert bird.file == bird.running == before


async def test_routes_that_somebody_deleted_are_put_back_and_counted_without_a_reconfiguration():
    bird, routes = FakeBird(), FakeRoutes()
    part = a_part(bird, routes=routes)
    await part.apply(seen(OWN))
    routes.delete(3)

    await asyncio.wait_for(part.disturbed(), 5)
    assert await part.apply(seen(OWN)) == Applied(3)
    assert await part.apply(seen(OWN)) == Applied(0)

    assert (bird.configures, bird.scans) == (1, 1)


async def test_routes_are_put_back_even_while_bird_refuses_a_text():
    bird, routes = FakeBird(), FakeRoutes()
    part = a_part(bird, routes=routes)
    await part.apply(seen(OWN))
    bird.refuses = "10.233.77.0/24"
    routes.delete(1)

    for _ in range(2):
        with pytest.raises(Invalid):
            await part.apply(seen(OWN, BLOCK))

    assert bird.scans == 1
    assert not routes.are_missing()


async def test_passwords_are_read_anew_each_time():
    files = {}
    told = []

    def decide(snapshot, secrets):
        told.append(dict(secrets))
        return desired(snapshot)

    part = a_part(FakeBird(), lambda: dict(files), decide)
    await part.apply(seen(OWN))
    files[SecretRef("bgp", "rack")] = "s3cret"

    await part.apply(seen(OWN))

    assert told == [{}, {SecretRef("bgp", "rack"): "s3cret"}]


async def test_a_line_is_logged_when_bird_is_told(caplog):
    caplog.set_level(logging.INFO)
    part = a_part(FakeBird())
    state = seen(OWN, a_node("node-2", "10.0.0.12"), BLOCK)

    await part.apply(state)
    await part.apply(state)

    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "configured address=10.0.0.11 peers=1 blocks=1"
