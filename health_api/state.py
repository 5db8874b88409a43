"""Reads a daemon's state off when its metrics are asked for, on the event loop.

Edge: prometheus_client. Whoever asks does so in a thread of its own; nothing changes while a
function of the loop reads.
"""

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Coroutine

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # half of what Prometheus waits


class StateCollector(Collector):
    """Reads the state whenever the metrics are asked for. Make it on the event loop."""

    def __init__(self, families: Callable[[], Coroutine[None, None, list[Metric]]]) -> None:
        """*families* says what there is to see, on the event loop."""
        self._families = families
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
