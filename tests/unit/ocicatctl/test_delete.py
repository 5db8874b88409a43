"""delete on a store in memory: simple kinds, and pools interrupted at every step."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_network

import pytest

from datamodel.affinity import Affinity
from datamodel.block import WINDOWS_HANDLE, Attribute, Block
from datamodel.errors import Invalid, Unavailable
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change, Committed, Rejected
from ocicatctl.resources.change import Outcome
from ocicatctl.resources.delete import delete
from ocicatctl.resources.kinds import ENDPOINT, NODE, PEER, POOL
from ocicatctl.resources.manifest import named
from ocicatctl.resources.pool_delete import SETTLE_S, TOLD_EVERY, delete_pool
from tests.unit.ocicatctl.manifests import STAMP, a_resource

CIDR = IPv4Network("10.65.0.0/24")
EMPTY, USED, OTHERS = (ip_network(f"10.65.0.{n}/29") for n in (0, 8, 16))
OUTSIDE = ip_network("10.66.0.0/29")
RESOURCE = named(POOL, ["x"], None)[0]
NOW_NS = 1_795_197_600_000_000_000


def a_block(cidr: Network, *holders: Attribute, host: str | None = "node-1") -> Block:
    block = Block.new(cidr, host or "", now_ns=NOW_NS)
    for holder in holders:
        block = block.assign(holder)[0].next_write()
    return block if host else replace(block, affinity=None)


def held(n: int = 0) -> Attribute:
    return Attribute(f"net.container{n}", {"node": "node-1"})


def a_claim(block: Block) -> dict[str, bytes]:
    values = {keys.block(block.cidr): codec.encode_block(block)}
    if block.host:
        affinity = codec.encode_affinity(Affinity(block.host, block.cidr))
        values[keys.affinity(block.host, block.cidr)] = affinity
    return values


def a_pool(name: str = "x", cidr: IPv4Network = CIDR, **fields) -> dict[str, bytes]:
    return {keys.pool(name): codec.encode_pool(Pool(name, cidr, 29, **fields), STAMP)}


async def a_store(*values: Mapping[str, bytes], store: MemoryStore | None = None) -> MemoryStore:
    store = store or MemoryStore()
    merged = [(key, value) for some in values for key, value in some.items()]
    for i in range(0, len(merged), 100):
        assert isinstance(await store.commit(Change(put=dict(merged[i : i + 100]))), Committed)
    return store


async def contents(store: MemoryStore) -> dict[str, bytes]:
    return {key: entry.value for key, entry in (await store.read("/")).entries.items()}


async def remove(store: MemoryStore) -> tuple[Outcome, list[str], list[float]]:
    said: list[str] = []
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return await delete_pool(store, RESOURCE, said.append, sleep), said, slept


async def run(store: MemoryStore, *resources, say=lambda line: None, **options):
    async def sleep(seconds: float) -> None: ...

    return await delete(store, resources, say, sleep, **options)


async def test_resources_are_deleted_in_order():
    store = await a_store({keys.BGP_PEERS + n: b"{" for n in "abc"})

    report = await run(store, *named(PEER, ["a", "x", "b"], None))

    assert report.text == "Successfully deleted 2 'BGPPeer' resource(s)"
    assert (
        report.errors == "Failed to delete 'BGPPeer' resource: resource does not exist: BGPPeer(x)"
    )
    assert (await contents(store)).keys() == {keys.BGP_PEERS + "c"}


async def test_what_does_not_exist_can_be_skipped():
    report = await run(MemoryStore(), *named(ENDPOINT, ["a"], "ns"), skip_not_exists=True)

    assert report.text == "Successfully deleted 1 'WorkloadEndpoint' resource(s)"
    assert report.errors == ""


async def test_a_version_is_honoured():
    store = await a_store({keys.BGP_PEERS + "x": b"{}"})
    old = a_resource("BGPPeer", metadata={"resourceVersion": "1"})

    report = await run(store, old)

    assert report.errors == "Failed to delete 'BGPPeer' resource: update conflict: BGPPeer(x)"
    assert await contents(store)


async def test_a_store_that_does_not_answer_ends_the_command():
    store = await a_store({keys.BGP_PEERS + n: b"{}" for n in "ab"})
    store.fail_next(1, applied=True)

    report = await run(store, *named(PEER, ["a", "b"], None))

    assert report.text == ""
    assert report.errors.startswith("Failed to delete 'BGPPeer' resource: memory store: does not")
    assert (await contents(store)).keys() == {keys.BGP_PEERS + "b"}


async def test_a_pool_goes_after_its_blocks_and_after_a_pause():
    store = await a_store(
        a_pool(),
        a_claim(a_block(EMPTY)),
        a_claim(a_block(USED, held())),
        a_claim(a_block(OTHERS, held(1), host="node-2")),
    )

    outcome, said, slept = await remove(store)

    assert (outcome, said, slept) == (Outcome.DONE, [], [SETTLE_S])
    left = await contents(store)
    assert left.keys() == {keys.block(USED), keys.block(OTHERS)}
    for cidr, before in ((USED, a_block(USED, held())), (OTHERS, a_block(OTHERS, held(1)))):
        block = codec.decode_block(keys.block(cidr), left[keys.block(cidr)])
        assert block == replace(before, affinity=None, sequence_number=before.sequence_number + 1)


async def test_the_pool_is_disabled_before_anything_else():
    store = await a_store(a_pool(nat_outgoing=True), a_claim(a_block(USED, held())))
    store.fail_next(1, applied=True)

    with pytest.raises(Unavailable):
        await remove(store)

    left = await contents(store)
    assert json.loads(left[keys.pool("x")])["spec"]["disabled"] is True
    assert json.loads(left[keys.pool("x")])["spec"]["natOutgoing"] is True
    assert left[keys.block(USED)] == codec.encode_block(a_block(USED, held()))


async def test_block_and_affinity_change_in_one_transaction():
    store = await a_store(a_pool(), a_claim(a_block(USED, held())))
    before = store.revision

    await remove(store)

    events = {}
    async for event in store.watch(frozenset({"/calico/"}), before):
        events[event.revision] = event.entries.keys()
        if event.revision == store.revision:
            break
    assert list(events.values()) == [
        {keys.pool("x")},
        {keys.block(USED), keys.affinity("node-1", USED)},
        {keys.pool("x")},
    ]


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("step", range(5))
async def test_an_interrupted_deletion_goes_on_where_it_ended(step, applied):
    class Interrupted(MemoryStore):
        commits = -1

        async def commit(self, change: Change) -> Committed | Rejected:
            self.commits += 1
            if self.commits == step:
                self.fail_next(1, applied=applied)
            return await super().commit(change)

    values = (
        a_pool(),
        a_claim(a_block(EMPTY)),
        a_claim(a_block(USED, held())),
        a_claim(a_block(OTHERS, host="node-2")),
    )
    store = Interrupted()
    store.commits = -2  # the first fills the store
    await a_store({k: v for some in values for k, v in some.items()}, store=store)

    with pytest.raises(Unavailable):
        await remove(store)
    if keys.pool("x") in await contents(store):
        outcome, _, _ = await remove(store)
        assert outcome is Outcome.DONE
    else:
        assert (step, applied) == (4, True)

    left = await contents(store)
    assert left.keys() == {keys.block(USED)}
    assert codec.decode_block(keys.block(USED), left[keys.block(USED)]).affinity is None


async def test_a_pool_that_is_not_there_is_told():
    assert (await remove(MemoryStore()))[0] is Outcome.MISSING


async def test_the_version_of_a_pool_counts_before_it_is_disabled():
    store = await a_store(a_pool())
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    wrong = replace(RESOURCE, revision="1")
    right = replace(RESOURCE, revision=str(store.revision))
    assert await delete_pool(store, wrong, str, sleep) is Outcome.CONFLICT
    assert json.loads((await contents(store))[keys.pool("x")])["spec"].get("disabled") is None
    assert await delete_pool(store, right, str, sleep) is Outcome.DONE
    assert slept == [SETTLE_S]


async def test_blocks_of_other_pools_are_left_alone():
    inner = IPv4Network("10.65.0.16/28")
    foreign = {**a_claim(a_block(OTHERS)), **a_claim(a_block(OUTSIDE))}
    store = await a_store(a_pool(), a_pool("inner", inner), a_claim(a_block(EMPTY)), foreign)

    await remove(store)

    assert await contents(store) == {**a_pool("inner", inner), **foreign}


async def test_a_load_balancers_block_is_left_alone():
    block = replace(a_block(USED, held()), affinity="virtual:load-balancer")
    store = await a_store(a_pool(), a_claim(block))

    await remove(store)

    assert await contents(store) == a_claim(block)


async def test_remains_of_interrupted_claims_go_too():
    foreign_affinity = {keys.affinity("node-9", USED): b""}
    without_block = {keys.affinity("node-1", EMPTY): b'{"state":"pending","deleted":false}'}
    without_affinity = {keys.block(OTHERS): codec.encode_block(a_block(OTHERS))}
    nobodys = a_claim(a_block(ip_network("10.65.0.24/29"), host=None))
    store = await a_store(
        a_pool(),
        a_claim(a_block(USED, held())),
        foreign_affinity,
        without_block,
        without_affinity,
        nobodys,
    )

    await remove(store)

    assert (await contents(store)).keys() == {keys.block(USED)}


@pytest.mark.parametrize(
    "holder",
    [
        Attribute(WINDOWS_HANDLE, {"note": "windows host rsvd"}),
        Attribute(None, None, released_at=datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
async def test_a_block_in_which_nobody_holds_an_address_is_empty(holder):
    store = await a_store(a_pool(), a_claim(a_block(USED, holder)))

    await remove(store)

    assert await contents(store) == {}


async def test_the_time_of_the_claim_goes_with_the_owner():
    extra = {"affinity_claim_time": "2026-11-20T18:00:00Z", "future": 1}
    store = await a_store(a_pool(), a_claim(replace(a_block(USED, held()), extra=extra)))

    await remove(store)

    document = json.loads((await contents(store))[keys.block(USED)])
    assert "affinity_claim_time" not in document
    assert document["future"] == 1


async def test_with_a_block_that_cannot_be_read_nothing_is_begun():
    spoilt = {keys.block(USED): b"{", keys.affinity("node-1", USED): b"{}"}
    store = await a_store(a_pool(), a_claim(a_block(EMPTY)), spoilt)
    before = await contents(store)

    with pytest.raises(Invalid) as raised:
        await remove(store)

    lines = str(raised.value).splitlines()
    assert lines[0].startswith(f"etcd key {keys.block(USED)}: value is not JSON")
    assert lines[1] == "pool x (10.65.0.0/24): is not deleted; mend these first"
    assert await contents(store) == before


async def test_a_block_that_is_spoilt_meanwhile_keeps_the_pool():
    class Spoiling(MemoryStore):
        async def commit(self, change: Change) -> Committed | Rejected:
            if keys.pool("x") in change.put:
                await super().commit(Change(put={keys.block(USED): b"{"}))
            return await super().commit(change)

    store = await a_store(
        a_pool(), a_claim(a_block(EMPTY)), a_claim(a_block(USED, held())), store=Spoiling()
    )

    with pytest.raises(Invalid, match="is disabled, but not deleted; mend these first"):
        await remove(store)

    assert (await contents(store)).keys() == {
        keys.pool("x"),
        keys.block(USED),
        keys.affinity("node-1", USED),
    }


@pytest.mark.parametrize("spoilt", [b"{", b'{"metadata":{"name":"x"},"spec":{"cidr":"here"}}'])
async def test_a_pool_that_cannot_be_read_is_not_deleted(spoilt):
    store = await a_store({keys.pool("x"): spoilt})

    with pytest.raises(Invalid, match="put a right one there with ocicatctl apply"):
        await remove(store)


async def test_blocks_that_are_claimed_meanwhile_go_too():
    class Claiming(MemoryStore):
        left = 3

        async def commit(self, change: Change) -> Committed | Rejected:
            done = await super().commit(change)
            if self.left and keys.block(EMPTY) in change.delete:
                self.left -= 1
                await super().commit(Change(put=a_claim(a_block(EMPTY))))
            return done

    store = await a_store(a_pool(), a_claim(a_block(EMPTY)), store=Claiming())

    outcome, _, _ = await remove(store)

    assert outcome is Outcome.DONE
    assert await contents(store) == {}


async def test_a_node_that_goes_on_claiming_is_told():
    class Claiming(MemoryStore):
        async def commit(self, change: Change) -> Committed | Rejected:
            done = await super().commit(change)
            if keys.block(EMPTY) in change.delete:
                await super().commit(Change(put=a_claim(a_block(EMPTY))))
            return done

    store = await a_store(a_pool(), a_claim(a_block(EMPTY)), store=Claiming())

    with pytest.raises(Invalid, match="nodes go on claiming blocks of it; look at their ipamd"):
        await remove(store)
    assert keys.pool("x") in await contents(store)


async def test_a_block_that_changes_meanwhile_is_decided_again():
    class Busy(MemoryStore):
        is_first = True

        async def commit(self, change: Change) -> Committed | Rejected:
            if self.is_first and keys.block(USED) in change.expect:
                self.is_first = False
                block = a_block(USED, held())
                await super().commit(Change(put={keys.block(USED): codec.encode_block(block)}))
            return await super().commit(change)

    store = await a_store(a_pool(), a_claim(a_block(USED)), store=Busy())

    await remove(store)

    block = codec.decode_block(keys.block(USED), (await contents(store))[keys.block(USED)])
    assert (block.affinity, block.in_use) == (None, 1)


async def test_many_blocks_are_told_in_portions():
    cidr = IPv4Network("10.65.0.0/19")
    total = TOLD_EVERY + 1
    cidrs = list(cidr.subnets(new_prefix=29))[:total]
    claims = {k: v for cidr in cidrs for k, v in a_claim(a_block(cidr)).items()}
    store = await a_store(a_pool(cidr=cidr), claims)

    _, said, _ = await remove(store)

    assert said == [
        f"pool x (10.65.0.0/19): {n} of {total} blocks released" for n in (TOLD_EVERY, total)
    ]
    assert await contents(store) == {}


async def test_a_node_goes_with_all_that_it_holds():
    node = {keys.node("node-1"): b'{"metadata":{"name":"node-1"},"spec":{}}'}
    store = await a_store(a_pool(), node, a_claim(a_block(EMPTY)))
    said: list[str] = []

    report = await run(store, *named(NODE, ["node-1", "node-9"], None), say=said.append)

    assert report.text == "Successfully deleted 1 'Node' resource(s)"
    assert report.errors == (
        "Failed to delete 'Node' resource: resource does not exist: Node(node-9)"
    )
    assert said[0].startswith("node node-1: deleted\n")
    assert await contents(store) == a_pool()


async def test_a_node_that_is_gone_can_be_skipped():
    report = await run(MemoryStore(), *named(NODE, ["node-9"], None), skip_not_exists=True)

    assert report.errors == ""


async def test_the_version_of_a_node_is_honoured():
    node = {keys.node("node-1"): b'{"metadata":{"name":"node-1"},"spec":{}}'}
    store = await a_store(node)

    report = await run(store, a_resource("Node", metadata={"resourceVersion": "1"}))

    assert report.errors == "Failed to delete 'Node' resource: update conflict: Node(node-1)"
    assert await contents(store) == node


async def test_what_is_left_of_a_node_is_named():
    spoilt = {keys.block(USED): b"{node-1", keys.affinity("node-1", USED): b"{}"}
    store = await a_store({keys.node("node-1"): b"{}"}, spoilt)

    report = await run(store, *named(NODE, ["node-1"], None))

    assert f"etcd key {keys.block(USED)}: value is not JSON" in report.errors
