"""create, apply and replace on a store in memory."""

import asyncio
import json
from dataclasses import replace
from ipaddress import IPv4Network

import pytest

from datamodel.errors import Invalid
from datastore import keys
from datastore.codec import Stamp
from datastore.memory import MemoryStore
from datastore.store import Change, Committed, Rejected
from ocicatctl.resources.manifest import Resource, Verb
from ocicatctl.resources.write import write
from tests.unit.ocicatctl.manifests import STAMP, a_resource

OTHER_UID = "0a0b9d5e-6f0e-4b43-8a57-b7f2a44c1f01"
POOL = keys.pool("x")


async def run(store: MemoryStore, verb: Verb, *resources: Resource, uid: str = "", **options):
    stamp = replace(STAMP, uid=uid or STAMP.uid)
    return await write(store, verb, resources, lambda: stamp, **options)


async def stored(store: MemoryStore, key: str) -> dict:
    return json.loads((await store.read(key)).entries[key].value)


async def test_a_pool_is_stored_as_calico_stores_it():
    store = MemoryStore()

    report = await run(store, Verb.CREATE, a_resource("IPPool", natOutgoing=True))

    assert (report.text, report.errors) == ("Successfully created 1 'IPPool' resource(s)", "")
    assert (await store.read(POOL)).entries[POOL].value == (
        b'{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"x",'
        b'"uid":"5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11",'
        b'"creationTimestamp":"2026-11-20T18:00:00Z"},"spec":{"cidr":"10.65.0.0/16",'
        b'"vxlanMode":"Never","ipipMode":"Never","natOutgoing":true,"blockSize":26,'
        b'"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],'
        b'"assignmentMode":"Automatic"}}'
    )


async def test_a_node_always_has_a_status_and_an_endpoint_its_labels():
    store = MemoryStore()
    endpoint = a_resource("WorkloadEndpoint", metadata={"labels": {"app": "web"}})

    report = await run(store, Verb.APPLY, a_resource("Node"), endpoint)

    assert report.text == "Successfully applied 2 resource(s)"
    assert (await stored(store, keys.node("node-1")))["status"] == {}
    assert (await stored(store, endpoint.key))["metadata"]["labels"] == {
        "app": "web",
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "k8s",
    }


async def test_what_exists_is_not_created():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("IPPool"))

    report = await run(store, Verb.CREATE, a_resource("IPPool", natOutgoing=True))

    assert report.text == ""
    assert report.errors == (
        "Failed to create 'IPPool' resource: [resource already exists: IPPool(x)]"
    )
    assert "natOutgoing" not in (await stored(store, POOL))["spec"]


async def test_what_exists_can_be_skipped():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("IPPool"))

    report = await run(
        store,
        Verb.CREATE,
        a_resource("IPPool", cidr="10.66.0.0/16"),
        a_resource("BGPPeer"),
        skip_exists=True,
    )

    assert (report.text, report.errors) == ("Successfully created 2 resource(s)", "")
    assert (await stored(store, POOL))["spec"]["cidr"] == "10.65.0.0/16"


async def test_one_that_exists_does_not_stop_the_others():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("BGPPeer", "b"))

    first = await run(store, Verb.CREATE, a_resource("BGPPeer", "a"), a_resource("BGPPeer", "b"))
    second = await run(store, Verb.CREATE, a_resource("BGPPeer", "b"), a_resource("BGPPeer", "c"))
    third = await run(store, Verb.CREATE, a_resource("BGPPeer", "b"), a_resource("BGPPeer", "c"))

    assert first.text == "Partial success: created the first 1 out of 2 'BGPPeer' resources:"
    assert first.errors == "Hit error: [resource already exists: BGPPeer(b)]"
    assert second.text == "Partial success: created 1 out of 2 'BGPPeer' resources:"
    assert third.text == ""
    assert third.errors.splitlines() == [
        "Failed to create any 'BGPPeer' resources: [resource already exists: BGPPeer(b)]",
        "Failed to create any 'BGPPeer' resources: [resource already exists: BGPPeer(c)]",
    ]


async def test_what_does_not_exist_is_not_replaced():
    report = await run(MemoryStore(), Verb.REPLACE, a_resource("IPPool"), a_resource("BGPPeer"))

    assert report.errors.splitlines() == [
        "Failed to replace any resources: [resource does not exist: IPPool(x)]",
        "Failed to replace any resources: [resource does not exist: BGPPeer(x)]",
    ]


@pytest.mark.parametrize("verb", [Verb.APPLY, Verb.REPLACE])
async def test_a_change_replaces_the_spec_and_merges_the_metadata(verb):
    store = MemoryStore()
    key = keys.node("node-1")
    old = {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "node-1",
            "uid": OTHER_UID,
            "creationTimestamp": "2020-01-01T00:00:00Z",
            "generation": 3,
            "labels": {"rack": "r1", "row": "1"},
        },
        "spec": {"bgp": {"ipv4Address": "10.0.0.9/24", "asNumber": 1}, "future": 1},
        "status": {"podCIDRs": ["10.244.0.0/24"]},
    }
    await store.commit(Change(put={key: json.dumps(old).encode()}))

    resource = a_resource("Node", metadata={"labels": {"rack": "r2"}, "annotations": {"a": "b"}})
    await run(store, verb, resource)

    assert await stored(store, key) == old | {
        "metadata": old["metadata"]
        | {"labels": {"rack": "r2", "row": "1"}, "annotations": {"a": "b"}},
        "spec": {"bgp": {"ipv4Address": "10.0.0.11/24"}},
    }


async def test_an_object_without_identity_gets_one():
    store = MemoryStore()
    await store.commit(Change(put={keys.BGP_PEERS + "x": b'{"metadata":{"name":"x"}}'}))

    await run(store, Verb.APPLY, a_resource("BGPPeer"))

    metadata = (await stored(store, keys.BGP_PEERS + "x"))["metadata"]
    assert metadata == {"name": "x", "uid": STAMP.uid, "creationTimestamp": STAMP.text}


@pytest.mark.parametrize("spoilt", [b"{", b"[]", b'{"metadata": 5, "spec": []}'])
@pytest.mark.parametrize("kind", ["IPPool", "BGPPeer"])
async def test_a_spoilt_value_is_mended(spoilt, kind):
    store, resource = MemoryStore(), a_resource(kind)
    await store.commit(Change(put={resource.key: spoilt}))

    report = await run(store, Verb.APPLY, resource)

    assert report.errors == ""
    assert (await stored(store, resource.key))["spec"] == resource.spec


async def test_only_the_version_that_the_file_names_is_replaced():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("BGPPeer"))
    old = a_resource("BGPPeer", metadata={"resourceVersion": str(store.revision)}, asNumber=1)

    first = await run(store, Verb.APPLY, old)
    second = await run(store, Verb.APPLY, old)

    assert first.errors == ""
    assert second.errors == "Failed to apply 'BGPPeer' resource: [update conflict: BGPPeer(x)]"


async def test_a_version_of_something_that_is_gone_is_created_anew():
    gone = a_resource("BGPPeer", metadata={"resourceVersion": "7"})

    assert (await run(MemoryStore(), Verb.APPLY, gone)).errors == ""


class Interfered(MemoryStore):
    """Somebody else writes once, just before the first commit."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self._change: Change | None = change

    async def commit(self, change: Change) -> Committed | Rejected:
        if self._change is not None:
            other, self._change = self._change, None
            await super().commit(other)
        return await super().commit(change)


async def test_a_change_by_somebody_else_meanwhile_is_merged():
    key = keys.BGP_PEERS + "x"
    store = Interfered(Change(put={key: json.dumps({"metadata": {"uid": OTHER_UID}}).encode()}))

    report = await run(store, Verb.APPLY, a_resource("BGPPeer"))

    assert report.errors == ""
    assert (await stored(store, key))["metadata"]["uid"] == OTHER_UID


async def test_a_pool_that_somebody_makes_meanwhile_keeps_its_cidr():
    other = MemoryStore()
    await run(other, Verb.CREATE, a_resource("IPPool", cidr="10.99.0.0/16"))
    value = (await other.read(POOL)).entries[POOL].value
    store = Interfered(Change(put={POOL: value}))

    report = await run(store, Verb.APPLY, a_resource("IPPool"))

    assert "cidr cannot change from 10.99.0.0/16 to 10.65.0.0/16" in report.errors
    assert (await stored(store, POOL))["spec"]["cidr"] == "10.99.0.0/16"


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"cidr": "10.64.0.0/16"}, "cidr cannot change from 10.65.0.0/16 to 10.64.0.0/16"),
        ({"blockSize": 24}, "blockSize cannot change from 26 to 24"),
    ],
)
@pytest.mark.parametrize("verb", [Verb.APPLY, Verb.REPLACE])
async def test_cidr_and_block_size_of_a_pool_do_not_change(verb, spec, what):
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("IPPool"))

    with pytest.raises(Invalid) as raised:
        await run(store, verb, a_resource("BGPPeer"), a_resource("IPPool", **spec))

    assert f"f.yaml: IPPool(x): spec: {what}" in str(raised.value)
    assert (await store.read(keys.BGP_PEERS)).entries == {}  # nothing was written


async def test_pools_do_not_overlap_with_stored_ones_nor_with_each_other():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("IPPool"))

    with pytest.raises(Invalid) as raised:
        await run(
            store,
            Verb.CREATE,
            a_resource("IPPool", "a", cidr="10.65.8.0/24"),
            a_resource("IPPool", "b", cidr="10.66.0.0/16"),
            a_resource("IPPool", "c", cidr="10.66.8.0/24"),
        )

    assert str(raised.value).splitlines() == [
        "f.yaml: IPPool(a): spec: cidr overlaps with pool x (10.65.0.0/16); take another range",
        "f.yaml: IPPool(c): spec: cidr overlaps with pool b (10.66.0.0/16); take another range",
    ]
    assert (await store.read(keys.POOLS, keys_only=True)).entries.keys() == {POOL}


@pytest.mark.parametrize("first", [[], [a_resource("IPPool", "other", cidr="10.1.0.0/16")]])
async def test_of_overlapping_pools_that_are_made_at_the_same_moment_one_is_refused(first):
    store = MemoryStore()
    await run(store, Verb.CREATE, *first)
    pools = (a_resource("IPPool", "a"), a_resource("IPPool", "b", cidr="10.65.8.0/24"))

    reports = await asyncio.gather(*(run(store, Verb.APPLY, pool) for pool in pools))

    errors = sorted(report.errors for report in reports)
    assert errors[0] == ""
    assert "cidr overlaps with pool" in errors[1]
    assert len((await store.read(keys.POOLS)).entries) == len(first) + 1


async def test_a_pool_takes_the_size_of_the_blocks_that_are_there():
    store = MemoryStore()
    await store.commit(Change(put={keys.block(IPv4Network("10.65.1.0/24")): b"{}"}))

    with pytest.raises(Invalid, match="blockSize 26 is not that of the blocks in its range"):
        await run(store, Verb.CREATE, a_resource("IPPool"))
    report = await run(store, Verb.CREATE, a_resource("IPPool", blockSize=24))

    assert report.errors == ""


async def test_a_pool_is_disabled_by_applying_it():
    store = MemoryStore()
    await run(store, Verb.CREATE, a_resource("IPPool"))

    await run(store, Verb.APPLY, a_resource("IPPool", disabled=True), uid=OTHER_UID)

    document = await stored(store, POOL)
    assert document["spec"]["disabled"] is True
    assert document["metadata"]["uid"] == STAMP.uid


@pytest.mark.parametrize("applied", [False, True])
async def test_a_store_that_does_not_answer_ends_the_command(applied):
    store = MemoryStore()
    store.fail_next(1, applied=applied)

    report = await run(store, Verb.CREATE, a_resource("BGPPeer", "a"), a_resource("BGPPeer", "b"))

    assert report.errors == (
        "Failed to create any 'BGPPeer' resources: [memory store: does not answer, as it was told]"
    )
    assert keys.BGP_PEERS + "b" not in (await store.read(keys.BGP_PEERS)).entries
    again = await run(
        store,
        Verb.CREATE,
        a_resource("BGPPeer", "a"),
        a_resource("BGPPeer", "b"),
        skip_exists=True,
    )
    assert again.errors == ""


async def test_every_new_object_has_an_identity_of_its_own():
    store = MemoryStore()
    numbers = iter("12")

    await write(
        store,
        Verb.CREATE,
        [a_resource("BGPPeer", "a"), a_resource("BGPPeer", "b")],
        lambda: Stamp(next(numbers), STAMP.time),
    )

    uids = [(await stored(store, keys.BGP_PEERS + n))["metadata"]["uid"] for n in "ab"]
    assert uids == ["1", "2"]


async def test_nothing_to_do_is_said():
    report = await run(MemoryStore(), Verb.CREATE)

    assert (report.text, report.errors) == ("No resources specified", "")
