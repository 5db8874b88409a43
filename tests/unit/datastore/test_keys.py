"""The examples of Calico's layout for etcd v3."""

from ipaddress import ip_network

import pytest

from datamodel.attachment import Attachment, Pod
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datastore import keys

V4, V6 = ip_network("10.65.0.0/26"), ip_network("fd80:24e2:f998:72d6::/122")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (keys.IPAM_CONFIG, "/calico/ipam/v2/config"),
        (keys.block(V4), "/calico/ipam/v2/assignment/ipv4/block/10.65.0.0-26"),
        (keys.block(V6), "/calico/ipam/v2/assignment/ipv6/block/fd80:24e2:f998:72d6::-122"),
        (keys.blocks(4), "/calico/ipam/v2/assignment/ipv4/block/"),
        (keys.ALL_BLOCKS, "/calico/ipam/v2/assignment/"),
        (keys.affinity("node-1", V4), "/calico/ipam/v2/host/node-1/ipv4/block/10.65.0.0-26"),
        (keys.affinities("node-1", 4), "/calico/ipam/v2/host/node-1/ipv4/block/"),
        (keys.ALL_AFFINITIES, "/calico/ipam/v2/host/"),
        (keys.handle("k8s-pod-network.4f0c"), "/calico/ipam/v2/handle/k8s-pod-network.4f0c"),
        (keys.ALL_HANDLES, "/calico/ipam/v2/handle/"),
        (keys.claim("node-1"), "/ocicat/claims/node-1"),
        (keys.ALL_VIRTUAL, "/calico/ipam/v2/virtual/"),
        (keys.RESERVATIONS, "/calico/resources/v3/projectcalico.org/ipreservations/"),
        (keys.BGP_PEERS, "/calico/resources/v3/projectcalico.org/bgppeers/"),
        (keys.BGP_FILTERS, "/calico/resources/v3/projectcalico.org/bgpfilters/"),
        (
            keys.FELIX_CONFIGURATIONS,
            "/calico/resources/v3/projectcalico.org/felixconfigurations/",
        ),
        (keys.HOST_ENDPOINTS, "/calico/resources/v3/projectcalico.org/hostendpoints/"),
        (
            keys.KUBE_CONTROLLERS_CONFIGURATION,
            "/calico/resources/v3/projectcalico.org/kubecontrollersconfigurations/default",
        ),
        (
            keys.pool("default-ipv4-ippool"),
            "/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool",
        ),
        (keys.node("node-1"), "/calico/resources/v3/projectcalico.org/nodes/node-1"),
        (
            keys.CLUSTER_INFORMATION,
            "/calico/resources/v3/projectcalico.org/clusterinformations/default",
        ),
    ],
)
def test_a_key_is_spelled_as_calico_spells_it(key, expected):
    assert key == expected


def test_an_endpoint_lies_below_its_namespace_with_dashes_doubled():
    where = EndpointId.of("node-1", Attachment("net", "4f0c", "eth0"), Pod("default", "web-0"))

    assert keys.endpoint(where.namespace, where.name) == (
        "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node--1-k8s-web--0-eth0"
    )


def test_a_prefix_ends_in_a_slash_and_a_key_does_not():
    prefixes = [keys.blocks(4), keys.affinities("n", 6), keys.POOLS, keys.NODES, keys.ENDPOINTS]

    assert all(prefix.endswith("/") for prefix in prefixes)
    assert keys.block(V4).startswith(keys.blocks(4))
    assert keys.affinity("n", V6).startswith(keys.affinities("n", 6))
    assert keys.affinities("n", 6).startswith(keys.ALL_AFFINITIES)


@pytest.mark.parametrize("cidr", [V4, V6, ip_network("10.0.0.1/32"), ip_network("::/116")])
def test_a_block_is_found_again_in_its_keys(cidr):
    assert keys.cidr_of(keys.block(cidr)) == cidr
    assert keys.cidr_of(keys.affinity("node-1", cidr)) == cidr


@pytest.mark.parametrize("last", ["", "10.65.0.0", "10.65.0.0-33", "10.65.0.1-26", "x-26"])
def test_a_key_without_a_block_is_named(last):
    key = f"{keys.blocks(4)}{last}"

    with pytest.raises(Invalid, match=f"etcd key {key}: '{last}' is not a block's CIDR"):
        keys.cidr_of(key)
