"""What one transaction writes, decided on plain values: no store, no clock, no loop."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import Workload
from datamodel.errors import Exhausted, Invalid
from datamodel.gotime import go_time
from datamodel.ipam_config import IpamConfig
from datastore import codec, keys
from datastore.store import MAX_OPERATIONS, Entry
from ipamd.block_choice import MAX_GUESSES
from ipamd.decision import decide
from ipamd.request import Done, Free, Grant, Granted, Prepare, Released
from tests.consistency import assert_consistent
from tests.ipam import (
    LINK,
    NODE,
    NOW,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    a_view,
    an_allocate,
    an_attachment,
    decided,
    endpoint_key,
    handle_key,
    settled,
)

BLOCKS = keys.blocks(4)
SMALL = a_pool(cidr="10.0.0.0/29", block_size=29)  # one block of eight addresses


def with_full_pool():
    stored = a_store(SMALL)
    for i in range(8):
        stored, _ = settled(stored, an_allocate(f"c{i}", f"pod-{i}"))
    return stored


# ---- allocate ----------------------------------------------------------------------------------


def test_the_first_allocation_guesses_a_free_block_without_reading_anything():
    decision = decide(a_view(a_store()), [an_allocate()])

    assert not decision.needs
    assert decision.change.expect[keys.block(decision.outcome[0].grants[0].block)] == 0


def test_after_some_wrong_guesses_the_clusters_blocks_are_asked_for():
    pool = a_pool()
    candidates = pool.blocks_for(NODE)
    taken = [a_foreign_block(next(candidates)) for _ in range(MAX_GUESSES)]
    stored = a_store(nodes=(NODE, "node-2"), **{k: v for b in taken for k, v in b.items()})
    needs = []

    decision = decided(stored, an_allocate(), on_needs=needs.append)

    assert {BLOCKS} in needs
    assert decision.outcome[0].grants[0].block == next(candidates)


def test_the_first_allocation_claims_a_block_and_uses_it_in_one_change():
    stored = a_store()

    decision = decided(stored, an_allocate("c1", "web-0"))

    [granted] = decision.outcome
    cidr = granted.grants[0].block
    assert granted == Granted((Grant(cidr.network_address, cidr),))
    assert decision.change.put.keys() == {
        keys.affinity(NODE, cidr),
        keys.block(cidr),
        handle_key("c1"),
        endpoint_key("web-0"),
    }
    assert not decision.change.delete
    assert decision.change.expect == {
        **dict.fromkeys(decision.change.put, 0),
        **{
            guard: stored.entries[guard].revision
            for guard in (keys.IPAM_CONFIG, keys.pool(a_pool().name), keys.node(NODE))
        },
    }
    assert_consistent(stored.with_change(decision.change).values)


def test_a_claimed_block_is_confirmed_from_the_start():
    stored, [granted] = settled(a_store(), an_allocate())

    cidr = granted.grants[0].block
    assert codec.load("", stored.entries[keys.affinity(NODE, cidr)].value) == {
        "state": "confirmed",
        "deleted": False,
    }
    assert stored.block(cidr).affinity == f"host:{NODE}"


def test_a_claimed_blocks_sequence_numbers_begin_at_the_time_in_nanoseconds():
    stored, [granted] = settled(a_store(), an_allocate())

    block = stored.block(granted.grants[0].block)
    born = 1795176000123450000
    assert datetime.fromtimestamp(born // 10**9, UTC) == NOW.replace(microsecond=0)
    assert block.sequence_numbers == {0: born}
    assert block.sequence_number == born + 1


def test_the_second_allocation_uses_the_nodes_block_without_reading_anything():
    stored, [first] = settled(a_store(), an_allocate("c1", "web-0"))

    decision = decide(a_view(stored), [an_allocate("c2", "web-1")])

    block = first.grants[0].block
    assert not decision.needs
    assert decision.outcome == [Granted((Grant(block[1], block),))]
    assert decision.change.put.keys() == {
        keys.block(block),
        handle_key("c2"),
        endpoint_key("web-1"),
    }
    assert decision.change.expect == {
        keys.block(block): stored.entries[keys.block(block)].revision,
        handle_key("c2"): 0,
        endpoint_key("web-1"): 0,
    }


def test_a_repeated_allocation_gives_the_same_answer_and_holds_it_anew():
    """Whoever found it unused before must not free it now: it has a link again."""
    stored, first = settled(a_store(), an_allocate("c1", "web-0"))
    cidr, handle_id = first[0].grants[0].block, an_allocate("c1").attachment.handle_id
    seen = Free(handle_id, stored.block(cidr).sequences_of(handle_id))

    again, second = settled(stored, an_allocate("c1", "web-0"))
    late, [released] = settled(again, seen)

    assert second == first
    assert again.values.keys() == stored.values.keys()
    assert [k for k, v in again.values.items() if v != stored.values[k]] == [keys.block(cidr)]
    assert released == Released()
    assert late == again


def test_a_repeated_allocation_restores_an_endpoint_that_somebody_deleted():
    stored, first = settled(a_store(), an_allocate("c1", "web-0"))
    stored = stored.without(endpoint_key("web-0"))

    decision = decided(stored, an_allocate("c1", "web-0"))

    assert decision.outcome == first
    assert endpoint_key("web-0") in decision.change.put


def test_an_allocation_names_its_pod_for_people():
    stored, [granted] = settled(a_store(), an_allocate("c1", "web-0"))

    [attribute] = stored.block(granted.grants[0].block).attributes
    assert attribute.handle_id == "k8s-pod-network.c1"
    assert attribute.secondary == {
        "namespace": "default",
        "pod": "web-0",
        "node": NODE,
        "timestamp": "2026-11-20 12:00:00.12345 +0000 UTC",
    }


def test_an_endpoint_tells_the_link_and_the_address():
    stored, [granted] = settled(a_store(), an_allocate("c1", "web-0"))

    endpoint = stored.endpoint("web-0")
    assert endpoint.networks == (ip_network(granted.grants[0].address),)
    assert endpoint.interface_name == "cali0123456789a"
    assert endpoint.container_id == "c1"
    assert endpoint.profiles == ("kns.default",)


def test_an_endpoint_tells_what_kubernetes_says_of_the_pod():
    workload = Workload({"app": "web"}, floating_ips=(ip_address("172.18.9.9"),))

    stored, [granted] = settled(a_store(), an_allocate(link=replace(LINK, workload=workload)))

    document = json.loads(stored.values[endpoint_key("web-0")])
    assert document["metadata"]["labels"]["app"] == "web"
    assert document["spec"]["ipNATs"] == [
        {"internalIP": str(granted.grants[0].address), "externalIP": "172.18.9.9"}
    ]


def test_without_a_link_no_endpoint_is_written():
    decision = decided(a_store(), an_allocate(link=None))

    assert not [key for key in decision.change.put if key.startswith(keys.ENDPOINTS)]
    assert handle_key("c1") in decision.change.put


def test_outside_kubernetes_the_endpoint_is_the_containers():
    stored, _ = settled(a_store(), an_allocate("c1", pod=None))

    assert stored.below(keys.ENDPOINTS) == [keys.endpoint("default", "node--1-cni-c1-eth0")]
    assert_consistent(stored.values)


def test_two_interfaces_of_one_pod_have_an_address_each():
    stored, outcomes = settled(
        a_store(), an_allocate("c1", "web-0"), an_allocate("c1", "web-0", ifname="net1")
    )

    assert len({granted.grants[0].address for granted in outcomes}) == 2
    assert_consistent(stored.values)


def test_an_own_block_with_room_is_preferred_in_the_order_of_keys():
    stored = a_store()
    for third in (3, 200, 64):
        stored = stored.having(**a_foreign_block(ip_network(f"10.233.{third}.0/24"), host=NODE))
    stored = stored.having(
        **{
            keys.pool("wide"): codec.encode_pool(
                a_pool("wide", "10.233.0.0/16"), an_allocate().stamp
            )
        }
    )

    _, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block == ip_network("10.233.200.0/24")  # "200" < "3" < "64" as text


def test_an_allocation_that_a_foreign_block_holds_is_found_by_its_handle():
    cidr = ip_network("10.233.70.0/24")
    borrowed, address = Block.new(cidr, "node-2", 1).assign(
        Attribute(an_attachment("c1").handle_id, {})
    )
    stored = a_store(nodes=(NODE, "node-2")).having(
        **{
            keys.block(cidr): codec.encode_block(borrowed.next_write()),
            keys.affinity("node-2", cidr): b'{"state":"confirmed"}',
            handle_key("c1"): codec.encode_handle({cidr: 1}),
        }
    )

    after, [granted] = settled(stored, an_allocate("c1", "web-0"))

    assert granted.grants == (Grant(address, cidr),)
    assert_consistent(after.values)


def test_a_handle_that_counts_too_much_is_corrected_by_the_next_allocation():
    stored, [first] = settled(a_store(), an_allocate("c0", "other"))
    gone = ip_network("10.233.99.0/24")
    stored = stored.having(**{handle_key("c1"): codec.encode_handle({gone: 3})})

    after, [granted] = settled(stored, an_allocate("c1", "web-0"))

    assert granted.grants[0].block == first.grants[0].block
    assert_consistent(after.values)


# ---- release -----------------------------------------------------------------------------------


def test_a_release_takes_back_everything_in_one_change():
    stored, [granted] = settled(a_store(), an_allocate("c1", "web-0"))
    cidr = granted.grants[0].block

    decision = decided(stored, a_release("c1", "web-0"))

    assert decision.outcome == [Released(granted.grants)]
    assert decision.change.delete == {handle_key("c1"), endpoint_key("web-0")}
    assert decision.change.put.keys() == {keys.block(cidr)}
    after = stored.with_change(decision.change)
    assert after.block(cidr).in_use == 0
    assert after.block(cidr).unallocated[-1] == 0
    assert after.block(cidr).sequence_number > stored.block(cidr).sequence_number
    assert_consistent(after.values)


def test_the_node_keeps_its_block_when_it_is_empty():
    stored, [granted] = settled(a_store(), an_allocate())

    stored, _ = settled(stored, a_release())

    assert stored.below(keys.ALL_BLOCKS) == [keys.block(granted.grants[0].block)]


def test_a_release_of_nothing_is_no_change():
    decision = decided(a_store(), a_release())

    assert decision.outcome == [Released(())]
    assert not decision.change.put
    assert not decision.change.delete


def test_a_release_may_be_repeated():
    stored, _ = settled(a_store(), an_allocate())
    stored, _ = settled(stored, a_release())

    decision = decided(stored, a_release())

    assert decision.outcome == [Released(())]
    assert not decision.change.put
    assert not decision.change.delete


def test_a_release_that_does_not_know_the_pod_still_removes_the_endpoint():
    stored, _ = settled(a_store(), an_allocate("c1", "web-0"))

    stored, _ = settled(stored, a_release("c1", pod=None))

    assert stored.below(keys.ENDPOINTS) == []


def test_a_release_keeps_an_endpoint_that_names_a_newer_container():
    stored, _ = settled(a_store(), an_allocate("old", "web-0"))
    stored, _ = settled(stored, an_allocate("new", "web-0"))

    stored, [released] = settled(stored, a_release("old", "web-0"))

    assert len(released.grants) == 1
    assert stored.endpoint("web-0").container_id == "new"
    assert_consistent(stored.values)


def test_a_release_removes_a_handle_and_an_endpoint_that_have_no_address_any_more():
    stored, [granted] = settled(a_store(), an_allocate("c1", "web-0"))
    cidr = granted.grants[0].block
    emptied, _ = stored.block(cidr).release(an_attachment("c1").handle_id, now=NOW)
    stored = stored.having(**{keys.block(cidr): codec.encode_block(emptied.next_write())})

    stored, [released] = settled(stored, a_release("c1", "web-0"))

    assert released == Released(())
    assert stored.below(keys.ALL_HANDLES) == stored.below(keys.ENDPOINTS) == []


@pytest.mark.parametrize("cooldown_s", [0, 60])
def test_a_block_that_is_nobodys_goes_with_its_last_address(cooldown_s):
    config = codec.encode_ipam_config(IpamConfig(True, ip_cooldown_s=cooldown_s), None)
    stored, [granted] = settled(
        a_store().having(**{keys.IPAM_CONFIG: config}), an_allocate("c1", "web-0")
    )
    cidr = granted.grants[0].block
    orphan = replace(stored.block(cidr), affinity=None)
    stored = stored.having(**{keys.block(cidr): codec.encode_block(orphan)}).without(
        keys.affinity(NODE, cidr)
    )

    stored, [released] = settled(stored, a_release("c1", "web-0"))

    assert released.grants == granted.grants
    assert stored.below(keys.ALL_BLOCKS) == []
    assert_consistent(stored.values)


def test_an_address_rests_on_while_nobody_can_read_for_how_long():
    """A slip in the config does not end every rest at once."""
    config = codec.encode_ipam_config(IpamConfig(True, ip_cooldown_s=600), None)
    stored, [first] = settled(
        a_store(a_pool(cidr="10.233.64.0/30", block_size=30), **{keys.IPAM_CONFIG: config}),
        an_allocate("c1", "web-1"),
    )
    stored, _ = settled(stored, a_release("c1", "web-1"))
    for number in (2, 3, 4):
        stored, _ = settled(stored, an_allocate(f"c{number}", f"web-{number}"))

    spoilt = stored.having(**{keys.IPAM_CONFIG: b'{"ipCooldownSeconds":"600"}'})
    spoilt, [refused] = settled(spoilt, an_allocate("c5", "web-5"), now=NOW + timedelta(minutes=5))
    _, [later] = settled(stored, an_allocate("c5", "web-5"), now=NOW + timedelta(minutes=11))

    assert isinstance(refused, Invalid)
    assert spoilt.block(first.grants[0].block).holder_of(first.grants[0].address) is not None
    assert later.grants == first.grants


# ---- a pod whose sandbox was replaced ----------------------------------------------------------


def test_the_previous_sandbox_of_a_pod_is_reported():
    stored, _ = settled(a_store(), an_allocate("old", "web-0"))

    stored, [granted] = settled(stored, an_allocate("new", "web-0"))

    assert granted.superseded == "old"
    assert stored.endpoint("web-0").container_id == "new"
    assert stored.endpoint("web-0").networks == (ip_network(granted.grants[0].address),)
    assert_consistent(stored.values, unwired={an_attachment("old").handle_id})


def test_a_previous_sandbox_that_holds_nothing_is_not_reported():
    stored, [granted] = settled(a_store(), an_allocate("old", "web-0"))
    cidr = granted.grants[0].block
    emptied, _ = stored.block(cidr).release(an_attachment("old").handle_id, now=NOW)
    stored = stored.having(**{keys.block(cidr): codec.encode_block(emptied.next_write())}).without(
        handle_key("old")
    )

    _, [granted] = settled(stored, an_allocate("new", "web-0"))

    assert granted.superseded == ""


def test_a_replaced_endpoint_keeps_its_uid_and_creation_time():
    stored, _ = settled(a_store(), an_allocate("old", "web-0"))
    before = codec.load("", stored.entries[endpoint_key("web-0")].value)["metadata"]

    later = codec.Stamp("another", datetime(2027, 1, 1, tzinfo=UTC))
    stored, _ = settled(stored, an_allocate("new", "web-0", stamp=later))

    assert codec.load("", stored.entries[endpoint_key("web-0")].value)["metadata"] == before


# ---- which pool --------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["second", "10.2.0.0/24"])
def test_a_pool_is_asked_for_by_name_or_by_cidr(wanted):
    stored = a_store(a_pool("first", "10.1.0.0/24"), a_pool("second", "10.2.0.0/24"))

    _, [granted] = settled(stored, an_allocate(pools=(wanted,)))

    assert granted.grants[0].block == ip_network("10.2.0.0/24")


def test_pools_are_tried_in_the_order_in_which_they_are_asked_for():
    pools = [a_pool(f"p{i}", f"10.{i}.0.0/32", block_size=32) for i in range(3)]
    stored = a_store(*pools)

    stored, [first] = settled(stored, an_allocate("c1", "a", pools=("p2", "p0")))
    _, [second] = settled(stored, an_allocate("c2", "b", pools=("p2", "p0")))

    assert first.grants[0].address == ip_address("10.2.0.0")
    assert second.grants[0].address == ip_address("10.0.0.0")


def test_an_own_block_outside_the_wanted_pools_is_not_used():
    stored = a_store(a_pool("first", "10.1.0.0/24"), a_pool("second", "10.2.0.0/24"))
    stored, _ = settled(stored, an_allocate("c1", "a", pools=("first",)))

    _, [granted] = settled(stored, an_allocate("c2", "b", pools=("second",)))

    assert granted.grants[0].block == ip_network("10.2.0.0/24")


@pytest.mark.parametrize(
    "rest",
    [
        {"disabled": True},
        {"assignment_mode": "Manual"},
        {"allowed_uses": ("Tunnel",)},
        {"node_selector": "rack == 'r1'"},
    ],
)
def test_a_pool_that_is_not_for_pods_in_general_is_passed_over(rest):
    stored = a_store(a_pool("a", "10.1.0.0/24", **rest), a_pool("b", "10.2.0.0/24"))

    _, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block == ip_network("10.2.0.0/24")


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ({"disabled": True}, "is disabled"),
        ({"assignment_mode": "Manual"}, "assignmentMode is Manual"),
        ({"allowed_uses": ("Tunnel",)}, "allowedUses is Tunnel"),
        ({"node_selector": "rack == 'r1'"}, "nodeSelector \"rack == 'r1'\" does not match"),
    ],
)
def test_a_pool_that_is_passed_over_is_named_with_the_reason(rest, reason):
    _, [refused] = settled(a_store(a_pool("a", "10.1.0.0/24", **rest)), an_allocate())

    assert isinstance(refused, Exhausted)
    assert f"pool a (10.1.0.0/24): {reason}" in str(refused)


def test_a_pool_that_is_asked_for_may_be_one_that_is_not_for_pods_in_general():
    stored = a_store(a_pool("a", "10.1.0.0/24", assignment_mode="Manual", node_selector="x == '1'"))

    _, [granted] = settled(stored, an_allocate(pools=("a",)))

    assert granted.grants[0].block == ip_network("10.1.0.0/24")


@pytest.mark.parametrize("wanted", ["off", "10.2.0.0/24", "nowhere", "10.1.0.0/25"])
def test_a_pool_that_is_disabled_or_unknown_cannot_be_asked_for(wanted):
    stored = a_store(a_pool("on", "10.1.0.0/24"), a_pool("off", "10.2.0.0/24", disabled=True))

    decision = decided(stored, an_allocate(pools=(wanted,)))

    [refused] = decision.outcome
    assert isinstance(refused, Invalid)
    assert str(refused).startswith(f"pool {wanted}: does not exist, or is not enabled")
    assert "on (10.1.0.0/24)" in str(refused)
    assert not decision.change.put


def test_an_ipv6_pool_serves_no_ipv4_request():
    stored = a_store(a_pool("six", "fd00::/112", block_size=120))

    _, [refused] = settled(stored, an_allocate())

    assert str(refused) == (
        "no addresses: there is no IPv4 pool; create one with ocicatctl create -f"
    )


def test_a_pool_that_cannot_be_read_does_not_hide_the_others():
    stored = a_store(a_pool("good", "10.1.0.0/24")).having(**{keys.pool("bad"): b"{"})

    _, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block == ip_network("10.1.0.0/24")


# ---- no room -----------------------------------------------------------------------------------


def test_a_full_pool_is_named_and_the_text_says_what_to_do():
    _, [refused] = settled(with_full_pool(), an_allocate("one-more", "pod-9"))

    assert isinstance(refused, Exhausted)
    assert str(refused) == (
        "no addresses: pool default-ipv4-ippool (10.0.0.0/29): all 1 blocks are claimed and the 1 "
        "of node node-1 are full; release addresses or add a pool"
    )


@pytest.mark.parametrize(
    ("reserved", "text"),
    [
        ("10.0.0.0/28", "is reserved as a whole; change the IPReservation or add a pool"),
        (
            "10.0.0.8/29",
            "all 2 blocks are claimed or reserved and the 1 of node node-1 are full; "
            "release addresses, reserve fewer, or add a pool",
        ),
    ],
)
def test_a_pool_that_is_full_because_of_a_reservation_says_so(reserved, text):
    reservation = {"metadata": {"name": "r"}, "spec": {"reservedCIDRs": [reserved]}}
    stored = a_store(
        a_pool(cidr="10.0.0.0/28", block_size=29),
        **{f"{keys.RESERVATIONS}r": codec.dump(reservation)},
    )

    _, outcomes = settled(stored, *(an_allocate(f"c{i}", f"p{i}") for i in range(9)))

    pool = "pool default-ipv4-ippool (10.0.0.0/28)"
    assert str(outcomes[-1]) == f"no addresses: {pool}: {text}"


def test_an_address_of_a_load_balancers_block_is_refused_with_its_owner():
    cidr = ip_network("10.233.70.0/24")
    block = codec.encode_block(Block.new(cidr, "node-1", 1))
    stored = a_store(**{keys.block(cidr): block.replace(b"host:node-1", b"virtual:load-balancer")})

    _, [refused] = settled(stored, an_allocate(addresses=(ip_address("10.233.70.5"),)))

    assert "block 10.233.70.0/24 is virtual:load-balancer's" in str(refused)


def test_a_pool_whose_blocks_are_all_of_other_nodes_is_full_for_this_one():
    stored = a_store(a_pool(cidr="10.0.0.0/28", block_size=29), nodes=(NODE, "node-2"))
    for cidr in ip_network("10.0.0.0/28").subnets(new_prefix=29):
        stored = stored.having(**a_foreign_block(cidr, taken=1))

    _, [refused] = settled(stored, an_allocate())

    assert "all 2 blocks are claimed and the 0 of node node-1 are full" in str(refused)


def test_when_one_pool_is_full_the_next_one_serves():
    stored = with_full_pool()
    stored = stored.having(
        **{keys.pool("z"): codec.encode_pool(a_pool("z", "10.9.0.0/24"), an_allocate().stamp)}
    )

    _, [granted] = settled(stored, an_allocate("one-more", "pod-9"))

    assert granted.grants[0].block == ip_network("10.9.0.0/24")


@pytest.mark.parametrize("config", [b'{"auto_allocate_blocks":false}', b"{}"])
def test_where_nodes_may_not_claim_blocks_the_text_says_so(config):
    stored = a_store().having(**{keys.IPAM_CONFIG: config})

    decision = decided(stored, an_allocate())

    [refused] = decision.outcome
    assert isinstance(refused, Exhausted)
    assert "auto_allocate_blocks is off" in str(refused)
    assert "ocicatctl ipam configure" in str(refused)
    assert not decision.change.put


def test_where_nodes_may_not_claim_blocks_those_they_have_are_used():
    stored, [first] = settled(a_store(), an_allocate("c1", "a"))
    stored = stored.having(**{keys.IPAM_CONFIG: b"{}"})

    _, [granted] = settled(stored, an_allocate("c2", "b"))

    assert granted.grants[0].block == first.grants[0].block


def test_without_an_ipam_config_nodes_may_claim_blocks():
    _, [granted] = settled(a_store().without(keys.IPAM_CONFIG), an_allocate())

    assert granted.grants


# ---- several at once ---------------------------------------------------------------------------


def test_requests_that_wait_leave_in_one_change():
    requests = [an_allocate(f"c{i}", f"pod-{i}") for i in range(5)]

    stored, outcomes = settled(a_store(), *requests)

    assert len({granted.grants[0].address for granted in outcomes}) == 5
    block = stored.block(outcomes[0].grants[0].block)
    assert block.in_use == 5
    assert len(stored.below(keys.ALL_BLOCKS)) == 1
    assert_consistent(stored.values)


def test_one_that_fails_leaves_no_trace_while_others_succeed():
    stored = a_store()
    right = [an_allocate("c1", "a"), an_allocate("c3", "c")]

    decision = decided(stored, right[0], an_allocate("c2", "b", pools=("nowhere",)), right[1])

    alone = decided(stored, *right)
    assert isinstance(decision.outcome[1], Invalid)
    assert [decision.outcome[0], decision.outcome[2]] == alone.outcome
    assert decision.change == alone.change


def test_when_addresses_run_out_those_who_came_first_have_them():
    requests = [an_allocate(f"c{i}", f"pod-{i}") for i in range(10)]

    stored, outcomes = settled(a_store(SMALL), *requests)

    assert [type(o) for o in outcomes] == [Granted] * 8 + [Exhausted] * 2
    assert_consistent(stored.values)


def test_an_address_released_before_is_given_out_in_the_same_change():
    stored = with_full_pool()

    stored, outcomes = settled(stored, a_release("c3", "pod-3"), an_allocate("new", "pod-9"))

    assert outcomes[0].grants == outcomes[1].grants
    assert_consistent(stored.values)


def test_allocate_and_release_of_one_container_cancel_each_other():
    stored, _ = settled(a_store(), an_allocate("other", "b"))

    after, outcomes = settled(stored, an_allocate("c1", "a"), a_release("c1", "a"))

    assert outcomes[0].grants == outcomes[1].grants
    assert after.below(keys.ALL_HANDLES) == [handle_key("other")]
    assert_consistent(after.values)


def test_release_and_allocate_of_one_container_leave_it_with_one_address():
    stored, [before] = settled(a_store(), an_allocate("c1", "a"))

    stored, outcomes = settled(stored, a_release("c1", "a"), an_allocate("c1", "a"))

    assert outcomes[0].grants == before.grants
    assert len(outcomes[1].grants) == 1
    assert_consistent(stored.values)


def test_two_allocations_for_one_container_get_one_address():
    _, outcomes = settled(a_store(), an_allocate("c1", "a"), an_allocate("c1", "a"))

    assert outcomes[0] == outcomes[1]


# ---- prepare -----------------------------------------------------------------------------------


def test_a_node_without_a_block_claims_one_before_the_first_pod():
    stored, outcomes = settled(a_store(), Prepare())

    [key] = stored.below(keys.ALL_BLOCKS)
    block = stored.block(keys.cidr_of(key))
    assert outcomes == [Done()]
    assert block.in_use == 0
    assert block.host == NODE
    assert_consistent(stored.values)


def test_a_node_with_a_block_needs_no_preparation():
    stored, _ = settled(a_store(), Prepare())

    decision = decide(a_view(stored), [Prepare()])

    assert decision.outcome == [Done()]
    assert not decision.change.put


# ---- others claim, too -------------------------------------------------------------------------


def test_a_block_claimed_by_another_node_meanwhile_is_left_to_it():
    """The list of blocks was read before; the rejected transaction tells of the claim."""
    stored = a_store(nodes=(NODE, "node-2"))
    claimed = {BLOCKS: frozenset()}
    first = decide(a_view(stored, claimed=claimed), [an_allocate()])
    taken = first.outcome[0].grants[0].block
    foreign = stored.having(**a_foreign_block(taken))

    learnt = {keys.block(taken): foreign.entries[keys.block(taken)]}
    second = decide(a_view(foreign, claimed=claimed, facts=learnt), [an_allocate()])

    candidates = iter(a_pool().blocks_for(NODE))
    assert taken == next(candidates)
    assert second.outcome[0].grants[0].block == next(candidates)
    assert_consistent(foreign.with_change(second.change).values, unwired={"net.node-2-0"})


def test_nodes_begin_to_look_for_a_block_at_different_places():
    stored = a_store(nodes=(NODE, "node-2"))

    _, [one] = settled(stored, an_allocate(), node=NODE)
    _, [two] = settled(stored, an_allocate(), node="node-2")

    assert one.grants[0].block != two.grants[0].block


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_a_claim_that_broke_off_before_the_block_was_made_is_finished(state):
    pool = a_pool(cidr="10.0.0.0/24")
    key = keys.affinity(NODE, pool.cidr)
    stored = a_store(pool).having(**{key: b'{"state":"%s","deleted":false}' % state.encode()})

    stored, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block == pool.cidr
    assert_consistent(stored.values)


@pytest.mark.parametrize("state", ["pending", "pendingDeletion"])
def test_a_claim_that_broke_off_before_it_was_confirmed_is_finished(state):
    """An address from a block that nobody announces would reach nobody."""
    cidr = ip_network("10.233.70.0/24")
    stored = (
        a_store()
        .having(**a_foreign_block(cidr, host=NODE))
        .having(**{keys.affinity(NODE, cidr): b'{"state":"%s","deleted":false}' % state.encode()})
    )

    stored, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block == cidr
    assert_consistent(stored.values)


def test_an_affinity_whose_block_is_another_nodes_gives_no_addresses():
    cidr = ip_network("10.233.70.0/24")
    stored = (
        a_store(nodes=(NODE, "node-2"))
        .having(**a_foreign_block(cidr))
        .having(**{keys.affinity(NODE, cidr): b'{"state":"pending"}'})
    )

    _, [granted] = settled(stored, an_allocate())

    assert granted.grants[0].block != cidr


# ---- etcd's limit ------------------------------------------------------------------------------


MANY_BLOCKS = {
    keys.IPAM_CONFIG: b'{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":256}'
}


def test_as_many_requests_leave_together_as_fit_when_every_one_claims_a_block():
    """One address a block; and each pod had an older container that holds nothing any more."""
    stored = a_store(a_pool(cidr="10.0.0.0/24", block_size=32), **MANY_BLOCKS)
    requests = [an_allocate(f"new{i}", f"pod-{i}") for i in range(MAX_OPERATIONS)]
    for i in range(MAX_OPERATIONS):
        stored, _ = settled(stored, an_allocate(f"old{i}", f"pod-{i}"))
        stored = stored.without(handle_key(f"old{i}"), *stored.below(keys.ALL_BLOCKS))
        stored = stored.without(*stored.below(keys.ALL_AFFINITIES))

    decision = decided(stored, *requests)

    assert len(decision.outcome) >= MAX_OPERATIONS // 6
    assert all(isinstance(outcome, Granted) for outcome in decision.outcome)
    assert MAX_OPERATIONS - 6 < decision.change.operations <= MAX_OPERATIONS


def test_as_many_requests_leave_together_as_fit_when_they_use_one_block():
    stored, _ = settled(a_store(), Prepare())

    decision = decided(stored, *(an_allocate(f"c{i}", f"pod-{i}") for i in range(MAX_OPERATIONS)))

    assert len(decision.outcome) == (MAX_OPERATIONS - 1) // 2
    assert decision.change.operations <= MAX_OPERATIONS


def test_as_many_releases_leave_together_as_fit():
    stored = a_store(a_pool(cidr="10.0.0.0/24", block_size=32), **MANY_BLOCKS)
    for i in range(MAX_OPERATIONS):
        stored, _ = settled(stored, an_allocate(f"c{i}", f"pod-{i}"))

    decision = decided(stored, *(a_release(f"c{i}", f"pod-{i}") for i in range(MAX_OPERATIONS)))

    assert sum(len(released.grants) for released in decision.outcome) == MAX_OPERATIONS // 3
    assert decision.change.operations <= MAX_OPERATIONS


# ---- small things ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("microsecond", "text"),
    [
        (0, "2026-11-20 12:00:00 +0000 UTC"),
        (100000, "2026-11-20 12:00:00.1 +0000 UTC"),
        (1, "2026-11-20 12:00:00.000001 +0000 UTC"),
    ],
)
def test_a_time_is_written_as_go_writes_it(microsecond, text):
    assert go_time(NOW.replace(microsecond=microsecond)) == text


def test_a_decision_does_not_change_what_it_looks_at():
    """The compare-and-swap loop may run it again on the same values."""
    stored, _ = settled(a_store(), an_allocate("c1", "a"))
    view = a_view(stored)
    requests = [an_allocate("c2", "b"), a_release("c1", "a")]
    facts = {
        handle_key("c1"): stored.entries[handle_key("c1")],
        endpoint_key("a"): stored.entries[endpoint_key("a")],
    }
    view = replace(view, facts=facts)

    first = decide(view, requests)
    second = decide(view, requests)

    assert first == second
    assert first.change.put


def test_an_endpoint_of_the_same_container_and_another_pod_is_not_touched():
    attachment = Attachment("k8s-pod-network", "c1", "eth0")
    stored, _ = settled(a_store(), an_allocate("c1", "web-0"), an_allocate("c2", "web-1"))

    stored, _ = settled(stored, replace(a_release("c1"), attachment=attachment, pod=Pod("x", "y")))

    assert stored.endpoint("web-1").container_id == "c2"


def test_revision_zero_means_that_a_key_must_be_absent():
    decision = decided(a_store(), an_allocate("c1", "web-0"))

    present = Entry(handle_key("c1"), b"{}", 7)
    assert decision.change.expect[present.key] == 0


def on_another_network(request):
    attachment = replace(request.attachment, network="other")
    return replace(request, attachment=attachment)


def test_release_under_another_network_keeps_the_endpoint_of_an_address_that_is_held():
    stored, _ = settled(a_store(a_pool()), an_allocate("c1", "p1"))

    after, _ = settled(stored, on_another_network(a_release("c1", "p1")))

    assert after.values == stored.values


def test_an_endpoint_is_not_taken_from_the_same_container_on_another_network():
    stored, _ = settled(a_store(a_pool()), an_allocate("c1", "p1"))

    after, outcomes = settled(stored, on_another_network(an_allocate("c1", "p1")))

    assert after.values == stored.values
    assert isinstance(outcomes[0], Invalid)
    assert "another network" in str(outcomes[0])


def test_an_endpoint_that_cannot_be_read_does_not_keep_the_address():
    stored, _ = settled(a_store(a_pool()), an_allocate("c1", "p1"))
    stored = stored.having(**{endpoint_key("p1"): b"zzz"})

    after, outcomes = settled(stored, a_release("c1", "p1"))

    assert len(outcomes[0].grants) == 1
    assert handle_key("c1") not in after.values


def test_a_handle_that_nobody_can_read_is_told_with_what_to_do_and_released_once_that_is_done():
    key = handle_key("c1")
    held, _ = settled(a_store(), an_allocate("c1", "web-0"))

    _, [refused] = settled(held.having(**{key: b"{"}), a_release("c1", "web-0"))
    mended, [released] = settled(held.without(key), a_release("c1", "web-0"))

    assert f"etcd key {key}: value is not JSON" in str(refused)
    assert str(refused).endswith("; delete the key, then call ocicatctl ipam check --repair")
    assert released.grants
    assert_consistent(mended.values)
