"""Routes of a real BIRD that somebody deletes come back at once, and are counted."""

import asyncio
import socket
import time
from contextlib import closing

import pytest

from route_distributor.bird.desired import desired
from route_distributor.bird.kernel_routes import KernelRoutes
from route_distributor.bird.part import LOOK_S, BirdPart
from tests.cluster import an_affinity
from tests.netns.bird_nodes import joined, start
from tests.netns.namespaces import eventually, inside, ip
from tests.routing import node

FAR = "10.233.88.0/24 via 10.0.0.12 dev eth0 proto bird"
OWN = "blackhole 10.233.77.0/24 proto bird"


class Healed:
    """The first of two nodes, with BIRD's part as the distributor runs it."""

    def __init__(self, one, two, routes, look_s=LOOK_S) -> None:
        self.one, self.two = one, two
        self.part = BirdPart(one.bird, lambda snapshot, _: desired(snapshot), dict, routes, look_s)
        self.snapshot = one.snapshot()
        self.routes = routes

    def apply(self) -> int:
        return asyncio.run(self.part.apply(self.snapshot)).changed

    def heal(self) -> int:
        async def work() -> int:
            async with asyncio.timeout(5):
                await self.part.disturbed()
            return (await self.part.apply(self.snapshot)).changed

        return asyncio.run(work())


@pytest.fixture
def healed(tmp_path):
    with joined(tmp_path, node(1), node(2)) as (one, two):
        with inside(one.netns):
            routes = KernelRoutes()
        with closing(routes):
            start(one, two)
            eventually(lambda: {FAR, OWN} <= set(one.routes))
            made = Healed(one, two, routes)
            made.apply()
            yield made


def test_a_route_that_somebody_deletes_is_back_before_bird_would_have_looked(
    healed, record_property
):
    ip("-n", healed.one.netns, "route", "del", "10.233.88.0/24")
    started = time.monotonic()

    # Half a second after the command to look is how long it would wait, and BIRD looks every two.
    assert healed.heal() == 1

    record_property("healed_s", round(time.monotonic() - started, 3))
    assert FAR in healed.one.routes
    assert not healed.routes.are_missing()


def test_a_route_that_bird_was_the_first_to_put_back_is_counted_as_well(healed):
    ip("-n", healed.one.netns, "route", "del", "10.233.88.0/24")
    eventually(lambda: FAR in healed.one.routes)

    assert healed.heal() == 1


def test_all_routes_at_once_are_back_and_each_is_counted(healed):
    ip("-n", healed.one.netns, "route", "flush", "proto", "bird")

    assert healed.heal() == 2

    assert {FAR, OWN} <= set(healed.one.routes)


def test_what_bird_itself_withdraws_and_routes_of_others_are_no_disturbance(healed):
    one, two = healed.one, healed.two
    two.configure(an_affinity("10.233.99.0/24", host=two.name))
    eventually(lambda: any("10.233.99.0/24" in route for route in one.routes))
    link = one.add_pod("10.233.77.2")

    two.configure()
    ip("-n", one.netns, "link", "del", link)
    ip("-n", one.netns, "route", "add", "192.0.2.0/24", "via", "10.0.0.12")
    ip("-n", one.netns, "route", "del", "192.0.2.0/24")
    eventually(lambda: not any("10.233.99.0/24" in route for route in one.routes))

    assert not healed.routes.are_missing()


def test_sessions_that_bird_gave_up_over_a_port_that_was_taken_come_up_once_it_is_free(tmp_path):
    with joined(tmp_path, node(1), node(2)) as (one, two):
        with inside(one.netns):
            routes = KernelRoutes()
            other = socket.create_server(("", 179))  # as a BIRD that is about to leave
        with closing(routes), closing(other):
            one.start()
            two.start()
            healed = Healed(one, two, routes, look_s=0.1)
            eventually(lambda: asyncio.run(one.bird.lacks_socket()))
            healed.apply()
            assert healed.heal() == 1
            eventually(lambda: asyncio.run(one.bird.lacks_socket()))

            other.close()

            assert healed.heal() == 1
            eventually(lambda: one.is_established and two.is_established, seconds=20)


def test_that_a_bird_listened_says_nothing_of_the_next_one(healed):
    one = healed.one
    assert not asyncio.run(one.bird.lacks_socket())
    one.terminate()
    with inside(one.netns):
        other = socket.create_server(("", 179))

    with closing(other):
        one.start()

        eventually(lambda: asyncio.run(one.bird.lacks_socket()))


def test_sessions_are_not_touched_by_it(healed):
    before = healed.one.up_since
    ip("-n", healed.one.netns, "route", "flush", "proto", "bird")

    healed.heal()

    assert healed.one.up_since == pytest.approx(before, abs=0.01)
