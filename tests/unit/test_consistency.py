"""The check of the whole store finds what it is there to find."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from datamodel.tunnel import IPIP
from datastore import keys
from ipamd.request import KeepTunnel
from tests.consistency import assert_consistent, problems
from tests.ipam import NODE, a_pool, a_store, an_allocate, an_attachment, endpoint_key, handle_key
from tests.ipam import settled as after

HANDLE = an_attachment("c1").handle_id


def a_cluster() -> dict[str, bytes]:
    """One node, one block of four addresses, two of them held."""
    stored, _ = after(
        a_store(a_pool(cidr="10.0.0.0/30", block_size=30)),
        an_allocate("c1", "web-0"),
        an_allocate("c2", "web-1"),
    )
    return stored.values


BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0-30"
AFFINITY = f"/calico/ipam/v2/host/{NODE}/ipv4/block/10.0.0.0-30"


def changed(key: str, change: Callable[[Any], object]) -> dict[str, bytes]:
    entries = a_cluster()
    document = json.loads(entries[key])
    change(document)
    return {**entries, key: json.dumps(document).encode()}


def without(key: str) -> dict[str, bytes]:
    return {k: v for k, v in a_cluster().items() if k != key}


def test_what_we_write_is_consistent():
    assert_consistent(a_cluster())


def test_an_empty_store_is_consistent():
    assert_consistent({})


def test_a_contradiction_fails_with_its_description():
    with pytest.raises(AssertionError, match=f"handle {HANDLE}: .* has no key"):
        assert_consistent(without(handle_key("c1")))


@pytest.mark.parametrize(
    ("key", "change", "found"),
    [
        (BLOCK, lambda b: b.update(cidr="10.0.0.4/30"), "cidr is 10.0.0.4/30"),
        (BLOCK, lambda b: b.update(deleted=True), "deleted is True"),
        (BLOCK, lambda b: b["allocations"].pop(), "3 allocations for 4"),
        (BLOCK, lambda b: b["allocations"].__setitem__(0, 0.0), "not null or integers"),
        (BLOCK, lambda b: b["unallocated"].append(3), "are in the queue twice"),
        (BLOCK, lambda b: b["unallocated"].append(0), "queue and free ordinals differ in [0]"),
        (BLOCK, lambda b: b["unallocated"].pop(), "queue and free ordinals differ in [3]"),
        (BLOCK, lambda b: b["attributes"].append({"handle_id": "x"}), "3 attributes"),
        (BLOCK, lambda b: b["allocations"].__setitem__(0, 7), "allocations name [1, 7]"),
        (BLOCK, lambda b: b["attributes"][0]["secondary"].update(n=1), "secondary is not text"),
        (BLOCK, lambda b: b.update(sequenceNumber=1.5), "sequenceNumber is 1.5"),
        (BLOCK, lambda b: b.update(sequenceNumber=5), "ordinal 0 has sequence number"),
        (BLOCK, lambda b: b["sequenceNumberForAllocation"].pop("1"), "['1'] are held and have no"),
        (BLOCK, lambda b: b.update(affinity=None), "the block is not its own"),
        (BLOCK, lambda b: b.update(affinity="host:other"), "belongs to host:other, which has no"),
        (AFFINITY, lambda a: a.update(state="pending"), "state is pending"),
        (handle_key("c1"), lambda h: h["block"].update({"10.0.0.0/30": 2}), "counts {"),
        (handle_key("c1"), lambda h: h["block"].update({"10.0.9.0/30": 1}), "counts {"),
        (
            endpoint_key("web-0"),
            lambda e: e["spec"].update(ipNetworks=["10.0.0.3/32"]),
            "10.0.0.3: is used by an endpoint, but not allocated",
        ),
        (
            endpoint_key("web-0"),
            lambda e: e["spec"].update(ipNetworks=["10.0.0.1/32"]),
            "10.0.0.1: is used by 2 endpoints",
        ),
        (
            endpoint_key("web-0"),
            lambda e: e["spec"].update(ipNetworks=["192.168.0.1/32"]),
            "192.168.0.1: is used, but in no enabled pool",
        ),
        (
            endpoint_key("web-0"),
            lambda e: e["spec"].update(ipNetworks=["10.0.0.0/31"]),
            "is not a single address",
        ),
        (endpoint_key("web-0"), lambda e: e["spec"].update(pod="web"), "by its fields its name is"),
        (endpoint_key("web-0"), lambda e: e["metadata"].pop("uid"), "metadata lacks uid"),
        (endpoint_key("web-0"), lambda e: e["metadata"].pop("labels"), "labels are None"),
        (endpoint_key("web-0"), lambda e: e["metadata"].update(namespace="x"), "namespace is x"),
        (keys.node(NODE), lambda n: n["metadata"].update(name="other"), "metadata.name is other"),
        (
            keys.pool("default-ipv4-ippool"),
            lambda p: p["spec"].update(disabled=True),
            "is used, but in no enabled pool",
        ),
    ],
)
def test_a_contradiction_inside_a_value_is_found(key, change, found):
    assert any(found in problem for problem in problems(changed(key, change)))


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (BLOCK, "has an affinity, but the block is not its own"),
        (AFFINITY, f"belongs to host:{NODE}, which has no affinity"),
        (handle_key("c1"), "has no key"),
        (endpoint_key("web-0"), f"10.0.0.0: is held by {HANDLE}, but no endpoint or tunnel"),
        (keys.node(NODE), f"there is no node {NODE}"),
    ],
)
def test_a_key_that_is_missing_is_found(key, found):
    assert any(found in problem for problem in problems(without(key)))


def test_a_handle_that_holds_nothing_is_found():
    entries = {**a_cluster(), handle_key("gone"): b'{"block":{"10.0.0.0/30":1},"deleted":false}'}

    assert problems(entries) == [
        f"handle {an_attachment('gone').handle_id}: counts {{'10.0.0.0/30': 1}} and holds {{}}"
    ]


def test_a_block_that_is_nobodys_and_empty_is_found():
    empty = {
        "cidr": "10.0.0.4/30",
        "affinity": None,
        "allocations": [None] * 4,
        "unallocated": [0, 1, 2, 3],
        "attributes": None,
        "sequenceNumber": 1,
        "sequenceNumberForAllocation": None,
        "deleted": False,
    }
    key = BLOCK.replace("10.0.0.0-30", "10.0.0.4-30")

    assert problems({**a_cluster(), key: json.dumps(empty).encode()}) == [
        f"{key}: is nobody's and empty, but there"
    ]


def with_a_tunnel() -> dict[str, bytes]:
    """The cluster, and the node has an IPIP tunnel with an address."""
    pool = a_pool(cidr="10.0.0.0/30", block_size=30, ipip_mode="Always")
    return after(a_store(pool), KeepTunnel(IPIP))[0].values


def test_an_address_of_a_tunnel_needs_no_endpoint():
    assert problems(with_a_tunnel()) == []


def test_an_address_of_a_tunnel_needs_its_node():
    entries = with_a_tunnel()
    plain = a_store().values[keys.node(NODE)]

    assert problems({**entries, keys.node(NODE): plain}) == [
        f"10.0.0.0: is held by ipip-tunnel-addr-{NODE}, but no endpoint or tunnel uses it"
    ]


def test_an_address_of_a_tunnel_is_held_by_its_node():
    entries = a_cluster()
    node = with_a_tunnel()[keys.node(NODE)]

    assert problems({**entries, keys.node(NODE): node}) == [
        f"10.0.0.0: node {NODE} has it as a tunnel's, but ipip-tunnel-addr-{NODE} does not hold it"
    ]


def test_an_address_that_another_plugin_wires_needs_no_endpoint():
    assert problems(without(endpoint_key("web-0")), unwired={HANDLE}) == []


def test_an_address_that_cools_down_has_no_holder():
    """As Calico 3.33 and later release one."""

    def cool(block):
        block["attributes"][0] = {"releasedAt": "2026-11-20T12:00:00Z"}

    entries = changed(BLOCK, cool)
    gone = {handle_key("c1"), endpoint_key("web-0")}

    assert problems({k: v for k, v in entries.items() if k not in gone}) == []
