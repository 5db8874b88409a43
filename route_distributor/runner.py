"""Bring one part to each snapshot, and back to it when somebody disturbs it.

Story. A pass takes the whole snapshot, so a pass too many does nothing and a failed one is simply
repeated. Parts do not wait for each other, but for one thing: what comes later in a chain begins
when what comes before has had its turn, and begins again when that has changed something.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from datamodel.errors import Invalid, OcicatError
from route_distributor.debounce import Debounce
from route_distributor.ledger import Ledger
from route_distributor.meter import BUG, FAILED, INVALID, Pass
from route_distributor.part import Part
from route_distributor.snapshot import ClusterSnapshot

log = logging.getLogger(__name__)

PATIENCE_S = 2.0  # with the part before; one that hangs must not hold up the others


@dataclass(frozen=True, slots=True)
class News:
    """A snapshot that differs from the one before."""

    number: int  # they count up from 1
    snapshot: ClusterSnapshot
    seen_at: float  # when etcd told of the first change that is in it


class Runner:
    """The loop of one part."""

    def __init__(self, part: Part, before: "Runner | None", ledger: Ledger, pace: Debounce) -> None:
        """Run *part* behind the part of *before*, if there is one."""
        self.part = part
        self._before = before
        self._after: Runner | None = None
        self._ledger = ledger
        self._pace = pace
        self._news: News | None = None
        self._tried = self._applied = 0  # numbers of news
        self._turn = asyncio.Condition()  # somebody may wait until something has been tried
        self._wake = asyncio.Event()
        self._is_healing = False  # somebody disturbed the part, and that is not mended yet
        if before is not None:
            before._after = self

    def tell(self, news: News) -> None:
        """Bring the part to these news soon."""
        self._news = news
        self._wake.set()

    def again(self) -> None:
        """Bring the part up to date once more: what it depends on besides the news has changed."""
        if self._news is not None:
            self._wake.set()

    async def run(self) -> None:
        """Follow the news; never returns."""
        await self._wake.wait()  # before them there is nothing to do, and nothing to mend
        self._wake.clear()
        is_done = await self._take_turn()
        while True:
            await self._reason(None if is_done else self._pace.interval_s)
            await asyncio.sleep(self._pace.wait_s(self._ledger.now()))
            self._wake.clear()
            is_done = await self._take_turn()

    async def _reason(self, timeout_s: float | None) -> None:
        """Wait until there is a reason for a pass, or time has run out."""
        wake = asyncio.create_task(self._wake.wait())
        disturbed = asyncio.create_task(self.part.disturbed())
        try:
            await asyncio.wait(
                {wake, disturbed}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            wake.cancel()
            disturbed.cancel()
            _, came = await asyncio.gather(wake, disturbed, return_exceptions=True)
        if isinstance(came, Exception) and not isinstance(came, OcicatError):
            log.error("part=%s cannot tell whether it is disturbed", self.part.name, exc_info=came)
        elif not isinstance(came, asyncio.CancelledError):
            self._is_healing = True  # a pass tells more of what an OcicatError is about

    async def _take_turn(self) -> bool:
        """Make one pass; ``False`` if it has to be repeated though nothing changes."""
        assert self._news is not None
        news = self._news  # what comes while we wait has its own turn
        if self._before is not None:
            await self._before.has_tried(news)
        self._pace = self._pace.acted(self._ledger.now())
        try:
            return await self._pass(news)
        finally:
            self._tried = news.number
            async with self._turn:
                self._turn.notify_all()

    async def has_tried(self, news: News) -> None:
        """Wait until the part has had its turn with *news*, whatever came of it; not for ever."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S), self._turn:
                await self._turn.wait_for(lambda: self._tried >= news.number)

    async def _pass(self, news: News) -> bool:
        name = self.part.name
        started = self._ledger.now()
        try:
            applied = await self.part.apply(news.snapshot)
        except OcicatError as error:
            is_done = isinstance(error, Invalid)  # the same would be refused again
            outcome = INVALID if is_done else FAILED
            took_s = self._ledger.now() - started
            self._ledger.failed(Pass(name, took_s, outcome), str(error))
            return is_done
        except Exception:
            log.exception("pass of part=%s ended by a bug; it is repeated", name)
            took_s = self._ledger.now() - started
            self._ledger.failed(Pass(name, took_s, BUG), f"{name}: a bug, see the log")
            return False
        ended = self._ledger.now()
        is_new = news.number != self._applied
        done = Pass(
            name,
            ended - started,
            changed=applied.changed,
            is_healing=self._is_healing and not is_new,
            converged_s=ended - news.seen_at if is_new and applied.changed else None,
        )
        self._applied = news.number
        self._is_healing = False
        self._ledger.succeeded(done, applied.problems)
        if applied.changed and self._after is not None:
            self._after.again()
        return True
