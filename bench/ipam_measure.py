"""Measures one ipamd beside bare etcd transactions; what is compared takes turns within seconds.

Story. Whatever else the machine does meanwhile then hits both sides.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.bare import Bare, mean
from bench.daemons import Etcd, Ipamd
from bench.ipam_load import Load
from bench.ipam_pods import allocate_request
from bench.ipam_stats import Compared

IN_FLIGHT = 64
ROUND = 256  # allocations of a round: a block of the default size, from empty to full
BARE_WRITES = 64  # between two rounds
WARM_UP_PAIRS = 5_000
CHUNK_PAIRS = 5_000
TIMEOUT_S = 30.0
ALONE_S = 0.1  # after others; a request that comes with others waits for more of them

Say = Callable[[str], None]


@dataclass
class Bench:
    """One node's ipamd, its store, and who asks both; *first_pod* is one that never was."""

    etcd: Etcd
    ipamd: Ipamd
    load: Load
    bare: Bare
    first_pod: int = 0

    def new_pods(self, count: int) -> range:
        """The numbers of pods that never were: no two containers have one id."""
        self.first_pod += count
        return range(self.first_pod - count, self.first_pod)

    def allocate(self, number: int) -> float:
        """Ask what the plugin asks; return the seconds until the answer is there."""
        request = allocate_request(number)
        begun = time.perf_counter()
        answer = self.ipamd.allocate(request, timeout=TIMEOUT_S)
        took_s = time.perf_counter() - begun
        if len(answer.addresses) != 1:
            raise RuntimeError(f"ipamd: gave {len(answer.addresses)} addresses for one")
        return took_s


def sequential(bench: Bench, pods: int, rounds: int, say: Say) -> Compared:
    """One Allocate and one bare transaction in turns, until the node has *pods* pods."""
    ours: list[float] = []
    bare: list[float] = []
    for turn in range(rounds + 1):
        say(f"one after the other, {f'round {turn} of {rounds}' if turn else 'warm-up'}")
        numbers = bench.new_pods(pods)
        for number in numbers:
            took_s = bench.allocate(number)
            bare_s = bench.bare.write(bench.bare.sizes_of(number, bench.ipamd.node))
            if turn:
                ours.append(took_s * 1000)
                bare.append(bare_s * 1000)
        bench.load.release(numbers, IN_FLIGHT)
    return Compared("Allocate, one by one, ms", ours, "bare transaction, ms", bare)


@dataclass(frozen=True, slots=True)
class InFlight:
    """The rate, and what it is made of."""

    rate: Compared
    per_transaction: float
    call_ms: Sequence[float]
    cpu_us: dict[str, float]  # per allocation


def in_flight(bench: Bench, rounds: int, say: Say) -> InFlight:
    """So many at once fill an empty block, then bare transactions of half that block's size."""
    rates: list[float] = []
    bare_rates: list[float] = []
    times: list[float] = []
    used = {"ipamd": 0.0, "etcd": 0.0, "load generator": 0.0}
    transactions = 0
    for turn in range(rounds + 1):
        say(f"{IN_FLIGHT} in flight, {f'round {turn} of {rounds}' if turn else 'warm-up'}")
        pods = bench.new_pods(ROUND)
        last, others = pods[-1], pods[:-1]
        before = bench.bare.revision()
        cpu_s = bench.ipamd.cpu_s, bench.etcd.cpu_s
        done = bench.load.allocate(pods, IN_FLIGHT)
        wrote = bench.bare.revision() - before
        used_s = bench.ipamd.cpu_s - cpu_s[0], bench.etcd.cpu_s - cpu_s[1], done.cpu_s
        full = bench.bare.sizes_of(last, bench.ipamd.node)
        bench.load.release(others, IN_FLIGHT)
        half = mean(bench.bare.sizes_of(last, bench.ipamd.node), full)
        bench.load.release(pods[-1:], IN_FLIGHT)
        bare_s = sum(bench.bare.write(half) for _ in range(BARE_WRITES))
        if turn:
            rates.append(done.rate)
            bare_rates.append(BARE_WRITES / bare_s)
            times += done.times_s
            transactions += wrote
            used = {name: used[name] + s for name, s in zip(used, used_s, strict=True)}
    return InFlight(
        rate=Compared(
            f"Allocate, {IN_FLIGHT} in flight, per second",
            rates,
            "bare transactions, per second",
            bare_rates,
            is_rate=True,
        ),
        per_transaction=rounds * ROUND / transactions,
        call_ms=[s * 1000 for s in times],
        cpu_us={name: s / (rounds * ROUND) * 1e6 for name, s in used.items()},
    )


@dataclass(frozen=True, slots=True)
class Claims:
    """How long an Allocate took that had to claim a block first."""

    large_ms: Sequence[float]
    empty_ms: Sequence[float]


def claims(large: Bench, empty: Bench, block: int, count: int) -> Claims:
    """Allocate with every block full, in turns in both stores, until each node claimed *count*.

    Args:
        large: a node in a store with many others.
        empty: one in a store that nobody else uses.
        block: addresses in a block.
        count: of claims; a node may own 20 blocks.
    """
    took_ms: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(count):
        for is_large in (turn % 2 == 0, turn % 2 == 1):
            bench = large if is_large else empty
            # One address of the block was had with its claim; not so the node's first block.
            bench.load.allocate(bench.new_pods(block - bool(turn)), IN_FLIGHT)
            owned = len(bench.ipamd.client.status().blocks)
            (number,) = bench.new_pods(1)
            time.sleep(ALONE_S)
            took_ms[is_large].append(bench.allocate(number) * 1000)
            if len(bench.ipamd.client.status().blocks) != owned + 1:
                raise RuntimeError("ipamd: an Allocate that needed a block claimed none")
    return Claims(took_ms[True], took_ms[False])


def growth(bench: Bench, pairs: int, say: Say) -> tuple[float, float]:
    """How much larger ipamd is after so many pairs, in MB; and the pairs per second."""
    bench.load.pairs(bench.new_pods(WARM_UP_PAIRS), IN_FLIGHT)
    before = bench.ipamd.rss_mb
    say(f"memory after a warm-up of {WARM_UP_PAIRS} pairs: {before:.1f} MB")
    rates = []
    for done in range(0, pairs, CHUNK_PAIRS):
        some = bench.new_pods(min(CHUNK_PAIRS, pairs - done))
        rates.append(bench.load.pairs(some, IN_FLIGHT).rate)
        say(
            f"{done + len(some)} of {pairs} pairs: {bench.ipamd.rss_mb - before:+.1f} MB, "
            f"{rates[-1]:.0f} pairs per second"
        )
    return bench.ipamd.rss_mb - before, statistics.median(rates)
