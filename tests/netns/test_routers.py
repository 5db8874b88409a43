"""Nodes of ours and a router of another AS that runs another implementation of BGP."""

import pytest

from datamodel.bgp import SecretRef
from route_distributor.bird.desired import Settings
from tests.cluster import a_bgp_configuration, a_bgp_filter, a_bgp_peer, a_pool, an_affinity
from tests.netns.bird_nodes import BLOCKS, joined, start, wait_for
from tests.netns.gobgp import ADDRESS, AS, neighbor, router
from tests.netns.namespaces import eventually, ip
from tests.routing import node

NODES_AS = 64512
POOL = a_pool("default", "10.233.0.0/16")
BORROWED = "10.233.88.7"  # of node-2's block, on node-1
SERVICES = "10.96.0.0/16"
PASSWORD = SecretRef("bgp", "tor")
TAGGED = "65000:100"
CONFIGURATION = a_bgp_configuration(
    serviceClusterIPs=[{"cidr": SERVICES}],
    communities=[{"name": "pods", "value": TAGGED}],
    prefixAdvertisements=[{"cidr": "10.233.0.0/16", "communities": ["pods"]}],
)
WITHHELD, UNWANTED = "10.233.99.0/24", "198.51.100.0/24"
FILTER = a_bgp_filter(
    "rules",
    exportV4=[{"action": "Reject", "cidr": WITHHELD, "matchOperator": "Equal"}],
    importV4=[{"action": "Reject", "cidr": UNWANTED, "matchOperator": "In"}],
)


def test_a_router_learns_blocks_services_and_borrowed_addresses_and_nothing_else(tmp_path):
    guarded = a_bgp_peer(
        "tor",
        peerIP=ADDRESS,
        asNumber=AS,
        password={"secretKeyRef": {"name": PASSWORD.name, "key": PASSWORD.key}},
        ttlSecurity=1,
        filters=["rules"],
    )
    told = (POOL, CONFIGURATION, FILTER, guarded)
    # The kernel drops what is not signed, and what has crossed a router.
    neighbors = [
        {
            **neighbor(address, NODES_AS, **{"auth-password": "s3cret"}),
            "ttl-security": {"config": {"enabled": True, "ttl-min": 255}},
        }
        for address in ("10.0.0.11", "10.0.0.12")
    ]
    settings = Settings(secrets={PASSWORD: "s3cret"})
    with (
        joined(tmp_path, node(1), node(2), settings=settings) as nodes,
        router(nodes[0].lan, tmp_path, *neighbors) as tor,
    ):
        one, two = nodes
        withheld = an_affinity(WITHHELD, host=one.name)
        one.write(*told, withheld)
        two.write(*told)
        one.add_pod("10.233.77.2")
        one.add_pod(BORROWED)
        ip("-n", one.netns, "route", "add", "192.0.2.0/24", "via", "10.0.0.253")
        tor.announce(UNWANTED)
        tor.announce("203.0.113.0/24")
        start(*nodes)
        expected = {*(BLOCKS[each.name] for each in nodes), f"{BORROWED}/32", SERVICES}
        eventually(lambda: tor.learnt.keys() == expected)

        # One more block: when it is known, so is all that was told before.
        last = "10.233.66.0/24"
        one.configure(*told, withheld, an_affinity(last, host=one.name))
        eventually(lambda: last in tor.learnt)
        learnt = tor.learnt
        assert learnt.keys() == {*expected, last}
        for prefix, routes in learnt.items():
            tags = frozenset() if prefix == SERVICES else frozenset({TAGGED})
            assert {route.communities for route in routes} == {tags}
            assert {route.as_path for route in routes} == {(NODES_AS,)}
        wait_for("203.0.113.0/24 via 10.0.0.254 dev eth0 proto bird", *nodes)
        wait_for(f"{WITHHELD} via 10.0.0.11 dev eth0 proto bird", two)
        assert not any("10.96.0.0" in route for each in nodes for route in each.routes)
        assert not any(UNWANTED in each.table for each in nodes)


@pytest.mark.parametrize(("mode", "next_hop"), [("Keep", "10.0.0.12"), ("Self", "10.0.0.11")])
def test_a_router_hears_of_a_node_it_has_no_session_with(tmp_path, mode, next_hop):
    peer = a_bgp_peer("tor", node="node-1", peerIP=ADDRESS, asNumber=AS, nextHopMode=mode)
    with (
        joined(tmp_path, node(1), node(2)) as nodes,
        router(nodes[0].lan, tmp_path, neighbor("10.0.0.11", NODES_AS)) as tor,
    ):
        for each in nodes:
            each.write(POOL, peer)
        start(*nodes)
        far = BLOCKS["node-2"]
        eventually(lambda: far in tor.learnt)

        (route,) = tor.learnt[far]
        assert (route.next_hop, route.as_path) == (next_hop, (NODES_AS,))


def test_nodes_of_two_as_know_each_other_by_peers(tmp_path):
    with joined(tmp_path, node(1, as_number=65001), node(2, as_number=65002)) as nodes:
        one, two = nodes
        peers = a_bgp_peer("others", nodeSelector="all()", peerSelector="all()")
        for each in nodes:
            each.write(POOL, a_bgp_configuration(nodeToNodeMeshEnabled=False), peers)
        start(*nodes)

        wait_for("10.233.88.0/24 via 10.0.0.12 dev eth0 proto bird", one)
        wait_for("10.233.77.0/24 via 10.0.0.11 dev eth0 proto bird", two)


def test_a_node_is_of_another_as_for_one_peer_and_believes_its_own_number_once(tmp_path):
    peer = a_bgp_peer(
        "tor", peerIP=ADDRESS, asNumber=AS, localASNumber=65100, numAllowedLocalASNumbers=1
    )
    with (
        joined(tmp_path, node(1)) as (one,),
        router(one.lan, tmp_path, neighbor("10.0.0.11", 65100)) as tor,
    ):
        one.write(POOL, peer)
        tor.announce("198.51.100.0/24", "aspath", "65100 65100")
        tor.announce("203.0.113.0/24", "aspath", "65100")
        start(one)
        eventually(lambda: BLOCKS[one.name] in tor.learnt)
        (route,) = tor.learnt[BLOCKS[one.name]]
        wait_for("203.0.113.0/24 via 10.0.0.254 dev eth0 proto bird", one)

        tor.announce("192.0.2.0/24")  # later than what is refused
        wait_for("192.0.2.0/24 via 10.0.0.254 dev eth0 proto bird", one)
        assert route.as_path == (65100,)
        assert "198.51.100.0/24" not in one.table


def test_a_peer_behind_a_gateway_is_reached(tmp_path):
    far = "192.0.2.9"
    peer = a_bgp_peer("far", peerIP=far, asNumber=AS, reachableBy=ADDRESS)
    multihop = {"ebgp-multihop": {"config": {"enabled": True, "multihop-ttl": 5}}}
    neighbors = {**neighbor("10.0.0.11", NODES_AS, source=far), **multihop}
    with (
        joined(tmp_path, node(1)) as (one,),
        router(one.lan, tmp_path, neighbors, address=far) as tor,
    ):
        tor.announce("203.0.113.0/24")
        start(one)

        one.configure(POOL, peer)

        eventually(lambda: BLOCKS[one.name] in tor.learnt)
        wait_for("203.0.113.0/24 via 10.0.0.254 dev eth0 proto bird", one)
        assert f"{far} via 10.0.0.254 dev eth0 proto bird" in one.routes
