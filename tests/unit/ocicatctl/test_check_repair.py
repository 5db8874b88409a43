"""What a repair writes, on what it rests, and what is left and why."""

import json
from dataclasses import replace

import pytest

from datamodel.affinity import PENDING, Affinity
from datamodel.attachment import Kernel
from datamodel.block import Attribute, Block
from datamodel.pool import Network
from datamodel.report import Report
from datastore import codec, keys
from datastore.store import Change, Committed, Entry, Rejected
from ocicatctl.check.draft import Run
from ocicatctl.check.problem import Kind
from ocicatctl.check.repair import plan
from tests.ipam import Stored, an_allocate, revision_of, settled
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
from tests.unit.ocicatctl.test_check_damage import (
    HERE_LINK,
    committed,
    mended,
    only_action,
    with_unknown_holder,
)


@pytest.fixture
def cluster() -> Stored:
    return a_cluster(2, 1)


def own_block(stored: Stored, node: str = "node-1") -> Block:
    (block,) = blocks(stored, node)
    return block


def test_a_leak_is_released_with_its_handle_if_its_block_handle_and_endpoint_stay_so(cluster):
    leaking = cluster.without(endpoint_key(1, 0))
    address = address_of(cluster, handle(1, 0))
    sequence = own_block(cluster).sequence_numbers[own_block(cluster).ordinal(address) or 0]

    action = only_action(checked(leaking, a_report(cluster, without={handle(1, 0)})))

    block_key, handle_key = keys.block(own_block(cluster).cidr), keys.handle(handle(1, 0))
    assert action.change.expect == {
        block_key: revision_of(leaking, block_key),
        handle_key: revision_of(leaking, handle_key),
        endpoint_key(1, 0): 0,
    }
    assert action.change.delete == {handle_key}
    assert action.text == f"release {address} (sequence number {sequence}) of {handle(1, 0)}"
    assert "the kernel of node-1, asked just now" in action.proof


def test_a_released_address_cools_down_if_the_cluster_wants_that(cluster):
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true,"ipCooldownSeconds":60}'}
    leaking = cluster.without(endpoint_key(1, 0)).having(**config)

    after, findings = mended(leaking, a_report(cluster, without={handle(1, 0)}))

    holder = own_block(after).holder_of(address_of(cluster, handle(1, 0)))
    assert holder
    assert holder.released_at
    assert texts(findings) == []


def test_a_leak_that_is_not_proven_is_left_and_said(cluster):
    chosen = plan(checked(cluster.without(endpoint_key(1, 0))))

    assert chosen.actions == ()
    (left,) = chosen.left
    assert left.why == (
        "cannot be proven to be unused: only the kernel of node node-1 can prove it; "
        "run this there, with ipamd up"
    )


def test_repairs_keep_what_only_a_newer_calico_knows(cluster):
    block = own_block(cluster)
    affinity, counted = keys.affinity("node-1", block.cidr), keys.handle(handle(1, 0))
    wrong = {"block": {str(block.cidr): 7}, "deleted": False, "owner": "x"}
    stored = cluster.having(
        **{affinity: b'{"state":"pending","since":"now"}', counted: json.dumps(wrong).encode()}
    )

    after, findings = mended(stored, a_report(cluster))

    assert kinds(findings) == []
    assert json.loads(after.values[affinity])["since"] == "now"
    assert json.loads(after.values[counted])["owner"] == "x"


def test_after_a_boot_what_has_no_link_goes_with_its_endpoint(cluster):
    after, findings = mended(cluster, Report(Kernel("boot-2", "1"), True, ()))

    assert kinds(findings) == []
    assert after.below(keys.ENDPOINTS) == [
        key for key in cluster.below(keys.ENDPOINTS) if "/node--1-" not in key
    ]


def test_the_last_address_of_nobodys_block_takes_the_block_along(cluster):
    alone = a_cluster(1)
    block = own_block(alone)
    stored = with_block(alone, replace(block, affinity=None)).without(
        keys.affinity("node-1", block.cidr), endpoint_key(1, 0)
    )

    after, findings = mended(stored, a_report(alone, without={handle(1, 0)}))

    assert after.below(keys.ALL_BLOCKS) == []
    assert texts(findings) == []


def test_everything_of_a_node_that_is_gone_goes_but_what_an_endpoint_has(cluster):
    cluster = a_cluster(2, 2)
    stored = cluster.without(keys.node("node-2"), endpoint_key(2, 0))

    after, findings = mended(stored)

    cidr = own_block(cluster, "node-2").cidr
    assert after.block(cidr).affinity is None
    assert after.block(cidr).held_by(handle(2, 1))
    assert not after.block(cidr).held_by(handle(2, 0))
    assert keys.affinity("node-2", cidr) not in after.values
    assert texts(findings) == []


def test_nobodys_block_has_no_time_of_a_claim(cluster):
    key = keys.block(own_block(cluster, "node-2").cidr)
    claimed = edited(cluster, key, affinity_claim_time="2026-11-20T12:00:00Z")

    after, _ = mended(claimed.without(keys.node("node-2")))

    assert "affinity_claim_time" not in json.loads(after.values[key])


def test_an_empty_block_of_a_node_that_is_gone_is_deleted_though_an_address_cools_down(cluster):
    block, _ = own_block(cluster, "node-2").release(handle(2, 0), now=LATER, cooldown_s=60)
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true,"ipCooldownSeconds":60}'}
    stored = with_block(cluster, block.next_write()).having(**config)
    stored = stored.without(keys.node("node-2"), keys.handle(handle(2, 0)), endpoint_key(2, 0))

    after, findings = mended(stored)

    assert keys.block(block.cidr) not in after.values
    assert texts(findings) == []


def test_a_confirmed_affinity_comes_with_a_block_that_was_written_anew(cluster):
    block = own_block(cluster)
    key = keys.affinity("node-1", block.cidr)
    half = cluster.having(**{key: codec.encode_affinity(Affinity("node-1", block.cidr, PENDING))})

    after, _ = mended(half)

    assert codec.decode_affinity(key, after.values[key]).is_confirmed
    assert after.block(block.cidr) == block.next_write()


def test_a_handle_is_left_if_a_block_does_not_say_who_holds_its_addresses(cluster):
    n = [block.host for block in blocks(cluster)].index("node-1")
    stored = with_unknown_holder(cluster.without(keys.handle(handle(1, 0))), cluster, n)

    chosen = plan(checked(stored))

    assert chosen.actions == ()
    assert {left.problem.kind for left in chosen.left} == {
        Kind.INVALID_BLOCK,
        Kind.MISSING_HANDLE,
        Kind.LEAKED_ADDRESS,
    }


def test_an_address_that_nobody_says_who_holds_is_left(cluster):
    block, _ = own_block(cluster).assign(Attribute(None, None))

    chosen = plan(checked(with_block(cluster, block.next_write())))

    assert chosen.actions == ()
    assert [left.why for left in chosen.left] == ["nobody says whose it is; see ipam release"]


# ---- the course of the actions -----------------------------------------------------------------


def test_what_builds_on_a_change_that_was_not_made_is_not_tried(cluster):
    block: Network = own_block(cluster).cidr
    key = keys.block(block)
    first, second = Change({key: 1}, {key: b"1"}), Change({key: 1}, {key: b"2"})
    third = Change({"/other": 1}, delete=frozenset({"/other"}))
    run = Run()

    assert run.next(first) == first
    assert not run.answered(first, Rejected(9, {key: Entry(key, b"mine", 8)}))

    assert run.next(second) is None
    assert run.next(third) == third


def test_a_later_change_expects_what_an_earlier_one_made():
    run = Run()
    first = Change({"/a": 1, "/b": 2}, {"/a": b"1"}, frozenset({"/b"}))
    assert run.answered(first, Committed(7))

    later = run.next(Change({"/a": 1, "/b": 2, "/c": 3}, {"/c": b"1"}))

    assert later == Change({"/a": 7, "/b": 0, "/c": 3}, {"/c": b"1"})


def test_a_rejection_by_an_attempt_of_our_own_is_success():
    change = Change({"/a": 1, "/b": 2}, {"/a": b"1"}, frozenset({"/b"}))

    assert Run().answered(change, Rejected(9, {"/a": Entry("/a", b"1", 9), "/b": None}))
    assert not Run().answered(
        change, Rejected(9, {"/a": Entry("/a", b"1", 9), "/b": Entry("/b", b"", 2)})
    )


def test_a_leak_that_its_container_asks_for_again_is_not_released(cluster):
    leaking = cluster.without(endpoint_key(1, 0))
    action = only_action(checked(leaking, a_report(cluster, without={handle(1, 0)})))

    back, _ = settled(leaking, an_allocate("c1-0", "n1-0", link=HERE_LINK))

    assert isinstance(committed(back, action.change)[1], Rejected)
    assert back.endpoint("n1-0").networks[0].network_address == address_of(cluster, handle(1, 0))
