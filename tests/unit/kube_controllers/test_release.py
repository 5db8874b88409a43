"""The transactions of the controller, on the store in memory."""

from dataclasses import replace
from functools import partial

import pytest

from datamodel.block import Address
from datamodel.errors import Invalid
from datastore import codec, keys
from datastore.departed import Alive
from datastore.known import Known
from datastore.memory import MemoryStore
from datastore.store import Change, settle
from datastore.taken import Taken
from kube_controllers.release import Rest, decide_departure, decide_end, decide_leak, decide_return
from kube_controllers.survey import RANGES, Holding, StoredNode, survey
from tests.consistency import assert_consistent
from tests.controlled import FIRST, SECOND, fill, two_nodes
from tests.ipam import NOW, content
from tests.leftovers import Cluster
from tests.virtual_time import in_virtual_time

WEB = "k8s-pod-network.web-1"


async def a_store(stored: Cluster) -> MemoryStore:
    store = MemoryStore()
    await fill(store, stored)
    return store


async def node_in(store: MemoryStore, name: str = "node-1") -> StoredNode:
    return survey((await store.read(*RANGES)).entries).nodes[name]


async def leak_in(store: MemoryStore, handle: str = WEB) -> Holding:
    (found,) = (h for h in (await node_in(store)).holdings if h.handle_id == handle)
    return found


async def free(store: MemoryStore, leak: Holding, cooldown_s: int = 0) -> Taken:
    known = Known()
    return await settle(store, known, partial(decide_leak, leak, known, Rest(NOW, cooldown_s)))


# ---- what has leaked ---------------------------------------------------------------------------


@in_virtual_time
async def test_address_handle_and_endpoint_go_together():
    store = await a_store(two_nodes())
    before = store.revision

    taken = await free(store, await leak_in(store))

    assert store.revision == before + 1
    assert [str(freed) for freed in taken.addresses] == ["10.233.77.0 (default/web-1)"]
    assert taken.resources == (keys.endpoint("default", "node--1-k8s-web--1-eth0"),)
    entries = await content(store)
    assert_consistent(entries)
    assert WEB.encode() not in entries[keys.block(FIRST)]


@in_virtual_time
async def test_all_that_the_handle_holds_goes_or_nothing():
    stored = two_nodes()
    for cidr in (FIRST, SECOND):
        stored.hold(cidr, "net.both", namespace="default", pod="web-9", node="node-1")
    store = await a_store(stored)
    leak = await leak_in(store, "net.both")
    partly = replace(leak, addresses=dict(list(leak.addresses.items())[:1]))

    assert await free(store, partly) == Taken()
    assert len((await free(store, leak)).addresses) == 2


@in_virtual_time
async def test_what_the_handle_holds_elsewhere_is_found_by_its_key():
    stored = two_nodes()
    stored.hold(FIRST, "net.both", namespace="default", pod="web-9", node="node-1")
    store = await a_store(stored)
    leak = await leak_in(store, "net.both")
    stored.hold(SECOND, "net.both", namespace="default", pod="web-9", node="node-1")
    await fill(store, stored)

    assert await free(store, leak) == Taken()


@in_virtual_time
async def test_a_later_allocation_to_the_same_handle_stays():
    store = await a_store(two_nodes())
    leak = await leak_in(store)
    later: dict[Address, int] = {address: n + 1 for address, n in leak.addresses.items()}

    assert await free(store, replace(leak, addresses=later)) == Taken()


@in_virtual_time
async def test_the_endpoint_of_a_newer_sandbox_stays():
    stored = two_nodes()
    handle = "k8s-pod-network.newer"
    facts = {"namespace": "default", "pod": "web-1", "node": "node-1"}
    key = keys.endpoint("default", "node--1-k8s-web--1-eth0")
    stored.endpoint("node-1", "web-1", stored.hold(FIRST, handle, **facts))
    stored.values[key] = stored.values[key].replace(
        b'"containerID":"web-1"', b'"containerID":"newer"'
    )
    store = await a_store(stored)

    taken = await free(store, await leak_in(store))

    assert (len(taken.addresses), taken.resources) == (1, ())
    assert_consistent(await content(store))


@in_virtual_time
async def test_the_last_address_of_nobodys_block_takes_it_along():
    stored = two_nodes()
    del stored.blocks[SECOND]
    stored.block(SECOND, None)
    stored.hold(SECOND, "net.c1", namespace="default", pod="web-9", node="node-1")
    store = await a_store(stored)

    await free(store, await leak_in(store, "net.c1"))

    assert keys.block(SECOND) not in await content(store)


@in_virtual_time
async def test_freed_addresses_rest_as_the_config_says():
    store = await a_store(two_nodes())

    await free(store, await leak_in(store), cooldown_s=30)

    value = (await content(store))[keys.block(FIRST)]
    block = codec.decode_block(keys.block(FIRST), value)
    assert [a.released_at for a in block.attributes if a.released_at] == [
        NOW.replace(microsecond=0)
    ]


@in_virtual_time
async def test_a_handle_without_a_key_or_with_a_spoilt_one_is_freed_all_the_same():
    for value in (None, b"no json"):
        store = await a_store(two_nodes())
        key = keys.handle(WEB)
        change = Change(delete=frozenset({key})) if value is None else Change(put={key: value})
        await store.commit(change)

        assert len((await free(store, await leak_in(store))).addresses) == 1
        assert key not in await content(store)


@in_virtual_time
async def test_a_block_that_cannot_be_read_is_named():
    store = await a_store(two_nodes())
    leak = await leak_in(store)
    await store.commit(Change(put={keys.block(FIRST): b"no json"}))

    with pytest.raises(Invalid, match="is not JSON"):
        await free(store, leak)


# ---- nodes -------------------------------------------------------------------------------------


async def depart(store: MemoryStore, node: StoredNode) -> None:
    known = Known()
    await settle(store, known, partial(decide_departure, node, known))


async def come_back(store: MemoryStore) -> bool:
    known = Known()
    return await settle(store, known, partial(decide_return, "node-1", known))


@in_virtual_time
async def test_a_node_that_departs_leaves_a_note_with_all_of_its_resource():
    store = await a_store(two_nodes())
    before = await content(store)

    await depart(store, await node_in(store))
    await depart(store, await node_in(store))  # as who was killed does

    entries = await content(store)
    assert keys.node("node-1") not in entries
    assert keys.departed("node-1") in entries
    assert await come_back(store)
    assert await content(store) == before
    assert not await come_back(store)


@in_virtual_time
async def test_a_node_that_was_written_since_does_not_depart():
    store = await a_store(two_nodes())
    node = await node_in(store)
    for change, why in (
        (Change(put={keys.node("node-1"): node.entry.value}), "written a moment ago"),
        (Change(put={keys.claim("node-1"): b"{}"}), "an ipamd runs under its name"),
        (Change(delete=frozenset({keys.node("node-1"), keys.claim("node-1")})), "somebody else"),
    ):
        await store.commit(change)
        before = await content(store)

        with pytest.raises(Alive, match=why):
            await depart(store, node)

        assert await content(store) == before


@in_virtual_time
async def test_a_node_that_registered_again_keeps_what_it_wrote():
    store = await a_store(two_nodes())
    await depart(store, await node_in(store))
    await store.commit(Change(put={keys.node("node-1"): b"{}"}))

    assert not await come_back(store)

    entries = await content(store)
    assert entries[keys.node("node-1")] == b"{}"
    assert keys.departed("node-1") not in entries


@in_virtual_time
async def test_the_end_may_come_twice():
    store = await a_store(two_nodes())
    await depart(store, await node_in(store))

    for _ in range(2):
        known = Known()
        await settle(store, known, partial(decide_end, "node-1", known))

    assert keys.departed("node-1") not in await content(store)
