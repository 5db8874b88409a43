"""Several nodes over one store: whatever happens in whatever order, the store stays right.

Every write is followed by the whole check of ``tests/consistency.py``. Calls take a while, each
another; watches lag; the store falls silent with and without having written; a stranger claims,
gives back and rewrites blocks; nodes restart in the middle.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from random import Random

from hypothesis import event, given, settings
from hypothesis import strategies as st

from datamodel.errors import Exhausted, OcicatError, Unavailable
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change
from ipamd.request import Allocate, Granted, Release, Released
from tests import virtual_time
from tests.consistency import assert_consistent
from tests.ipam import (
    Serving,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    an_attachment,
    content,
    filled,
    serving,
)

NODES = ("node-1", "node-2", "node-3")
STRANGER = "stranger"
POOL = a_pool(cidr="10.0.0.0/28", block_size=30)  # four blocks of four: they do run out
CONTAINERS = range(6)
SHARED = (0, 1)  # containers of one pod: the second takes the endpoint over from the first


class SlowStore(MemoryStore):
    """Requests, answers and events take their time, and every write is checked."""

    def __init__(self, random: Random):
        super().__init__()
        self._random = random

    async def _pause(self):
        await asyncio.sleep(self._random.choice((0, 0, 0.001, 0.01, 0.1)))

    async def read(self, *ranges, keys_only=False):
        await self._pause()
        answer = await super().read(*ranges, keys_only=keys_only)
        await self._pause()
        return answer

    async def commit(self, change):
        await self._pause()
        try:
            return await super().commit(change)
        finally:
            await self.check()
            await self._pause()

    async def watch(self, ranges, after):
        async for events in super().watch(ranges, after):
            await self._pause()
            yield events

    async def now(self) -> dict[str, bytes]:
        snapshot = await super().read("/")
        return {key: entry.value for key, entry in snapshot.entries.items()}

    async def check(self):
        assert_consistent(await self.now(), unwired=TAKEN_OVER)

    async def at_once(self, change: Change):
        """What somebody else writes, if nobody was faster."""
        with suppress(Unavailable):
            await super().commit(change)
        await self.check()


def container(node: str, i: int) -> str:
    return f"{node}-c{i}"


def pod(node: str, i: int) -> str | None:
    if i == CONTAINERS[-1]:
        return None  # not of Kubernetes
    return f"{node}-shared" if i in SHARED else f"{node}-p{i}"


TAKEN_OVER = {an_attachment(container(n, i)).handle_id for n in NODES for i in SHARED}

nodes = st.sampled_from(NODES)
requests = st.tuples(
    st.sampled_from(["allocate", "allocate", "release"]), nodes, st.sampled_from(CONTAINERS)
)
faults = (
    st.tuples(st.just("silence"), st.booleans())
    | st.tuples(st.just("stranger"), st.sampled_from(["claims", "leaves", "touches"]))
    | st.tuples(st.just("blindness"))
)
# What a group holds happens at once; a node restarts between two groups.
groups = st.lists(
    st.tuples(st.lists(requests | requests | faults, min_size=1, max_size=16), st.none() | nodes),
    min_size=2,
    max_size=8,
)


@settings(max_examples=100)
@given(groups, st.integers(0, 1000))
def test_whatever_happens_the_store_is_right_and_answers_repeat(scenario, seed):
    virtual_time.run(Story(Random(seed)).play(scenario))


class Story:
    def __init__(self, random: Random):
        self.random = random
        self.store = SlowStore(random)
        self.nodes: dict[str, AsyncExitStack] = {}
        self.serving: dict[str, Serving] = {}
        self.answers: dict[str, Granted] = {}  # container -> what it was given last

    async def play(self, scenario):
        await filled(self.store, a_store(POOL, nodes=(*NODES, STRANGER)))
        for node in NODES:
            await self.start(node)
        for group, restarting in scenario:
            await self.happen(group)
            if restarting:
                await self.start(restarting)
        await self.release_everything()
        for node in NODES:
            await self.nodes[node].aclose()

    async def start(self, node: str):
        if node in self.nodes:
            await self.nodes[node].aclose()
        self.nodes[node] = AsyncExitStack()
        self.serving[node] = await self.nodes[node].enter_async_context(serving(self.store, node))

    # ---- a group -------------------------------------------------------------------------------

    async def happen(self, group):
        calls, tasks = [], []
        for what, *rest in group:
            if what in ("allocate", "release"):
                calls.append((what, *rest))
                tasks.append(asyncio.create_task(self.call(what, *rest)))
            elif what == "silence":
                self.store.fail_next(1, applied=rest[0])
            elif what == "blindness":
                self.store.fail_watches()
            else:
                tasks.append(asyncio.create_task(self.stranger(rest[0])))
        await asyncio.gather(*tasks)
        outcomes = [task.result() for task in tasks if task.result() is not None]
        held = self.held(await self.store.now())
        for (_, node, i), outcome in zip(calls, outcomes, strict=True):
            event(type(outcome).__name__)
            self.compare(container(node, i), outcome)
        for node, i in {(node, i): None for _, node, i in calls}:
            last = [o for c, o in zip(calls, outcomes, strict=True) if c[1:] == (node, i)][-1]
            if (
                i not in SHARED
            ):  # the other container of the pod may have taken it over and released
                self.see(held.get(an_attachment(container(node, i)).handle_id, []), last)

    async def call(self, what: str, node: str, i: int):
        name = container(node, i)
        request = (
            an_allocate(name, pod(node, i)) if what == "allocate" else a_release(name, pod(node, i))
        )
        try:
            outcome = await self.serving[node].submit(request)
        except OcicatError as error:
            return error
        if isinstance(outcome, Granted) and outcome.superseded:
            await self.quietly(node, a_release(outcome.superseded, pod(node, i)))  # as an ADD does
        return outcome

    async def quietly(self, node: str, request: Allocate | Release):
        with suppress(Unavailable):
            await self.serving[node].submit(request)

    def compare(self, name: str, outcome):
        """Asked again, a container is given what it has."""
        if isinstance(outcome, Granted):
            assert len(outcome.grants) == 1
            before = self.answers.setdefault(name, outcome)
            is_shared = any(name == container(n, i) for n in NODES for i in SHARED)
            assert is_shared or before.grants == outcome.grants
        elif not isinstance(outcome, Exhausted):
            self.answers.pop(name, None)  # released, or perhaps released

    def see(self, addresses: list[str], outcome):
        """What the store holds for a container is what it was told last."""
        match outcome:
            case Granted():
                assert addresses == [str(grant.address) for grant in outcome.grants]
            case Released() | Exhausted():
                assert addresses == []
            case Unavailable():
                assert len(addresses) <= 1
            case _:
                raise AssertionError(outcome)

    def held(self, entries: dict[str, bytes]) -> dict[str | None, list[str]]:
        found: dict[str | None, list[str]] = {}
        for key, value in entries.items():
            if key.startswith(keys.ALL_BLOCKS):
                block = codec.decode_block(key, value)
                for ordinal, index in enumerate(block.allocations):
                    if index is not None:
                        handle = block.attributes[index].handle_id
                        found.setdefault(handle, []).append(str(block.address(ordinal)))
        return found

    # ---- somebody else -------------------------------------------------------------------------

    async def stranger(self, what: str):
        await asyncio.sleep(self.random.choice((0, 0.005, 0.05)))
        snapshot = await self.store.read("/")
        entries = {key: entry.value for key, entry in snapshot.entries.items()}
        blocks = [k for k in entries if k.startswith(keys.ALL_BLOCKS)]
        own = [k for k in entries if k.startswith(keys.affinities(STRANGER, 4))]
        free = [c for c in POOL.blocks_for(STRANGER) if keys.block(c) not in entries]
        put, gone = {}, set()
        if what == "claims" and free:
            put = a_foreign_block(self.random.choice(free), STRANGER)
        elif what == "leaves" and own:
            key = self.random.choice(own)
            gone = {key, keys.block(keys.cidr_of(key))}
        elif what == "touches" and blocks:
            key = self.random.choice(blocks)
            put = {key: codec.encode_block(codec.decode_block(key, entries[key]).next_write())}
        expect = {k: snapshot.entries[k].revision if k in entries else 0 for k in {*put, *gone}}
        await self.store.at_once(Change(expect, put, frozenset(gone)))

    # ---- the end -------------------------------------------------------------------------------

    async def release_everything(self):
        for node, i in self.everybody():
            for _ in range(50):
                try:
                    await self.serving[node].submit(a_release(container(node, i), pod(node, i)))
                    break
                except Unavailable:
                    continue
        entries = await content(self.store)
        assert_consistent(entries)
        assert self.held(entries) == {}
        left = [k for k in entries if k.startswith((keys.ALL_HANDLES, keys.ENDPOINTS))]
        assert left == []

    def everybody(self) -> Iterator[tuple[str, int]]:
        yield from ((node, i) for node in NODES for i in CONTAINERS)
