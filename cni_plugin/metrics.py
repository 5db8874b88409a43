"""Keeps what is measured of calls, for Prometheus.

Edge: prometheus_client. docs/metrics.md says what the numbers mean.
"""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from cni_plugin.meter import FAILED, OTHER, STEPS, UNDELIVERED, VERBS, Meter

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LINKS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics(Meter):
    """The CNI server's numbers, in a registry of their own."""

    def __init__(self, spooled: Callable[[], float]) -> None:
        """Begin with zeros; *spooled* tells how many releases wait, whenever somebody asks."""
        # They would be a second series for each, of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._calls = Counter(
            "ocicat_cni_calls",
            "Calls that were answered, by what came of them.",
            ["verb", "outcome"],
            registry=self.registry,
        )
        self._call_seconds = Histogram(
            "ocicat_cni_call_duration_seconds",
            "How long calls took in the server, whatever came of them.",
            ["verb"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._step_seconds = Histogram(
            "ocicat_cni_step_duration_seconds",
            "How long the steps of calls took.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._deletions = Histogram(
            "ocicat_cni_deletion_links",
            "Links that one request to the kernel deleted together.",
            buckets=_LINKS,
            registry=self.registry,
        )
        self._rollbacks = Counter(
            "ocicat_cni_rollbacks",
            "ADDs that were taken back.",
            ["cause"],
            registry=self.registry,
        )
        for cause in (FAILED, UNDELIVERED):
            self._rollbacks.labels(cause)
        for step in STEPS:
            self._step_seconds.labels(step)
        Gauge(
            "ocicat_cni_spooled_releases",
            "Releases that ipamd could not be told yet.",
            registry=self.registry,
        ).set_function(spooled)

    def count_call(self, verb: str, outcome: str, seconds: float) -> None:
        """A call has ended."""
        verb = verb if verb in VERBS else OTHER  # a caller's invention must not become a series
        self._calls.labels(verb, outcome).inc()
        self._call_seconds.labels(verb).observe(seconds)

    def observe_step(self, step: str, seconds: float) -> None:
        """A step of a call took so long."""
        self._step_seconds.labels(step).observe(seconds)

    def count_deletion(self, links: int) -> None:
        """So many links were deleted by one request to the kernel."""
        self._deletions.observe(links)

    def count_rollback(self, cause: str) -> None:
        """An ADD was taken back."""
        self._rollbacks.labels(cause).inc()
