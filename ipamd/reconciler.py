"""Keeps store and kernel agreed: asks for reports, records what is missing, frees what leaked.

Story. The comparison is ``reconcile.py``; the writing is the allocator's, like all writing.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from datamodel.attachment import Kernel
from datamodel.block import Block
from datamodel.errors import Invalid
from datamodel.pool import Network
from datamodel.report import Report, ReportedLink
from datastore import keys
from datastore.codec import Stamp
from datastore.mirror import Mirror
from ipamd.allocator import Allocator
from ipamd.known import Known, decode_block
from ipamd.reconcile import Held, Moment, Suspect, held_by_node, judge, unrecorded
from ipamd.request import Allocate, Link, Released, Tidy, View

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 10.0
OPENING_PAUSE_S = 1.0  # between reports until one has come through
# A block that has been empty so long goes back to the cluster, unless it is the last one; as long
# as the grace period of Calico's garbage collector.
SURPLUS_S = 900.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often reports are wanted, and how long a link must be missing."""

    period_s: float
    grace_s: float


class Reconciler:
    """Compares each report of the kernel's links with the node's addresses."""

    def __init__(
        self,
        mirror: Mirror,
        allocator: Allocator,
        node: str,
        pace: Pace,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._mirror = mirror
        self._allocator = allocator
        self._node = node
        self._pace = pace
        self._clock = clock
        self._suspects: Mapping[str, Suspect] = {}
        self._unrecorded: Set[str] = frozenset()  # links of the last report that lacked it
        self._empty_since: dict[Network, float] = {}
        self._wanted = asyncio.Event()  # set, and replaced, when a report is wanted
        self._reported = asyncio.Event()  # the same, when one was dealt with
        self._one_at_a_time = asyncio.Lock()
        self._report: Report | None = None
        self._report_s = 0.0
        self._conflicts: Sequence[str] = ()
        self._judged: Sequence[str] = ()
        self._is_closed = False
        self.freed = 0
        self.recorded = 0

    # ---- asking for reports --------------------------------------------------------------------

    async def wanted(self) -> AsyncIterator[None]:
        """Yield whenever a report is wanted: at once, regularly, and when something needs it."""
        while not self._is_closed:
            wanted = self._wanted
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.period_s):
                    await wanted.wait()

    def want(self) -> None:
        """Have everybody who reports do so now."""
        wanted, self._wanted = self._wanted, asyncio.Event()
        wanted.set()

    def close(self) -> None:
        """End every ``wanted``."""
        self._is_closed = True
        self.want()

    async def last_report(self, *, fresh: bool) -> tuple[Report | None, float]:
        """What the kernel was last reported to have, and how many seconds ago.

        Args:
            fresh: wait for a new one first; the caller sets the deadline.
        """
        if fresh:
            reported = self._reported
            self.want()
            await reported.wait()
        return self._report, _clock_s() - self._report_s

    @property
    def suspects(self) -> int:
        """How many handles have had no link in the last report."""
        return len(self._suspects)

    @property
    def findings(self) -> tuple[str, ...]:
        """What store and kernel disagree about and an operator has to decide."""
        mistakes = self._known().mistakes if self._mirror.is_ready else []
        return (*mistakes, *self._conflicts, *self._judged)

    async def run(self) -> None:
        """Ask for a report as long as none has opened the allocator; never returns."""
        while True:
            if self._mirror.is_ready and not self._allocator.is_open:
                self.want()
            await asyncio.sleep(OPENING_PAUSE_S)

    # ---- dealing with one ----------------------------------------------------------------------

    async def take(self, report: Report) -> None:
        """Deal with a report; return when what it calls for is written.

        Raises:
            Unavailable: the store does not answer.
        """
        async with self._one_at_a_time:
            while not self._mirror.is_ready:
                await self._mirror.ready_changed()
            await self._record(report)
            await self._free(report)
            await self._tidy()
            if report.is_complete:
                self._report, self._report_s = report, _clock_s()
        reported, self._reported = self._reported, asyncio.Event()
        reported.set()

    async def _record(self, report: Report) -> None:
        """Record what links have and the store does not know, and let addresses be given out.

        Before any address is given out the first report says it; later it takes two, since a DEL
        may be under way. What is not recorded is at least not given to anybody else.
        """
        is_opening = not self._allocator.is_open
        era = self._allocator.era
        missing = unrecorded(self._held(), report, self._allocator.busy_handles)
        self._allocator.avoid({address for link in missing for address in link.addresses})
        before, self._unrecorded = self._unrecorded, {link.attachment_digest for link in missing}
        conflicts, recorded = [], self.recorded
        for link in missing:
            if is_opening or link.attachment_digest in before:
                try:
                    await self._record_one(link, report.kernel)
                except Invalid as error:
                    conflicts.append(f"link {link.interface_name}: {error}")
        _warn(conflicts, self._conflicts)
        self._conflicts = conflicts
        if is_opening and report.is_complete:
            self._allocator.open(era, is_older=self.recorded > recorded)
            log.info("addresses are given out: links=%d", len(report.links))

    async def _record_one(self, link: ReportedLink, kernel: Kernel) -> None:
        if link.attachment is None:
            raise Invalid("its alias does not say whose it is; its addresses cannot be recorded")
        profile = f"kns.{link.pod.namespace}" if link.pod else link.attachment.network
        request = Allocate(
            attachment=link.attachment,
            pod=link.pod,
            link=Link(link.interface_name, link.mac, (profile,), kernel),
            stamp=Stamp(str(uuid.uuid4()), self._clock()),
            versions=tuple(sorted({address.version for address in link.addresses})),
            addresses=link.addresses,
            is_recovery=True,
        )
        await self._allocator.submit(request, WRITE_TIMEOUT_S)
        self.recorded += 1
        log.warning(
            "recorded what a link has: link=%s handle=%s addresses=%s",
            link.interface_name,
            link.attachment.handle_id,
            ",".join(map(str, link.addresses)),
        )

    async def _free(self, report: Report) -> None:
        """Free what has had no link for long enough."""
        moment = Moment(self._clock(), _clock_s(), self._pace.grace_s)
        busy = self._allocator.busy_handles
        judgement = judge(self._held(), report, self._suspects, busy, moment)
        self._suspects = judgement.suspects
        _warn(judgement.findings, self._judged)
        self._judged = judgement.findings
        for leak in judgement.leaks:
            outcome = await self._allocator.submit(leak, WRITE_TIMEOUT_S)
            if isinstance(outcome, Released) and outcome.grants:
                self.freed += len(outcome.grants)
                addresses = ",".join(str(grant.address) for grant in outcome.grants)
                log.warning("freed, no link: handle=%s addresses=%s", leak.handle_id, addresses)

    async def _tidy(self) -> None:
        """Have half-claims, ended cooldowns and blocks that nobody needs any more dealt with."""
        now = _clock_s()
        empty = [block.cidr for block in self.blocks() if block.is_empty]
        self._empty_since = {cidr: self._empty_since.get(cidr, now) for cidr in empty}
        surplus = {cidr for cidr, since in self._empty_since.items() if now - since >= SURPLUS_S}
        await self._allocator.submit(Tidy(frozenset(surplus)), WRITE_TIMEOUT_S)

    def _held(self) -> dict[str, Held]:
        return held_by_node(self.blocks(), self._node)

    def blocks(self) -> Iterator[Block]:
        """Every readable block that is followed."""
        for key, entry in self._mirror.entries.items():
            if key.startswith(keys.ALL_BLOCKS):
                with contextlib.suppress(Invalid):
                    yield decode_block(key, entry.value)

    def _known(self) -> Known:
        return Known(View(self._node, self._clock(), self._mirror.entries, {}, {}))


def _warn(now: Iterable[str], before: Iterable[str]) -> None:
    for text in sorted(set(now).difference(before)):
        log.warning("%s", text)


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
