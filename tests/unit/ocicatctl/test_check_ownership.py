"""What calicoctl does not find is found, once, and said in words."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest

from datamodel.affinity import PENDING, PENDING_DELETION, Affinity
from datamodel.block import WINDOWS_HANDLE, Attribute, Block
from datamodel.node import Node
from datastore import codec, keys
from ocicatctl.check.problem import Kind
from tests.ipam import STAMP, Stored
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


@pytest.mark.parametrize(
    "key",
    [
        keys.handle(handle(1, 0)),
        endpoint_key(1, 0),
        keys.node("node-1"),
        keys.pool("default-ipv4-ippool"),
        f"{keys.RESERVATIONS}rack-1",
        keys.IPAM_CONFIG,
        keys.CLUSTER_INFORMATION,
        "block",
        "affinity",
    ],
)
def test_a_value_that_cannot_be_read_is_named_and_nothing_is_concluded_from_it(cluster, key):
    key = {
        "block": keys.block(the_block(cluster).cidr),
        "affinity": keys.affinity("node-1", the_block(cluster).cidr),
    }.get(key, key)

    findings = checked(cluster.having(**{key: b"[]"}), a_report(cluster))

    unreadable = [p for p in findings.problems if p.kind is Kind.UNREADABLE]
    assert [str(p).partition(";")[0] for p in unreadable] == [
        f"etcd key {key}: value is not a JSON object"
    ]
    others = {p.kind for p in findings.problems if p.kind is not Kind.UNREADABLE}
    # Somebody must look at these anyway before the value is written anew.
    allowed = {Kind.LEAKED_ADDRESS} if key == endpoint_key(1, 0) else set()
    if key == keys.block(the_block(cluster).cidr):
        allowed = {Kind.UNRECORDED_LINK}
    assert others <= allowed


def test_keys_that_are_spelled_otherwise_than_calico_spells_them_are_named(cluster):
    odd = f"{keys.ALL_BLOCKS}ipv6/block/{CIDR.network_address}-{CIDR.prefixlen}"
    value = codec.encode_block(Block.new(CIDR, "node-1", 1))
    affinity = f"{keys.ALL_AFFINITIES}node-1/ipv6/block/10.233.127.0-29"

    findings = checked(cluster.having(**{odd: value, affinity: CONFIRMED}))

    assert {p.subject for p in findings.problems} == {f"etcd key {odd}", f"etcd key {affinity}"}
    assert set(kinds(findings)) == {Kind.UNREADABLE}


def test_no_cluster_information(cluster):
    findings = checked(cluster.without(keys.CLUSTER_INFORMATION))

    assert kinds(findings) == [Kind.NO_CLUSTER_INFORMATION]


def test_a_handle_that_is_missing(cluster):
    findings = checked(cluster.without(keys.handle(handle(1, 0))))

    cidr = the_block(cluster).cidr
    assert texts(findings) == [f"handle {handle(1, 0)}: does not exist, but holds 1 in {cidr}"]
    assert kinds(findings) == [Kind.MISSING_HANDLE]


def test_a_handle_that_counts_wrongly(cluster):
    cidr = the_block(cluster).cidr
    stored = cluster.having(**{keys.handle(handle(1, 0)): codec.encode_handle({cidr: 2, CIDR: 1})})

    findings = checked(stored)

    assert texts(findings) == [
        f"handle {handle(1, 0)}: counts 2 in {cidr}, 1 in {CIDR}, but holds 1 in {cidr}"
    ]
    assert kinds(findings) == [Kind.MISCOUNTED_HANDLE]


@pytest.mark.parametrize("name", ["a/b", "a\rb"])
def test_a_handle_that_no_reader_finds(cluster, name):
    stored = cluster.having(**{keys.handle(name): codec.encode_handle({CIDR: 1})})

    assert kinds(checked(stored)) == [Kind.HIDDEN_HANDLE, Kind.LEAKED_HANDLE]


def test_a_handle_with_rubbish_of_an_old_migration_is_the_one_without(cluster):
    block, _ = the_block(cluster).assign(Attribute("net.old\rrubbish", {"node": "node-1"}))
    stored = with_block(cluster, block.next_write()).having(
        **{keys.handle("net.old"): codec.encode_handle({block.cidr: 1})}
    )

    assert kinds(checked(stored)) == [Kind.LEAKED_ADDRESS]


def test_an_affinity_without_block(cluster):
    findings = checked(cluster.having(**{keys.affinity("node-1", CIDR): CONFIRMED}))

    assert texts(findings) == [f"affinity node-1 {CIDR}: its block does not exist"]
    assert kinds(findings) == [Kind.AFFINITY_WITHOUT_BLOCK]


def test_a_block_without_affinity(cluster):
    cidr = the_block(cluster).cidr

    findings = checked(cluster.without(keys.affinity("node-1", cidr)))

    assert kinds(findings) == [Kind.BLOCK_WITHOUT_AFFINITY]
    assert texts(findings)[0].startswith(f"block {cidr}: belongs to node node-1")


@pytest.mark.parametrize(("owner", "told"), [("host:node-1", "host:node-1"), (None, "nobody")])
def test_an_affinity_that_the_block_contradicts(cluster, owner, told):
    block = replace(the_block(cluster), affinity=owner)
    stored = with_block(cluster, block).without(keys.affinity("node-1", block.cidr))
    own = {keys.affinity("node-1", block.cidr): CONFIRMED} if owner else {}
    foreign = {keys.affinity("node-2", block.cidr): CONFIRMED}

    findings = checked(stored.having(**own, **foreign))

    assert texts(findings) == [
        f"affinity node-2 {block.cidr}: the block itself says that it belongs to {told}"
    ]
    assert kinds(findings) == [Kind.STALE_AFFINITY]


@pytest.mark.parametrize("state", [PENDING, PENDING_DELETION])
def test_an_affinity_that_is_not_confirmed(cluster, state):
    cidr = the_block(cluster).cidr
    value = codec.encode_affinity(Affinity("node-1", cidr, state))

    findings = checked(cluster.having(**{keys.affinity("node-1", cidr): value}))

    assert kinds(findings) == [Kind.UNCONFIRMED_AFFINITY]
    assert state in texts(findings)[0]


@pytest.mark.parametrize("value", [b"", b"{}", b'{"state":""}'])
def test_an_affinity_of_an_old_calico_is_confirmed(cluster, value):
    stored = cluster.having(**{keys.affinity("node-1", the_block(cluster).cidr): value})

    assert texts(checked(stored)) == []


def test_blocks_of_a_node_that_does_not_exist(cluster):
    findings = checked(cluster.without(keys.node("node-2")))

    assert kinds(findings) == [Kind.NO_SUCH_NODE]
    assert "node node-2, which does not exist" in texts(findings)[0]


@pytest.mark.parametrize(
    "attributes", [(), (Attribute(WINDOWS_HANDLE, None),)], ids=["empty", "Windows"]
)
def test_an_empty_block_of_nobody(cluster, attributes):
    block = replace(Block.new(CIDR, "node-1", 1), affinity=None)
    for attribute in attributes:
        block, _ = block.assign(attribute)

    assert kinds(checked(with_block(cluster, block.next_write()))) == [Kind.EMPTY_BLOCK]


@pytest.mark.parametrize(("ago_s", "found"), [(30, []), (90, [Kind.EMPTY_BLOCK])])
def test_a_block_of_nobody_is_empty_once_its_last_cooldown_is_over(cluster, ago_s, found):
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true,"ipCooldownSeconds":60}'}
    block, _ = Block.new(CIDR, "node-1", 1).assign(Attribute("net.a", None))
    then = LATER - timedelta(seconds=ago_s)
    block, _ = block.release("net.a", now=then, cooldown_s=60)
    stored = with_block(cluster, replace(block, affinity=None).next_write())

    assert kinds(checked(stored.having(**config))) == found


def test_a_block_in_no_pool_and_a_block_of_another_size(cluster):
    outside, large = ip_network("192.0.2.0/29"), ip_network("10.233.127.0/28")
    stored = cluster
    for cidr in (outside, large):
        stored = with_block(stored, Block.new(cidr, "node-1", 1))
        stored = stored.having(**{keys.affinity("node-1", cidr): CONFIRMED})

    findings = checked(stored)

    assert {(p.kind, p.cidr) for p in findings.problems} == {
        (Kind.BLOCK_OUTSIDE_POOLS, outside),
        (Kind.WRONG_BLOCK_SIZE, large),
    }


def test_an_address_that_two_endpoints_have(cluster):
    one, other = json.loads(cluster.values[endpoint_key(1, 0)]), endpoint_key(1, 1)
    spec = {
        **json.loads(cluster.values[other])["spec"],
        "ipNetworks": one["spec"]["ipNetworks"],
    }

    findings = checked(edited(cluster, other, spec=spec))

    assert kinds(findings) == [Kind.LEAKED_ADDRESS, Kind.USED_TWICE]
    assert "n1--0-eth0) and Workload(" in texts(findings)[1]


def test_an_address_that_two_blocks_hold(cluster):
    block = the_block(cluster)
    large = block.cidr.supernet(new_prefix=28)
    twin = Block.new(large, "node-1", 1).assign_address(
        address_of(cluster, handle(1, 0)), Attribute(handle(1, 0), {"node": "node-1"})
    )
    stored = with_block(cluster, twin.next_write()).having(
        **{
            keys.affinity("node-1", large): CONFIRMED,
            keys.handle(handle(1, 0)): codec.encode_handle({block.cidr: 1, large: 1}),
        }
    )

    assert set(kinds(checked(stored))) == {Kind.HELD_TWICE, Kind.WRONG_BLOCK_SIZE}


def test_an_address_that_is_used_though_it_was_released(cluster):
    block, _ = the_block(cluster).release(handle(1, 0), now=LATER, cooldown_s=60)
    stored = with_block(cluster, block.next_write()).without(keys.handle(handle(1, 0)))

    assert kinds(checked(stored)) == [Kind.USED_WHILE_COOLING]


def test_a_node_without_address_and_two_with_the_same(cluster):
    document = json.loads(cluster.values[keys.node("node-1")])
    stored = edited(cluster, keys.node("node-2"), spec=document["spec"]).having(
        **{keys.node("node-3"): codec.encode_node(Node("node-3"), STAMP)}
    )

    findings = checked(stored)

    assert kinds(findings) == [Kind.NODE_WITHOUT_ADDRESS, Kind.SHARED_NODE_ADDRESS]
    assert "nodes node-1, node-2" in texts(findings)[1]
