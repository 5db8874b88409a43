"""Every case of ``ipam explain`` for an address and for a pod, and what is read for it."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from datamodel.attachment import Pod
from datamodel.block import Attribute
from datamodel.errors import Invalid
from datamodel.pool import Pool
from datastore import keys
from ocicatctl.ipam.explain_address import address_text
from ocicatctl.ipam.explain_node import node_text
from ocicatctl.ipam.explaining import Explainer
from tests.unit.ocicatctl.addressing import (
    FIRST,
    HANDLE_0,
    NOW,
    POOL,
    SECOND,
    WEB_0,
    a_block,
    a_config,
    a_reservation,
    a_store,
    an_affinity,
    an_endpoint,
    endpoint_key,
    facts_of,
    stored_block,
)

WEB = Attribute(HANDLE_0, facts_of("web-0"))
FREE = "10.0.0.3"


async def explained(address: object, *more: dict[str, bytes], **rest: object) -> dict:
    store = await a_store(*more, **rest)
    return await Explainer(store, NOW).address(ip_address(str(address)))


# ---- held --------------------------------------------------------------------------------------


async def test_a_held_address_is_explained_from_pod_to_pool():
    document = await explained(WEB_0)

    assert document["state"] == "held"
    assert document["reasons"] == document["notes"] == []
    assert document["holder"] == {
        "handle": "net.c0",
        "namespace": "default",
        "pod": "web-0",
        "network": "net",
        "containerID": "c0",
        "interface": "eth0",
        "node": "node-1",
        "type": None,
        "since": "2026-11-20 11:00:00.5 +0000 UTC",
        "sequenceNumber": 1000,
        "isBorrowed": False,
        "attributes": dict(facts_of("web-0")),
    }
    assert document["block"] == {
        "cidr": "10.0.0.0/29",
        "owner": "node-1's",
        "node": "node-1",
        "affinity": "confirmed",
        "total": 8,
        "inUse": 1,
        "reserved": 0,
        "free": 7,
        "cooling": 0,
    }
    assert document["pool"] == {"name": "main", "cidr": "10.0.0.0/24", "disabled": False}
    assert [node["node"] for node in document["nodes"]] == ["node-1"]


async def test_the_text_of_a_held_address():
    assert address_text(await explained(WEB_0)) == (
        "10.0.0.0 is held by pod default/web-0 on node node-1 "
        "since 2026-11-20 11:00:00.5 +0000 UTC\n"
        "  handle     net.c0\n"
        "  container  c0, eth0\n"
        "  endpoint   default/node--1-k8s-web--0-eth0, link calic0\n"
        "  block      10.0.0.0/29, node-1's, affinity confirmed: 7 of 8 free\n"
        "  borrowed   no\n"
        "  pool       main (10.0.0.0/24)\n"
        "\n"
        "Node node-1, IPv4: strict affinity, 1 of at most 20 blocks\n"
        "  pool main (10.0.0.0/24): serves; 2 of 32 blocks claimed\n"
        "    block 10.0.0.0/29: 7 of 8 free\n"
        "  next address: from the node's own block 10.0.0.0/29\n"
    )


async def test_a_borrowed_address_is_explained_with_the_borrowers_node():
    guest = Attribute("net.c9", facts_of("web-9", "node-2"))
    document = await explained("10.0.0.1", stored_block(a_block(FIRST, "node-1", WEB, guest)))

    assert document["holder"]["isBorrowed"]
    assert document["nodes"][0]["node"] == "node-2"
    assert "  borrowed   yes\n" in address_text(document)


async def test_a_tunnels_address_is_held_as_such():
    tunnel = Attribute("ipip-tunnel-addr-node-1", {"node": "node-1", "type": "ipipTunnelAddress"})
    document = await explained("10.0.0.1", stored_block(a_block(FIRST, "node-1", WEB, tunnel)))

    assert address_text(document).startswith("10.0.0.1 is held as ipipTunnelAddress on node node-1")
    assert document["notes"] == []


async def test_a_holder_without_handle_or_facts_is_no_riddle():
    document = await explained(
        "10.0.0.1", stored_block(a_block(FIRST, "node-1", WEB, Attribute(None, None)))
    )

    assert address_text(document).startswith("10.0.0.1 is held by somebody without a handle\n")


async def test_a_holder_without_an_endpoint_may_be_leaked():
    document = await explained(WEB_0, without=(endpoint_key("web-0"),))

    (note,) = document["notes"]
    assert note.startswith("no workload endpoint lists it")


async def test_an_endpoint_of_another_container_is_noted():
    document = await explained(WEB_0, an_endpoint("web-0", "newer", WEB_0))

    assert document["notes"] == ["the endpoint is of container newer, the address of c0"]


async def test_two_endpoints_of_one_address_are_noted():
    document = await explained(WEB_0, an_endpoint("twin", "c5", WEB_0, node="node-2"))

    assert "2 workload endpoints list it: only one can be right" in document["notes"]
    assert [endpoint["workload"] for endpoint in document["endpoints"]] == ["web-0", "twin"]


# ---- held by nobody ----------------------------------------------------------------------------


async def test_a_free_address_of_a_nodes_block_waits_in_its_queue():
    document = await explained(FREE)

    assert (document["state"], document["holder"]) == ("free", None)
    assert document["reasons"] == [
        "block 10.0.0.0/29 is node-1's: nobody else gives out its addresses; "
        "2 of them are given out before this one"
    ]
    assert document["nodes"][0]["node"] == "node-1"
    assert address_text(document).startswith("10.0.0.3 is held by nobody\n  because block 10.0.")


async def test_without_strict_affinity_others_may_borrow_it():
    (reason,) = (await explained(FREE, a_config(strict_affinity=False)))["reasons"]

    assert "others take its addresses only when" in reason


async def test_an_address_of_an_unclaimed_block_waits_for_a_node():
    document = await explained("10.0.0.99")

    assert document["state"] == "unclaimed"
    assert document["reasons"] == [
        "its block 10.0.0.96/29 is nobody's yet: the first node that main selects and that needs "
        "one may claim it"
    ]
    assert "nodes" not in document


async def test_an_address_of_no_pool_says_so():
    document = await explained("10.9.9.9")

    assert (document["state"], document["reasons"]) == ("unclaimed", ["it is in no pool"])
    assert address_text(document) == (
        "10.9.9.9 is held by nobody\n  because it is in no pool\n  pool       none\n"
    )


async def test_an_address_of_a_disabled_pool_says_so():
    document = await explained("10.0.0.99", pools=(replace(POOL, disabled=True),))

    assert document["reasons"] == ["pool main (10.0.0.0/24) is disabled"]
    assert "  pool       main (10.0.0.0/24), disabled\n" in address_text(document)


async def test_a_reserved_address_says_so_and_is_never_its_blocks_turn():
    reserved, owned = (await explained(FREE, a_reservation("10.0.0.3")))["reasons"]

    assert reserved.startswith("it is reserved by an IPReservation")
    assert "given out before this one" not in owned


async def test_reserved_addresses_before_it_do_not_count():
    (reason,) = (await explained(FREE, a_reservation("10.0.0.1")))["reasons"]

    assert "; 1 of them are given out before this one" in reason


@pytest.mark.parametrize(
    ("strict", "words"), [(True, "no node has it for its own"), (False, "any node may borrow")]
)
async def test_an_address_of_nobodys_block_says_so(strict, words):
    document = await explained(
        FREE,
        a_config(strict_affinity=strict),
        stored_block(a_block(FIRST, None, WEB)),
        without=(keys.affinity("node-1", FIRST),),
    )

    (reason,) = document["reasons"]
    assert reason.startswith("block 10.0.0.0/29 is nobody's")
    assert words in reason
    assert "nodes" not in document


async def test_an_address_of_a_load_balancers_block_is_not_nobodys():
    block = replace(a_block(FIRST, None, WEB), affinity="virtual:load-balancer")
    document = await explained(FREE, stored_block(block), without=(keys.affinity("node-1", FIRST),))

    assert document["reasons"][0].startswith("block 10.0.0.0/29 is virtual:load-balancer's: ")


async def test_an_address_that_cools_down_says_until_when():
    released_at = NOW - timedelta(seconds=10)
    block, _ = a_block(FIRST, "node-1", WEB).release(HANDLE_0, now=released_at, cooldown_s=30)
    document = await explained(
        WEB_0,
        a_config(ip_cooldown_s=30),
        stored_block(block),
        without=(endpoint_key("web-0"), keys.handle(HANDLE_0)),
    )

    assert document["state"] == "cooling"
    assert document["releasedAt"] == "2026-11-20T11:59:50Z"
    assert document["reasons"][0] == (
        "it was released at 2026-11-20T11:59:50Z and cools down until 2026-11-20T12:00:20Z"
    )
    assert "    block 10.0.0.0/29: 7 of 8 free, 1 cooling down\n" in address_text(document)


async def test_an_endpoint_that_lists_what_nobody_holds_is_noted():
    document = await explained(FREE, an_endpoint("ghost", "c7", FREE))

    assert document["endpoints"][0]["workload"] == "ghost"
    assert document["notes"] == [
        "a workload endpoint lists it though nobody holds it; see ocicatctl ipam check"
    ]


# ---- what does not fit -------------------------------------------------------------------------


async def test_a_block_that_cannot_be_read_is_no_proof_of_anything():
    store = await a_store({keys.block(FIRST): b"{}"})
    explainer = Explainer(store, NOW)
    document = await explainer.address(WEB_0)

    assert document["state"] == "unknown"
    assert address_text(document).startswith(
        "10.0.0.0 may be held or not\n  because block 10.0.0.0/29 cannot be read"
    )
    assert explainer.mistakes == [f"etcd key {keys.block(FIRST)}: field 'cidr' is missing"]


@pytest.mark.parametrize(
    ("more", "without", "words"),
    [
        ({}, (keys.affinity("node-1", FIRST),), "node node-1 has no affinity for block"),
        (an_affinity(FIRST, "node-1", "pending"), (), "the affinity is pending: no peer"),
    ],
)
async def test_a_block_without_a_confirmed_affinity_is_noted(more, without, words):
    document = await explained(WEB_0, more, without=without)

    assert document["notes"][0].startswith(words)


async def test_a_node_that_is_gone_is_told():
    document = await explained(WEB_0, without=(keys.node("node-1"),))

    assert "node node-1: has no Node resource" in address_text(document)


async def test_a_nodes_blocks_that_are_not_its_own_are_told():
    store = await a_store(
        {
            **an_affinity(SECOND, "node-1"),
            **an_affinity(ip_network("10.0.0.16/29"), "node-1"),
            **an_affinity(ip_network("10.9.0.0/29"), "node-1", "pendingDeletion"),
            keys.block(ip_network("10.0.0.24/29")): b"{}",
            **an_affinity(ip_network("10.0.0.24/29"), "node-1"),
        }
    )
    (document,) = await Explainer(store, NOW).node("node-1")

    text = node_text(document)
    assert "    block 10.0.0.8/29: is node-2's\n" in text
    assert "    block 10.0.0.16/29: does not exist: a claim or a release that broke off\n" in text
    assert "    block 10.0.0.24/29: cannot be read\n" in text
    assert (
        "  its blocks of other pools, which do not serve\n    block 10.9.0.0/29 (affinity " in text
    )
    assert document["blocksOwned"] == 4


async def test_an_affinity_that_cannot_be_read_counts_as_one():
    spoilt = {keys.affinity("node-1", FIRST): b"["}
    store = await a_store(spoilt)
    explainer = Explainer(store, NOW)

    (document,) = await explainer.node("node-1")

    assert document["next"]["step"] == "own"
    assert len(explainer.mistakes) == 1


async def test_why_there_is_none_is_told_line_by_line():
    gpu = Pool("gpu", ip_network("10.0.1.0/24"), 29, node_selector="has(gpu)")
    store = await a_store(pools=(replace(POOL, disabled=True), gpu))

    (document,) = await Explainer(store, NOW).node("node-2")

    assert node_text(document) == (
        "Node node-2, IPv4: strict affinity, 0 of at most 20 blocks\n"
        "  pool gpu (10.0.1.0/24): does not serve: nodeSelector 'has(gpu)' does not match this "
        "node's labels; 0 of 32 blocks claimed\n"
        "  pool main (10.0.0.0/24): does not serve: is disabled; 2 of 32 blocks claimed\n"
        "    block 10.0.0.8/29: 7 of 8 free\n"
        "  next address: none\n"
        "    pool gpu (10.0.1.0/24): nodeSelector 'has(gpu)' does not match this node's labels\n"
        "    pool main (10.0.0.0/24): is disabled\n"
    )


# ---- a pod -------------------------------------------------------------------------------------


async def test_a_pod_is_explained_by_its_endpoint():
    documents = await Explainer(await a_store(), NOW).pod(Pod("default", "web-0"))

    assert [document["address"] for document in documents] == ["10.0.0.0"]


async def test_what_an_older_container_of_the_pod_still_holds_is_explained_too():
    older = Attribute("net.older", facts_of("web-0"))
    store = await a_store(stored_block(a_block(FIRST, "node-1", WEB, older)))

    documents = await Explainer(store, NOW).pod(Pod("default", "web-0"))

    assert [document["address"] for document in documents] == ["10.0.0.0", "10.0.0.1"]


async def test_a_pod_without_an_endpoint_is_found_in_the_blocks():
    store = await a_store(without=(endpoint_key("web-0"),))

    documents = await Explainer(store, NOW).pod(Pod("default", "web-0"))

    assert [document["address"] for document in documents] == ["10.0.0.0"]


async def test_a_container_outside_kubernetes_is_found_by_its_id():
    values = an_endpoint("x", "f00d", FREE)
    ((_, value),) = values.items()
    plain = value.replace(b'"k8s"', b'"cni"').replace(b'"pod":"x",', b"")
    store = await a_store({f"{keys.ENDPOINTS}default/node--1-cni-f00d-eth0": plain})

    documents = await Explainer(store, NOW).pod(Pod("default", "f00d"))

    assert [document["address"] for document in documents] == [FREE]


async def test_a_pod_without_any_address_is_sent_to_its_node():
    with pytest.raises(Invalid, match=r"pod other/web-0: has neither .* explain --node NODE"):
        await Explainer(await a_store(), NOW).pod(Pod("other", "web-0"))


async def test_only_own_blocks_are_read_for_a_node_with_room():
    reads: list[str] = []

    class Watched:
        def __init__(self, store):
            self._store = store

        async def read(self, *ranges, keys_only=False):
            if not keys_only:
                reads.extend(ranges)
            return await self._store.read(*ranges, keys_only=keys_only)

    await Explainer(Watched(await a_store()), NOW).node("node-1")

    assert keys.block(FIRST) in reads
    assert not {keys.block(SECOND), keys.ALL_BLOCKS, keys.blocks(4)} & set(reads)
