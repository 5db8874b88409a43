"""Keep this node's routing at what etcd says: watch → snapshot → each part's own loop.

Story. Every part takes whole snapshots, each in a loop of its own (``runner.py``), so that a slow
or failing one holds up no other. While etcd is away the last snapshot stays, and so do the routes.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from datastore.store import Entry
from route_distributor.debounce import Debounce
from route_distributor.ledger import Ledger
from route_distributor.part import Part
from route_distributor.runner import News, Runner
from route_distributor.snapshot import ClusterSnapshot

log = logging.getLogger(__name__)

ONCE_A_SECOND = Debounce(1.0)


class Mirror(Protocol):
    """What the agent needs of ``datastore.mirror.Mirror``."""

    @property
    def is_ready(self) -> bool: ...

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    async def changed(self) -> None: ...


class Agent:
    """Brings one node's routing to what the cluster wants of it, again and again."""

    def __init__(
        self,
        mirror: Mirror,
        look: Callable[[Mapping[str, Entry]], ClusterSnapshot],
        chains: Iterable[Sequence[Part]],
        ledger: Ledger,
        pace: Debounce = ONCE_A_SECOND,
    ) -> None:
        """Follow *mirror*, seen with *look*.

        A chain is parts of which each needs what those before it make. Chains go side by side.
        """
        self._mirror = mirror
        self._look = look
        self._ledger = ledger
        self._pace = pace
        self._runners: list[Runner] = []
        for chain in chains:
            before: Runner | None = None
            for part in chain:
                before = Runner(part, before, ledger, pace)
                self._runners.append(before)
        self._seen_at: float | None = None  # when the mirror told of what is not looked at yet
        self._is_seen = asyncio.Event()
        self._news: News | None = None

    async def run(self) -> None:
        """Follow the mirror; never returns."""
        async with asyncio.TaskGroup() as tasks:
            for runner in self._runners:
                tasks.create_task(runner.run())
            tasks.create_task(self._listen())
            tasks.create_task(self._follow())

    def again(self, name: str) -> None:
        """Bring the part of that name up to date once more, though the cluster is as it was."""
        for runner in self._runners:
            if runner.part.name == name:
                runner.again()

    async def _listen(self) -> None:
        while True:
            await self._mirror.changed()
            if self._seen_at is None:
                self._seen_at = self._ledger.now()
            self._is_seen.set()

    async def _follow(self) -> None:
        pace = self._pace
        while True:
            await self._is_seen.wait()
            await asyncio.sleep(pace.wait_s(self._ledger.now()))
            self._is_seen.clear()
            seen_at, self._seen_at = self._seen_at, None
            pace = pace.acted(self._ledger.now())
            if self._mirror.is_ready and seen_at is not None:
                self._tell(seen_at)

    def _tell(self, seen_at: float) -> None:
        """Look at the cluster; tell the parts if anything is other than before."""
        try:
            snapshot = self._look(self._mirror.entries)
        except Exception:
            log.exception("bug: the cluster cannot be seen; what was seen last stays")
            return
        self._ledger.saw(snapshot.skipped)
        if self._news is not None and snapshot == self._news.snapshot:
            return
        number = self._news.number + 1 if self._news is not None else 1
        self._news = News(number, snapshot, seen_at)
        for runner in self._runners:
            runner.tell(self._news)
