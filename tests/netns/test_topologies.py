"""Clusters of real BIRDs: what their kernels have of each other while things come, go and die."""

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from datamodel.bgp import SecretRef
from route_distributor.bird.desired import Settings
from tests.cluster import a_bgp_configuration, a_bgp_peer, a_pool, an_affinity
from tests.netns.bird_nodes import (
    BLOCKS,
    BLOCKS6,
    Node,
    joined,
    route_events,
    start,
    wait_for,
)
from tests.netns.namespaces import eventually, ip, run_in
from tests.ping import INTERVAL_S, PingStream
from tests.routing import dual, node

POOL = a_pool("default", "10.233.0.0/16")
MOVED, POD = "10.233.99.0/24", "10.233.99.5"
RR = {"route_reflector_cluster_id": "1.0.0.1", "labels": {"rr": "yes"}}
REFLECTED = (
    POOL,
    a_bgp_configuration(nodeToNodeMeshEnabled=False),
    a_bgp_peer("clients", nodeSelector="!has(rr)", peerSelector="rr == 'yes'"),
    a_bgp_peer("reflectors", nodeSelector="rr == 'yes'", peerSelector="rr == 'yes'"),
)
# Everybody watches everybody, but for node-2 and node-3, whose sessions are as usual.
WATCHFUL = (
    a_bgp_configuration(bfd="true", nodeMeshMaxRestartTime="60s"),
    a_bgp_peer("calm", node="node-2", peerIP="10.0.0.13", asNumber=64512),
)


@pytest.fixture
def three(tmp_path) -> Iterator[tuple[Node, ...]]:
    with joined(tmp_path, node(1), node(2), node(3)) as nodes:
        yield nodes


def way_to(other: Node, block: str) -> str:
    return f"{block} via {other.address} dev eth0 proto bird"


def of_bird(routes: list[str]) -> set[str]:
    return {route for route in routes if "proto bird" in route}


def all_routes(own: Node, cluster: Sequence[Node]) -> set[str]:
    """What the kernel of a node must have of BIRD's, and nothing else."""
    others = {way_to(other, BLOCKS[other.name]) for other in cluster if other is not own}
    return {f"blackhole {BLOCKS[own.name]} proto bird", *others}


def all_routes6(own: Node, cluster: Sequence[Node]) -> set[str]:
    kernels = "metric 1024 pref medium"
    others = {
        f"{BLOCKS6[other.name]} via {other.address6} dev eth0 proto bird {kernels}"
        for other in cluster
        if other is not own
    }
    return {f"blackhole {BLOCKS6[own.name]} dev lo proto bird {kernels}", *others}


def wait_for_all_routes(nodes: Sequence[Node]) -> None:
    for each in nodes:
        eventually(lambda each=each: of_bird(each.routes) == all_routes(each, nodes))


def test_ten_nodes_have_the_routes_of_all_and_those_with_ipv6_of_each_other(
    tmp_path, record_property
):
    members = (dual(1), dual(2), dual(3), *map(node, range(4, 11)))
    with joined(tmp_path, *members) as nodes:
        started = time.monotonic()
        start(*nodes)
        wait_for_all_routes(nodes)
        record_property("convergence_s", round(time.monotonic() - started, 2))

        both = nodes[:3]
        for each in both:
            eventually(lambda each=each: of_bird(each.routes6) == all_routes6(each, both))
        assert [len(each.sessions) for each in nodes] == [11] * 3 + [9] * 7
        assert not any(of_bird(each.routes6) for each in nodes[3:])


def test_a_mesh_has_a_password_a_port_and_an_address_of_its_own(tmp_path):
    secret = SecretRef("bgp", "mesh")
    guarded = a_bgp_configuration(
        nodeMeshPassword={"secretKeyRef": {"name": secret.name, "key": secret.key}},
        listenPort=1790,
        bindMode="NodeIP",
    )
    settings = Settings(secrets={secret: "s3cret"})
    with joined(tmp_path, dual(1), dual(2), settings=settings) as nodes:
        for each in nodes:
            each.write(guarded)
        start(*nodes)

        wait_for_all_routes(nodes)
        for each in nodes:
            listening = run_in(each.netns, "ss", "-Htln").splitlines()
            places = {line.split()[3] for line in listening}
            assert places == {f"{each.address}:1790", f"[{each.address6}]:1790"}


def test_a_node_that_joins_costs_each_peer_one_session_and_flaps_none(tmp_path):
    with joined(tmp_path, *map(node, range(1, 6))) as nodes:
        *old, new = nodes
        for each in old:
            each.cluster = new.cluster[:-1]
            each.write()
        start(*old)
        wait_for_all_routes(old)
        before = [each.up_since for each in old]

        for each in old:
            each.cluster = new.cluster
            each.configure()
        start(new)
        wait_for_all_routes(nodes)

        for each, since in zip(old, before, strict=True):
            now = each.up_since
            assert now.keys() - since.keys() == {"Mesh_10_0_0_15"}
            assert {name: now[name] for name in since} == pytest.approx(since, abs=0.01)


def test_a_reflector_dies_and_its_eight_clients_lose_no_route(tmp_path):
    members = (node(1, **RR), node(2, **RR), *map(node, range(3, 11)))
    with joined(tmp_path, *members) as nodes:
        first, second, *clients = nodes
        for each in nodes:
            each.write(*REFLECTED)
        start(*nodes)
        wait_for_all_routes(nodes)
        wait_for_both_reflectors(clients)
        assert [len(each.sessions) for each in nodes] == [9, 9] + [2] * 8

        with ExitStack() as heard:
            files = {each.name: tmp_path / f"{each.name}.events" for each in clients}
            for each in clients:
                heard.enter_context(route_events(each, files[each.name]))
            first.kill()
            for each in clients:
                eventually(lambda each=each: not each.is_established)
            # One more block shows that nothing is still on its way, and who passes routes on.
            clients[0].configure(*REFLECTED, an_affinity(MOVED, host=clients[0].name))
            wait_for(way_to(clients[0], MOVED), second, *clients[1:])

        for each in clients:
            assert changed_blocks(files[each.name]) == {MOVED}
            assert all_routes(each, nodes) <= of_bird(each.routes)


def test_a_reflector_that_says_goodbye_takes_no_route_along(tmp_path):
    with joined(tmp_path, node(1, **RR), node(2, **RR), node(3), node(4)) as nodes:
        first, second, *clients = nodes
        for each in nodes:
            each.write(*REFLECTED)
        start(*nodes)
        wait_for_all_routes(nodes)
        wait_for_both_reflectors(clients)

        # Its peers drop what it said at once, and have the same of the other one.
        with route_events(clients[0], tmp_path / "events"):
            first.terminate()
            eventually(lambda: not clients[0].is_established)
            clients[1].configure(*REFLECTED, an_affinity(MOVED, host=clients[1].name))
            wait_for(way_to(clients[1], MOVED), second, clients[0])

        assert changed_blocks(tmp_path / "events") == {MOVED, BLOCKS[first.name]}


def wait_for_both_reflectors(clients: Sequence[Node]) -> None:
    """Wait until every client has heard of every other from both."""
    ways = [f"via {each.address} on eth0" for each in clients]
    for own, each in enumerate(clients):
        others = [way for other, way in enumerate(ways) if other != own]
        eventually(lambda e=each, others=others: all(e.table.count(w) == 2 for w in others))


def changed_blocks(events: Path) -> set[str]:
    return set(re.findall(r"10\.233\.\d+\.0/24", events.read_text()))


@pytest.mark.parametrize("death", ["of the machine", "of BIRD"])
def test_a_dead_node_is_noticed_within_three_seconds_by_those_with_bfd_only(
    three, death, record_property
):
    one, two, dying = three
    for each in three:
        each.write(*WATCHFUL)
    start(*three)
    wait_for_all_routes(three)
    route = way_to(dying, BLOCKS[dying.name])
    eventually(lambda: is_watched(one, dying), seconds=20)

    if death == "of the machine":
        ip("-n", dying.netns, "link", "set", "eth0", "down")
    dying.kill()
    gone_after = eventually(lambda: route not in one.routes, seconds=3)

    record_property("gone_after_s", round(gone_after, 2))
    assert route in two.routes  # until the hold time or that of a graceful restart is over
    assert way_to(two, BLOCKS[two.name]) in one.routes


def is_watched(watcher: Node, other: Node) -> bool:
    rows = watcher.ask("show bfd sessions").splitlines()
    return any(row.split()[:1] == [other.address] and " Up " in row for row in rows)


def test_bfd_and_graceful_restart_are_never_on_one_session(three):
    one, two, _ = three
    for each in three:
        each.write(*WATCHFUL)
    start(*three)

    (problem,) = one.decide(*WATCHFUL).problems
    assert "BFD and a restart time exclude each other" in problem
    watched, calm = (two.ask(f"show protocols all {name}") for name in two.up_since)
    assert "Mesh_10_0_0_11" in watched
    assert "Graceful restart" not in watched
    assert "Node_10_0_0_13" in calm
    assert "Graceful restart" in calm
    assert "10.0.0.11" in two.ask("show bfd sessions")
    assert "10.0.0.13" not in two.ask("show bfd sessions")


@pytest.fixture
def served(three) -> tuple[Node, ...]:
    """A pod on node-1, and another with the same address on node-2; node-1 has their block."""
    old, new, far = three
    # Without a pool no pod's own route leaves its node: only the block's leads to it.
    old.write(an_affinity(MOVED, host=old.name))
    start(*three)
    wait_for(way_to(old, MOVED), far)
    for each in (old, new):
        each.serve(POD)
    eventually(lambda: answers(far))
    return three


def answers(source: Node) -> bool:
    """Whether the pod answers within a second."""
    command = ("nsenter", f"--net=/run/netns/{source.netns}", "ping", "-n", "-c1", "-W1", POD)
    return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=10).returncode == 0


def test_a_block_moves_to_another_node_and_never_has_two(served, tmp_path, record_property):
    old, new, far = served

    with route_events(far, tmp_path / "events"), PingStream(far.netns, POD) as stream:
        old.configure()
        # A node that would claim the block before this was known would share it until it is.
        eventually(lambda: way_to(old, MOVED) not in far.routes)
        new.configure(an_affinity(MOVED, host=new.name))
        wait_for(way_to(new, MOVED), far, old)
        eventually(lambda: answers(far))
        sent, received = stream.stop()

    record_property("lost_s", round((sent - received) * INTERVAL_S, 2))
    assert (sent - received) * INTERVAL_S < 2
    events = [line for line in (tmp_path / "events").read_text().splitlines() if MOVED in line]
    assert [line.split(" dev ")[0] for line in events] == [
        f"Deleted {MOVED} via {old.address}",
        f"{MOVED} via {new.address}",
    ]
    assert f"blackhole {MOVED} proto bird" in new.routes


def test_new_files_and_killed_birds_drop_no_packet(served, record_property):
    old, _, far = served
    kept = an_affinity(MOVED, host=old.name)

    with PingStream(far.netns, POD) as stream:
        for level in ("Debug", "Warning"):
            said = a_bgp_configuration(
                logSeverityScreen=level,
                serviceClusterIPs=[{"cidr": "10.96.0.0/16"}],
                prefixAdvertisements=[{"cidr": "10.233.0.0/16", "communities": ["65000:1"]}],
            )
            old.configure(kept, POOL, said)
            far.configure(POOL, said)
            old.configure(kept, an_affinity("10.233.98.0/24", host=old.name))
            wait_for(way_to(old, "10.233.98.0/24"), far)
            old.configure(kept)
            far.configure()
        for victim, other in ((old, far), (far, old)):
            victim.kill()
            eventually(lambda other=other: not other.is_established)
            victim.start()
            eventually(lambda: all(each.is_established for each in served))
        sent, received = stream.stop()

    record_property("sent", sent)
    assert sent > 50
    assert received == sent
