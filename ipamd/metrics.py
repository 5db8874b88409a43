"""Counts what ipamd does: requests, commits, how long etcd takes.

Edge: prometheus_client, which keeps the numbers. docs/metrics.md says what they mean; what is read
off at the moment of asking is in ``metrics_state.py``.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable, Unsupported
from datastore import keys
from datastore.store import Change, Committed, Events, Rejected, Snapshot, Store

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)

OK, BUG, CANCELLED = "ok", "bug", "cancelled"
_OUTCOMES: dict[type[BaseException], str] = {
    Invalid: "invalid",
    Exhausted: "exhausted",
    Unavailable: "unavailable",
    Unsupported: "unsupported",
    asyncio.CancelledError: CANCELLED,  # the caller has given up
}


def outcome_of(error: BaseException) -> str:
    """The name of an error in metrics."""
    return _OUTCOMES.get(type(error), BUG)


class Metrics:
    """ipamd's numbers, in a registry of their own."""

    def __init__(self) -> None:
        # They would be a second series for each, of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "ocicat_ipamd_requests",
            "Requests that were answered, by what came of them.",
            ["method", "outcome"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "ocicat_ipamd_request_duration_seconds",
            "How long requests took, whatever came of them.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commits = Counter(
            "ocicat_ipamd_commits",
            "Transactions sent to etcd; rejected: somebody else had written first.",
            ["outcome"],
            registry=self.registry,
        )
        self._operations = Histogram(
            "ocicat_ipamd_commit_operations",
            "Operations of a transaction, or comparisons if there are more of them.",
            buckets=_COUNTS,
            registry=self.registry,
        )
        self._together = Histogram(
            "ocicat_ipamd_commit_requests",
            "Requests that changed what is held and left in one transaction.",
            buckets=_COUNTS,
            registry=self.registry,
        )
        self._etcd_seconds = Histogram(
            "ocicat_ipamd_etcd_request_duration_seconds",
            "How long etcd took to answer, or we waited in vain.",
            ["call"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._etcd_failures = Counter(
            "ocicat_ipamd_etcd_failures",
            "Calls of etcd that failed; a commit may have been carried out all the same.",
            ["call"],
            registry=self.registry,
        )
        for outcome in ("committed", "rejected", "failed"):
            self._commits.labels(outcome)
        for call in ("read", "commit"):
            self._etcd_failures.labels(call)

    def observe_request(self, method: str, outcome: str, seconds: float) -> None:
        """Count a request that has been answered."""
        self._requests.labels(method, outcome).inc()
        self._request_seconds.labels(method).observe(seconds)

    @contextmanager
    def etcd_call(self, call: str) -> Iterator[None]:
        """Count what is done within as one call of etcd."""
        begun = time.perf_counter()
        try:
            yield
        except OcicatError:
            self._etcd_failures.labels(call).inc()
            raise
        finally:
            self._etcd_seconds.labels(call).observe(time.perf_counter() - begun)

    def observe_commit(self, change: Change, outcome: str, took_s: float) -> None:
        """Count a transaction and the call of etcd that it was."""
        self._etcd_seconds.labels("commit").observe(took_s)
        if outcome == "failed":
            self._etcd_failures.labels("commit").inc()
        self._commits.labels(outcome).inc()
        self._operations.observe(change.operations)
        written = (*change.put, *change.delete)
        if together := sum(key.startswith(keys.ALL_HANDLES) for key in written):
            self._together.observe(together)


class MeteredStore:
    """Another store, with its calls counted."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    @property
    def epoch(self) -> int:
        """As of the other store."""
        return self._store.epoch

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Read from the other store."""
        with self._metrics.etcd_call("read"):
            return await self._store.read(*ranges, keys_only=keys_only)

    async def commit(self, change: Change) -> Committed | Rejected:
        """Commit to the other store; it is counted once who waits for it has gone on."""
        begun, outcome = time.perf_counter(), "failed"
        try:
            answer = await self._store.commit(change)
            outcome = "committed" if isinstance(answer, Committed) else "rejected"
            return answer
        finally:
            took_s = time.perf_counter() - begun
            count = self._metrics.observe_commit
            asyncio.get_running_loop().call_later(0, count, change, outcome, took_s)

    def watch(self, ranges: frozenset[str], after: int) -> AsyncIterator[Events]:
        """Watch the other store."""
        return self._store.watch(ranges, after)

    async def close(self) -> None:
        """Close the other store."""
        await self._store.close()
