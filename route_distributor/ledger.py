"""Keeps what became of each part, in one place: for the log, the status file and the metrics.

Edge: the status file, and the clocks that it is given.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from datamodel.routing_status import PartStatus, RoutingStatus
from route_distributor.meter import Meter, Pass

log = logging.getLogger(__name__)


class Ledger:
    """What is wrong, and since when it is not."""

    def __init__(
        self,
        file: Path,
        meter: Meter,
        now: Callable[[], float],
        clock: Callable[[], datetime],
    ) -> None:
        """Begin with nothing; *now* measures durations in seconds, *clock* tells the time."""
        self._file = file
        self._meter = meter
        self.now = now
        self._clock = clock
        self._skipped: tuple[str, ...] = ()
        self._problems: dict[str, tuple[str, ...]] = {}  # by part
        self._parts: dict[str, PartStatus] = {}
        self._written: RoutingStatus | None = None
        self._is_unwritable = False
        self._known: frozenset[str] = frozenset()  # the complaints that are in the log already

    def saw(self, skipped: tuple[str, ...]) -> None:
        """Note what a snapshot had to leave out."""
        self._skipped = skipped
        self._publish()

    def succeeded(self, done: Pass, problems: tuple[str, ...]) -> None:
        """Note that a part is up to date, but for its problems."""
        self._meter.count(done)
        self._parts[done.part] = PartStatus(applied_at=self._clock())
        self._problems[done.part] = problems
        if done.changed:
            what = "healed" if done.is_healing else "applied"
            took_ms = done.took_s * 1000
            log.info("%s part=%s changed=%d took_ms=%.0f", what, done.part, done.changed, took_ms)
        self._publish()

    def failed(self, done: Pass, error: str) -> None:
        """Note that a part is not up to date, and why."""
        self._meter.count(done)
        before = self._parts.get(done.part, PartStatus())
        self._parts[done.part] = replace(before, error=error)
        self._publish()

    @property
    def status(self) -> RoutingStatus:
        """How routing is doing."""
        problems = [*self._skipped, *(p for some in self._problems.values() for p in some)]
        return RoutingStatus(tuple(dict.fromkeys(problems)), dict(self._parts))

    def _publish(self) -> None:
        status = self.status
        complaints = frozenset(status.complaints)
        for complaint in sorted(complaints - self._known):
            log.warning("problem=%r", complaint)  # quoted: it may hold names out of etcd
        self._known = complaints
        self._meter.show_problems(len(complaints))
        if status != self._written:
            self._write(status)

    def _write(self, status: RoutingStatus) -> None:
        draft = self._file.with_name(f"{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)  # /run is empty after a boot
            draft.write_text(status.as_text())
            os.replace(draft, self._file)
        except OSError as error:
            # Nobody's routes depend on it; it is tried again with the next status.
            if not self._is_unwritable:
                log.warning("file %s: cannot be written: %s", self._file, error)
            self._is_unwritable = True
        else:
            self._written = status
            self._is_unwritable = False
