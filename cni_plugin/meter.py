"""What is measured of calls: how they end, and how long their steps take.

``metrics.py`` keeps the numbers for Prometheus, if anybody reads them. A plain ``Meter`` keeps
none: for a process that serves one call, which has no time to import more.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

OK = "ok"
# CNI error code → how the call ended. Anything else is a bug of ours.
OUTCOMES = {
    0: OK,
    1: "unsupported",
    2: "unsupported",
    3: "invalid",
    4: "invalid",
    5: "invalid",
    6: "invalid",
    7: "invalid",
    8: "invalid",
    11: "unavailable",
    50: "unavailable",
    51: "unavailable",
    101: "exhausted",
}
BUG = "bug"
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
OTHER = "other"

# The steps of an ADD; of the others only those that they have.
WAIT = "wait"  # for other calls about the same container
KUBERNETES = "kubernetes"  # the pod and its namespace
VETH = "veth"  # making or deleting the pair
PREPARE = "prepare"  # what of the pod's network needs no address, while ipamd is at it
IPAM = "ipam"  # what is left to wait of it then; the whole of a release
ADDRESSES = "addresses"  # and the routes and neighbours that need them
STEPS = (WAIT, KUBERNETES, VETH, PREPARE, IPAM, ADDRESSES)

FAILED, UNDELIVERED = "failed", "undelivered"  # why an ADD was taken back


def outcome_of(code: int) -> str:
    """The outcome that a CNI error code stands for."""
    return OUTCOMES.get(code, BUG)


class Meter:
    """Measures, and keeps nothing."""

    def count_call(self, verb: str, outcome: str, seconds: float) -> None:
        """A call has ended."""

    def observe_step(self, step: str, seconds: float) -> None:
        """A step of a call took so long."""

    def count_deletion(self, links: int) -> None:
        """So many links were deleted by one request to the kernel."""

    def count_rollback(self, cause: str) -> None:
        """An ADD was taken back."""

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """Measure what is done within, however it ends."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begun
            self.observe_step(step, seconds)
            log.debug("step %s took_ms=%.1f", step, seconds * 1000)
