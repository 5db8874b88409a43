"""What a node may do with blocks of other nodes: reclaim empty ones, borrow from them."""

from ipaddress import ip_address, ip_network

import pytest

from datamodel.block import Block
from datamodel.errors import Exhausted
from datastore import codec, keys
from ipamd.foreign_blocks import PORTION
from tests.consistency import assert_consistent
from tests.ipam import (
    NOW,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    decided,
    endpoint_key,
    settled,
)

CIDR = ip_network("10.0.0.0/29")
SMALL = a_pool(cidr="10.0.0.0/29", block_size=29)  # one block of eight addresses
BORROWING = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}
STRICT = {keys.IPAM_CONFIG: b'{"strict_affinity":true,"auto_allocate_blocks":true}'}
NODES = ("node-1", "node-2")


def a_cluster(*blocks, config=STRICT, pool=SMALL):
    merged = {key: value for block in blocks for key, value in block.items()}
    return a_store(pool, nodes=NODES, **{**config, **merged})


def owned_by(host, stored, cidr=CIDR):
    assert stored.block(cidr).host == host
    assert stored.below(keys.affinities("node-1", 4)) == (
        [keys.affinity("node-1", cidr)] if host == "node-1" else []
    )


# ---- reclaim -----------------------------------------------------------------------------------


def test_an_empty_block_of_another_node_is_reclaimed_when_no_other_is_left():
    stored, [granted] = settled(a_cluster(a_foreign_block(CIDR)), an_allocate())

    owned_by("node-1", stored)
    assert granted.grants[0].address in CIDR
    assert_consistent(stored.values)


def test_a_reclaimed_blocks_sequence_numbers_go_on_above_the_old_ones():
    far_ahead = Block.new(CIDR, "node-2", 1 << 61)
    nobodys = {
        keys.block(CIDR): codec.encode_block(Block.new(CIDR, "", 1 << 61)).replace(
            b'"host:"', b"null"
        )
    }

    stored, _ = settled(a_cluster(nobodys), an_allocate())

    assert stored.block(CIDR).sequence_number > far_ahead.sequence_number


def test_a_block_that_was_claimed_a_moment_ago_is_left_alone():
    fresh = Block.new(CIDR, "node-2", int((NOW.timestamp() - 59) * 1e9))
    blocks = {
        keys.block(CIDR): codec.encode_block(fresh),
        keys.affinity("node-2", CIDR): b'{"state":"confirmed","deleted":false}',
    }

    stored, [refused] = settled(a_cluster(blocks), an_allocate())

    assert isinstance(refused, Exhausted)
    owned_by("node-2", stored)


def test_a_block_in_use_is_not_reclaimed():
    stored, [refused] = settled(a_cluster(a_foreign_block(CIDR, taken=1)), an_allocate())

    assert isinstance(refused, Exhausted)
    owned_by("node-2", stored)


def test_an_unclaimed_block_comes_before_a_reclaimed_one():
    pool = a_pool(cidr="10.0.0.0/28", block_size=29)

    stored, [granted] = settled(a_cluster(a_foreign_block(CIDR), pool=pool), an_allocate())

    assert granted.grants[0].block == ip_network("10.0.0.8/29")
    assert stored.block(CIDR).host == "node-2"


def test_an_empty_block_that_is_nobodys_is_taken_over():
    nobodys = Block.new(CIDR, "x", 1)
    stored = a_cluster(
        {keys.block(CIDR): codec.encode_block(nobodys).replace(b'"host:x"', b"null")}
    )

    stored, _ = settled(stored, an_allocate())

    owned_by("node-1", stored)


def test_a_block_of_this_node_without_its_affinity_is_taken_up_again():
    orphan = Block.new(CIDR, "node-1", int(NOW.timestamp() * 1e9))
    stored = a_cluster({keys.block(CIDR): codec.encode_block(orphan)})

    stored, _ = settled(stored, an_allocate())

    owned_by("node-1", stored)
    assert_consistent(stored.values)


# ---- borrow ------------------------------------------------------------------------------------


def test_without_strict_affinity_a_free_address_of_another_node_is_borrowed():
    stored = a_cluster(a_foreign_block(CIDR, taken=1), config=BORROWING)

    stored, [granted] = settled(stored, an_allocate("c1", "web-0"))

    owned_by("node-2", stored)
    holder = stored.block(CIDR).holder_of(granted.grants[0].address)
    assert (holder.handle_id, holder.node) == ("k8s-pod-network.c1", "node-1")
    assert stored.endpoint("web-0").networks == (ip_network(granted.grants[0].address),)


def test_a_borrowed_address_is_found_again_and_given_back():
    stored = a_cluster(a_foreign_block(CIDR, taken=1), config=BORROWING)
    before = stored.block(CIDR)

    stored, [first] = settled(stored, an_allocate())
    stored, [again] = settled(stored, an_allocate())
    stored, _ = settled(stored, a_release())

    assert first.grants == again.grants
    assert stored.block(CIDR).attributes == before.attributes
    assert endpoint_key("web-0") not in stored.entries


def test_borrowing_stays_within_the_pools_that_serve():
    elsewhere = a_pool("b-other", "10.1.0.0/29", block_size=29, disabled=True)
    stored = a_store(
        SMALL,
        elsewhere,
        nodes=NODES,
        **BORROWING,
        **a_foreign_block(CIDR, taken=8),
        **a_foreign_block(ip_network("10.1.0.0/29"), taken=1),
    )

    _, [refused] = settled(stored, an_allocate())

    assert isinstance(refused, Exhausted)
    assert "no other block has room" in str(refused)


def test_many_foreign_blocks_are_read_in_portions_until_one_serves():
    pool = a_pool(cidr="10.0.0.0/20", block_size=29)
    blocks = [a_foreign_block(c, taken=7) for c in pool.cidr.subnets(new_prefix=29)]
    needs = []

    decision = decided(
        a_cluster(*blocks, config=BORROWING, pool=pool), an_allocate(), on_needs=needs.append
    )

    read = [need for need in needs if keys.blocks(4) not in need and len(need) > 1]
    assert len(decision.outcome[0].grants) == 1
    assert {len(need) for need in read} == {PORTION}
    assert sum(map(len, read)) == len(blocks)  # each once


@pytest.mark.parametrize("config", [BORROWING, STRICT])
def test_what_links_have_though_nobody_recorded_it_is_not_given_out(config):
    stored = a_cluster(config=config)
    in_use = frozenset(map(ip_address, CIDR)) - {ip_address("10.0.0.3")}

    _, [granted] = settled(stored, an_allocate(), in_use=in_use)
    _, [refused] = settled(stored, an_allocate(addresses=(ip_address("10.0.0.4"),)), in_use=in_use)

    assert granted.grants[0].address == ip_address("10.0.0.3")
    assert "a link of this node has it" in str(refused)
