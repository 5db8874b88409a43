"""Hands out the node's addresses: queues requests, decides them together, commits, answers.

Story. One transaction is under way at a time; requests that arrive meanwhile leave together in the
next one. The decisions are in ``decision.py``, the compare-and-swap loop in ``datastore/store.py``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from datamodel.errors import OcicatError, Unavailable
from datastore import keys
from datastore.mirror import Mirror
from datastore.store import Entry, Store, settle
from ipamd.decision import MAX_REQUESTS, decide
from ipamd.draft import owned
from ipamd.request import Fence, Outcome, Request, View

log = logging.getLogger(__name__)

# So many requests make room for a fence: five keys each, more than the 20 blocks a node may own.
FENCED_BLOCKS = 5


def ranges_of(node: str) -> Callable[[Mapping[str, Entry]], frozenset[str]]:
    """What ipamd's mirror follows: pools, IPAM config, the node's affinities and their blocks."""
    base = frozenset(
        {keys.POOLS, keys.IPAM_CONFIG, keys.affinities(node, 4), keys.affinities(node, 6)}
    )
    own = f"{keys.ALL_AFFINITIES}{node}/"

    def ranges(entries: Mapping[str, Entry]) -> frozenset[str]:
        return base | {keys.block(cidr) for cidr in owned(entries, own)}

    return ranges


@dataclass(slots=True)
class _Waiting:
    request: Request
    answer: asyncio.Future[Outcome]


class Allocator:
    """The one writer of this node's blocks."""

    def __init__(
        self, store: Store, mirror: Mirror, node: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._node = node
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._facts: dict[str, Entry | None] = {}
        self._claimed: dict[str, frozenset[str]] = {}
        # A commit went without an answer and may still be carried out: ours, or at first that of a
        # predecessor that was killed.
        self._is_in_doubt = True

    async def submit(self, request: Request, timeout_s: float) -> Outcome:
        """Have *request* decided and written; return its outcome.

        Nothing is decided before the node's blocks are loaded from the store.

        Raises:
            OcicatError: as decided; nothing was written for this request.
            Unavailable: no answer from the store in *timeout_s*; it may have been written.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await waiting.answer
        except TimeoutError as error:
            raise Unavailable("etcd: no answer in time; check that it runs") from error
        if isinstance(outcome, OcicatError):
            raise outcome
        return outcome

    async def run(self) -> None:
        """Answer requests; never returns."""
        while True:
            await self._wake.wait()
            while not self._mirror.is_ready:
                await self._mirror.ready_changed()
            batch = self._next_batch()
            if not batch:
                self._wake.clear()
                continue
            await self._answer(batch)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        limit = MAX_REQUESTS - (FENCED_BLOCKS if self._is_in_doubt else 0)
        while self._waiting and len(batch) < limit:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # else: its caller has given up
                batch.append(waiting)
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        requests = [waiting.request for waiting in batch]
        outcomes: list[Outcome]
        try:
            outcomes = await self._settle(requests)
        except OcicatError as error:
            outcomes = [error] * len(batch)
            self._is_in_doubt = self._is_in_doubt or isinstance(error, Unavailable)
        except Exception:
            if len(batch) > 1:  # a mistake of ours over one of them must not fail the others
                for waiting in batch:
                    await self._answer([waiting])
                return
            log.exception("bug")
            outcomes = [OcicatError("ipamd: a mistake of ours; see its log")]
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(outcome)

    async def _settle(self, requests: list[Request]) -> list[Outcome]:
        """Decide and write; what was refused over remembered facts is decided anew without them."""
        has_facts = bool(self._facts)
        outcomes = await self._commit(requests)
        refused = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, OcicatError)]
        if refused and has_facts:
            self._facts.clear()  # somebody may have mended what they say, unheard
            again = await self._commit([requests[i] for i in refused])
            for i, outcome in zip(refused, again, strict=True):
                outcomes[i] = outcome
        if refused:
            self._facts.clear()
        return outcomes

    async def _commit(self, requests: list[Request]) -> list[Outcome]:
        fences = [Fence()] if self._is_in_doubt else []
        outcomes = await settle(
            self._store, self, lambda: decide(self._view(), [*fences, *requests])
        )
        self._is_in_doubt = False
        self._forget()
        return outcomes[len(fences) :]

    def _forget(self) -> None:
        """Keep what only we write: nobody tells us when a foreign block or absent key changes."""
        self._claimed.clear()
        self._facts = {
            key: entry
            for key, entry in self._facts.items()
            if entry is not None and not key.startswith(keys.ALL_BLOCKS)
        }

    def _view(self) -> View:
        return View(self._node, self._clock(), self._mirror.entries, self._facts, self._claimed)

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        """Remember what the store was heard to hold: what the mirror follows there, else here."""
        self._mirror.learn(revision, entries)
        for key, entry in entries.items():
            if key not in self._mirror.entries:
                self._facts[key] = entry

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        """Remember all blocks of the cluster for the rest of this decision."""
        self._claimed[prefix] = frozenset(found)
