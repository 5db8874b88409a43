"""What thousands of nodes with 110 pods each do to etcd and to one node's ipamd: a simulation.

The store is filled with all of their data. The nodes themselves are not there: some real ipamds
are, and for the others their watches (``bench/watchers.py``). Run it with ``python -m
bench.scale``; no root needed, a few minutes, 4 GB of disk. Table to stdout, progress to stderr.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import ipamd.facts
import route_distributor.snapshot
from bench.bare import Bare, Sizes
from bench.cluster import Cluster, fill
from bench.daemons import Etcd, Ipamd, directory_on_disk
from bench.ipam_load import Load
from bench.ipam_measure import Bench
from bench.watchers import Watchers
from datamodel.errors import OcicatError
from datamodel.pool import Pool
from datastore import keys
from datastore.etcd import EtcdStore
from datastore.store import Change
from ocicatctl.table import box

POOL = Pool("pods", IPv4Network("10.0.0.0/11"), block_size=24)  # 8,192 blocks of the default size
PODS = 110
REPEATS = 50
RESTARTED = 8  # real ipamds; the pods of all their nodes start at once
IN_FLIGHT = 16  # at each of them
FULL_BLOCK = 256
MAX_PODS = 10_000  # that one node is asked for
SIZES = Sizes((50, 120, 120), (20_000, 60, 800))  # an Allocate's, with 110 pods in the block

Rows = dict[str, str]


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument(
        "--nodes", type=int, nargs="+", default=[1000, 5000], help="a column each (%(default)s)"
    )
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="(%(default)s)")
    arguments = parser.parse_args()
    clusters = [Cluster(POOL, nodes, 1, PODS) for nodes in arguments.nodes]
    try:
        directory = directory_on_disk(arguments.directory)
        with asyncio.Runner() as runner:
            columns = [simulated(directory, cluster, runner) for cluster in clusters]
    except OcicatError as error:
        sys.exit(f"bench: {error}")
    table = [(what, *(column[what] for column in columns)) for what in columns[0]]
    print(box(("what", *(f"{nodes} nodes" for nodes in arguments.nodes)), table), end="")


@dataclass(frozen=True, slots=True)
class Simulation:
    """One cluster's store. There is one loop for all: gRPC goes on waking any that it has seen."""

    etcd: Etcd
    cluster: Cluster
    runner: asyncio.Runner

    def run(self, act: Callable[[EtcdStore], Awaitable[Rows]]) -> Rows:
        """Do something with a client of the store."""

        async def act_and_close() -> Rows:
            store = EtcdStore(self.etcd.config, deadline_s=60, attempt_s=60)
            try:
                return await act(store)
            finally:
                await store.close()

        return self.runner.run(act_and_close())


def simulated(directory: Path, cluster: Cluster, runner: asyncio.Runner) -> Rows:
    """Measure everything, in a store of its own."""
    rows: Rows = {"blocks, pods": f"{cluster.blocks}, {cluster.pods}"}
    with Etcd(directory) as etcd:
        simulation = Simulation(etcd, cluster, runner)
        for measure in MEASURES:
            rows |= measure(simulation)
    return rows | {"load (1, 5, 15 minutes)": " ".join(f"{n:.1f}" for n in os.getloadavg())}


def store_alone(simulation: Simulation) -> Rows:
    """Fill the store; how large it is, and how long it takes to list."""
    etcd, cluster = simulation.etcd, simulation.cluster
    _say(f"a store with {cluster.nodes} nodes and {cluster.pods} pods")

    async def measured(store: EtcdStore) -> Rows:
        fill_s = await _timed(fill(store, cluster))
        _say(f"filled after {fill_s:.0f} s")
        rows = {
            "filling the store, s": f"{fill_s:.0f}",
            "etcd: database, MB": f"{etcd.db_mb:.0f}",
            "etcd: memory, MB": f"{etcd.rss_mb:.0f}",
        }
        for what, prefix, keys_only in (
            ("keys of all blocks", keys.blocks(4), True),
            ("all nodes", keys.NODES, False),
            ("all blocks", keys.blocks(4), False),
        ):
            list_s = await _timed(store.read(prefix, keys_only=keys_only))
            rows[f"listing {what}, ms"] = f"{list_s * 1000:.0f}"
        return rows

    return simulation.run(measured)


def one_node(simulation: Simulation) -> Rows:
    """A node that joins: until it owns a block; then its pods, and its next blocks."""
    etcd = simulation.etcd
    begun = time.perf_counter()
    with _nodes(etcd, range(1)) as (bench,):
        start_s = time.perf_counter() - begun
        rows = {
            "ipamd: from start to its first block, s": f"{start_s:.2f}",
            "ipamd: memory then, MB": f"{bench.ipamd.rss_mb:.0f}",
        }
        one_by_one = [bench.allocate(number) * 1000 for number in bench.new_pods(PODS)]
        claims = []
        held = PODS
        for _ in range(5):
            bench.load.allocate(bench.new_pods(FULL_BLOCK - held), IN_FLIGHT)
            claims += [bench.allocate(number) * 1000 for number in bench.new_pods(1)]
            held = 1
        return {
            **rows,
            "ipamd: Allocate one by one, ms": f"{statistics.median(one_by_one):.2f}",
            "ipamd: Allocate that claims a block, ms": f"{statistics.median(claims):.1f}",
            "ipamd: memory at the end, MB": f"{bench.ipamd.rss_mb:.0f}",
        }


def restart(simulation: Simulation) -> Rows:
    """Several nodes start all their pods at once."""
    etcd = simulation.etcd
    _say(f"{RESTARTED} nodes start {PODS} pods each")
    with (
        _nodes(etcd, range(1, 1 + RESTARTED)) as nodes,
        closing(Bare(etcd.endpoint)) as bare,
        ThreadPoolExecutor(RESTARTED) as threads,
    ):
        before, cpu_s = bare.revision(), etcd.cpu_s
        begun = time.perf_counter()
        list(threads.map(lambda n: n.load.allocate(n.new_pods(PODS), IN_FLIGHT), nodes))
        took_s = time.perf_counter() - begun
        transactions = bare.revision() - before
        etcd_us = (etcd.cpu_s - cpu_s) / transactions * 1e6
    pods = RESTARTED * PODS
    return {
        f"{RESTARTED} ipamds at once: allocations per second": f"{pods / took_s:.0f}",
        f"{RESTARTED} ipamds at once: transactions per second": f"{transactions / took_s:.0f}",
        f"{RESTARTED} ipamds at once: allocations in a transaction": f"{pods / transactions:.1f}",
        f"{RESTARTED} ipamds at once: etcd's CPU per transaction, µs": f"{etcd_us:.0f}",
    }


def watched(simulation: Simulation) -> Rows:
    """The watches of all nodes: what they cost, and how long a change takes to reach all."""
    etcd, cluster = simulation.etcd, simulation.cluster
    streams = list(_streams(cluster))
    _say(f"{len(streams)} streams of watches")
    with closing(Bare(etcd.endpoint)) as bare:
        alone = [bare.write(SIZES) * 1000 for _ in range(REPEATS)]

        async def measured(store: EtcdStore) -> Rows:
            before_mb = etcd.rss_mb
            begun = time.perf_counter()
            async with Watchers(etcd.endpoint, streams) as watchers:
                open_s = time.perf_counter() - begun
                used_mb = etcd.rss_mb - before_mb
                with_watches = [bare.write(SIZES) * 1000 for _ in range(REPEATS)]
                told = partial(_told, etcd, store, watchers)
                pool = await told(keys.pool(POOL.name), len(streams))
                node = await told(keys.node("worker-0000"), cluster.nodes + 1)  # and one ipamd
                return {
                    "watches, streams": f"{sum(map(len, streams))}, {len(streams)}",
                    "until all are there, s": f"{open_s:.1f}",
                    "etcd: memory for them, MB": f"{used_mb:.0f}",
                    "bare transaction without them, ms": f"{statistics.median(alone):.2f}",
                    "bare transaction with them, ms": f"{statistics.median(with_watches):.2f}",
                    "a changed pool reaches all daemons after, ms; etcd's CPU, ms": pool,
                    "a changed node reaches all distributors after, ms; etcd's CPU, ms": node,
                }

        return simulation.run(measured)


async def _told(etcd: Etcd, store: EtcdStore, watchers: Watchers, key: str, streams: int) -> str:
    """Write a value again; tell how long it takes until so many streams know, and etcd's CPU."""
    value = (await store.read(key)).entries[key].value
    watchers.expect(streams)
    cpu_s, begun = etcd.cpu_s, time.perf_counter()
    await store.commit(Change(put={key: value}))
    await watchers.all_told()
    took_s = time.perf_counter() - begun
    return f"{took_s * 1000:.0f}; {(etcd.cpu_s - cpu_s) * 1000:.0f}"


def _streams(cluster: Cluster) -> Iterator[Collection[str]]:
    """What each node's ipamd watches, and each node's route distributor."""
    for node, blocks in cluster.owners():
        yield [*ipamd.facts.ranges_of(node)({}), *map(keys.block, blocks)]
        yield route_distributor.snapshot.ranges_of(node)


MEASURES: tuple[Callable[[Simulation], Rows], ...] = (
    store_alone,
    one_node,
    restart,
    watched,
)


# ---- parts -------------------------------------------------------------------------------------


@contextmanager
def _nodes(etcd: Etcd, numbers: Iterable[int]) -> Iterator[list[Bench]]:
    """Real ipamds, each asked for pods that nobody else has."""
    with ExitStack() as stack:
        nodes = []
        for number in numbers:
            node = stack.enter_context(Ipamd(etcd.directory.parent, etcd, number))
            load = stack.enter_context(Load(node.socket))
            bare = stack.enter_context(closing(Bare(etcd.endpoint)))
            nodes.append(Bench(etcd, node, load, bare, first_pod=number * MAX_PODS))
        yield nodes


async def _timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
