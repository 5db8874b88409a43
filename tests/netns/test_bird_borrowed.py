"""Three nodes with real BIRDs: a pod with an address of another node's block is reached.

The pool is everybody's; node-1 borrows from node-2's block, node-3 has nothing to do with it.
"""

from collections.abc import Iterator

import pytest

from tests.cluster import a_pool, an_affinity
from tests.netns.bird_nodes import Node, joined, route_events, start, wait_for
from tests.netns.namespaces import eventually, ip
from tests.routing import node as a_node

POOL = a_pool("default", "10.233.0.0/16")
BORROWED = "10.233.88.7"  # of node-2's block
ROUTE = f"{BORROWED} via 10.0.0.11 dev eth0 proto bird metric 1024"
AGGREGATE = "10.233.88.0/24 via 10.0.0.12 dev eth0 proto bird"


@pytest.fixture
def nodes(tmp_path) -> Iterator[tuple[Node, ...]]:
    with joined(tmp_path, a_node(1), a_node(2), a_node(3)) as nodes:
        for node in nodes:
            node.write(POOL)
        start(*nodes)
        wait_for(AGGREGATE, nodes[0], nodes[2])
        yield nodes


def way(node: Node, address: str) -> str:
    """Where the kernel of *node* sends a packet for *address*."""
    return " ".join(ip("-n", node.netns, "route", "get", address).split()[1:5])


def wait_for_the_next_block(one: Node, *others: Node) -> None:
    """Give node-1 one more block; when it is known, so is all that was told before."""
    one.configure(POOL, an_affinity("10.233.99.0/24", host=one.name))
    wait_for("10.233.99.0/24 via 10.0.0.11 dev eth0 proto bird", *others)


def test_a_borrowed_address_is_reached_from_every_node_and_its_blocks_owner(nodes):
    one, two, three = nodes
    before = [node.up_since for node in nodes]
    files = [node.config.read_bytes() for node in nodes]

    link = one.add_pod(BORROWED)

    for other in (two, three):
        eventually(lambda other=other: ROUTE in other.routes, seconds=1)
        assert way(other, BORROWED) == "via 10.0.0.11 dev eth0"
    assert way(one, BORROWED).startswith(f"dev {link}")
    assert "blackhole 10.233.88.0/24 proto bird" in two.routes
    assert way(three, "10.233.88.8") == "via 10.0.0.12 dev eth0"  # the rest of the block
    for node, since in zip(nodes, before, strict=True):
        assert node.up_since == pytest.approx(since, abs=0.01)
    assert [node.config.read_bytes() for node in nodes] == files


@pytest.mark.parametrize("gone", ["route", "link"])
def test_it_is_withdrawn_when_the_pod_goes(nodes, gone):
    one, *others = nodes
    link = one.add_pod(BORROWED)
    wait_for(ROUTE, *others)

    ip("-n", one.netns, gone, "del", *([BORROWED] if gone == "route" else [link]))

    for other in others:
        eventually(lambda other=other: ROUTE not in other.routes, seconds=1)
    assert "blackhole 10.233.88.0/24 proto bird" in others[0].routes
    assert AGGREGATE in others[1].routes


def test_nothing_else_of_the_host_leaves_it(nodes):
    one, two, three = nodes
    own, alien = one.add_pod("10.233.77.2"), one.add_pod("192.0.2.2")
    ip("-n", one.netns, "link", "add", "docker0", "up", "type", "bridge")
    for destination, link in (
        ("192.0.2.1", "eth0"),  # somebody's host route
        ("10.233.88.9", "docker0"),  # in the pool, and no pod of ours
        ("10.233.88.10", "eth0"),
        ("10.233.88.16/28", own),  # in the pool, and not one address
        ("198.51.100.1", own),  # a pod's, and outside of every pool
        ("172.17.0.0/16", "docker0"),
    ):
        ip("-n", one.netns, "route", "add", destination, "dev", link, "scope", "link")

    wait_for_the_next_block(one, two, three)

    told = {"10.233.77.0/24", "10.233.99.0/24"}
    for other in (two, three):
        assert {r.split()[0] for r in other.routes if "via 10.0.0.11" in r} == told
        lines = other.table.splitlines()
        assert not any(
            mark in line for line in lines for mark in ("/32", "/28", "192.0.2", "172.17")
        )
    assert not any(mark in one.table for mark in (own, alien))
    assert "10.233.88.9/32" in one.table  # learnt, as everything that is no pod's


def test_a_killed_bird_that_comes_back_costs_no_borrowed_route(nodes, tmp_path):
    one, two, three = nodes
    one.add_pod(BORROWED)
    wait_for(ROUTE, two, three)
    heard = [tmp_path / "two", tmp_path / "three"]

    with route_events(two, heard[0]), route_events(three, heard[1]):
        one.kill()
        eventually(lambda: not two.is_established and not three.is_established)
        one.start()
        eventually(lambda: all(node.is_established for node in nodes))
        wait_for_the_next_block(one, two, three)

    assert [BORROWED in file.read_text() for file in heard] == [False, False]
    assert all(ROUTE in other.routes for other in (two, three))


def test_what_was_withdrawn_while_bird_was_away_is_gone_when_it_is_back(nodes):
    one, two, three = nodes
    link = one.add_pod(BORROWED)
    wait_for(ROUTE, two, three)
    two.kill()

    ip("-n", one.netns, "link", "del", link)

    eventually(lambda: ROUTE not in three.routes)
    assert ROUTE in two.routes  # it persists, so that killing BIRD drops nothing
    two.start()
    eventually(lambda: ROUTE not in two.routes)
    assert "blackhole 10.233.88.0/24 proto bird" in two.routes


def test_a_pod_here_goes_before_what_a_peer_says_of_its_address(nodes, tmp_path):
    one, two, three = nodes
    first = one.add_pod(BORROWED)
    wait_for(ROUTE, two, three)

    # The address is given out again while old routes are still about: in its own block, and as
    # one that is borrowed by another node. The CNI plugin adds its route and replaces none.
    links = {node.name: node.add_pod(BORROWED) for node in (two, three)}

    eventually(lambda: f"dev {links['node-3']}" in three.table)
    heard = [tmp_path / "two", tmp_path / "three"]
    with route_events(two, heard[0]), route_events(three, heard[1]):
        two.kill()  # a BIRD that has just started writes every route of its once more
        two.start()
        eventually(lambda: two.is_established)
        ip("-n", one.netns, "link", "del", first)
        eventually(lambda: ROUTE not in two.routes)
        wait_for_the_next_block(one, two, three)
    for node in (two, three):
        assert way(node, BORROWED).startswith(f"dev {links[node.name]}")
    assert not any(f"{BORROWED} dev" in file.read_text() for file in heard)
    assert f"{BORROWED} via 10.0.0.13 dev eth0 proto bird metric 1024" in one.routes


def test_a_block_that_becomes_ours_takes_the_route_of_its_address_in(nodes):
    one, two, three = nodes
    one.add_pod("10.233.99.5")  # in a block of which this node does not know yet
    wait_for("10.233.99.5 via 10.0.0.11 dev eth0 proto bird metric 1024", two, three)

    wait_for_the_next_block(one, two, three)

    for other in (two, three):
        eventually(lambda other=other: not any("10.233.99.5 via" in r for r in other.routes))
        assert "10.233.99.0/24 via 10.0.0.11 dev eth0 proto bird" in other.routes


def test_a_pool_that_is_taken_from_bgp_takes_its_borrowed_addresses_along(nodes):
    one, two, three = nodes
    one.add_pod(BORROWED)
    wait_for(ROUTE, two, three)

    one.configure(a_pool("default", "10.233.0.0/16", disable_bgp_export=True))

    for other in (two, three):
        eventually(lambda other=other: not any("via 10.0.0.11" in r for r in other.routes))
    assert BORROWED not in one.table

    one.configure(POOL)

    wait_for(ROUTE, two, three)
