from ipaddress import ip_network

import pytest

from datamodel.pool import Pool
from datastore import codec, keys
from route_distributor.bird.desired import BirdConfig, NotYet, desired
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import (
    NODE,
    STAMP,
    Pair,
    a_bgp_configuration,
    a_node,
    a_pool,
    an_affinity,
    stored,
)

OWN = a_node(NODE, "10.0.0.11")


def decide(*pairs) -> BirdConfig | NotYet:
    return desired(cluster_snapshot(NODE, stored(*pairs)))


def stored_pool(pool: Pool) -> Pair:
    return keys.pool(pool.name), codec.encode_pool(pool, STAMP)


def a_config(*pairs) -> BirdConfig:
    decision = decide(OWN, *pairs)
    assert isinstance(decision, BirdConfig)
    return decision


@pytest.mark.parametrize("own", [(), (a_node(NODE),), (a_node(NODE, "127.0.0.1"),)])
def test_without_an_address_of_our_own_nothing_is_configured(own):
    assert decide(*own, a_node("node-2", "10.0.0.12")) == NotYet(
        "node node-1: has no usable IPv4 address in etcd yet, and no IPv6 one"
    )


def test_a_configuration_that_cannot_be_read_changes_nothing():
    unchanged = NotYet(
        "BGPConfiguration default or node.node-1: cannot be read, so BIRD goes on as it is; "
        "put a right one there with ocicatctl apply"
    )
    own_say = a_bgp_configuration(f"node.{NODE}", listenPort="179")

    assert decide(OWN, a_bgp_configuration(asNumber="many")) == unchanged
    assert decide(OWN, own_say) == unchanged


def test_every_other_node_with_an_address_is_a_peer():
    config = a_config(
        a_node("node-3", "10.0.0.13", as_number=64513),
        a_node("node-2", "10.0.0.12"),
        a_node("node-4"),
    )

    assert [(str(p.address), p.as_number, p.is_passive) for p in config.peers] == [
        ("10.0.0.12", 64512, True),
        ("10.0.0.13", 64513, True),
    ]


def test_a_node_without_an_as_number_has_the_clusters():
    config = a_config(a_bgp_configuration(asNumber=65001), a_node("node-2", "10.0.0.12"))

    assert (config.mesh.local_as, config.peers[0].as_number) == (65001, 65001)


def test_the_mesh_can_be_switched_off():
    config = a_config(a_bgp_configuration(nodeToNodeMeshEnabled=False), a_node("n", "10.0.0.12"))

    assert config.peers == ()


@pytest.mark.parametrize(
    ("address", "is_passive"),
    [("10.0.0.9", True), ("10.0.0.10", False), ("10.0.0.100", False), ("10.0.0.12", True)],
)
def test_who_dials_is_decided_by_the_addresses_as_text(address, is_passive):
    (peer,) = a_config(a_node("node-2", address)).peers

    assert peer.is_passive == is_passive


def test_exactly_one_end_of_a_session_dials():
    nodes = [a_node(f"n{i}", f"10.0.0.{i}") for i in (2, 9, 10, 20, 100, 200)]
    is_passive = {}
    for i in (2, 9, 10, 20, 100, 200):
        decision = desired(cluster_snapshot(f"n{i}", stored(*nodes)))
        assert isinstance(decision, BirdConfig)
        for peer in decision.peers:
            is_passive[f"10.0.0.{i}", str(peer.address)] = peer.is_passive

    assert all(value != is_passive[b, a] for (a, b), value in is_passive.items())


def test_a_pool_can_keep_its_blocks_from_being_advertised():
    config = a_config(
        an_affinity("10.233.77.0/24"),
        an_affinity("10.234.1.0/24"),
        a_pool("public", "10.233.64.0/18"),
        a_pool("private", "10.234.0.0/16", disable_bgp_export=True),
    )

    (family,) = config.families
    assert family.blocks == (ip_network("10.233.77.0/24"), ip_network("10.234.1.0/24"))
    assert family.advertised == (ip_network("10.233.77.0/24"),)


def test_borrowed_addresses_are_told_of_pools_that_peers_may_know_in_the_order_of_addresses():
    config = a_config(
        a_pool("a", "10.234.0.0/16"),
        a_pool("b", "10.233.0.0/16"),
        a_pool("c", "10.232.0.0/16", disable_bgp_export=True),
        stored_pool(Pool("d", ip_network("fd00::/48"), 122)),
    )

    (family,) = config.families
    assert family.pools == (ip_network("10.233.0.0/16"), ip_network("10.234.0.0/16"))
    assert family.withheld == (ip_network("10.232.0.0/16"),)


def test_a_disabled_pool_counts_as_any_other():
    pool = Pool("a", ip_network("10.234.0.0/16"), 24, disabled=True)

    assert a_config(stored_pool(pool)).families[0].pools == (pool.cidr,)
