"""Hands out the node's addresses: queues requests, decides them together, commits, answers.

Story. One transaction is under way at a time; requests that arrive meanwhile leave together in the
next one. The decisions are in ``decision.py``, the compare-and-swap loop in ``datastore/store.py``.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from datamodel.block import Address
from datamodel.errors import OcicatError, Unavailable
from datastore import keys
from datastore.mirror import Mirror
from datastore.store import MAX_OPERATIONS, Decision, Store, settle
from ipamd.claim import NameClaim
from ipamd.claimed_store import NameLost
from ipamd.decision import decide
from ipamd.facts import Facts, configuration
from ipamd.known import owned
from ipamd.request import Allocate, Fence, Free, KeepTunnel, Outcome, Release, Request, View

log = logging.getLogger(__name__)

# After a restore, so long no block is claimed: other nodes record their pods' addresses first.
SETTLE_S = 30.0
# While requests come together, each transaction waits for more of them: so long, or until so many
# wait. One costs ipamd and etcd about 3 ms of processor time, another request in it a tenth of
# that. Measured with 110 pods at once on 2 processors: 2 ms for a pod instead of 3.5.
GATHER_S = 0.02
ENOUGH = 32


@dataclass(slots=True)
class _Waiting:
    request: Request
    answer: asyncio.Future[Outcome]


class Allocator:
    """The one writer of this node's blocks; without a *claim* nobody else could have its name."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        node: str,
        clock: Callable[[], datetime],
        claim: NameClaim | None = None,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._claim = claim
        self._node = node
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._deciding: list[_Waiting] = []
        self._deciding_in = store.epoch
        self._wake = asyncio.Event()
        self._facts = Facts(mirror)
        self._opened_for: int | None = None
        self.trouble = ""  # why the node could not be registered yet
        self._in_use: frozenset[Address] = frozenset()
        self._may_claim_at = 0.0
        # A commit went without an answer and may still be carried out: ours, or at first that of a
        # predecessor that was killed.
        self._is_in_doubt = True

    async def submit(self, request: Request, timeout_s: float) -> Outcome:
        """Have *request* decided and written; return its outcome.

        Nothing is decided before the node's blocks are loaded from the store, and no address is
        given out before ``open``.

        Raises:
            OcicatError: as decided; nothing was written for this request.
            Unavailable: no answer from the store in *timeout_s*; it may have been written.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(request, loop.create_future())
        self._waiting.append(waiting)
        self._wake.set()
        limit = loop.call_later(timeout_s, self._give_up, waiting)
        try:
            outcome = await waiting.answer
        finally:
            limit.cancel()
        if isinstance(outcome, OcicatError):
            raise outcome
        return outcome

    def _give_up(self, waiting: _Waiting) -> None:
        if not waiting.answer.done():
            waiting.answer.set_result(Unavailable(self.waits_for or _NO_ANSWER))

    # ---- when addresses may be given out -------------------------------------------------------

    def open(self, era: int, *, is_older: bool = False) -> None:
        """Give out addresses: what live links have is recorded.

        Args:
            era: in which it was.
            is_older: the store lacked what links have: it was restored while we did not run.
        """
        if self._mirror.restorations or is_older:
            self._may_claim_at = _clock_s() + SETTLE_S
        self._opened_for = era
        self._wake.set()

    def avoid(self, addresses: Iterable[Address]) -> None:
        """Give none of these out: links have them, though the store does not know."""
        self._in_use = frozenset(addresses)

    @property
    def era(self) -> int:
        """Grows when what was compared with the kernel may be otherwise now.

        The store is another one, or another machine may have run under the node's name.
        """
        return self._mirror.restorations + (self._claim.regained if self._claim else 0)

    @property
    def is_open(self) -> bool:
        """Whether the store is the one whose blocks were compared with the kernel."""
        return self._opened_for == self.era and self._store.epoch == self._mirror.epoch

    @property
    def waits_for(self) -> str:
        """Why no address is given out at the moment; "" if they are."""
        if self._claim and not self._claim.is_held:
            return self._claim.trouble or _NO_ANSWER
        if not self._mirror.is_ready:
            return self.trouble or self._mirror.trouble or _NO_ANSWER
        return "" if self.is_open else _NO_REPORT

    @property
    def busy_handles(self) -> frozenset[str]:
        """The handles of all requests that have no answer yet."""
        return frozenset(
            request.handle_id if isinstance(request, Free) else request.attachment.handle_id
            for waiting in (*self._waiting, *self._deciding)
            if isinstance(request := waiting.request, (Allocate, Release, Free))
        )

    # ---- deciding ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer requests; never returns."""
        gathers_until = 0.0
        while True:
            await self._wake.wait()
            await self._ready()
            if _clock_s() < gathers_until:
                await self._gather()
            self._deciding = self._next_batch()
            if not self._deciding:
                self._wake.clear()
                continue
            await self._answer(self._deciding)
            if len(self._deciding) > 1 or self._waiting:  # one that comes alone does not wait
                gathers_until = _clock_s() + GATHER_S
            self._deciding = []

    async def _ready(self) -> None:
        """Wait until it is known what the store holds, and we may write to it."""
        while not self._mirror.is_ready or (self._claim and not self._claim.is_held):
            if self._claim:
                await self._claim.held()
            if not self._mirror.is_ready:
                await self._mirror.ready_changed()

    async def _gather(self) -> None:
        """Let requests join those that wait."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S):
                while len(self._waiting) < ENOUGH:
                    self._wake.clear()
                    await self._wake.wait()
        self._wake.set()

    def _next_batch(self) -> list[_Waiting]:
        """Take what may be decided now; a transaction has room for fewer than that."""
        self._deciding_in = self._store.epoch
        batch: list[_Waiting] = []
        held_back: list[_Waiting] = []
        while self._waiting and len(batch) < MAX_OPERATIONS:
            waiting = self._waiting.popleft()
            if waiting.answer.done():  # its caller has given up
                continue
            (batch if self._may_decide(waiting.request) else held_back).append(waiting)
        self._waiting.extendleft(reversed(held_back))
        return batch

    def _may_decide(self, request: Request) -> bool:
        if isinstance(request, Allocate):
            return self.is_open or request.is_recovery
        return self.is_open or not isinstance(request, KeepTunnel)

    async def _answer(self, batch: list[_Waiting]) -> None:
        requests = [waiting.request for waiting in batch]
        outcomes: list[Outcome]
        try:
            outcomes = await self._settle(requests)
            self._check_epoch()
        except NameLost:  # they are decided anew once it is ours again, or given up
            self._is_in_doubt = True
            self._waiting.extendleft(reversed(batch))
            return
        except Unavailable as error:
            outcomes = [error] * len(batch)
            self._is_in_doubt = True
        except Exception as error:
            if len(batch) > 1:  # one that the store refuses, or a mistake of ours over one of them
                for waiting in batch:
                    await self._answer([waiting])
                return
            if not isinstance(error, OcicatError):
                log.exception("bug")
            outcomes = [error if isinstance(error, OcicatError) else OcicatError(_BUG)]
        for waiting, outcome in zip(batch, outcomes, strict=False):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)
        self._waiting.extendleft(reversed(batch[len(outcomes) :]))  # the next transaction's

    async def _settle(self, requests: list[Request]) -> list[Outcome]:
        """Decide and write; what was refused over what may be out of date is decided anew."""
        has_facts = bool(self._facts.entries)
        outcomes = await self._commit(requests)
        refused = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, OcicatError)]
        if refused and (await self._was_unheard() or has_facts):
            self._facts.entries.clear()  # somebody may have mended what they say, unheard
            again = await self._commit([requests[i] for i in refused])
            for i, outcome in zip(refused, again, strict=False):
                outcomes[i] = outcome
        if refused:
            self._facts.entries.clear()
        return outcomes

    async def _was_unheard(self) -> bool:
        """Whether pools or settings changed a moment ago, for the request that comes next."""
        with contextlib.suppress(OcicatError):
            return await self._mirror.refresh(*configuration(self._node))
        return False

    async def _commit(self, requests: list[Request]) -> list[Outcome]:
        """Have as many as fit decided and written, after what makes doubtful commits void."""
        if self._is_in_doubt:
            fences = [Fence(block) for block in owned(self._mirror.entries, keys.ALL_BLOCKS)]
            while fences:
                fences = fences[len(await self._decide_and_write(fences)) :]
            self._is_in_doubt = False
        self._facts.expire()
        outcomes = await self._decide_and_write(requests)
        self._facts.forget()
        return outcomes

    async def _decide_and_write(self, requests: Sequence[Request]) -> list[Outcome]:
        return await settle(self._store, self._facts, lambda: self._decide(requests))

    def _decide(self, requests: Sequence[Request]) -> Decision[list[Outcome]]:
        self._check_epoch()
        return decide(self._view(), requests)

    def _check_epoch(self) -> None:
        """Stop where an answer shows that the store is not the one in which we may decide.

        What it holds was not compared with the kernel: a link may have what it calls free.
        """
        if self._store.epoch != self._deciding_in:
            raise Unavailable("etcd: turned out to be another one, or restored; try again")

    def _view(self) -> View:
        return View(
            node=self._node,
            now=self._clock(),
            mirrored=self._mirror.entries,
            facts=self._facts.entries,
            claimed=self._facts.claimed,
            passed=frozenset(self._facts.passed),
            in_use=self._in_use,
            may_claim=_clock_s() >= self._may_claim_at,
        )


_BUG = "ipamd: a mistake of ours; see its log"
_NO_ANSWER = "etcd: no answer in time; check that it runs"
_NO_REPORT = (
    "ipamd: gives out no address before the CNI server has told it which links this node has; "
    "check that ocicat-cni-server runs and uses the same OCICAT_IPAM_SOCKET"
)


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
