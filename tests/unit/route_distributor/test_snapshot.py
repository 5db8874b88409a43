from ipaddress import IPv4Interface, ip_network

import pytest

from datamodel.affinity import PENDING, PENDING_DELETION
from datamodel.bgp import BgpConfiguration
from datastore import keys
from datastore.mirror import within
from route_distributor.snapshot import cluster_snapshot, ranges_of
from tests.cluster import NODE, a_bgp_configuration, a_node, a_pool, an_affinity, stored

OWN = a_node(NODE, "10.0.0.11")


def test_an_empty_store_is_a_cluster_without_us():
    snapshot = cluster_snapshot(NODE, {})

    assert snapshot.own is None
    assert (snapshot.others, snapshot.blocks, snapshot.pools, snapshot.skipped) == ((), (), (), ())
    assert snapshot.bgp == BgpConfiguration(64512, is_mesh_enabled=True, listen_port=179)


def test_the_cluster_is_seen_from_our_node():
    entries = stored(
        OWN,
        a_node("node-3", "10.0.0.13", as_number=64513),
        a_node("node-2", "10.0.0.12"),
        an_affinity("10.233.88.0/24"),
        an_affinity("10.233.77.0/24"),
        a_pool("default-ipv4-ippool", "10.233.64.0/18"),
        a_bgp_configuration(asNumber="1.10", nodeToNodeMeshEnabled=False, listenPort=1179),
        a_bgp_configuration("node.node-2", listenPort=1180),
    )

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.own is not None
    assert snapshot.own.ipv4 == IPv4Interface("10.0.0.11/24")
    assert [(n.name, n.as_number) for n in snapshot.others] == [("node-2", None), ("node-3", 64513)]
    assert [str(block) for block in snapshot.blocks] == ["10.233.77.0/24", "10.233.88.0/24"]
    assert [pool.name for pool in snapshot.pools] == ["default-ipv4-ippool"]
    assert snapshot.bgp == BgpConfiguration(65546, is_mesh_enabled=False, listen_port=1179)
    assert snapshot.skipped == ()


@pytest.mark.parametrize("state", [PENDING, PENDING_DELETION, "whatever comes"])
def test_only_confirmed_blocks_are_ours(state):
    assert cluster_snapshot(NODE, stored(an_affinity("10.233.77.0/24", state))).blocks == ()


@pytest.mark.parametrize("value", [b"", b"{}", b'{"state":""}'])
def test_a_very_old_affinity_without_a_state_is_confirmed(value):
    key = keys.affinity(NODE, ip_network("10.233.77.0/24"))

    assert cluster_snapshot(NODE, stored((key, value))).blocks == (ip_network("10.233.77.0/24"),)


def test_blocks_of_others_are_not_ours():
    entries = stored(
        an_affinity("10.233.77.0/24", host="node-2"),
        an_affinity("10.233.78.0/24", host=f"{NODE}0"),
    )

    assert cluster_snapshot(NODE, entries).blocks == ()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (keys.node("node-2"), b"{", "not JSON"),
        (keys.node("node-2"), b'{"spec":{}}', "metadata"),
        (a_node("node-2")[0], a_node("node-2", "224.0.0.5")[1], "no host's address"),
        (a_node("node-2")[0], a_node("node-2", "10.0.0.12", 2**32)[1], "asNumber"),
        (f"{keys.affinities(NODE, 4)}10.233.79.0", b"{}", "10.233.79.0"),
        (f"{keys.affinities(NODE, 4)}0.0.0.0-0", b"{}", "0.0.0.0/0"),
        (f"{keys.affinities(NODE, 4)}fd00::-122", b"{}", "fd00::/122"),
        (keys.pool("p"), b'{"metadata":{"name":"p"},"spec":{"cidr":"all"}}', "ippools/p"),
        (f"{keys.BGP_CONFIGURATIONS}node.x", b"[]", "node.x"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(key, value, said):
    good = [OWN, a_node("node-3", "10.0.0.13"), an_affinity("10.233.77.0/24")]

    snapshot = cluster_snapshot(NODE, stored(*good, (key, value)))

    assert len(snapshot.skipped) == 1
    assert said in snapshot.skipped[0]
    expected = cluster_snapshot(NODE, stored(*good))
    assert (snapshot.own, snapshot.others, snapshot.blocks, snapshot.bgp) == (
        (expected.own, expected.others, expected.blocks, expected.bgp)
    )


def test_a_bgp_configuration_that_cannot_be_read_is_not_replaced_by_defaults():
    entries = stored(a_bgp_configuration(nodeToNodeMeshEnabled="no"))

    assert cluster_snapshot(NODE, entries).bgp is None


def test_of_two_nodes_with_one_address_the_first_by_name_keeps_it():
    entries = stored(OWN, a_node("node-3", "10.0.0.12"), a_node("node-2", "10.0.0.12"))

    snapshot = cluster_snapshot(NODE, entries)

    assert [node.name for node in snapshot.others] == ["node-2"]
    assert snapshot.skipped == (
        "node node-3: has the address 10.0.0.12 of node node-2; give each its own",
    )


def test_our_own_address_is_never_a_peers():
    snapshot = cluster_snapshot(NODE, stored(OWN, a_node("a-node", "10.0.0.11")))

    assert snapshot.others == ()
    assert len(snapshot.skipped) == 1


def test_the_key_says_which_node_it_is():
    impostor = (keys.node("node-2"), a_node(NODE, "10.0.0.66")[1])

    snapshot = cluster_snapshot(NODE, stored(OWN, impostor))

    assert snapshot.own is not None
    assert snapshot.own.ipv4 == IPv4Interface("10.0.0.11/24")


def test_the_ranges_hold_everything_that_a_snapshot_is_made_of():
    entries = stored(OWN, an_affinity("10.233.77.0/24"), a_pool("p", "10.233.64.0/18"))
    bgp = stored(a_bgp_configuration())

    assert all(within(key, ranges_of(NODE)) for key in {**entries, **bgp})
    assert not within(an_affinity("10.233.77.0/24", host="node-2")[0], ranges_of(NODE))
