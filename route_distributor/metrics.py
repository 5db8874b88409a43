"""Keeps what is measured of routing, and shows it to Prometheus.

Edge: prometheus_client. docs/metrics.md says what the numbers mean. What BIRD knows is asked when
somebody asks us.
"""

import logging
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bird_api.channels import Seen
from bird_api.protocols import Session
from datamodel.errors import OcicatError
from route_distributor.bird.look import Look
from route_distributor.meter import OUTCOMES, Meter, Pass

log = logging.getLogger(__name__)

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STATES = ("established", "openconfirm", "opensent", "connect", "active", "passive", "idle", "down")
_OTHER = "other"


class Mirror(Protocol):
    """What is shown of ``datastore.mirror.Mirror``."""

    @property
    def is_ready(self) -> bool: ...

    revision: int
    restorations: int


class Metrics(Meter):
    """The route distributor's numbers, in a registry of their own."""

    def __init__(self, parts: Iterable[str], mirror: Mirror, look: Look) -> None:
        """Begin with zeros for all *parts*."""
        # They would be a second series for each, of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._passes = Counter(
            "ocicat_routes_passes",
            "Attempts to bring a part up to date, by what came of them.",
            ["part", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ocicat_routes_apply_duration_seconds",
            "How long attempts took, whatever came of them.",
            ["part"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._changes = Counter(
            "ocicat_routes_changes",
            "Things made, replaced or removed because etcd said so; of bird: reconfigurations.",
            ["part"],
            registry=self.registry,
        )
        self._healed = Counter(
            "ocicat_routes_healed",
            "Things made, replaced or removed because somebody else had changed them.",
            ["part"],
            registry=self.registry,
        )
        self._convergence = Histogram(
            "ocicat_routes_convergence_seconds",
            "Time from a change seen in etcd until what it changes here was changed.",
            ["part"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._problems = Gauge(
            "ocicat_routes_problems",
            "What is left out or does not work; ocicatctl node status shows the texts.",
            registry=self.registry,
        )
        for part in parts:
            for outcome in OUTCOMES:
                self._passes.labels(part, outcome)
            for each in (self._seconds, self._changes, self._healed, self._convergence):
                each.labels(part)
        self.registry.register(WatchCollector(mirror))
        self.registry.register(BirdCollector(look))

    def count(self, done: Pass) -> None:
        """A pass has ended."""
        self._passes.labels(done.part, done.outcome).inc()
        self._seconds.labels(done.part).observe(done.took_s)
        changes = self._healed if done.is_healing else self._changes
        changes.labels(done.part).inc(done.changed)
        if done.converged_s is not None:
            self._convergence.labels(done.part).observe(done.converged_s)

    def show_problems(self, number: int) -> None:
        """So much is wrong now."""
        self._problems.set(number)


class WatchCollector(Collector):
    """Shows how well etcd is followed."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def collect(self) -> Iterator[Metric]:
        """Read it off."""
        mirror = self._mirror
        yield _gauge("watch_ready", "Whether what is known is followed.", mirror.is_ready)
        yield _gauge("revision", "etcd's revision up to which all is known.", mirror.revision)
        yield CounterMetricFamily(
            "ocicat_routes_restorations",
            "How often etcd turned out to be another one.",
            value=mirror.restorations,
        )


class BirdCollector(Collector):
    """Asks BIRD whenever somebody asks for the metrics."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        """Nothing in advance: who registers must not have to wait for BIRD."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Ask BIRD; if it does not answer, that is all there is to see."""
        try:
            seen = self._look()
        except OcicatError as error:
            log.debug("BIRD is missing in the metrics: %s", error)
            yield _gauge("bird_up", "Whether BIRD answers.", 0)
            return
        yield _gauge("bird_up", "Whether BIRD answers.", 1)
        yield _gauge(
            "bird_recovering", "Whether a graceful restart is under way.", seen.is_recovering
        )
        yield _sessions(seen)
        yield _prefixes(seen)


def _sessions(seen: Seen) -> Metric:
    family = GaugeMetricFamily(
        "ocicat_routes_sessions", "BGP sessions by their state.", labels=["state"]
    )
    tally = Tally(map(_state, seen.sessions))
    for state in (*_STATES, _OTHER):
        family.add_metric([state], tally[state])
    return family


def _state(session: Session) -> str:
    # BIRD says nothing of the state of a session that is switched off.
    state = (session.info.split() or [session.state])[0].lower()
    return state if state in _STATES else _OTHER


def _prefixes(seen: Seen) -> Metric:
    family = GaugeMetricFamily(
        "ocicat_routes_prefixes",
        "Routes that sessions exchange, over all of them.",
        labels=["family", "direction"],
    )
    for version in (4, 6):
        some = [channel for channel in seen.channels if channel.version == version]
        family.add_metric([f"ipv{version}", "in"], sum(channel.imported for channel in some))
        family.add_metric([f"ipv{version}", "out"], sum(channel.exported for channel in some))
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ocicat_routes_{name}", text, value=value)
