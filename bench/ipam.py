"""The benchmark of IPAM: a real ipamd on an etcd that syncs to disk, beside bare transactions.

Run it with ``python -m bench.ipam``; no root needed. Table and one line of JSON to stdout,
progress to stderr.
"""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from bench.bare import Bare
from bench.cluster import Cluster, fill
from bench.daemons import Etcd, Ipamd, directory_on_disk
from bench.ipam_load import Load
from bench.ipam_measure import (
    IN_FLIGHT,
    Bench,
    Claims,
    Say,
    claims,
    growth,
    in_flight,
    sequential,
)
from bench.ipam_stats import Compared, Figures
from bench.stats import percentile
from datamodel.errors import OcicatError
from datamodel.pool import Pool
from datastore.etcd import EtcdStore

PODS = 110  # a kubelet's default limit of pods
PAIRS = 100_000
QUICK_PAIRS = 5_000
# A /13 cut as Calico cuts it by default: 8,192 blocks, of which 1,000 nodes have 4 each.
POOL = Pool("pods", IPv4Network("10.128.0.0/13"), block_size=26)
BLOCK = 64
LARGE = Cluster(POOL, nodes=1000, blocks_per_node=4, pods_per_block=BLOCK // 2)
MAX_PODS = 1_000_000  # that one node is asked for, one after the other
CLAIMING_NODES = 5  # one after the other: which blocks a node finds taken depends on its name
CLAIMS = 5  # of each


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.ipam", description=__doc__)
    parser.add_argument("--pairs", type=int, help=f"of Allocate and Release ({PAIRS})")
    parser.add_argument("--rounds", type=int, help="of each measurement (5)")
    parser.add_argument("--quick", action="store_true", help="fewer of both")
    parser.add_argument(
        "--directory", type=Path, default=Path("/var/tmp"), help="on a disk (%(default)s)"
    )
    arguments = parser.parse_args()
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    pairs = arguments.pairs or (QUICK_PAIRS if arguments.quick else PAIRS)
    if min(rounds, pairs) < 1:
        parser.error("--rounds and --pairs are at least 1")
    try:
        figures = run(directory_on_disk(arguments.directory), rounds, pairs, _say)
    except OcicatError as error:
        sys.exit(f"bench: {error}")
    print(figures.table, end="")
    print(figures.json)


def run(directory: Path, rounds: int, pairs: int, say: Say) -> Figures:
    """Measure everything.

    Raises:
        OcicatError: a daemon does not come up, or refuses.
    """
    with _store(directory) as etcd, _node(directory, etcd) as bench:
        one_by_one = sequential(bench, PODS, rounds, say)
        at_once = in_flight(bench, 4 * rounds, say)
        growth_mb, pairs_rate = growth(bench, pairs, say)
    say(f"a store with {LARGE.nodes} nodes, {LARGE.blocks} blocks and {LARGE.pods} pods")
    claimed: list[Claims] = []
    rss_mb = []
    with _store(directory, LARGE) as large, _store(directory, Cluster(POOL)) as empty:
        for number in range(CLAIMING_NODES):
            with _node(directory, large, number) as one, _node(directory, empty, number) as other:
                claimed.append(claims(one, other, BLOCK, CLAIMS))
                rss_mb.append(one.ipamd.rss_mb)
            say(f"claims of node {number + 1} of {CLAIMING_NODES}, in each store")
        db_mb = large.db_mb
    cpu = ", ".join(f"{name} {us:.0f}" for name, us in at_once.cpu_us.items())
    calls = at_once.call_ms
    load = " ".join(f"{figure:.2f}" for figure in os.getloadavg())
    return Figures(
        sequential=one_by_one,
        in_flight=at_once.rate,
        claim=Compared(
            "Allocate that claims a block, ms",
            [ms for claims in claimed for ms in claims.large_ms],
            "the same in an empty store",
            [ms for claims in claimed for ms in claims.empty_ms],
        ),
        rss_mb=max(rss_mb),
        rss_growth_mb=growth_mb,
        others={
            "allocations in a transaction, mean": f"{at_once.per_transaction:.1f}",
            f"a call with {IN_FLIGHT} in flight, ms: median, p99": (
                f"{statistics.median(calls):.1f}, {percentile(calls, 99):.1f}"
            ),
            "processor time of an allocation, µs": cpu,
            f"pairs per second, of {pairs}": f"{pairs_rate:.0f}",
            "database of the large store, MB": f"{db_mb:.0f}",
            "load of the machine (1, 5, 15 minutes)": load,
        },
    )


@contextmanager
def _store(directory: Path, cluster: Cluster | None = None) -> Iterator[Etcd]:
    """An etcd, filled with a cluster if there is one."""
    with Etcd(directory) as etcd:
        if cluster is not None:
            asyncio.run(_filled(etcd, cluster))
        yield etcd


@contextmanager
def _node(directory: Path, etcd: Etcd, number: int = 0) -> Iterator[Bench]:
    """An ipamd, and who asks it and its store."""
    with (
        Ipamd(directory, etcd, number) as ipamd,
        Load(ipamd.socket) as load,
        closing(Bare(etcd.endpoint)) as bare,
    ):
        yield Bench(etcd, ipamd, load, bare, first_pod=number * MAX_PODS)


async def _filled(etcd: Etcd, cluster: Cluster) -> None:
    store = EtcdStore(etcd.config)
    try:
        await fill(store, cluster)
    finally:
        await store.close()


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
