from dataclasses import replace
from ipaddress import IPv4Interface, ip_address, ip_interface, ip_network

import pytest

from datamodel.node import Node
from route_distributor.overlay.desired import overlay
from route_distributor.overlay.items import (
    Device,
    Forwarding,
    Neighbour,
    Overlay,
    OwnAddress,
    Route,
    Uplink,
    Vxlan,
)
from route_distributor.overlay.remote import Remote
from tests.overlay import BLOCKS, NODES, REMOTE, UPLINKS, a_pool, a_snapshot, nodes_with

V6_POOL = "fd01::/64"


def routes(found: Overlay) -> dict[str, tuple[str, str, int]]:
    return {
        str(i.destination): (str(i.via), i.device, i.metric)
        for i in found.items
        if isinstance(i, Route)
    }


@pytest.mark.parametrize("mode", ["Never", "", "whatever comes"])
def test_a_cluster_without_overlays_only_forwards(mode):
    found = overlay(a_snapshot(a_pool(mode, mode)), REMOTE, UPLINKS)

    assert found == Overlay(
        sysctls={"net/ipv4/conf/all/forwarding": "1", "net/ipv6/conf/all/forwarding": "1"}
    )


def test_a_node_without_ipv6_leaves_its_forwarding_alone():
    snapshot = a_snapshot(a_pool(), nodes=nodes_with("node-1", ipv6=None))

    assert overlay(snapshot, REMOTE, UPLINKS).sysctls == {"net/ipv4/conf/all/forwarding": "1"}


def test_of_ipip_there_is_the_device_and_its_address():
    found = overlay(a_snapshot(a_pool(ipip="CrossSubnet")), REMOTE, UPLINKS)

    assert found.devices == {"tunl0": Device("tunl0", 1480)}
    assert found.items == {OwnAddress("tunl0", ip_interface("10.233.1.1/32"))}
    assert found.sysctls["net/ipv4/conf/tunl0/rp_filter"] == "2"


def test_vxlan_reaches_every_node_by_its_tunnel():
    found = overlay(a_snapshot(a_pool(vxlan="Always")), REMOTE, UPLINKS)

    device = "vxlan.calico"
    macs = {"node-2": "66:c0:93:2e:56:2c", "node-3": "66:87:de:de:c9:2e"}
    assert found.devices == {
        device: Device(device, 1450, Vxlan(ip_address("10.1.0.11"), 3), "66:b3:68:28:39:8e")
    }
    assert found.items == {
        OwnAddress(device, ip_interface("10.233.1.2/32")),
        Route(BLOCKS["node-2"], device, ip_address("10.233.2.2"), 0),
        Route(BLOCKS["node-3"], device, ip_address("10.233.3.2"), 0),
        Neighbour(device, ip_address("10.233.2.2"), macs["node-2"]),
        Neighbour(device, ip_address("10.233.3.2"), macs["node-3"]),
        Forwarding(device, macs["node-2"], ip_address("10.1.0.12")),
        Forwarding(device, macs["node-3"], ip_address("10.2.0.13")),
    }
    assert (found.unknown, found.problems) == (frozenset(), ())


def test_the_mac_is_calicos():
    nodes = [Node("node1", IPv4Interface("10.1.0.11/24"))]
    snapshot = a_snapshot(a_pool(vxlan="Always"), node="node1", nodes=nodes)

    found = overlay(snapshot, Remote(), UPLINKS)

    assert found.devices["vxlan.calico"].mac == "66:f9:37:c3:7e:94"


def test_vxlan_of_ipv6_has_a_device_of_its_own():
    found = overlay(a_snapshot(a_pool(vxlan="Always", cidr=V6_POOL)), REMOTE, UPLINKS)

    assert found.devices.keys() == {"vxlan-v6.calico"}
    assert found.devices["vxlan-v6.calico"].mtu == 1430
    assert found.devices["vxlan-v6.calico"].mac == "66:24:ac:63:df:6c"
    assert routes(found)["fd01::2:0/122"] == ("fd01::2:2", "vxlan-v6.calico", 1024)


def test_across_subnets_only_what_is_in_another_one_is_tunnelled():
    found = overlay(a_snapshot(a_pool(vxlan="CrossSubnet")), REMOTE, UPLINKS)

    assert routes(found) == {
        "10.233.2.0/24": ("10.1.0.12", "eth0", 0),
        "10.233.3.0/24": ("10.233.3.2", "vxlan.calico", 0),
    }


def test_it_is_our_own_prefix_length_that_says_what_a_subnet_is():
    nodes = nodes_with("node-1", ipv4=IPv4Interface("10.1.0.11/32"))

    found = overlay(a_snapshot(a_pool(vxlan="CrossSubnet"), nodes=nodes), REMOTE, UPLINKS)

    assert {device for _, device, _ in routes(found).values()} == {"vxlan.calico"}


def test_borrowed_addresses_are_reached_where_they_are():
    borrowed = (
        ("10.233.1.7", "node-3"),  # of our own block
        ("10.233.2.7", "node-3"),
        ("10.233.3.7", "node-2"),
        ("10.233.2.8", "node-1"),  # a pod of ours
        ("192.0.2.1", "node-2"),  # of no pool
    )
    remote = replace(REMOTE, borrowed=tuple((ip_address(a), n) for a, n in borrowed))

    found = overlay(a_snapshot(a_pool(vxlan="CrossSubnet")), remote, UPLINKS)

    assert {k: v for k, v in routes(found).items() if k.endswith("/32")} == {
        "10.233.1.7/32": ("10.233.3.2", "vxlan.calico", 1024),
        "10.233.2.7/32": ("10.233.3.2", "vxlan.calico", 1024),
        "10.233.3.7/32": ("10.1.0.12", "eth0", 1024),
    }


def test_a_block_of_one_address_never_goes_before_a_pod_here():
    remote = Remote(((ip_network("10.233.9.1/32"), "node-2"),))

    found = overlay(a_snapshot(a_pool(vxlan="Always")), remote, UPLINKS)

    assert routes(found) == {"10.233.9.1/32": ("10.233.2.2", "vxlan.calico", 1024)}


def test_blocks_of_pools_without_vxlan_are_birds():
    pools = (a_pool(vxlan="Always"), replace(a_pool(ipip="Always", cidr="10.233.3.0/24"), name="x"))

    found = overlay(a_snapshot(*pools), REMOTE, UPLINKS)

    assert routes(found).keys() == {"10.233.2.0/24"}
    assert found.devices.keys() == {"tunl0", "vxlan.calico"}


def test_a_pool_with_both_overlays_is_left_out():
    pools = (replace(a_pool("Always", "Always", "10.234.0.0/16"), name="both"), a_pool("Always"))

    found = overlay(a_snapshot(*pools), REMOTE, UPLINKS)

    assert found.devices.keys() == {"vxlan.calico"}
    assert found.problems == ()


@pytest.mark.parametrize(
    ("nodes", "uplinks", "said"),
    [
        ([], UPLINKS, "has no IPv4 address in etcd"),
        (nodes_with("node-1", ipv4=None), UPLINKS, "has no IPv4 address in etcd"),
        (NODES.values(), {}, "no interface has its address 10.1.0.11"),
    ],
)
def test_as_long_as_our_own_address_is_not_known_everything_stays(nodes, uplinks, said):
    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, uplinks)

    assert (found.devices, found.items, found.unknown) == ({}, frozenset(), {4})
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_a_node_whose_tunnel_has_no_address_yet_is_named_and_the_others_are_reached():
    nodes = nodes_with("node-2", vxlan_ipv4=None)

    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, UPLINKS)

    assert routes(found).keys() == {"10.233.3.0/24"}
    assert found.problems == (
        "node node-2: has no VXLAN tunnel (IPv4) yet; its pods cannot be reached",
    )


def test_our_own_device_is_there_before_it_has_an_address():
    nodes = nodes_with("node-1", vxlan_ipv4=None)

    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, UPLINKS)

    assert "vxlan.calico" in found.devices
    assert not any(isinstance(item, OwnAddress) for item in found.items)
    assert len(routes(found)) == 2


@pytest.mark.parametrize("said", ["66:00:00:00:00:01", "AA:00:00:00:00:01"])
def test_a_mac_that_etcd_says_is_the_devices(said):
    nodes = nodes_with("node-1", vxlan_mac=said)

    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, UPLINKS)

    assert found.devices["vxlan.calico"].mac == said.lower()


@pytest.mark.parametrize("said", ["01:00:5e:00:00:01", "00:00:00:00:00:00"])
def test_a_mac_of_no_device_is_named_and_its_node_left_out(said):
    nodes = nodes_with("node-2", vxlan_mac=said)

    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, UPLINKS)

    assert routes(found).keys() == {"10.233.3.0/24"}
    assert found.problems[0].startswith("node node-2: the MAC of its VXLAN tunnel")


@pytest.mark.parametrize(
    "fields", [{"vxlan_ipv4": NODES["node-2"].vxlan_ipv4}, {"vxlan_mac": "66:c0:93:2e:56:2c"}]
)
def test_of_two_tunnels_that_are_one_the_first_nodes_is_kept(fields):
    nodes = nodes_with("node-3", **fields)

    found = overlay(a_snapshot(a_pool(vxlan="Always"), nodes=nodes), REMOTE, UPLINKS)

    assert routes(found).keys() == {"10.233.2.0/24"}
    assert "of node node-2; give each its own" in found.problems[0]


def test_a_block_that_two_nodes_claim_is_the_firsts_and_never_taken_from_us():
    remote = Remote(
        (
            (BLOCKS["node-1"], "node-3"),
            (BLOCKS["node-2"], "node-2"),
            (BLOCKS["node-2"], "node-3"),
        )
    )

    found = overlay(a_snapshot(a_pool(vxlan="Always")), remote, UPLINKS)

    assert routes(found) == {"10.233.2.0/24": ("10.233.2.2", "vxlan.calico", 0)}
    assert [p.split(":")[0] for p in found.problems] == [
        "block 10.233.1.0/24",
        "block 10.233.2.0/24",
    ]


def test_the_mtu_follows_the_uplinks():
    pools = (a_pool(vxlan="Always"), a_pool(ipip="Always", cidr="10.234.0.0/16"))

    found = overlay(a_snapshot(*pools), REMOTE, {4: Uplink(7, "eth1", 9000)})

    assert {name: device.mtu for name, device in found.devices.items()} == {
        "tunl0": 8980,
        "vxlan.calico": 8950,
    }
