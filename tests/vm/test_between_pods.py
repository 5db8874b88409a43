"""Which way packets take from pod to pod: natively routed, by IPIP, by VXLAN, changed live.

Each test has pods of its own, since a pod's MTU is that of its making. Routes are read as operators
do, packets where they cannot lie: on the wire.
"""

import re

from tests.vm.cluster import FAR, NEAR, ROUTER, Cluster
from tests.vm.node import Pod

UNDERLAY_MTU = 1500
HEADERS = 28  # IP and ICMP: what ping's -s does not count


def route(target: Pod, device: str) -> str:
    """The line of ``ip route`` by which another node reaches the pod, as BIRD makes it."""
    onlink = "" if device == "eth0" else " onlink"
    line = f"{target.block} via {target.node.address} dev {device} proto bird{onlink}"
    return re.escape(line)


def route_by_vxlan(target: Pod) -> str:
    """The same as the distributor makes it, by the address of the other node's tunnel."""
    return rf"{re.escape(target.block)} via 10\.233\.\d+\.\d+ dev vxlan\.calico proto 80 onlink"


def wait_for_ways(one: Pod, two: Pod, device: str) -> None:
    """Wait until each pod's node reaches the other by *device*."""
    one.node.wait_for_route(route(two, device))
    two.node.wait_for_route(route(one, device))


def pings(source: Pod, target: Pod) -> list[int]:
    """How many of three are answered: small ones, of the pod's MTU, in fragments."""
    whole = source.mtu - HEADERS
    sizes = ("-s56",), ("-Mdo", f"-s{whole}"), ("-s4000",)
    return [source.ping(target.address, *size) for size in sizes]


def longest(cluster: Cluster, kind: str) -> int:
    """How long the longest packet of a kind was."""
    return max(packet.length for packet in cluster.packets if packet.kind == kind)


def test_pods_are_natively_routed_also_over_the_router(cluster):
    cluster.use_pool()
    one, two, three = pods = cluster.add_pods("native")
    wait_for_ways(one, two, "eth0")
    gateway = cluster.gateway(one.node)
    one.node.wait_for_route(rf"{re.escape(three.block)} via {gateway} dev eth0 proto bird")
    cluster.forget_packets()

    answered = pings(one, two)

    assert answered == [3, 3, 3]
    assert cluster.travelled(one, two) == {"icmp"}
    assert longest(cluster, "icmp") == UNDERLAY_MTU
    assert one.asks(three.address) == f"{three.address} asked by {one.address}"
    assert three.asks(two.address) == f"{two.address} asked by {three.address}"
    for pod in pods:
        assert f"blackhole {pod.block} proto bird" in pod.node.routes
        assert any(line.startswith(f"{pod.address} dev cali") for line in pod.node.routes)


def test_the_router_outside_and_pods_see_each_other_s_own_addresses(cluster):
    cluster.use_pool(natOutgoing=False)
    pods = cluster.add_pods("outside")

    for pod in pods:
        block = rf"{re.escape(pod.block)} via {pod.node.address} dev eth\d proto bird .*"
        cluster.wait_for_route_of_router(block)
        source = cluster.gateway(pod.node)
        assert cluster.router_asks(pod.address) == f"{pod.address} asked by {source}"
        cluster.forget_packets()
        assert pod.ping(ROUTER) == 3
        asked = {p.source for p in cluster.packets if p.target == ROUTER and p.kind == "icmp"}
        assert pod.address in asked  # with NAT it would be its node's


def test_with_ipip_every_packet_between_nodes_is_in_the_tunnel(cluster):
    cluster.use_pool(ipipMode="Always")
    one, two, three = cluster.add_pods("ipip")
    wait_for_ways(one, two, "tunl0")
    wait_for_ways(one, three, "tunl0")
    cluster.forget_packets()

    answered = pings(one, two)
    from_the_node = one.node.ping(two.address)

    assert answered == [3, 3, 3]
    assert from_the_node == 3  # with the tunnel's address, else the answer would come bare
    assert cluster.travelled(one, two) == {"ipip"}
    assert longest(cluster, "ipip") == UNDERLAY_MTU
    # Nodes tell the router that they take no BFD.
    assert {p.target for p in cluster.packets if p.kind == "icmp"} <= {f"{NEAR}.254", f"{FAR}.254"}
    assert one.asks(three.address) == f"{three.address} asked by {one.address}"


def test_across_subnets_only_what_leaves_its_subnet_is_in_the_tunnel(cluster):
    cluster.use_pool(ipipMode="CrossSubnet")
    one, two, three = cluster.add_pods("cross")
    wait_for_ways(one, two, "eth0")
    wait_for_ways(one, three, "tunl0")
    wait_for_ways(two, three, "tunl0")

    for target, kind in ((two, "icmp"), (three, "ipip")):
        cluster.forget_packets()
        assert pings(one, target) == [3, 3, 3]
        assert cluster.travelled(one, target) == {kind}


def test_with_vxlan_pods_of_different_subnets_reach_each_other(cluster):
    cluster.use_pool(vxlanMode="Always")
    one, _, three = cluster.add_pods("vxlan")
    one.node.wait_for_route(route_by_vxlan(three))
    three.node.wait_for_route(route_by_vxlan(one))
    cluster.forget_packets()

    answered = pings(one, three)

    assert answered == [3, 3, 3]
    assert cluster.travelled(one, three) == {"vxlan"}
    assert longest(cluster, "vxlan") == UNDERLAY_MTU


def test_a_pool_that_stops_tunnelling_is_routed_natively_again(cluster):
    one, two, _ = cluster.add_pods("back")

    cluster.use_pool()
    wait_for_ways(one, two, "eth0")
    cluster.forget_packets()

    assert pings(one, two) == [3, 3, 3]
    assert cluster.travelled(one, two) == {"icmp"}
