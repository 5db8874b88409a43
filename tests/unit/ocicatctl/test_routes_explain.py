"""What `ocicatctl routes` says of one destination, cause by cause."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

import pytest

from bird_api.protocols import Session
from bird_api.routes import BirdRoute, Hop
from datamodel.node import Node
from datamodel.pool import Pool
from kernel_api.lookup import KernelHop, KernelRoute
from ocicatctl.routes.explain import explain
from ocicatctl.routes.facts import Bird, Destination, Kernel, View

NODES = {
    "node-1": Node("node-1", IPv4Interface("10.0.0.11/24"), IPv6Interface("fd99::11/64")),
    "node-2": Node("node-2", IPv4Interface("10.0.0.12/24"), IPv6Interface("fd99::12/64")),
    "far": Node("far", IPv4Interface("10.0.9.13/24"), vxlan_ipv4=ip_address("10.233.99.0")),
    "bare": Node("bare"),
    "twin": Node("twin", IPv4Interface("10.0.0.12/24")),
}
POOL = Pool("main", ip_network("10.233.64.0/18"), 24)
POOL6 = Pool("six", ip_network("fd00:10:233::/116"), 122)
OWN, OTHERS = ip_network("10.233.77.0/24"), ip_network("10.233.88.0/24")
OTHERS6 = ip_network("fd00:10:233::/122")
NEAR = Destination(OTHERS, "node-2", "confirmed")
SESSION = Session(
    "Mesh_10_0_0_12", ip_address("10.0.0.12"), "node-to-node mesh", "up", "21:57:18", "Established"
)
DOWN = replace(SESSION, state="start", info="Active Socket: Connection refused")
ETH0, TUNL0, VXLAN = ("eth0", True), ("tunl0", True), ("vxlan.calico", True)


def told(cidr=OTHERS, via="10.0.0.12", device="eth0", **rest) -> BirdRoute:
    fields = {"kind": "unicast", "protocol": SESSION.name, "since": "21:57:18", "is_best": True}
    hops = (Hop(device, ip_address(via)),)
    return BirdRoute(cidr, **{"hops": hops, **fields, **rest})


def used(cidr=OTHERS, via="10.0.0.12", device="eth0", protocol="bird", **rest) -> KernelRoute:
    hop = KernelHop(device, ip_address(via))
    return KernelRoute(cidr, "unicast", protocol, **{"hops": (hop,), **rest})


def dropping(cidr=OWN, kind="blackhole", protocol="bird") -> KernelRoute:
    return KernelRoute(cidr, kind, protocol)


def problems(
    destination=NEAR,
    *,
    kernel=(),
    bird=(),
    sessions=(SESSION,),
    no_bird="",
    pool=POOL,
    links=(ETH0,),
    silent=(),
    node="node-1",
    is_mesh=True,
) -> tuple[str, ...]:
    view = View(
        node,
        NODES,
        [POOL6, pool],
        is_mesh,
        Bird(sessions, bird, no_bird),
        Kernel(kernel, dict(links), frozenset(silent)),
    )
    return explain(destination, view).problems


def test_a_block_of_another_node_that_bird_and_kernel_have_is_right():
    assert problems(bird=[told()], kernel=[used()]) == ()


def test_so_is_one_of_ipv6_with_the_metric_that_the_kernel_gives_it():
    block = Destination(OTHERS6, "node-2", "confirmed")
    kernel = used(OTHERS6, "fd99::12", metric=1024)

    assert problems(block, bird=[told(OTHERS6, "fd99::12")], kernel=[kernel]) == ()


def test_a_block_of_this_node_is_right_if_the_kernel_drops_what_is_free_in_it():
    own = Destination(OWN, "node-1", "confirmed")

    for kind in ("blackhole", "unreachable"):
        assert problems(own, kernel=[dropping(kind=kind)]) == ()
    (missing,) = problems(own)
    assert missing.startswith("the kernel has no blackhole for it")
    assert problems(own, kernel=[used(OWN)]) == (
        "the kernel sends what is free in it away: via 10.0.0.12 dev eth0 proto bird",
    )


def test_a_block_of_one_address_needs_no_blackhole():
    assert problems(Destination(ip_network("10.233.77.5/32"), "node-1", "confirmed")) == ()


# ---- who has it --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (Destination(OTHERS, None), "the block is nobody's"),
        (Destination(OTHERS, "node-2", None), "node node-2 has no affinity for it"),
        (
            Destination(OTHERS, "node-2", "pending"),
            "the affinity of node node-2 is pending, not confirmed",
        ),
        (Destination(OTHERS, "gone", "confirmed"), "node gone is not in etcd"),
        (Destination(OTHERS, "bare", "confirmed"), "node bare has no IPv4 address in etcd"),
        (Destination(OTHERS6, "far", "confirmed"), "node far has no IPv6 address in etcd"),
        (
            Destination(OTHERS, "twin", "confirmed"),
            "node twin has the address 10.0.0.12 of node node-2",
        ),
    ],
)
def test_what_is_wrong_in_etcd_is_the_cause_and_no_consequence_is_told(destination, expected):
    (problem,) = problems(destination)

    assert problem.startswith(expected)


def test_of_nodes_with_one_address_the_one_that_bird_peers_with_has_the_session():
    # As the route distributor decides it: this node first, then by name.
    assert problems(sessions=[DOWN])[0].startswith("session Mesh_10_0_0_12 with node node-2")
    (problem,) = problems(node="twin")
    assert problem == (
        "node node-2 has the address 10.0.0.12 of node twin: no node can send to it; give each "
        "its own"
    )


def test_very_old_affinities_without_a_state_are_confirmed():
    assert problems(Destination(OTHERS, "node-2", ""), bird=[told()], kernel=[used()]) == ()


# ---- why the kernel has no route ---------------------------------------------------------------


def test_a_session_that_is_down_is_told_with_its_state_and_since_when():
    assert problems(sessions=[DOWN]) == (
        "session Mesh_10_0_0_12 with node node-2 is start since 21:57:18 "
        "(Active Socket: Connection refused)",
    )


def test_the_other_causes_of_a_route_that_nobody_told():
    withheld = replace(POOL, disable_bgp_export=True)

    assert problems(pool=withheld) == ("pool main has disableBGPExport: no peer is told of it",)
    assert problems() == (
        "the session with node node-2 is established, but node-2 does not tell of it; "
        "call ocicatctl routes node-2 there",
    )
    assert problems(sessions=[]) == (
        "BIRD has no session with node node-2 (10.0.0.12); see ocicatctl node status",
    )
    assert problems(sessions=[], is_mesh=False) == (
        "BIRD has no session with node node-2 (10.0.0.12), there is no mesh, and no other peer "
        "tells of it; see ocicatctl get bgppeer",
    )
    assert problems(no_bird="BIRD x: no answer") == (
        "the kernel has no route to it, and this node's BIRD does not answer",
    )


def test_a_session_of_the_other_family_does_not_count():
    (problem,) = problems(Destination(OTHERS6, "node-2", "confirmed"))

    assert problem.startswith("BIRD has no session with node node-2 (fd99::12)")


def test_a_next_hop_to_which_bird_knows_no_way_is_told():
    route = told(
        kind="unreachable", hops=(), attributes={"BGP.next_hop": "192.0.2.1"}, source="BGP"
    )
    expected = ("BIRD knows no way to 192.0.2.1, the next hop that Mesh_10_0_0_12 tells",)

    assert problems(bird=[route]) == expected
    assert problems(bird=[route], kernel=[dropping(OTHERS, "unreachable")]) == expected


def test_a_route_that_bird_has_and_the_kernel_has_not_is_told():
    (problem,) = problems(bird=[told()])

    assert problem.startswith("BIRD has a route to it (Mesh_10_0_0_12), the kernel has none")


# ---- what the kernel does instead --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ([used(via="10.0.0.99", protocol="static")], "a route of somebody else is in the way"),
        (
            [used(metric=32), used(via="10.0.0.99", protocol="static")],
            "a route of somebody else goes before ours: via 10.0.0.99 dev eth0 proto static",
        ),
        ([dropping(OTHERS)], "the kernel drops what goes there: blackhole proto bird"),
        (
            [used(hops=(KernelHop("eth0", ip_address("10.0.0.12"), is_dead=True),))],
            "the kernel does not use 10.0.0.12 on eth0: the link is down",
        ),
    ],
)
def test_a_route_that_does_something_else_is_told(kernel, expected):
    (problem,) = problems(bird=[told()], kernel=kernel)

    assert problem.startswith(expected)


def test_a_foreign_route_that_ours_goes_before_does_not_matter():
    foreign = used(via="10.0.0.99", protocol="static", metric=100)

    assert problems(bird=[told()], kernel=[foreign, used()]) == ()


def test_a_neighbour_that_does_not_answer_is_told():
    silent = [("eth0", ip_address("10.0.0.12"))]

    assert problems(bird=[told()], kernel=[used()], silent=silent) == (
        "10.0.0.12 does not answer on eth0: no packet leaves for it",
    )


def test_a_route_that_is_kept_of_a_session_that_is_down_is_told():
    (problem,) = problems(bird=[told()], kernel=[used()], sessions=[DOWN])

    assert problem.startswith("the route is an old one: session Mesh_10_0_0_12 is start since")


# ---- tunnels -----------------------------------------------------------------------------------

IPIP = replace(POOL, ipip_mode="Always")
CROSS = replace(POOL, vxlan_mode="CrossSubnet")
FAR = Destination(OTHERS, "far", "confirmed")


def test_routes_through_tunnels_are_recognised():
    through_tunl0 = used(device="tunl0")
    by_vxlan = used(via="10.233.99.0", device="vxlan.calico", protocol="80")

    assert problems(pool=IPIP, bird=[told()], kernel=[through_tunl0], links=[TUNL0]) == ()
    assert problems(FAR, pool=CROSS, kernel=[by_vxlan], links=[ETH0, VXLAN]) == ()


def test_across_subnets_only_the_far_go_through_the_tunnel():
    direct = used(protocol="80")

    assert problems(pool=CROSS, kernel=[direct], links=[ETH0, VXLAN]) == ()
    assert problems(FAR, pool=CROSS, kernel=[direct], links=[ETH0, VXLAN]) == (
        "it should go through vxlan.calico and goes through eth0",
    )


def test_a_tunnel_that_is_no_longer_wanted_is_told():
    assert problems(bird=[told()], kernel=[used(device="tunl0")], links=[ETH0, TUNL0]) == (
        "it should go without a tunnel and goes through tunl0",
    )


def test_a_tunnel_device_that_is_missing_or_down_is_the_cause():
    told_of = "; see ocicatctl node status"

    assert problems(pool=IPIP, bird=[told()]) == (f"device tunl0 is not there{told_of}",)
    assert problems(FAR, pool=CROSS, links=[ETH0, ("vxlan.calico", False)]) == (
        f"device vxlan.calico is down{told_of}",
    )


def test_a_pool_with_both_kinds_of_tunnels_is_the_cause():
    both = replace(IPIP, vxlan_mode="Always")

    assert problems(pool=both, links=[ETH0, TUNL0, VXLAN]) == (
        "pool main has ipipMode and vxlanMode both on, so none is used; choose one",
    )


def test_a_pool_of_ipv6_with_ipip_is_the_cause():
    ipip = Pool("ipip", ip_network("fd00:10:234::/116"), 122, ipip_mode="Always")
    block = Destination(ip_network("fd00:10:234::/122"), "node-2", "confirmed")

    assert problems(block, pool=ipip) == (
        "pool ipip has ipipMode on, which does not carry IPv6; take vxlanMode",
    )


def test_a_node_without_an_address_for_its_tunnel_is_the_cause():
    always = replace(POOL, vxlan_mode="Always")

    (without,) = problems(pool=always, links=[ETH0, VXLAN])
    (other,) = problems(FAR, pool=always, links=[ETH0, VXLAN])

    assert without.startswith("node node-2 has no address for its vxlan.calico in etcd yet")
    assert other.startswith("the kernel has no route to it; see ocicatctl node status")


def test_vxlan_needs_no_peer_to_be_told():
    withheld = replace(CROSS, disable_bgp_export=True)

    assert problems(pool=withheld, kernel=[used(protocol="80")], sessions=[DOWN]) == ()


# ---- borrowed addresses ------------------------------------------------------------------------

ADDRESS = ip_network("10.233.88.5/32")
POD = KernelRoute(ADDRESS, "unicast", "boot", hops=(KernelHop("cali0123456789a"),))


def test_a_borrowed_address_here_needs_its_pods_route_and_bird_to_learn_it():
    here = Destination(ADDRESS, "node-1", None, OTHERS, "node-2")
    learnt = told(ADDRESS, protocol="kernel4", hops=(Hop("cali0123456789a"),))
    withheld = replace(POOL, disable_bgp_export=True)

    assert problems(here, bird=[learnt], kernel=[POD]) == ()
    assert problems(here, kernel=[POD]) == (
        "BIRD has not learnt it from the kernel: nobody is told of it",
    )
    assert problems(here, kernel=[POD], pool=withheld) == (
        "pool main has disableBGPExport: no peer is told of it",
    )
    assert problems(here)[0].startswith("the kernel has no route to a pod with this address")


def test_a_borrowed_address_elsewhere_is_looked_for_where_it_is_used():
    there = Destination(ADDRESS, "node-2", None, OWN, "node-1")

    assert problems(there, bird=[told(ADDRESS)], kernel=[used(ADDRESS, metric=1024)]) == ()
    assert problems(there) == (
        "the session with node node-2 is established, but node-2 does not tell of it; "
        "call ocicatctl routes 10.233.88.5 there",
    )


def test_who_is_no_node_of_the_cluster_has_no_routes_to_miss():
    assert problems(node="laptop") == ()
