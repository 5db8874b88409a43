"""The load generator: a process of its own that keeps so many requests to ipamd in flight.

Edge: gRPC, processes. It must not be what limits the rate. Of gRPC's clients the one on asyncio
takes the least processor time for a call, about a fifth of what ipamd takes; requests are encoded
before the clock starts and answers are decoded after it has stopped.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from bench.ipam_pods import allocate_request, release_request
from ipam_api import ipam_pb2

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 60.0

Call = Callable[..., Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Done:
    """What a run of the load generator came to."""

    wall_s: float
    cpu_s: float  # of the generator itself
    times_s: list[float]  # of each request, or of each pair

    @property
    def rate(self) -> float:
        """Requests, or pairs, per second."""
        return len(self.times_s) / self.wall_s


class Load:
    """The generator, seen from the benchmark. ``with Load(socket) as load:`` runs it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.ipam_load", self._socket],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def allocate(self, pods: range, in_flight: int) -> Done:
        """Allocate for these pods; every answer is checked."""
        return self._ask("allocate", pods, in_flight)

    def release(self, pods: range, in_flight: int) -> Done:
        """Release what they hold."""
        return self._ask("release", pods, in_flight)

    def pairs(self, pods: range, in_flight: int) -> Done:
        """Allocate for each and release it at once."""
        return self._ask("pairs", pods, in_flight)

    def _ask(self, verb: str, pods: range, in_flight: int) -> Done:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([verb, pods.start, pods.stop, in_flight]) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"load generator: ended with status {process.wait()}")
        return Done(*json.loads(answer))


# ---- the process -------------------------------------------------------------------------------


async def _serve(socket: str) -> None:
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        await channel.channel_ready()
        # Encoded messages in, encoded messages out.
        allocate: Call = channel.unary_unary("/ocicat.ipam.v1.Ipam/Allocate")
        release: Call = channel.unary_unary("/ocicat.ipam.v1.Ipam/Release")
        for line in sys.stdin:
            verb, start, stop, in_flight = json.loads(line)
            steps = [
                (call, [encode(n) for n in range(start, stop)])
                for name, call, encode in (
                    ("allocate", allocate, allocate_request),
                    ("release", release, release_request),
                )
                if verb in (name, "pairs")
            ]
            wall_s, cpu_s, times_s, answers = await _run(steps, in_flight)
            _check(answers, is_distinct=verb == "allocate")
            print(json.dumps([wall_s, cpu_s, times_s]), flush=True)


async def _run(
    steps: list[tuple[Call, list[bytes]]], in_flight: int
) -> tuple[float, float, list[float], list[bytes]]:
    """Take every item through the steps, so many items at a time."""
    times_s: list[float] = []
    answers: list[bytes] = []
    items = zip(*(requests for _, requests in steps), strict=True)
    calls = [call for call, _ in steps]

    async def work(items: Iterator[tuple[bytes, ...]]) -> None:
        for item in items:
            begun = time.perf_counter()
            for call, request in zip(calls, item, strict=True):
                answers.append(await call(request, timeout=TIMEOUT_S))
            times_s.append(time.perf_counter() - begun)

    begun, cpu_begun = time.perf_counter(), _cpu_s()
    await asyncio.gather(*(work(items) for _ in range(in_flight)))
    return time.perf_counter() - begun, _cpu_s() - cpu_begun, times_s, answers


def _check(answers: list[bytes], *, is_distinct: bool) -> None:
    """Each answer has one address (Release answers alike); of allocations no two have the same."""
    found = [ipam_pb2.AllocateResponse.FromString(answer).addresses for answer in answers]
    addresses = [address.address for each in found for address in each]
    if len(addresses) != len(answers):
        raise RuntimeError(f"{len(answers)} answers have {len(addresses)} addresses")
    if is_distinct and len(set(addresses)) < len(addresses):
        raise RuntimeError("an address was given out twice")


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
