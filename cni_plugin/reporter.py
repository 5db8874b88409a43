"""Tells ipamd what the kernel has, whenever ipamd wants to know.

Edge: threads. ipamd gives out no address before it has heard of those that are in use.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cni_plugin.leftovers import Leftovers
from cni_plugin.report import read_report
from cni_plugin.undo import quietly
from datamodel.errors import OcicatError
from datamodel.report import Report
from ipam_api.client import IpamClient, ReportWatch

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.1  # after a failure; doubled after each further one
MAX_PAUSE_S = 1.0
END_TIMEOUT_S = 0.5  # a report under way is not waited for


class Reporter:
    """Follows ipamd's wishes for ever: whatever breaks off is begun again."""

    def __init__(
        self,
        ipam: IpamClient,
        read: Callable[[], Report] = read_report,
        tidy: Callable[[], object] | None = None,
    ) -> None:
        """Make one.

        Args:
            ipam: whom to tell.
            read: lists what the kernel has.
            tidy: done before each report; by default it removes what killed ADDs left.
        """
        self._ipam = ipam
        self._read = read
        self._tidy = tidy or Leftovers().collect
        self._watch: ReportWatch | None = None
        self._stop = threading.Event()
        self._pause_s = FIRST_PAUSE_S
        self._trouble: type[Exception] | None = None

    def run(self) -> None:
        """Report until ``stop``."""
        while not self._stop.is_set():
            try:
                self._follow()
            except (OcicatError, OSError) as error:
                if not self._stop.is_set():
                    self._note(error)
            except Exception:
                log.exception("bug")
            self._stop.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def stop(self) -> None:
        """Make ``run`` return soon."""
        self._stop.set()
        if self._watch is not None:
            self._watch.cancel()

    def _follow(self) -> None:
        self._watch = watch = self._ipam.watch_reports()
        try:
            if self._stop.is_set():
                return  # ``stop`` may have come before there was a watch to cancel
            for _ in watch:
                quietly(self._tidy)
                self._ipam.report(self._read())
                self._pause_s = FIRST_PAUSE_S
                self._note(None)
        finally:
            watch.cancel()

    def _note(self, error: Exception | None) -> None:
        """Log only what is new: a failure of another kind than before, and its end."""
        kind = type(error) if error else None
        if kind is not self._trouble:
            if error:
                log.warning("no report to ipamd: %s", error)
            else:
                log.info("ipamd gets reports again")
        self._trouble = kind


@contextmanager
def reporting(ipam: IpamClient) -> Iterator[None]:
    """Report from a thread of its own within the block."""
    reporter = Reporter(ipam)
    thread = threading.Thread(target=reporter.run, name="reporter", daemon=True)
    thread.start()
    try:
        yield
    finally:
        reporter.stop()
        thread.join(END_TIMEOUT_S)
