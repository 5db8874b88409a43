"""Queue, groups, conflicts and faults, on the store in memory."""

import asyncio
from dataclasses import replace
from ipaddress import ip_network

import pytest

from datamodel.errors import Exhausted, Invalid, Unavailable
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.mirror import Mirror
from datastore.store import MAX_OPERATIONS, Change
from ipamd.allocator import Allocator
from ipamd.facts import FOREIGN_FACTS_S, Facts, ranges_of
from ipamd.request import Granted, Released
from tests.consistency import assert_consistent
from tests.ipam import (
    LINK,
    NODE,
    NOW,
    STAMP,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    content,
    endpoint_key,
    filled,
    handle_key,
    serving,
)
from tests.virtual_time import in_virtual_time


class CountingStore(MemoryStore):
    """Remembers the commits; each takes a moment, as it does over a wire."""

    def __init__(self):
        super().__init__()
        self.commits: list[Change] = []
        self.reads: list[tuple[str, ...]] = []

    async def read(self, *ranges, keys_only=False):
        self.reads.append(ranges)
        return await super().read(*ranges, keys_only=keys_only)

    async def commit(self, change):
        self.commits.append(change)
        await asyncio.sleep(0.001)
        return await super().commit(change)


class RestoredStore(MemoryStore):
    """Is set back just before our next commit reaches it."""

    def __init__(self):
        super().__init__()
        self.next_revision = 0

    async def commit(self, change):
        revision, self.next_revision = self.next_revision, 0
        if revision:
            self.restore(revision)
        return await super().commit(change)


class ContendedStore(MemoryStore):
    """Somebody else writes just before our next commits reach the store."""

    def __init__(self):
        super().__init__()
        self.before: list[Change] = []

    async def commit(self, change):
        if self.before:
            await super().commit(self.before.pop(0))
        return await super().commit(change)


class NarrowStore(MemoryStore):
    """Takes no large values, as etcd."""

    async def commit(self, change):
        if any(len(value) > 50_000 for value in change.put.values()):
            raise Invalid("store: refuses the request (too large)")
        return await super().commit(change)


async def all_of(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


def endpoints(entries):
    return [key for key in entries if key.startswith(keys.ENDPOINTS)]


def handles(entries):
    return [key for key in entries if key.startswith(keys.ALL_HANDLES)]


# ---- groups ------------------------------------------------------------------------------------


@in_virtual_time
async def test_requests_that_arrive_during_a_commit_leave_together_in_the_next():
    store = await filled(CountingStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("first", "first"))
        store.commits.clear()

        granted = await all_of(*(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(10)))

    assert len({g.grants[0].address for g in granted}) == 10
    assert len(store.commits) == 1
    assert_consistent(await content(store))


@in_virtual_time
async def test_requests_one_after_the_other_have_a_commit_each():
    store = await filled(CountingStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("c0", "p0"))
        store.commits.clear()

        for i in range(1, 4):
            await node.submit(an_allocate(f"c{i}", f"p{i}"))

    assert len(store.commits) == 3


@in_virtual_time
async def test_in_an_own_block_an_allocation_costs_one_commit_and_no_read():
    store = await filled(CountingStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("c0", "p0"))
        await asyncio.sleep(1)
        store.commits.clear()
        store.reads.clear()

        await node.submit(an_allocate("c1", "p1"))

    assert len(store.commits) == 1
    assert store.reads == []


@in_virtual_time
async def test_more_requests_than_a_transaction_takes_leave_in_several():
    """Each of them claims a block of its own: the most that a request can write."""
    n = MAX_OPERATIONS
    many = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true,"maxBlocksPerHost":256}'}
    pool = a_pool(cidr="10.0.0.0/24", block_size=32)
    store = await filled(CountingStore(), a_store(pool, **many))
    async with serving(store) as node:
        store.commits.clear()

        granted = await all_of(*(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(n)))

    assert {type(g) for g in granted} == {Granted}
    assert len(store.commits) < n / 20
    assert max(change.operations for change in store.commits) <= MAX_OPERATIONS
    assert_consistent(await content(store))


@in_virtual_time
async def test_requests_are_served_in_the_order_in_which_they_came():
    store = await filled(MemoryStore(), a_store(a_pool(cidr="10.0.0.0/30", block_size=30)))
    async with serving(store) as node:
        outcomes = await all_of(*(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(6)))

    assert [type(o) for o in outcomes] == [Granted] * 4 + [Exhausted] * 2


@in_virtual_time
async def test_a_request_that_is_refused_does_not_hold_up_the_others():
    store = await filled(MemoryStore(), a_store())
    async with serving(store) as node:
        outcomes = await all_of(
            node.submit(an_allocate("c1", "p1")),
            node.submit(an_allocate("c2", "p2", pools=("nowhere",))),
            node.submit(an_allocate("c3", "p3")),
        )

    assert [type(o) for o in outcomes] == [Granted, Invalid, Granted]
    assert handle_key("c2") not in await content(store)


# ---- when the mirror is not ready --------------------------------------------------------------


@in_virtual_time
async def test_a_request_that_the_store_refuses_fails_alone():
    store = await filled(NarrowStore(), a_store())
    large = replace(LINK, profiles=("p" * 60_000,))
    async with serving(store) as node:
        outcomes = await all_of(
            *(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(3)),
            node.submit(an_allocate("large", "large", link=large)),
            *(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(3, 6)),
        )

    assert [type(o) for o in outcomes] == [*[Granted] * 3, Invalid, *[Granted] * 3]
    assert_consistent(await content(store))


@in_virtual_time
async def test_nothing_is_allocated_before_the_nodes_blocks_are_loaded():
    store = await filled(MemoryStore(), a_store())
    mirror = Mirror(store, ranges_of(NODE))
    allocator = Allocator(store, mirror, NODE, lambda: NOW)
    allocator.open(0)
    serve = asyncio.create_task(allocator.run())
    before = await content(store)

    waiting = asyncio.create_task(allocator.submit(an_allocate(), timeout_s=60))
    await asyncio.sleep(30)
    assert not waiting.done()
    assert await content(store) == before

    follow = asyncio.create_task(mirror.run())
    assert isinstance(await waiting, Granted)
    for task in (serve, follow):
        task.cancel()


@in_virtual_time
async def test_a_caller_that_has_given_up_is_not_served():
    store = await filled(MemoryStore(), a_store())
    mirror = Mirror(store, ranges_of(NODE))
    allocator = Allocator(store, mirror, NODE, lambda: NOW)
    allocator.open(0)
    serve = asyncio.create_task(allocator.run())

    with pytest.raises(Unavailable, match="no answer in time"):
        await allocator.submit(an_allocate("gone", "gone"), timeout_s=1)
    follow = asyncio.create_task(mirror.run())
    await allocator.submit(an_allocate("here", "here"), timeout_s=1)

    assert handles(await content(store)) == [handle_key("here")]
    for task in (serve, follow):
        task.cancel()


@in_virtual_time
async def test_a_caller_that_is_cancelled_is_not_served():
    store = await filled(MemoryStore(), a_store())
    mirror = Mirror(store, ranges_of(NODE))
    allocator = Allocator(store, mirror, NODE, lambda: NOW)
    allocator.open(0)
    tasks = [asyncio.create_task(allocator.run())]
    caller = asyncio.create_task(allocator.submit(an_allocate("gone", "gone"), timeout_s=60))
    await asyncio.sleep(0)

    caller.cancel()
    tasks.append(asyncio.create_task(mirror.run()))
    await allocator.submit(an_allocate("here", "here"), timeout_s=60)

    assert handles(await content(store)) == [handle_key("here")]
    for task in tasks:
        task.cancel()


@in_virtual_time
async def test_after_a_watch_broke_off_the_node_serves_again():
    store = await filled(MemoryStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("c1", "p1"))
        store.fail_watches()
        await asyncio.sleep(0)

        await node.submit(an_allocate("c2", "p2"))

    assert_consistent(await content(store))


# ---- others write, too -------------------------------------------------------------------------


@in_virtual_time
async def test_a_block_that_another_node_claims_first_is_left_to_it():
    store = await filled(ContendedStore(), a_store(nodes=(NODE, "node-2")))
    first, second, *_ = a_pool().blocks_for(NODE)
    async with serving(store) as node:
        await asyncio.sleep(0.1)
        store.before = [Change(put=a_foreign_block(first))]

        granted = await node.submit(an_allocate())

    assert granted.grants[0].block == second
    assert_consistent(await content(store))


@in_virtual_time
async def test_a_block_that_was_lost_to_another_node_is_taken_once_that_one_gives_it_back():
    pool = a_pool(cidr="10.0.0.0/29", block_size=30)
    store = await filled(ContendedStore(), a_store(pool, nodes=(NODE, "node-2")))
    first, second = pool.blocks_for(NODE)
    foreign = a_foreign_block(first)
    async with serving(store) as node:
        await asyncio.sleep(0.1)
        store.before = [Change(put=foreign)]
        for i in range(4):
            granted = await node.submit(an_allocate(f"c{i}", f"p{i}"))
            assert granted.grants[0].block == second
        await store.commit(Change(delete=frozenset(foreign)))

        granted = await node.submit(an_allocate("c4", "p4"))

    assert granted.grants[0].block == first
    assert_consistent(await content(store))


@in_virtual_time
async def test_an_own_block_that_somebody_writes_meanwhile_is_read_again():
    store = await filled(ContendedStore(), a_store())
    async with serving(store) as node:
        first = await node.submit(an_allocate("c1", "p1"))
        block_key = keys.block(first.grants[0].block)
        now = await content(store)
        store.before = [Change(put={block_key: now[block_key]}) for _ in range(5)]

        second = await node.submit(an_allocate("c2", "p2"))

    assert second.grants[0].address == first.grants[0].address + 1
    assert_consistent(await content(store))


@in_virtual_time
async def test_a_handle_that_somebody_made_meanwhile_is_corrected():
    store = await filled(ContendedStore(), a_store())
    async with serving(store) as node:
        await asyncio.sleep(0.1)
        store.before = [Change(put={handle_key("c1"): b'{"block":{"10.233.99.0/24":1}}'})]

        await node.submit(an_allocate("c1", "p1"))

    assert_consistent(await content(store))


@in_virtual_time
async def test_a_fight_that_does_not_end_is_given_up():
    store = await filled(ContendedStore(), a_store())
    async with serving(store) as node:
        first = await node.submit(an_allocate("c1", "p1"))
        block_key = keys.block(first.grants[0].block)
        now = await content(store)
        store.before = [Change(put={block_key: now[block_key]}) for _ in range(200)]

        with pytest.raises(Unavailable, match=r"others changed .* 100 times in a row"):
            await node.submit(an_allocate("c2", "p2"))

    assert handle_key("c2") not in await content(store)


# ---- the store does not answer -----------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_an_allocation_without_an_answer_may_be_repeated(applied):
    @in_virtual_time
    async def story():
        store = await filled(MemoryStore(), a_store())
        async with serving(store) as node:
            await node.submit(an_allocate("c0", "p0"))
            store.fail_next(1, applied=applied)

            with pytest.raises(Unavailable):
                await node.submit(an_allocate("c1", "p1"))
            assert (handle_key("c1") in await content(store)) is applied
            granted = await node.submit(an_allocate("c1", "p1"))
            again = await node.submit(an_allocate("c1", "p1"))

        assert granted == again
        assert len(granted.grants) == 1
        assert_consistent(await content(store))

    story()


@pytest.mark.parametrize("applied", [False, True])
def test_a_claim_without_an_answer_may_be_repeated(applied):
    @in_virtual_time
    async def story():
        store = await filled(MemoryStore(), a_store())
        async with serving(store) as node:
            await asyncio.sleep(0.1)
            store.fail_next(1, applied=applied)

            with pytest.raises(Unavailable):
                await node.submit(an_allocate("c1", "p1"))
            await node.submit(an_allocate("c1", "p1"))

        entries = await content(store)
        assert len([key for key in entries if key.startswith(keys.ALL_BLOCKS)]) == 1
        assert_consistent(entries)

    story()


class LateStore(MemoryStore):
    """Events come a second after the write."""

    async def watch(self, ranges, after):
        async for events in super().watch(ranges, after):
            await asyncio.sleep(1)
            yield events


@in_virtual_time
async def test_what_an_unanswered_call_took_is_found_even_when_there_is_nothing_left():
    store = await filled(LateStore(), a_store(a_pool(cidr="10.0.0.0/32", block_size=32)))
    async with serving(store) as node:
        await asyncio.sleep(1)
        store.fail_next(1, applied=True)
        with pytest.raises(Unavailable):
            await node.submit(an_allocate("c1", "p1"))

        granted = await node.submit(an_allocate("c1", "p1"))

    assert str(granted.grants[0].address) == "10.0.0.0"
    assert_consistent(await content(store))


@in_virtual_time
async def test_what_an_operator_wrote_just_before_a_request_counts_for_it():
    """The watch has not told of it yet."""
    nearly_full = a_pool("first", cidr="10.0.0.0/32", block_size=32)
    store = await filled(LateStore(), a_store(nearly_full))
    async with serving(store) as node:
        await node.submit(an_allocate("c1", "p1"))
        await asyncio.sleep(10)  # until nothing is listed anew over the new block
        pool = a_pool("second", cidr="10.1.0.0/32", block_size=32)
        await store.commit(Change(put={keys.pool("second"): codec.encode_pool(pool, STAMP)}))

        granted = await node.submit(an_allocate("c2", "p2", pools=("second",)))
        await store.commit(Change(delete=frozenset({keys.pool("second")})))
        with pytest.raises(Exhausted):
            await node.submit(an_allocate("c3", "p3"))

    assert str(granted.grants[0].address) == "10.1.0.0"


@in_virtual_time
async def test_what_an_unanswered_release_gave_back_is_not_taken_for_held():
    store = await filled(LateStore(), a_store())
    async with serving(store) as node:
        first = await node.submit(an_allocate("c1", "p1"))
        await asyncio.sleep(10)
        store.fail_next(1, applied=True)
        with pytest.raises(Unavailable):
            await node.submit(a_release("c1", "p1"))

        second = await node.submit(an_allocate("c1", "p1"))

    assert second.grants[0].address == first.grants[0].address + 1
    assert_consistent(await content(store))


@pytest.mark.parametrize("applied", [False, True])
def test_a_release_without_an_answer_may_be_repeated(applied):
    @in_virtual_time
    async def story():
        store = await filled(MemoryStore(), a_store())
        async with serving(store) as node:
            granted = await node.submit(an_allocate("c1", "p1"))
            store.fail_next(1, applied=applied)

            with pytest.raises(Unavailable):
                await node.submit(a_release("c1", "p1"))
            released = await node.submit(a_release("c1", "p1"))

        assert released == Released(() if applied else granted.grants)
        entries = await content(store)
        assert handles(entries) == endpoints(entries) == []
        assert_consistent(entries)

    story()


@in_virtual_time
async def test_all_of_a_group_hear_that_the_store_does_not_answer():
    store = await filled(CountingStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("c0", "p0"))
        store.fail_next(1, applied=False)

        outcomes = await all_of(*(node.submit(an_allocate(f"c{i}", f"p{i}")) for i in (1, 2)))

    assert [type(o) for o in outcomes] == [Unavailable, Unavailable]


# ---- a restart ---------------------------------------------------------------------------------


@in_virtual_time
async def test_after_a_restart_the_same_container_has_the_same_address():
    store = await filled(MemoryStore(), a_store())
    async with serving(store) as node:
        before = await node.submit(an_allocate("c1", "p1"))

    async with serving(store) as node:
        after = await node.submit(an_allocate("c1", "p1"))

    assert after == before


@in_virtual_time
async def test_after_a_restart_everything_can_be_released():
    store = await filled(MemoryStore(), a_store())
    async with serving(store) as node:
        await node.submit(an_allocate("c1", "p1"))

    async with serving(store) as node:
        await node.submit(a_release("c1", "p1"))

    entries = await content(store)
    assert handles(entries) == endpoints(entries) == []
    assert_consistent(entries)


@in_virtual_time
async def test_a_node_forgets_what_an_operator_released():
    """As calicoctl ipam release and calicoctl delete workloadendpoint do."""
    store = await filled(MemoryStore(), a_store())
    async with serving(store) as node:
        granted = await node.submit(an_allocate("c1", "p1"))
        cidr = granted.grants[0].block
        emptied = a_foreign_block(cidr, host=NODE)
        gone = frozenset({handle_key("c1"), endpoint_key("p1")})
        await store.commit(Change(put=emptied, delete=gone))
        await asyncio.sleep(0.1)

        await node.submit(an_allocate("c1", "p1"))

    assert_consistent(await content(store))


@in_virtual_time
async def test_two_nodes_share_a_pool_block_by_block():
    store = await filled(MemoryStore(), a_store(nodes=(NODE, "node-2")))
    async with serving(store, NODE) as one, serving(store, "node-2") as two:
        outcomes = await all_of(
            *(one.submit(an_allocate(f"a{i}", f"a{i}")) for i in range(3)),
            *(two.submit(an_allocate(f"b{i}", f"b{i}")) for i in range(3)),
        )

    blocks = [granted.grants[0].block for granted in outcomes]
    assert len(set(blocks[:3])) == len(set(blocks[3:])) == 1
    assert len(set(blocks)) == 2
    assert all(block.subnet_of(ip_network("10.233.64.0/18")) for block in blocks)
    assert_consistent(await content(store))


class OverdueStore(MemoryStore):
    """Answers no commit in time; carries it out later, as an etcd that was cut off may do."""

    def __init__(self):
        super().__init__()
        self.is_late = False
        self.late: list[Change] = []

    async def commit(self, change):
        if self.is_late:
            self.late.append(change)
            raise Unavailable("etcd: no answer")
        return await super().commit(change)

    async def carry_out(self):
        for change in self.late:
            await super().commit(change)


async def test_a_release_that_was_given_up_does_not_free_what_was_confirmed_meanwhile():
    store = await filled(OverdueStore(), a_store(a_pool()))
    async with serving(store) as served:
        first = await served.submit(an_allocate("c1"))
        store.is_late = True
        with pytest.raises(Unavailable):
            await served.submit(a_release("c1"))
        store.is_late = False

        again = await served.submit(an_allocate("c1"))
        await store.carry_out()

        assert again == first
        assert keys.handle(an_allocate("c1").attachment.handle_id) in await content(store)
        assert_consistent(await content(store))


async def test_an_allocation_that_was_given_up_is_not_carried_out_late():
    store = await filled(OverdueStore(), a_store(a_pool()))
    async with serving(store) as served:
        await served.submit(an_allocate("c1"))
        store.is_late = True
        with pytest.raises(Unavailable):
            await served.submit(an_allocate("c2"))
        store.is_late = False

        await served.submit(a_release("c2"))
        await store.carry_out()

        assert keys.handle(an_allocate("c2").attachment.handle_id) not in await content(store)
        assert_consistent(await content(store))


async def test_a_block_that_somebody_wrote_wrongly_does_not_stop_the_node():
    store = await filled(MemoryStore(), a_store(a_pool()))
    async with serving(store) as served:
        granted = await served.submit(an_allocate("c1"))
        key = keys.block(granted.grants[0].block)
        broken = (await content(store))[key].replace(b'"unallocated":[', b'"unallocated":[7,')
        await store.commit(Change(put={key: broken}))
        await store.commit(Change(put={f"{keys.ALL_AFFINITIES}{NODE}/ipv4/block/garbage": b"{}"}))
        await asyncio.sleep(0)

        other = await served.submit(an_allocate("c2"))

        assert other.grants[0].block != granted.grants[0].block
        await served.submit(a_release("c2"))
        with pytest.raises(Invalid, match="queue of free"):
            await served.submit(a_release("c1"))


WRONG_TYPES = {
    "affinity of a block": (b'"affinity":"host:node-1"', b'"affinity":5'),
    "secondary of a holder": (b'"pod":"web-1"', b'"pod":7'),
    "handle of a holder": (b'"handle_id":"k8s-pod-network.c1"', b'"handle_id":[]'),
}


@pytest.mark.parametrize("what", WRONG_TYPES)
async def test_a_value_of_a_wrong_type_does_not_stop_other_pods(what):
    store = await filled(MemoryStore(), a_store(a_pool()))
    async with serving(store) as served:
        granted = await served.submit(an_allocate("c1", "web-1"))
        key = keys.block(granted.grants[0].block)
        right, wrong = WRONG_TYPES[what]
        value = (await content(store))[key]
        assert right in value
        await store.commit(Change(put={key: value.replace(right, wrong)}))
        await asyncio.sleep(0)

        other = await served.submit(an_allocate("c2", "web-2"))
        await served.submit(a_release("c2", "web-2"))

        assert other.grants


async def test_an_endpoint_of_a_wrong_type_fails_only_its_own_pod_and_can_be_mended():
    store = await filled(MemoryStore(), a_store(a_pool()))
    key = endpoint_key("web-1")
    wrong = b'{"metadata":{"name":"x"},"spec":{"containerID":5}}'
    await store.commit(Change(put={key: wrong}))
    async with serving(store) as served:
        outcomes = await asyncio.gather(
            served.submit(an_allocate("c1", "web-1")),
            *(served.submit(an_allocate(f"o{i}", f"other-{i}")) for i in range(10)),
            return_exceptions=True,
        )
        await served.submit(a_release("c1", "web-1"))
        await store.commit(Change(delete=frozenset({key})))

        mended = await served.submit(an_allocate("c1", "web-1"))

    assert isinstance(outcomes[0], Invalid)
    assert all(isinstance(outcome, Granted) for outcome in outcomes[1:])
    assert mended.grants


async def test_a_release_of_a_killed_predecessor_does_not_free_what_was_confirmed_since():
    store = await filled(OverdueStore(), a_store(a_pool()))
    async with serving(store) as killed:
        first = await killed.submit(an_allocate("c1"))
        store.is_late = True
        with pytest.raises(Unavailable):
            await killed.submit(a_release("c1"))
        store.is_late = False
    async with serving(store) as successor:
        again = await successor.submit(an_allocate("c1"))

        await store.carry_out()

        assert again == first
        assert handle_key("c1") in await content(store)
        assert_consistent(await content(store))


@in_virtual_time
async def test_a_block_claimed_after_the_blocks_were_listed_may_be_borrowed_from():
    """Else the node says that there is no address while there is one."""
    pool = a_pool(cidr="10.0.0.0/28", block_size=29)
    first, second = pool.blocks_for(NODE)
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}
    stored = a_store(pool, nodes=(NODE, "node-2"), **a_foreign_block(first, taken=8), **config)
    store = await filled(MemoryStore(), stored)
    mirror = Mirror(store, ranges_of(NODE))
    facts = Facts(mirror)
    facts.learn_keys(keys.blocks(4), [keys.block(first)])
    late = a_foreign_block(second, taken=1)

    await store.commit(Change(put=late))
    snapshot = await store.read(keys.block(second))
    facts.learn(snapshot.revision, snapshot.entries)

    assert facts.claimed[keys.blocks(4)] == {keys.block(first), keys.block(second)}
    facts.learn(snapshot.revision + 1, {keys.block(second): None})
    assert facts.claimed[keys.blocks(4)] == {keys.block(first)}


@in_virtual_time
async def test_where_affinity_is_strict_blocks_that_others_use_are_read_once_for_many_requests():
    pool = a_pool(cidr="10.0.0.0/20", block_size=29)
    store = await filled(CountingStore(), a_store(pool, nodes=(NODE, "node-2")))
    for cidr in pool.cidr.subnets(new_prefix=29):
        await store.commit(Change(put=a_foreign_block(cidr, taken=7)))
    store.reads.clear()
    async with serving(store) as node:
        for i in range(3):
            with pytest.raises(Exhausted):
                await node.submit(an_allocate(f"c{i}"))
    read = [key for ranges in store.reads for key in ranges if key.startswith(keys.blocks(4))]
    asked = [key for key in read if not key.endswith("/")]

    assert len(set(asked)) == len(asked) > 500  # some were guessed to be free, and so heard of


@in_virtual_time
async def test_what_strict_affinity_ruled_out_counts_once_it_is_no_longer_strict():
    pool = a_pool(cidr="10.0.0.0/29", block_size=29)
    half_full = a_foreign_block(pool.cidr, taken=7)
    store = await filled(MemoryStore(), a_store(pool, nodes=(NODE, "node-2"), **half_full))
    async with serving(store) as node:
        with pytest.raises(Exhausted):
            await node.submit(an_allocate())
        await store.commit(Change(put={keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}))

        assert (await node.submit(an_allocate())).grants


@in_virtual_time
async def test_a_full_pool_is_looked_at_again_after_a_while():
    pool = a_pool(cidr="10.0.0.0/29", block_size=29)
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}
    full = a_foreign_block(pool.cidr, taken=8)
    store = await filled(MemoryStore(), a_store(pool, nodes=(NODE, "node-2"), **full, **config))
    async with serving(store) as node:
        with pytest.raises(Exhausted):
            await node.submit(an_allocate("c1", "p1"))
        await store.commit(Change(put=a_foreign_block(pool.cidr, taken=7)))
        await asyncio.sleep(FOREIGN_FACTS_S + 0.1)

        granted = await node.submit(an_allocate("c2", "p2"))

    assert granted.grants[0].block == pool.cidr


async def test_what_only_a_restored_store_has_granted_is_not_answered():
    """Its answer is the first sign that there is nothing to rely on that was known before."""
    store = await filled(RestoredStore(), a_store(a_pool(cidr="10.0.0.0/24")))
    async with serving(store) as ipamd:
        await ipamd.submit(an_allocate("c1", "web-1"))
        backup = store.revision
        await store.commit(Change(put={"/calico/other": b""}))
        store.next_revision = backup

        with pytest.raises(Unavailable, match="another one"):
            await ipamd.submit(an_allocate("c2", "web-2"))

        await ipamd.submit(a_release("c2", "web-2"))
        assert handle_key("c2") not in await content(store)
    assert_consistent(await content(store))


async def test_what_a_restored_store_lacks_is_not_given_to_somebody_else():
    """That a comparison fails is its first sign; what it holds now is no reason to go on."""
    store = await filled(RestoredStore(), a_store(a_pool(cidr="10.0.0.0/24")))
    async with serving(store) as ipamd:
        await ipamd.submit(an_allocate("c1", "web-1"))
        backup = store.revision
        await ipamd.submit(an_allocate("c2", "web-2"))
        store.next_revision = backup

        with pytest.raises(Unavailable, match="another one"):
            await ipamd.submit(an_allocate("c3", "web-3"))

        assert handle_key("c3") not in await content(store)


async def test_a_node_or_pool_whose_value_says_another_name_than_its_key_serves_nobody():
    stray = codec.encode_pool(a_pool("stray", "10.1.0.0/24"), STAMP)
    store = await filled(MemoryStore(), a_store(a_pool(), **{keys.pool("other"): stray}))
    node = (await content(store))[keys.node(NODE)]
    async with serving(store) as served:
        first = await served.submit(an_allocate("c1"))
        await store.commit(Change(put={keys.node(NODE): node.replace(b'"node-1"', b'"node-9"')}))
        with pytest.raises(Invalid, match=r"nodes/node-1: metadata\.name is 'node-9'"):
            await served.submit(an_allocate("c2", "web-2"))
        assert (await served.submit(an_allocate("c1"))).grants == first.grants
        await store.commit(Change(put={keys.node(NODE): node}))
        with pytest.raises(Invalid, match="stray: does not exist"):
            await served.submit(an_allocate("c3", "web-3", pools=("stray",)))

        assert (await served.submit(an_allocate("c2", "web-2"))).grants
