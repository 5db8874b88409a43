"""Shows the controller's state as metrics, read off when somebody asks, and its health.

Edge: prometheus_client. A thread of its own serves; what it shows is read on the event loop, where
nothing changes meanwhile.
"""

import asyncio
import concurrent.futures
import logging
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from datastore.mirror import Mirror
from health_api.web import WebServer, loop_check
from kube_controllers.config import METRICS
from kube_controllers.controller import NODE_GONE, POD_GONE, Controller
from kube_controllers.follower import Follower

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # half of what Prometheus waits
_PREFIX = "ocicat_controllers"


class StateCollector(Collector):
    """Reads the state whenever the metrics are asked for. Make it on the event loop."""

    def __init__(
        self, controller: Controller, followers: Sequence[Follower[Any, Any]], mirror: Mirror
    ) -> None:
        self._controller = controller
        self._followers = followers
        self._mirror = mirror
        self._loop = asyncio.get_running_loop()

    def collect(self) -> list[Metric]:
        """Read the state; nothing if the event loop does not get round to it."""
        work = self._families()
        try:
            reading = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop has ended, the process is about to
            work.close()
            return []
        try:
            return reading.result(TIMEOUT_S)
        except (TimeoutError, concurrent.futures.CancelledError):
            reading.cancel()
        except Exception:
            log.exception("bug: the state is missing in the metrics")
        return []

    async def _families(self) -> list[Metric]:
        controller, now_s = self._controller, asyncio.get_running_loop().time()
        judgement = controller.judgement
        freed = CounterMetricFamily(
            f"{_PREFIX}_freed_addresses", "Addresses freed.", labels=["gone"]
        )
        for gone in (NODE_GONE, POD_GONE):
            freed.add_metric([gone], controller.freed[gone])
        held = GaugeMetricFamily(
            f"{_PREFIX}_held", "What seems gone and is not freed, at the last look.", labels=["why"]
        )
        for why, count in judgement.held.items():
            held.add_metric([why], count)
        lists = CounterMetricFamily(f"{_PREFIX}_lists", "Lists that were read.", labels=["kind"])
        failures = CounterMetricFamily(
            f"{_PREFIX}_api_failures", "Lists and watches that failed.", labels=["kind"]
        )
        known = GaugeMetricFamily(
            f"{_PREFIX}_known", "Resources of Kubernetes that are known.", labels=["kind"]
        )
        for follower in self._followers:
            lists.add_metric([follower.kind], follower.lists)
            failures.add_metric([follower.kind], follower.failures)
            known.add_metric([follower.kind], follower.count)
        found = [freed, held, lists, failures, known]
        oldest_s = min((s.since_s for s in controller.suspects.values()), default=now_s)
        found += [
            _gauge("watch_ready", "Whether etcd is listed and followed.", self._mirror.is_ready),
            _gauge("findings", "What an operator has to decide.", len(judgement.findings)),
            _gauge("suspects", "Nodes and handles that seem gone.", len(controller.suspects)),
            _gauge("oldest_suspect_seconds", "How long one has seemed gone.", now_s - oldest_s),
            CounterMetricFamily(
                f"{_PREFIX}_removed_nodes", "Nodes taken back.", controller.nodes_removed
            ),
        ]
        if controller.looked_at_s is not None:
            age_s = now_s - controller.looked_at_s
            found.append(_gauge("look_age_seconds", "Since the last look that succeeded.", age_s))
        return found


def show(
    address: tuple[str, int],
    controller: Controller,
    followers: Sequence[Follower[Any, Any]],
    mirror: Mirror,
) -> WebServer:
    """Serve metrics and health from now on. Call it on the event loop.

    Ready is who knows Kubernetes and etcd; else the answer says what is missing.

    Raises:
        Invalid: nobody can serve there.
    """
    loop, registry = asyncio.get_running_loop(), CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(StateCollector(controller, followers, mirror))

    def unreadiness() -> str:
        troubles = [follower.trouble for follower in followers if follower.trouble]
        if not mirror.is_ready:
            troubles.append(mirror.trouble or "etcd: has not answered yet")
        return "; ".join(troubles)

    checks = {"/liveness": loop_check(loop), "/readiness": loop_check(loop, unreadiness)}
    return WebServer(METRICS, address, registry, checks)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_text, float(value))
