"""What calicoctl finds is found, once, and said in words."""

import json
from ipaddress import ip_network

import pytest

from datamodel.affinity import Affinity
from datamodel.block import WINDOWS_HANDLE, Attribute, Block
from datastore import codec, keys
from ocicatctl.check.problem import Kind
from tests.ipam import STAMP, Stored, a_pool
from tests.unit.ocicatctl.test_check_cluster import (
    LATER,
    a_cluster,
    a_report,
    address_of,
    blocks,
    checked,
    edited,
    endpoint_key,
    handle,
    kinds,
    texts,
    with_block,
)

CIDR = ip_network("10.233.127.0/29")
CONFIRMED = codec.encode_affinity(Affinity("node-1", CIDR))


@pytest.fixture
def cluster() -> Stored:
    return a_cluster(2, 1)


def the_block(stored: Stored, node: str = "node-1") -> Block:
    (block,) = blocks(stored, node)
    return block


def test_an_address_that_nobody_uses(cluster):
    findings = checked(cluster.without(endpoint_key(1, 0)))

    address = address_of(cluster, handle(1, 0))
    assert texts(findings) == [
        f"address {address}: is held by {handle(1, 0)} (pod default/n1-0, node node-1), "
        "but no endpoint or tunnel uses it"
    ]
    assert kinds(findings) == [Kind.LEAKED_ADDRESS]


def test_an_address_that_nobody_uses_but_a_link_has(cluster):
    findings = checked(cluster.without(endpoint_key(1, 0)), a_report(cluster))

    assert kinds(findings) == [Kind.LEAKED_ADDRESS]
    assert texts(findings)[0].endswith("uses it; link calic1-0 has it")


def test_an_address_that_cools_down_is_not_leaked(cluster):
    block, _ = the_block(cluster).release(handle(1, 0), now=LATER, cooldown_s=60)

    stored = with_block(cluster, block.next_write()).without(
        endpoint_key(1, 0), keys.handle(handle(1, 0))
    )

    assert texts(checked(stored)) == []


@pytest.mark.parametrize(
    "attribute",
    [
        Attribute(WINDOWS_HANDLE, {"note": "windows host rsvd"}),
        Attribute(None, {"type": "LoadBalancer", "service": "web", "namespace": "default"}),
    ],
    ids=["Windows", "service"],
)
def test_what_is_set_aside_or_a_services_is_not_leaked(cluster, attribute):
    block, _ = the_block(cluster).assign(attribute)

    assert texts(checked(with_block(cluster, block.next_write()))) == []


def test_an_address_of_a_tunnel_is_in_use(cluster):
    attribute = Attribute(
        "ipip-tunnel-addr-node-1", {"node": "node-1", "type": "ipipTunnelAddress"}
    )
    block, address = the_block(cluster).assign(attribute)
    stored = with_block(cluster, block.next_write()).having(
        **{keys.handle(attribute.handle_id): codec.encode_handle({block.cidr: 1})}
    )
    spec = {"bgp": {"ipv4Address": "172.18.0.1/16", "ipv4IPIPTunnelAddr": str(address)}}

    assert kinds(checked(stored)) == [Kind.LEAKED_ADDRESS]
    assert texts(checked(edited(stored, keys.node("node-1"), spec=spec))) == []


def test_addresses_in_use_that_nobody_holds_inside_and_outside_of_pools(cluster):
    stored = cluster
    for i, network in enumerate(("10.233.127.9/32", "192.0.2.1/32")):
        document = json.loads(cluster.values[endpoint_key(1, i)])
        document["spec"]["ipNetworks"].append(network)
        stored = edited(stored, endpoint_key(1, i), **document)

    findings = checked(stored)

    assert set(kinds(findings)) == {Kind.NOT_ALLOCATED, Kind.OUTSIDE_POOLS}
    assert {str(p.address) for p in findings.problems} == {"10.233.127.9", "192.0.2.1"}


def test_a_disabled_pool_is_no_pool_for_an_address_but_for_a_block(cluster):
    pool = a_pool(block_size=29, disabled=True)
    stored = cluster.having(**{keys.pool(pool.name): codec.encode_pool(pool, STAMP)})

    assert texts(checked(stored)) == []
    gone = {keys.block(b.cidr) for b in blocks(stored)} | set(stored.below(keys.ALL_AFFINITIES))
    assert Kind.OUTSIDE_POOLS in kinds(checked(stored.without(*gone)))


def test_a_handle_that_holds_nothing(cluster):
    stored = cluster.having(**{keys.handle("net.gone"): codec.encode_handle({CIDR: 2})})

    findings = checked(stored)

    assert texts(findings) == [f"handle net.gone: holds no address, but counts 2 in {CIDR}"]
    assert kinds(findings) == [Kind.LEAKED_HANDLE]


def test_a_block_whose_queue_is_wrong_shows_its_addresses_all_the_same(cluster):
    key = keys.block(the_block(cluster).cidr)

    findings = checked(edited(cluster, key, unallocated=[7, 7, 0]))

    assert kinds(findings) == [Kind.INVALID_BLOCK]
    assert texts(findings) == [
        f"block {the_block(cluster).cidr}: the queue has ordinal 7 more than once; "
        "ordinal 0 is allocated but in the queue; "
        "ordinal 2, 3, 4, 5, 6 is neither allocated nor in the queue"
    ]
