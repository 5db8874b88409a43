"""The controller dies before or after any call of etcd, or its call is carried out late; or there
are two at once: the store is consistent, the next one finishes, and who lives keeps everything."""

import asyncio
from collections.abc import Callable

import pytest

from datamodel.attribute import DELEGATED
from datastore.memory import MemoryStore
from datastore.store import Change, Store
from tests.consistency import Excuse, assert_consistent, problems
from tests.controlled import (
    FIRST,
    SECOND,
    World,
    delete_node,
    fill,
    in_worlds,
    populate,
    running,
    two_nodes,
)
from tests.kube_cluster import KubeCluster
from tests.leftovers import Cluster, mentions

BEFORE, AFTER, LATE = "before", "after", "late"


def a_full_cluster() -> Cluster:
    """node-1 has a tunnel, a guest elsewhere, a block with guests and settings of its own."""
    stored = two_nodes()
    stored.hold(FIRST, "ocicat-gateway-node-1", node="node-1", type="ocicatGateway")
    stored.pod("node-1", "guest-1", SECOND)
    stored.pod("node-2", "guest-2", FIRST)
    stored.resource("bgppeers", "tor", node="node-1", peerIP="10.0.0.254")
    return stored


def a_leak() -> Cluster:
    """An address of another plugin's interface whose pod is gone, with one elsewhere."""
    stored = two_nodes()
    facts = {"namespace": "default", "pod": "leaked", "node": "node-1", "type": DELEGATED}
    for cidr in (FIRST, SECOND):
        stored.hold(cidr, "k8s-pod-network.leaked", **facts)
    return stored


class Struck(MemoryStore):
    """A store of which one caller hears nothing more from a certain call on."""

    def __init__(self, store: MemoryStore, number: int, side: str) -> None:
        super().__init__()
        self._inner = store
        self._number = number
        self._side = side
        self.calls: list[str] = []
        self.late: Change | None = None

    async def read(self, *ranges: str, keys_only: bool = False):
        return await self._call("read", lambda: self._inner.read(*ranges, keys_only=keys_only))

    async def commit(self, change: Change):
        if len(self.calls) + 1 == self._number and self._side == LATE:
            self.late = change
        kind = "write" if change.put or change.delete else "check"
        return await self._call(kind, lambda: self._inner.commit(change))

    def watch(self, ranges: frozenset[str], after: int):
        return self._inner.watch(ranges, after)

    async def _call(self, kind: str, call: Callable):
        self.calls.append(kind)
        if len(self.calls) != self._number:
            return await call()
        if self._side == AFTER:
            await call()
        return await asyncio.Event().wait()


def is_done(entries: dict[str, bytes]) -> bool:
    """Whether nothing is left of node-1 and of the leak."""
    return not mentions(entries) and not any("leaked" in key for key in entries)


async def assert_the_living_keep(store: MemoryStore, stored: Cluster, *nodes: str) -> None:
    entries = {key: e.value for key, e in (await store.read("/")).entries.items()}
    for key, value in stored.values.items():
        if "workloadendpoints" in key and any(f"/{n.replace('-', '--')}-k8s" in key for n in nodes):
            assert entries[key] == value
    for handle in stored.handles:
        living = {
            "web-2",
            "db-2",
            "guest-2",
            "lone",
            *(["web-1", "db-1"] if len(nodes) > 2 else []),
        }
        if handle.removeprefix("k8s-pod-network.") in living:
            assert any(handle.encode() in value for value in entries.values())


async def content(store: Store) -> dict[str, bytes]:
    return {key: e.value for key, e in (await store.read("/")).entries.items()}


SCENARIOS = {
    "a node that is gone": (a_full_cluster, True, 90.0, ("node-2", "plain")),
    "a pod that is gone": (a_leak, False, 1300.0, ("node-1", "node-2", "plain")),
}


def a_kube(*, is_drained: bool) -> KubeCluster:
    kube = KubeCluster()
    populate(kube)
    kube.put_pod("guest-2", "kube-2")
    if is_drained:
        delete_node(kube)
    return kube


def run_scenario(scenario: str, number: int, side: str) -> list[str]:
    """Strike at a call; return which calls there were."""
    make, is_drained, seconds, living = SCENARIOS[scenario]
    stored, seen = make(), []

    async def main(new: Callable[[Store], World]) -> None:
        store = MemoryStore()
        await fill(store, stored)
        struck = Struck(store, number, side)
        first = new(struck)
        async with running(first):
            await first.passes(seconds)
        seen.extend(struck.calls)
        half = await content(store)
        excuse = Excuse(leaving={"node-1"})
        assert problems(half, excuse=excuse) == []
        await assert_the_living_keep(store, stored, *living)
        second = new(store)
        async with running(second):
            await second.passes(seconds + 60)
        if struck.late:
            await store.commit(struck.late)
        entries = await content(store)
        assert_consistent(entries)
        if is_drained:
            assert mentions(entries) == []
        else:
            assert not any("leaked" in key for key in entries)
        await assert_the_living_keep(store, stored, *living)

    in_worlds(a_kube(is_drained=is_drained), main)
    return seen


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whenever_it_dies_the_next_one_finishes(scenario):
    calls = run_scenario(scenario, 0, BEFORE)

    assert calls.count("write") >= 1
    for number, kind in enumerate(calls, 1):
        for side in (BEFORE, AFTER, LATE) if kind == "write" else (AFTER,):
            run_scenario(scenario, number, side)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_at_once_do_no_harm(scenario):
    make, is_drained, seconds, living = SCENARIOS[scenario]
    stored = make()

    async def main(new: Callable[[Store], World]) -> None:
        store = MemoryStore()
        await fill(store, stored)
        one, other = new(store), new(store)
        async with running(one), running(other):
            await one.passes(seconds + 60)
        entries = await content(store)
        assert_consistent(entries)
        assert is_done(entries) or not is_drained
        await assert_the_living_keep(store, stored, *living)

    in_worlds(a_kube(is_drained=is_drained), main)
