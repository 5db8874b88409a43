"""A controller with a Kubernetes API and a store, in time that jumps unless the API is awaited."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.mirror import Mirror
from datastore.store import MAX_OPERATIONS, Change, Store
from kube_api.access import Access
from kube_api.client import ApiClient
from kube_controllers.api import KubeApi
from kube_controllers.controller import Controller, Pace
from kube_controllers.follower import Follower
from kube_controllers.survey import RANGES
from tests.cluster import STAMP
from tests.kube_cluster import KubeCluster
from tests.kube_server import serving
from tests.leftovers import POOLS, Cluster
from tests.virtual_time import VirtualTimeLoop

PACE = Pace(period_s=300, node_grace_s=60, leak_grace_s=900)
FIRST, SECOND = ip_network("10.233.77.0/28"), ip_network("10.233.88.0/28")


def two_nodes() -> Cluster:
    """Two nodes of Kubernetes with a block and two pods each, and a plain host with one."""
    stored = Cluster()
    for pool in POOLS:
        stored.values[keys.pool(pool.name)] = codec.encode_pool(pool, STAMP)
    for number, name, cidr in ((1, "node-1", FIRST), (2, "node-2", SECOND)):
        stored.node(name, f"10.0.0.1{number}/24", kubernetes_name=f"kube-{number}")
        stored.block(cidr, name)
        for pod in ("web", "db"):
            stored.pod(name, f"{pod}-{number}", cidr)
    stored.node("plain", "10.0.0.19/24")
    third = ip_network("10.233.99.0/28")
    stored.block(third, "plain")
    stored.pod("plain", "lone", third)
    return stored


def populate(kube: KubeCluster) -> None:
    """The same two nodes and their pods."""
    for number in (1, 2):
        kube.put_node(f"kube-{number}")
        for pod in ("web", "db"):
            kube.put_pod(f"{pod}-{number}", f"kube-{number}")


def delete_node(kube: KubeCluster, number: int = 1) -> None:
    """One of the two is deleted, and its pods with it."""
    kube.delete("nodes", f"kube-{number}")
    for pod in ("web", "db"):
        kube.delete("pods", f"{pod}-{number}")


async def fill(store: Store, stored: Cluster) -> None:
    entries = list(stored.entries.items())
    for i in range(0, len(entries), MAX_OPERATIONS):
        await store.commit(Change(put=dict(entries[i : i + MAX_OPERATIONS])))


class World:
    """What a story acts on. ``heard`` and ``passes`` are for after it has changed something."""

    def __init__(self, kube: KubeCluster, store: Store, port: int) -> None:
        self.kube = kube
        self.store = store
        self.client = ApiClient(Access("127.0.0.1", port, is_tls=False))
        self.api = KubeApi(self.client)
        self.mirror = Mirror(store, lambda _: RANGES)
        self.controller = Controller(store, self.mirror, self.api, PACE)
        self.followers = [
            Follower(self.api, self.controller.nodes, self.controller.node_lost),
            Follower(self.api, self.controller.pods, self.controller.pod_lost),
        ]

    async def heard(self) -> None:
        """Wait until the controller knows of all that has happened in Kubernetes."""
        self.kube.bookmark()
        copies = (self.controller.nodes, self.controller.pods)
        await self.until(lambda: min(int(c.version or 0) for c in copies) >= self.kube.version - 1)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for what comes over the network; pauses meanwhile are short."""
        end = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < end, "it does not come"
            time.sleep(0.001)  # noqa: ASYNC251 (of real time, for the threads of the API)
            await asyncio.sleep(0.02)

    async def passes(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def holds(self, name: str) -> list[str]:
        """The pods for which a node holds addresses."""
        found = []
        for key, entry in (await self.store.read(keys.ALL_BLOCKS)).entries.items():
            attributes = codec.decode_block(key, entry.value).attributes
            found += [a.pod.name for a in attributes if a.node == name and a.pod]
        return sorted(found)

    async def content(self) -> dict[str, bytes]:
        return {key: e.value for key, e in (await self.store.read("/")).entries.items()}


@contextlib.asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    work = (
        world.mirror.run(),
        world.controller.run(),
        *(follower.run() for follower in world.followers),
    )
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
        assert not any(task.done() for task in tasks), "it ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def play(
    story: Callable[[World], Awaitable[None]],
    stored: Cluster | None = None,
    *,
    begins_known: bool = True,
    is_drained: bool = False,
) -> None:
    """Run a story with the two nodes, from when the controller has looked at them once.

    *is_drained*: the first one is gone from Kubernetes before.
    """
    kube, store = KubeCluster(), MemoryStore()
    populate(kube)
    if is_drained:
        delete_node(kube)

    async def main(new: Callable[[Store], World]) -> None:
        await fill(store, stored or two_nodes())
        world = new(store)
        async with running(world):
            if begins_known:
                await world.heard()
                await world.passes(15)
            await story(world)

    in_worlds(kube, main)


def in_worlds(
    kube: KubeCluster, main: Callable[[Callable[[Store], World]], Awaitable[None]]
) -> None:
    """Run *main*, which makes worlds of stores, one after the other or at once."""
    worlds: list[World] = []
    with serving(kube, None) as port:
        is_over = False
        loop = VirtualTimeLoop(lambda: is_over or any(world.api.waiting for world in worlds))

        def new(store: Store) -> World:
            worlds.append(World(kube, store, port))
            return worlds[-1]

        async def run() -> None:
            nonlocal is_over
            try:
                await main(new)
            finally:
                is_over = True  # only threads are waited for
                for world in worlds:
                    world.client.close()

        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(run())
            finally:
                kube.end_watches()
