"""Keep BIRD at what etcd says: watch → snapshot → desired → render → apply.

Story. Every pass takes the whole state and ends in one file, so a pass too many does nothing and a
failed one is simply repeated. While etcd is away the last file stays, and so do the routes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from datamodel.errors import Invalid, OcicatError
from datastore.store import Entry
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
from route_distributor.debounce import Debounce
from route_distributor.decoded import Decoded
from route_distributor.snapshot import cluster_snapshot

log = logging.getLogger(__name__)

ONCE_A_SECOND = Debounce(1.0)


class Mirror(Protocol):
    """What the agent needs of ``datastore.mirror.Mirror``."""

    @property
    def is_ready(self) -> bool: ...

    @property
    def entries(self) -> Mapping[str, Entry]: ...

    async def changed(self) -> None: ...


class Bird(Protocol):
    """What the agent needs of ``route_distributor.bird.daemon.Bird``."""

    async def write(self, text: str) -> bool: ...

    async def configure(self) -> None: ...


class Agent:
    """Brings one node's BIRD to what the cluster wants of it, again and again."""

    def __init__(
        self,
        node: str,
        mirror: Mirror,
        bird: Bird,
        now: Callable[[], float],
        pace: Debounce = ONCE_A_SECOND,
    ) -> None:
        self._node = node
        self._mirror = mirror
        self._bird = bird
        self._now = now
        self._pace = pace
        self._decoded = Decoded()
        self._wanted: BirdConfig | None = None  # None: not known yet
        self._is_told = False  # BIRD has taken the file over from us
        self._refused: tuple[str, str] | None = None  # a text, and why BIRD does not want it
        self._missing: tuple[str, ...] = ()  # what the last snapshot lacked
        self._problems: frozenset[str] = frozenset()  # those that are in the log already

    async def run(self) -> None:
        """Follow the mirror; never returns."""
        pace = self._pace
        is_done = True
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if is_done else pace.interval_s):
                    await self._mirror.changed()
            await asyncio.sleep(pace.wait_s(self._now()))
            try:
                is_done = await self.bring_up_to_date()
            except Exception:
                log.exception("pass ended by a bug; it is repeated")
                is_done = False
            pace = pace.acted(self._now())

    async def bring_up_to_date(self) -> bool:
        """Make one pass; ``False`` if it has to be repeated though nothing changes."""
        if self._mirror.is_ready:
            self._decide()
        problems = list(self._missing)
        is_done = True
        try:
            if self._wanted is not None:
                await self._apply(self._wanted)
        except OcicatError as error:
            problems.append(str(error))
            is_done = isinstance(error, Invalid)  # the same text would be refused again
        self._report(frozenset(problems))
        return is_done

    def _decide(self) -> None:
        snapshot = cluster_snapshot(self._node, self._mirror.entries, self._decoded)
        decision = desired(snapshot)
        if isinstance(decision, BirdConfig):
            self._wanted = decision
            self._missing = snapshot.skipped
        else:
            self._missing = (*snapshot.skipped, decision.reason)

    async def _apply(self, config: BirdConfig) -> None:
        text = render(config)
        if self._refused is not None and self._refused[0] == text:
            raise Invalid(self._refused[1])
        started = self._now()
        try:
            if await self._bird.write(text):
                self._is_told = False
            if self._is_told:
                return
            await self._bird.configure()
        except Invalid as error:
            self._refused = (text, str(error))
            raise
        self._is_told = True
        self._refused = None
        log.info(
            "applied address=%s peers=%d blocks=%d took_ms=%.0f",
            config.address,
            len(config.peers),
            len(config.blocks),
            (self._now() - started) * 1000,
        )

    def _report(self, problems: frozenset[str]) -> None:
        """Log what is newly wrong: once, however often the pass is repeated."""
        for problem in sorted(problems - self._problems):
            log.warning("problem=%r", problem)  # quoted: it may hold names out of etcd
        self._problems = problems
