"""Two nodes with real BIRDs and real routes: what our files make of them.

Each test has network namespaces of its own, joined by a switch, and its own processes.
"""

import asyncio
import time
from collections.abc import Iterator

import pytest

from datamodel.errors import Unavailable
from tests.cluster import an_affinity
from tests.netns.bird_nodes import Node, joined, route_events, start
from tests.netns.namespaces import eventually, ip
from tests.routing import node


@pytest.fixture
def pair(tmp_path) -> Iterator[tuple[Node, ...]]:
    with joined(tmp_path, node(1), node(2)) as nodes:
        yield nodes


@pytest.fixture
def mesh(pair) -> tuple[Node, ...]:
    start(*pair)
    return pair


def test_the_nodes_find_each_other_and_the_routes_read_as_in_calico(pair, record_property):
    one, two = pair
    started = time.monotonic()

    one.start()
    two.start()
    eventually(lambda: "10.233.88.0/24 via 10.0.0.12 dev eth0 proto bird" in one.routes)
    eventually(lambda: "10.233.77.0/24 via 10.0.0.11 dev eth0 proto bird" in two.routes)

    record_property("convergence_s", round(time.monotonic() - started, 2))
    assert time.monotonic() - started < 5
    assert "blackhole 10.233.77.0/24 proto bird" in one.routes
    assert "blackhole 10.233.88.0/24 proto bird" in two.routes
    (session,) = one.sessions
    assert str(session.peer_address) == "10.0.0.12"
    assert session.peer_type == "node-to-node mesh"


def test_a_new_block_reaches_the_peer_and_a_pod_does_not(mesh):
    one, two = mesh
    before = one.up_since
    one.add_pod("10.233.77.2")

    one.configure(an_affinity("10.233.99.0/24", host=one.name))
    eventually(lambda: "10.233.99.0/24 via 10.0.0.11 dev eth0 proto bird" in two.routes)

    # The pod's route is older than the block's, so BIRD has seen it by now.
    assert any(route.startswith("10.233.77.2 dev cali") for route in one.routes)
    assert "10.233.77.2" not in one.table
    assert not any("10.233.77.2" in route for route in two.routes)
    assert one.up_since == pytest.approx(before, abs=0.01)


def test_a_block_that_is_given_up_is_withdrawn(mesh):
    one, two = mesh
    one.configure(an_affinity("10.233.99.0/24", host=one.name))
    eventually(lambda: any("10.233.99.0/24" in route for route in two.routes))

    one.configure()

    eventually(lambda: not any("10.233.99.0/24" in r for r in one.routes + two.routes))


def test_a_block_of_one_address_is_announced_as_its_pod_comes_and_goes(mesh):
    one, two = mesh
    one.add_pod("10.233.79.5")
    one.configure(an_affinity("10.233.79.5/32", host=one.name))
    eventually(lambda: "10.233.79.5 via 10.0.0.11 dev eth0 proto bird metric 1024" in two.routes)

    ip("-n", one.netns, "route", "del", "10.233.79.5")

    eventually(lambda: not any("10.233.79.5" in route for route in two.routes))


def test_the_hosts_own_routes_are_learnt_but_not_told(pair):
    one, two = pair
    ip("-n", one.netns, "route", "add", "default", "via", "10.0.0.254")
    ip("-n", one.netns, "route", "add", "192.168.7.0/24", "via", "10.0.0.253")
    one.start()
    two.start()
    eventually(lambda: any("10.233.77.0/24" in route for route in two.routes))

    assert "0.0.0.0/0" in one.table
    assert "192.168.7.0/24" in one.table
    assert "0.0.0.0/0" not in two.table
    assert "192.168.7.0/24" not in two.table


def test_a_killed_bird_that_comes_back_costs_its_peer_no_route(mesh, tmp_path):
    one, two = mesh
    eventually(lambda: any("10.233.77.0/24" in route for route in two.routes))
    own_routes = one.routes
    events = tmp_path / "events"
    with route_events(two, events):
        one.kill()
        eventually(lambda: not two.is_established)
        assert one.routes == own_routes
        one.start()
        eventually(lambda: one.is_established and two.is_established)
        # One more change of ours shows that nothing is still on its way.
        one.configure(an_affinity("10.233.99.0/24", host=one.name))
        eventually(lambda: "10.233.99.0/24" in events.read_text())

    assert "10.233.77.0/24" not in events.read_text()
    assert set(own_routes) <= set(one.routes)


def test_a_bird_that_does_not_run_is_unavailable(pair):
    with pytest.raises(Unavailable, match="is bird running"):
        asyncio.run(pair[0].bird.configure())
