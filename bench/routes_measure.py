"""Measures the route distributor: on paper, as one node of 1,000, and on ten nodes at once.

Story. What is drawn from the present code of ``route_distributor`` is in ``text_for``.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from bench import process
from bench.cluster import new_block, node_name, node_value
from bench.daemons import Bird, Distributor
from bench.lab_etcd import LabEtcd
from bench.route_events import RouteEvents
from bench.stats import percentile
from datamodel.errors import Unavailable
from datamodel.pool import Network
from datastore import keys
from datastore.store import Change, Entry, Store
from ocicatctl.lab import daemons, system
from ocicatctl.lab import etcd as lab_store
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import NodeSpec
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
from route_distributor.decoded import Decoded
from route_distributor.snapshot import cluster_snapshot, ranges_of

POLL_S = 0.002
WORK_ENDS_S = 0.3  # what the distributor does behind BIRD's back is over by then
SETTLE_S = 1.5  # changes within a second are applied together: a second reconfigure would show
START_S = 30.0
TIMEOUT_S = 60.0
OPERATIONS = 100  # of a transaction; etcd takes 128
NEW_BLOCKS = IPv4Network("10.233.64.0/18")  # the lab's pool
MANY_BLOCKS = IPv4Network("10.128.0.0/12")

Say = Callable[[str], None]


# ---- on paper ----------------------------------------------------------------------------------


def seen_by(node: str, values: Mapping[str, bytes]) -> dict[str, Entry]:
    """What the distributor of a node mirrors of the store."""
    prefixes = tuple(ranges_of(node))
    return {k: Entry(k, v, 1) for k, v in values.items() if k.startswith(prefixes)}


def text_for(node: str, entries: Mapping[str, Entry], decoded: Decoded) -> str:
    """BIRD's file for a node, from what it mirrors and what it remembers of the last pass."""
    decision = desired(cluster_snapshot(node, entries, decoded))
    assert isinstance(decision, BirdConfig), decision
    return render(decision)


@dataclass(frozen=True, slots=True)
class Rendered:
    """The processor time, in milliseconds, of finding that nothing has changed."""

    first_ms: list[float]  # with nothing remembered: every value is decoded
    next_ms: list[float]  # as after every change but the first


def rendering(node: str, values: Mapping[str, bytes], rounds: int) -> Rendered:
    """Make passes of a distributor that has just started, each with another one behind it."""
    entries = seen_by(node, values)
    before = text_for(node, entries, Decoded())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        decoded = Decoded()
        for kind in times:
            begun = time.process_time()
            is_same = text_for(node, entries, decoded) == before
            kind.append((time.process_time() - begun) * 1000)
            assert is_same
    return Rendered(*times)


# ---- one node of many --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Added:
    """What one more node came to."""

    work_ms: float
    wall_ms: float
    reconfigures: int


def wait_until_calm(bird: Bird) -> None:
    """Wait until BIRD has read its file at least once since it started, and reads it no more."""
    deadline = time.monotonic() + START_S
    seen = -1
    while (now := bird.reconfigured) != seen or not now:
        if time.monotonic() > deadline:
            raise Unavailable(f"bird: was not told to read its file:\n{bird.log[-2000:]}")
        seen = now
        time.sleep(2 * SETTLE_S)


async def added(store: Store, distributor: Distributor, bird: Bird, index: int) -> Added:
    """Add a node; measure until BIRD has read the new file, and whether it reads it again."""
    name = node_name(index)
    before, run_s = bird.reconfigured, distributor.run_s
    begun = time.monotonic()
    await store.commit(Change(put={keys.node(name): node_value(name, index)}))
    while bird.reconfigured == before:
        if time.monotonic() - begun > START_S:
            raise Unavailable(f"bird: has not read its file:\n{distributor.log[-2000:]}")
        await asyncio.sleep(POLL_S)
    wall_s = time.monotonic() - begun
    await asyncio.sleep(WORK_ENDS_S)
    work_s = distributor.run_s - run_s
    await asyncio.sleep(SETTLE_S)
    return Added(work_s * 1000, wall_s * 1000, bird.reconfigured - before)


def idle_pct(distributor: Distributor, seconds: float) -> float:
    """How much of a core it uses while nothing changes."""
    begun, run_s = time.monotonic(), distributor.run_s
    time.sleep(seconds)
    return (distributor.run_s - run_s) / (time.monotonic() - begun) * 100


# ---- ten nodes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Converged:
    """How long new blocks took into the other kernels."""

    last_ms: list[float]  # until the last of them has one
    each_ms: list[float]


def converging(lab: Lab, blocks: int, say: Say) -> Converged:
    """Give the nodes new blocks, one after the other; measure until all the others have each."""
    free = _free(lab)
    last_ms, each_ms = [], []
    names = {node.namespace: node for node in lab.nodes}
    with LabEtcd(lab.spec) as etcd, RouteEvents(names) as events:
        for number in range(blocks):
            if number % 10 == 0:
                say(f"new blocks: {number} of {blocks}")
            node = lab.nodes[number % len(lab.nodes)]
            cidr = next(free)
            time.sleep(SETTLE_S)  # so that none waits for the one before
            begun = time.monotonic()
            etcd.put(new_block(node.name, cidr))
            arrived = events.wait({cidr}, TIMEOUT_S)
            others = [at - begun for name, at in arrived.items() if name != node.namespace]
            last_ms.append(max(others) * 1000)
            each_ms += [took * 1000 for took in others]
    return Converged(last_ms, each_ms)


def _free(lab: Lab) -> Iterator[Network]:
    """Blocks of the lab's pool that are nobody's."""
    taken = {keys.cidr_of(key) for key in lab_store.keys(lab.spec, keys.ALL_BLOCKS)}
    return (cidr for cidr in NEW_BLOCKS.subnets(new_prefix=24) if cidr not in taken)


def many_announced(lab: Lab, blocks: int, say: Say) -> dict[str, str]:
    """Announce very many blocks at once: BIRD's memory, and how long until every kernel has all."""
    say(f"{blocks} blocks at once")
    cidrs = list(itertools.islice(MANY_BLOCKS.subnets(new_prefix=24), blocks))
    before_mb = _birds_mb(lab.nodes)
    values = [
        pair
        for cidr, node in zip(cidrs, itertools.cycle(lab.nodes), strict=False)
        for pair in new_block(node.name, cidr).items()
    ]
    with LabEtcd(lab.spec) as etcd, RouteEvents([node.namespace for node in lab.nodes]) as events:
        begun = time.monotonic()
        for start in range(0, len(values), OPERATIONS):
            etcd.put(dict(values[start : start + OPERATIONS]))
        written_s = time.monotonic() - begun
        arrived = events.wait(set(cidrs), TIMEOUT_S)
    took = [at - begun for at in arrived.values()]
    with_all_mb = _birds_mb(lab.nodes)
    return {
        f"{blocks} blocks on {len(lab.nodes)} nodes: written to etcd after, s": f"{written_s:.2f}",
        f"{blocks} blocks: in every kernel after, s: first node, last node": (
            f"{min(took):.2f}, {max(took):.2f}"
        ),
        f"memory of a BIRD, MB: before, with {blocks} blocks": (
            f"{before_mb:.1f}, {with_all_mb:.1f}"
        ),
        f"a BIRD that starts: {blocks} blocks in its kernel after, s": (
            f"{_started_anew(lab.nodes[0], set(cidrs)):.2f}"
        ),
    }


def _started_anew(node: NodeSpec, cidrs: set[Network]) -> float:
    """Seconds from a BIRD's start, where the kernel has none of its routes, until it has all."""
    daemons.kill(node, "bird")
    system.run("ip", "-n", node.namespace, "route", "flush", "proto", "bird")
    with RouteEvents([node.namespace]) as events:
        begun = time.monotonic()
        daemons.start(node, "bird", wait=False)
        (arrived,) = events.wait(cidrs, TIMEOUT_S).values()
    return arrived - begun


def _birds_mb(nodes: list[NodeSpec]) -> float:
    """The median of their resident memory."""
    pids = [PidFile(node.directory, "bird").read() for node in nodes]
    return statistics.median(process.rss_mb(pid) for pid in pids if pid is not None)


def summary(converged: Converged) -> str:
    """In one line, for who waits."""
    return (
        f"median {statistics.median(converged.last_ms):.0f} ms, "
        f"p99 {percentile(converged.last_ms, 99):.0f} ms"
    )
