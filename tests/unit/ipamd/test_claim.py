"""One machine at a time runs under a name, whoever sleeps, dies, restarts or is restored."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Interface

import pytest

from datamodel.attachment import Kernel
from datamodel.claim import Claim, Machine
from datamodel.errors import Invalid, Unavailable
from datamodel.node import Node
from datastore import codec, keys
from datastore.codec_claim import decode_claim, encode_claim
from datastore.memory import MemoryStore
from datastore.mirror import Mirror
from datastore.store import Change, Committed, Rejected
from ipamd.allocator import Allocator
from ipamd.claim import TTL_S, NameClaim
from ipamd.claimed_store import ClaimedStore, NameLost
from ipamd.facts import ranges_of
from ipamd.machine import this_machine
from tests.ipam import NODE, NOW, STAMP, a_release, a_store, an_allocate, content, filled
from tests.virtual_time import in_virtual_time

FIRST = Machine(Kernel("boot-1", "4026531840"), "a" * 32)
CLONE = Machine(Kernel("boot-2", "4026531840"), "a" * 32)
KEY = keys.claim(NODE)


class Frozen(MemoryStore):
    """A client's way to a store, on which calls stop while the client sleeps."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.awake = asyncio.Event()
        self.awake.set()

    @property
    def epoch(self) -> int:
        return self.store.epoch

    @epoch.setter
    def epoch(self, value: int) -> None: ...

    async def read(self, *ranges, keys_only=False):
        await self.awake.wait()
        return await self.store.read(*ranges, keys_only=keys_only)

    async def commit(self, change):
        await self.awake.wait()
        return await self.store.commit(change)

    async def grant(self, ttl_s):
        await self.awake.wait()
        return await self.store.grant(ttl_s)

    async def keep_alive(self, lease):
        await self.awake.wait()
        return await self.store.keep_alive(lease)

    async def kept_alive_s(self, lease):
        await self.awake.wait()
        return await self.store.kept_alive_s(lease)

    def watch(self, ranges, after):
        return self.store.watch(ranges, after)


@dataclass
class Running:
    """What of ipamd has to do with the claim."""

    claim: NameClaim
    store: ClaimedStore
    way: Frozen
    allocator: Allocator

    async def write(self, key: str = "/x") -> object:
        return await self.store.commit(Change(put={key: b"x"}))


@asynccontextmanager
async def running(store: MemoryStore, machine: Machine) -> AsyncIterator[Running]:
    """An ipamd; afterwards it is as if killed."""
    way = Frozen(store)
    claim = NameClaim(way, way, NODE, machine, clock=lambda: NOW)
    claimed = ClaimedStore(way, claim)
    mirror = Mirror(claimed, ranges_of(NODE))
    allocator = Allocator(claimed, mirror, NODE, lambda: NOW, claim)
    tasks = [asyncio.create_task(work) for work in (claim.run(), mirror.run(), allocator.run())]
    try:
        yield Running(claim, claimed, way, allocator)
        assert not any(task.done() for task in tasks), "it ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def a_cluster() -> MemoryStore:
    store = await filled(MemoryStore(), a_store())
    node = Node(NODE, IPv4Interface("10.0.0.11/24"))
    await store.commit(Change(put={keys.node(NODE): codec.encode_node(node, STAMP)}))
    return store


# ---- who gets it -------------------------------------------------------------------------------


@in_virtual_time
async def test_the_first_machine_gets_the_name_and_keeps_it():
    store = MemoryStore()
    async with running(store, FIRST) as first:
        await first.claim.held()
        await asyncio.sleep(10 * TTL_S)

        assert first.claim.is_held
        claim = decode_claim(KEY, (await content(store))[KEY])
        assert claim.machine == FIRST
        assert claim.since == NOW.replace(microsecond=0)
        assert isinstance(await first.write(), Committed)


@in_virtual_time
async def test_another_machine_is_told_who_runs_and_gets_it_once_that_one_is_gone():
    store = await a_cluster()
    async with running(store, CLONE) as second, running(store, FIRST) as first:
        await asyncio.sleep(0.1)
        winner, loser = (first, second) if first.claim.is_held else (second, first)
        await asyncio.sleep(3 * TTL_S + 3)
        assert not loser.claim.is_held
        assert loser.claim.trouble.startswith(f"node {NODE}: another machine (machine id aaaa")
        assert "address 10.0.0.11) runs under this name, heard of " in loser.claim.trouble
        assert loser.claim.trouble.endswith(
            " s ago; give this one another NODENAME, or stop that one"
        )
        assert loser.allocator.waits_for == loser.claim.trouble
        before = await content(store)
        with pytest.raises(NameLost, match="another machine"):
            await loser.write()
        assert await content(store) == before
        assert winner.claim.is_held
    async with running(store, Machine(Kernel("boot-3", "1"))) as third:
        await asyncio.sleep(TTL_S / 2)
        assert not third.claim.is_held
        await asyncio.sleep(TTL_S / 2 + 2)
        assert third.claim.is_held


@in_virtual_time
async def test_the_same_machine_takes_over_at_once_and_both_write_until_one_ends():
    store = MemoryStore()
    async with running(store, FIRST) as old:
        await old.claim.held()
        revision = store.revision
        async with running(store, FIRST) as new:
            async with asyncio.timeout(0.001):
                await new.claim.held()
            assert store.revision == revision  # nothing was written, so that the old one goes on
            assert isinstance(await old.write("/old"), Committed)
            assert isinstance(await new.write("/new"), Committed)
            await asyncio.sleep(3 * TTL_S)
            assert old.claim.is_held
            assert new.claim.is_held


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (Machine(Kernel("boot-1", "4026531840"), "a" * 32), True),
        (Machine(Kernel("boot-1", "4026531840")), True),  # it moved into a container
        (Machine(Kernel("boot-1", "4026531840"), "b" * 32), False),
        (Machine(Kernel("boot-2", "4026531840"), "a" * 32), False),
        (Machine(Kernel("boot-1", "4026532000"), "a" * 32), False),
    ],
)
def test_a_machine_is_its_boot_its_network_namespace_and_its_id_if_that_is_known(other, is_same):
    assert FIRST.is_same(other) is is_same
    assert other.is_same(FIRST) is is_same


# ---- who loses it ------------------------------------------------------------------------------


@in_virtual_time
async def test_who_slept_through_the_end_of_its_claim_writes_nothing_and_says_why(caplog):
    caplog.set_level(logging.WARNING)
    store = await a_cluster()
    async with running(store, FIRST) as first:
        await first.claim.held()
        first.allocator.open(first.allocator.era)
        await first.allocator.submit(an_allocate("c1"), 5)
        first.way.awake.clear()
        late = asyncio.create_task(first.allocator.submit(an_allocate("c2", "web-1"), 300))
        await asyncio.sleep(TTL_S + 1)
        async with running(store, CLONE) as second:
            await second.claim.held()
            second.allocator.open(second.allocator.era)
            before = await content(store)
            first.way.awake.set()
            await asyncio.sleep(5)

            assert await content(store) == before
            assert not first.claim.is_held
            assert "another machine (" in first.allocator.waits_for
            assert "runs under this name" in caplog.text
            assert not late.done()
            with pytest.raises(Unavailable, match="another machine"):
                await first.allocator.submit(a_release("c1"), 1)
        # That one is gone: the first one goes on, once it knows what its links have.
        await asyncio.sleep(TTL_S + 3)
        assert first.claim.is_held
        assert not first.allocator.is_open
        assert not late.done()
        first.allocator.open(first.allocator.era)
        await late


@in_virtual_time
async def test_who_slept_while_nobody_took_its_name_goes_on_after_the_next_report():
    store = await a_cluster()
    async with running(store, FIRST) as first:
        await first.claim.held()
        first.allocator.open(first.allocator.era)
        first.way.awake.clear()
        waiting = asyncio.create_task(first.allocator.submit(an_allocate("c1"), 300))
        await asyncio.sleep(10 * TTL_S)
        first.way.awake.set()
        await asyncio.sleep(2)

        assert first.claim.is_held
        assert not first.allocator.is_open
        first.allocator.open(first.allocator.era)
        assert (await waiting).grants


@in_virtual_time
async def test_a_claim_that_somebody_deletes_is_made_again_by_the_next_change():
    store = await a_cluster()
    async with running(store, FIRST) as first:
        await first.claim.held()
        await store.commit(Change(delete=frozenset({KEY})))

        with pytest.raises(NameLost, match="has ended"):
            await first.write()
        async with asyncio.timeout(0.1):
            await first.claim.held()
        assert isinstance(await first.write(), Committed)
        assert first.claim.regained == 1


@in_virtual_time
async def test_a_change_that_others_forestalled_says_nothing_of_the_claim():
    store = await a_cluster()
    async with running(store, FIRST) as first:
        await first.claim.held()
        await store.commit(Change(put={"/x": b"theirs"}))

        answer = await first.store.commit(Change({"/x": 0}, {"/x": b"ours"}))

        assert isinstance(answer, Rejected)
        assert set(answer.actual) == {"/x"}
        assert first.claim.is_held


# ---- odd stores --------------------------------------------------------------------------------


@in_virtual_time
async def test_an_unanswered_claim_is_found_to_be_ours():
    store = MemoryStore()
    store.fail_next(1, applied=True)
    async with running(store, FIRST) as first:
        await asyncio.sleep(2)
        assert first.claim.is_held
        assert first.claim.regained == 0


@in_virtual_time
async def test_a_restore_to_before_the_claim_lets_it_be_made_again():
    store = MemoryStore()
    async with running(store, FIRST) as first:
        await first.claim.held()
        store.restore(1)
        with pytest.raises(NameLost):
            await first.write()
        await asyncio.sleep(2)
        assert isinstance(await first.write(), Committed)


@in_virtual_time
async def test_a_claim_whose_lease_is_no_more_counts_for_nothing():
    """A copy of the keys of etcd has no leases."""
    store = MemoryStore()
    for machine in (CLONE, FIRST):
        value = encode_claim(Claim(machine, datetime.now(UTC), 0x7777))
        await store.commit(Change(put={KEY: value}))
        async with running(store, FIRST) as first:
            await asyncio.sleep(2)
            assert isinstance(await first.write(), Committed)
        await asyncio.sleep(2 * TTL_S)


@in_virtual_time
async def test_a_claim_that_nobody_can_read_is_named():
    store = MemoryStore()
    await store.commit(Change(put={KEY: b"[]"}))
    async with running(store, FIRST) as first:
        await asyncio.sleep(2)
        assert f"etcd key {KEY}: " in first.claim.trouble
        assert first.claim.trouble.endswith("; delete the key")
        assert not first.claim.is_held


@pytest.mark.parametrize(
    "value", [b"{}", b'{"machineID":1,"bootID":"b","netns":"1","since":"now","lease":"zz"}']
)
def test_a_spoilt_claim_is_invalid(value):
    with pytest.raises(Invalid, match=KEY):
        decode_claim(KEY, value)


# ---- who we are --------------------------------------------------------------------------------


def a_root(path, **files: str):
    for name, text in {"proc/self/ns/net": "", **files}.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return path


BOOT_ID = "proc/sys/kernel/random/boot_id"


def test_a_machine_is_known_by_its_boot_id_and_machine_id(tmp_path):
    root = a_root(tmp_path, **{BOOT_ID: "boot-1\n", "etc/machine-id": "aa\n"})

    found = this_machine(root)

    assert found.kernel.boot_id == "boot-1"
    assert found.kernel.netns == str((root / "proc/self/ns/net").stat().st_ino)
    assert found.machine_id == "aa"
    assert str(found) == "machine id aa, boot id boot-1"


@pytest.mark.parametrize("text", ["", "uninitialized\n", None])
def test_without_a_machine_id_the_boot_id_is_enough(tmp_path, text):
    files = {BOOT_ID: "boot-1\n"} | ({} if text is None else {"etc/machine-id": text})

    assert this_machine(a_root(tmp_path, **files)).machine_id == ""


def test_without_a_boot_id_it_is_said_what_to_do(tmp_path):
    with pytest.raises(Invalid, match=r"boot_id: cannot be read \(No such file.*ProcSubset=all"):
        this_machine(a_root(tmp_path))
