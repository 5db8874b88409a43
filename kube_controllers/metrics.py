"""Shows the controller's state as metrics, read off when somebody asks, and its health.

Edge: prometheus_client. A thread of its own serves; what it shows is read on the event loop, where
nothing changes meanwhile.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from datastore.mirror import Mirror
from health_api.state import StateCollector
from health_api.web import WebServer, loop_check
from kube_controllers.config import METRICS
from kube_controllers.controller import NODE_GONE, POD_GONE, Controller
from kube_controllers.follower import Follower

_PREFIX = "ocicat_controllers"


class _State:
    """What there is to see."""

    def __init__(
        self, controller: Controller, followers: Sequence[Follower[Any, Any]], mirror: Mirror
    ) -> None:
        self._controller = controller
        self._followers = followers
        self._mirror = mirror

    async def families(self) -> list[Metric]:
        """Read it, on the event loop."""
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
    registry.register(StateCollector(_State(controller, followers, mirror).families))

    def unreadiness() -> str:
        troubles = [follower.trouble for follower in followers if follower.trouble]
        if not mirror.is_ready:
            troubles.append(mirror.trouble or "etcd: has not answered yet")
        return "; ".join(troubles)

    checks = {"/liveness": loop_check(loop), "/readiness": loop_check(loop, unreadiness)}
    return WebServer(METRICS, address, registry, checks)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", help_text, float(value))
