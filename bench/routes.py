"""The benchmark of routes: the distributor as one node of 1,000, and ten nodes in a mesh.

Everything runs in a network namespace of its own, so that no route of it reaches the machine's.
Run it with ``python -m bench.routes``; needs root. Table and one line of JSON to stdout, progress
to stderr.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from bench.cluster import Cluster, fill, node_name
from bench.daemons import Bird, Distributor, Etcd, directory_on_disk
from bench.routes_measure import (
    Added,
    Say,
    added,
    converging,
    idle_pct,
    many_announced,
    rendering,
    summary,
    wait_until_calm,
)
from bench.routes_stats import Figures
from datamodel.errors import OcicatError
from datamodel.pool import Pool
from datastore.etcd import EtcdStore
from ocicatctl.lab.lab import Lab

LAB = "bench-routes"
LAB_NODES = 10
NODES = 1000
CLUSTER = Cluster(Pool("pods", IPv4Network("10.128.0.0/12"), block_size=26), NODES, 4)
MANY = 1000
_ALONE = "--alone"  # given by ourselves: the namespace is our own
ADDRESS = "172.16.0.1/12"  # of the first node of the cluster; none of the others is there


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.routes", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument(
        "--directory", type=Path, default=Path("/var/tmp"), help="on a disk (%(default)s)"
    )
    parser.add_argument(_ALONE, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid():
        parser.error("network namespaces need root; run it with sudo")
    if not arguments.alone:
        _begin_again_alone()
    try:
        figures = run(directory_on_disk(arguments.directory), arguments.quick, _say)
    except OcicatError as error:
        sys.exit(f"bench: {error}")
    print(figures.table, end="")
    print(figures.json)


def _begin_again_alone() -> None:
    """Start anew in a network namespace of our own; it is gone when we and our daemons are."""
    again = [sys.executable, "-m", "bench.routes", _ALONE, *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "--net", *again])


def run(directory: Path, is_quick: bool, say: Say) -> Figures:
    """Measure everything.

    Raises:
        OcicatError: a daemon does not come up, or routes do not arrive.
    """
    say(f"a snapshot of {CLUSTER.nodes} nodes and {CLUSTER.blocks} blocks")
    rendered = rendering(node_name(0), dict(CLUSTER.entries()), 5 if is_quick else 50)
    say(f"a store with {CLUSTER.nodes} nodes, a distributor, a BIRD")
    with _node_of_many(directory) as (etcd, distributor, bird):
        wait_until_calm(bird)
        say("nodes that are added")
        more = asyncio.run(_add(etcd, distributor, bird, 3 if is_quick else 20))
        say("at rest")
        idle = idle_pct(distributor, 5 if is_quick else 30)
        rss_mb, bird_mb = distributor.rss_mb, bird.rss_mb
    with _lab(say) as lab:
        converged = converging(lab, 10 if is_quick else 40, say)
        say(f"new blocks: {summary(converged)}")
        many = many_announced(lab, MANY, say)
    load = " ".join(f"{figure:.2f}" for figure in os.getloadavg())
    return Figures(
        render_ms=rendered.first_ms,
        render_again_ms=rendered.next_ms,
        node_add_ms=[one.work_ms for one in more],
        node_add_wall_ms=[one.wall_ms for one in more],
        node_add_reconfigures=[one.reconfigures for one in more],
        converge_ms=converged.last_ms,
        converge_one_ms=converged.each_ms,
        idle_cpu_pct=idle,
        rss_mb=rss_mb,
        others={
            f"memory of a BIRD with {NODES} peers that are not there, MB": f"{bird_mb:.1f}",
            **many,
            "load of the machine (1, 5, 15 minutes)": load,
        },
    )


@contextmanager
def _node_of_many(directory: Path) -> Iterator[tuple[Etcd, Distributor, Bird]]:
    """A distributor and a BIRD of a node whose neighbours are in etcd only."""
    for command in (
        "link set lo up",
        "link add eth0 type veth peer name nowhere",
        "link set nowhere up",
        "link set eth0 up",
        f"addr add {ADDRESS} dev eth0",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    with Etcd(directory) as etcd:
        asyncio.run(_filled(etcd))
        with (
            Distributor(directory, etcd, node_name(0)) as distributor,
            Bird(directory, distributor) as bird,
        ):
            yield etcd, distributor, bird


async def _filled(etcd: Etcd) -> None:
    store = EtcdStore(etcd.config)
    try:
        await fill(store, CLUSTER)
    finally:
        await store.close()


async def _add(etcd: Etcd, distributor: Distributor, bird: Bird, count: int) -> list[Added]:
    store = EtcdStore(etcd.config)
    try:
        return [await added(store, distributor, bird, NODES + number) for number in range(count)]
    finally:
        await store.close()


@contextmanager
def _lab(say: Say) -> Iterator[Lab]:
    """A lab of many nodes; one that an earlier run left goes first."""
    lab = Lab(LAB, say)
    lab.down()
    try:
        lab.up(LAB_NODES)
        yield lab
    finally:
        lab.down()


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
