"""What a node writes when it starts, on the store in memory."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from datamodel.errors import Invalid, Unavailable
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change
from ipamd.config import Config, read_config
from ipamd.registration import register
from tests.consistency import assert_consistent
from tests.ipam import STAMP, a_pool, content
from tests.virtual_time import in_virtual_time

ADDRESS = IPv4Interface("10.0.0.11/24")
DETECTED = IPv4Interface("192.168.7.1/16")


def a_config(node: str = "node-1", **rest) -> Config:
    config = read_config({"ETCD_ENDPOINTS": "http://127.0.0.1:2379", "NODENAME": node}, "host")
    return replace(config, **{"ipv4": ADDRESS, **rest})


def detect() -> IPv4Interface:
    return DETECTED


def must_not_detect() -> IPv4Interface:
    raise AssertionError("the address is known")


def node_of(entries: dict[str, bytes], name: str = "node-1"):
    return codec.decode_node(keys.node(name), entries[keys.node(name)])


class HastyStore(MemoryStore):
    """Somebody else writes just before our first commit."""

    def __init__(self, first: Change):
        super().__init__()
        self.first: Change | None = first

    async def commit(self, change):
        if self.first:
            first, self.first = self.first, None
            await super().commit(first)
        return await super().commit(change)


@in_virtual_time
async def test_an_empty_store_gets_all_that_calicoctl_needs():
    store = MemoryStore()

    await register(store, a_config(), must_not_detect)

    entries = await content(store)
    assert entries.keys() == {
        keys.CLUSTER_INFORMATION,
        keys.IPAM_CONFIG,
        keys.pool("default-ipv4-ippool"),
        keys.node("node-1"),
    }
    assert_consistent(entries)
    information = json.loads(entries[keys.CLUSTER_INFORMATION])
    assert information["spec"]["datastoreReady"] is True
    assert len(information["spec"]["clusterGUID"]) == 32
    assert information["spec"].get("calicoVersion", "") == ""
    assert json.loads(entries[keys.IPAM_CONFIG]) == {"auto_allocate_blocks": True}


@in_virtual_time
async def test_registering_again_writes_nothing():
    store = MemoryStore()
    await register(store, a_config(), must_not_detect)
    before = store.revision

    await register(store, a_config(), must_not_detect)

    assert store.revision == before


@in_virtual_time
async def test_two_nodes_at_once_make_one_cluster_and_one_pool():
    store = MemoryStore()
    await asyncio.gather(
        *(register(store, a_config(f"node-{i}"), must_not_detect) for i in range(5))
    )

    entries = await content(store)
    written: list[str] = []
    async with aclosing(store.watch(frozenset({"/calico/"}), after=1)) as told:
        async for events in told:
            written += events.entries
            if events.revision == store.revision:
                break
    assert sorted(written) == sorted(entries)  # each of them once
    assert len([key for key in entries if key.startswith(keys.POOLS)]) == 1
    assert len([key for key in entries if key.startswith(keys.NODES)]) == 5
    assert_consistent(entries)


@in_virtual_time
async def test_cluster_information_that_another_node_wrote_first_stays():
    theirs = codec.encode_cluster_information("0" * 32, STAMP)
    store = HastyStore(Change(put={keys.CLUSTER_INFORMATION: theirs}))

    await register(store, a_config(), must_not_detect)

    entries = await content(store)
    assert entries[keys.CLUSTER_INFORMATION] == theirs
    assert_consistent(entries)


@in_virtual_time
async def test_a_node_keeps_what_others_wrote_into_it():
    key = keys.node("node-1")
    stored = {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "node-1",
            "uid": "its-uid",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"rack": "r1"},
        },
        "spec": {
            "bgp": {
                "ipv4Address": "10.0.0.99/24",
                "ipv4IPIPTunnelAddr": "10.233.64.1",
                "routeReflectorClusterID": "1.0.0.1",
            },
            "orchRefs": [{"nodeName": "node-1", "orchestrator": "k8s"}],
        },
        "status": {"podCIDRs": ["10.1.0.0/24"]},
    }
    store = MemoryStore()
    await store.commit(Change(put={key: json.dumps(stored).encode()}))

    await register(store, a_config(as_number=64999), must_not_detect)

    after = json.loads((await content(store))[key])
    bgp = {**stored["spec"]["bgp"], "ipv4Address": "10.0.0.11/24", "asNumber": 64999}
    assert after == {**stored, "spec": {**stored["spec"], "bgp": bgp}}


@in_virtual_time
async def test_without_a_default_pool_none_is_made():
    store = MemoryStore()

    await register(store, a_config(default_pool=None), must_not_detect)

    assert not [key for key in await content(store) if key.startswith(keys.POOLS)]


@in_virtual_time
async def test_where_there_is_a_pool_no_other_is_made():
    store = MemoryStore()
    mine = {keys.pool("mine"): codec.encode_pool(a_pool("mine", "10.1.0.0/16"), STAMP)}
    await store.commit(Change(put=mine))

    await register(store, a_config(), must_not_detect)

    assert [k for k in await content(store) if k.startswith(keys.POOLS)] == [keys.pool("mine")]


@in_virtual_time
async def test_an_ipam_config_that_is_there_stays():
    store = MemoryStore()
    await store.commit(Change(put={keys.IPAM_CONFIG: b'{"strict_affinity":true}'}))

    await register(store, a_config(), must_not_detect)

    assert (await content(store))[keys.IPAM_CONFIG] == b'{"strict_affinity":true}'


# ---- the node's address ------------------------------------------------------------------------


@in_virtual_time
async def test_the_address_of_the_settings_counts_most():
    store = MemoryStore()
    await register(store, a_config(ipv4=IPv4Interface("10.0.0.12/24")), must_not_detect)

    await register(store, a_config(ipv4=ADDRESS), must_not_detect)

    assert node_of(await content(store)).ipv4 == ADDRESS


@in_virtual_time
async def test_without_a_setting_the_stored_address_stays():
    store = MemoryStore()
    await register(store, a_config(ipv4=ADDRESS), must_not_detect)

    await register(store, a_config(ipv4=None), must_not_detect)

    assert node_of(await content(store)).ipv4 == ADDRESS


@in_virtual_time
async def test_without_a_setting_and_a_stored_address_it_is_detected():
    store = MemoryStore()

    await register(store, a_config(ipv4=None), detect)

    assert node_of(await content(store)).ipv4 == DETECTED


@in_virtual_time
async def test_autodetect_detects_whatever_is_stored():
    store = MemoryStore()
    await register(store, a_config(ipv4=ADDRESS), must_not_detect)

    await register(store, a_config(ipv4=None, detects_ipv4=True), detect)

    assert node_of(await content(store)).ipv4 == DETECTED


@in_virtual_time
async def test_without_any_address_nothing_is_written():
    def find_nothing() -> IPv4Interface:
        raise Invalid("node address: no link has a usable IPv4 address")

    store = MemoryStore()

    with pytest.raises(Invalid, match="node address"):
        await register(store, a_config(ipv4=None), find_nothing)

    assert await content(store) == {}


@in_virtual_time
async def test_an_as_number_that_is_not_set_leaves_the_stored_one():
    store = MemoryStore()
    await register(store, a_config(as_number=64999), must_not_detect)

    await register(store, a_config(as_number=None), must_not_detect)

    assert node_of(await content(store)).as_number == 64999


@pytest.mark.parametrize("applied", [False, True])
def test_a_registration_without_an_answer_may_be_repeated(applied):
    @in_virtual_time
    async def story():
        store = MemoryStore()
        store.fail_next(1, applied=applied)

        with pytest.raises(Unavailable):
            await register(store, a_config(), must_not_detect)
        await register(store, a_config(), must_not_detect)

        assert_consistent(await content(store))

    story()
