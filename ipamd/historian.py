"""Keeps the history: notes each state of a block, writes what changed, answers who held what.

Story. What happened is derived in ``history.py``; the files are ``history_file.py``'s. No request
waits for any of it: a state is noted in memory, a thread does the rest a moment later.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodel.block import Block
from datamodel.errors import Invalid, OcicatError, Unavailable
from datastore import keys
from datastore.mirror import Mirror
from datastore.store import MAX_OPERATIONS, Entry, Store
from ipamd.history import Event, Moment, changes, event_of, following, line_of
from ipamd.history_file import Segments
from ipamd.holdings import Holding, Wanted, holdings, still_held
from ipamd.known import decode_block

log = logging.getLogger(__name__)

BATCH_S = 0.1  # for which states are collected before they are written; lost if we are killed
RETRY_PAUSE_S = 5.0
# States that may wait for the disk, 20 kB each; beyond that only the latest of each block is kept.
MAX_WAITING = 500


@dataclass(frozen=True, slots=True)
class _State:
    """What a block was noticed to be; ``None``: deleted."""

    key: str
    block: Block | None
    at: float
    is_late: bool


class History:
    """Who held which address of this node, as far as the room reaches back."""

    def __init__(
        self,
        directory: Path | None,
        max_bytes: int,
        node: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._segments = Segments(directory, max_bytes) if directory else None
        self._node = node
        self._clock = clock
        self._states: list[_State] = []
        self._max_states = MAX_WAITING
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # who holds it may read and change what follows
        # What the files say is held, by block key and ordinal; None: they were not read yet.
        self._held: dict[str, dict[int, Event]] | None = None
        self._unsure: set[str] = set()  # blocks of which nobody tells us any more
        self._is_listed = False  # by the mirror: from then on it tells what happens
        self._is_compared = False  # all that was held by the files' word
        self._is_failing = False
        self.bytes = 0
        self.dropped = 0  # states that were passed over because they waited too long
        self.unreadable = 0  # lines that the last start found torn or spoilt

    @property
    def is_on(self) -> bool:
        """Whether there is a history at all."""
        return self._segments is not None

    # ---- noting --------------------------------------------------------------------------------

    def observe(self, key: str, before: Entry | None, after: Entry | None) -> None:
        """Note what *key* holds now: for the mirror, which tells of every change of every key."""
        if self._segments is None or not key.startswith(keys.ALL_BLOCKS):
            return
        if after is None:
            self._unsure.add(key)
        else:
            with contextlib.suppress(Invalid):  # who holds what is not known before it is mended
                self._note(key, decode_block(key, after.value), is_late=not self._is_listed)
        self._wake.set()

    def _note(self, key: str, block: Block | None, *, is_late: bool) -> None:
        self._states.append(_State(key, block, self._clock(), is_late))
        if len(self._states) > self._max_states:
            latest = {s.key: _State(s.key, s.block, s.at, True) for s in self._states}
            self.dropped += len(self._states) - len(latest)
            self._states = list(latest.values())
            self._max_states = max(MAX_WAITING, 2 * len(latest))

    # ---- writing -------------------------------------------------------------------------------

    async def run(self, store: Store, mirror: Mirror) -> None:
        """Write what is noted; returns only if there is no history."""
        if self._segments is None:
            return
        while not mirror.is_ready:
            await mirror.ready_changed()
        self._is_listed = True
        try:
            while True:
                if await self._flush() and await self._look(store, mirror):
                    await self._wake.wait()
                    self._wake.clear()
                    await asyncio.sleep(BATCH_S)
                else:
                    await asyncio.sleep(RETRY_PAUSE_S)
        finally:
            await self._flush()

    async def _flush(self) -> bool:
        """Write what waits; tell whether it worked. Whoever cancels us, it is done to its end."""
        return await asyncio.shield(asyncio.ensure_future(self._write_waiting()))

    async def _write_waiting(self) -> bool:
        async with self._one_at_a_time:
            states, self._states = self._states, []
            try:
                await asyncio.to_thread(self._write, states)
            except OSError as error:
                self._states = states + self._states
                if not self._is_failing:
                    log.warning("%s", self._trouble("cannot be written", error))
                self._is_failing = True
                return False
            except Exception:
                log.exception("bug: %d states are not in the history", len(states))
                self.dropped += len(states)
            if self._is_failing:
                log.info("history is written again")
            self._is_failing = False
            return True

    def _write(self, states: Sequence[_State]) -> None:
        """Append what *states* tell. What is believed changes only when the files have it."""
        assert self._segments is not None
        if self._held is None:
            self._held = self._believed(self._segments)
        held: dict[str, Mapping[int, Event]] = {}
        events: list[Event] = []
        for state in states:
            time.sleep(0)  # lets the event loop run: else it might wait for all of them
            before = held.get(state.key, self._held.get(state.key, {}))
            found = changes(before, state.block, Moment(self._node, state.at, state.is_late))
            if found:
                held[state.key] = following(before, found)
                events += found
        if events:
            self._segments.append([line_of(event) for event in events])
            self._held |= {key: dict(after) for key, after in held.items()}
        self.bytes = self._segments.size()

    def _believed(self, segments: Segments) -> dict[str, dict[int, Event]]:
        """What was held by the files' word."""
        self.unreadable = 0
        held: dict[str, dict[int, Event]] = {}
        for event in still_held(self._readable(segments)).values():
            held.setdefault(keys.block(event.block), {})[event.ordinal] = event
        return held

    def _readable(self, segments: Segments) -> Iterator[Event]:
        for line in segments.lines():
            event = event_of(line)
            if event is None:
                self.unreadable += 1
            else:
                yield event

    async def _look(self, store: Store, mirror: Mirror) -> bool:
        """Read the blocks of which the mirror tells no more: deleted, or just not followed."""
        async with self._one_at_a_time:
            held = {key for key, events in (self._held or {}).items() if events}
            asked = self._unsure if self._is_compared else held
            unsure = sorted((asked & held) - mirror.entries.keys())
            self._unsure, self._is_compared = set(), True
        for i in range(0, len(unsure), MAX_OPERATIONS):
            some = unsure[i : i + MAX_OPERATIONS]
            try:
                snapshot = await store.read(*some)
            except OcicatError:
                self._unsure.update(unsure[i:])
                return False
            for key in some:
                if key not in mirror.entries:  # else it was told of meanwhile
                    self._note_found(key, snapshot.entries.get(key))
        return not unsure or await self._flush()

    def _note_found(self, key: str, entry: Entry | None) -> None:
        with contextlib.suppress(Invalid):
            block = decode_block(key, entry.value) if entry else None
            self._note(key, block, is_late=True)

    # ---- answering -----------------------------------------------------------------------------

    async def query(self, wanted: Wanted) -> tuple[list[Holding], float | None]:
        """Who held what: holdings, oldest first, and the time of the oldest event that is kept.

        Raises:
            Invalid: there is no history.
            Unavailable: the files cannot be read.
        """
        segments = self._segments
        if segments is None:
            raise Invalid("history: is switched off on this node; set OCICAT_HISTORY_DIR of ipamd")
        await self._flush()
        try:
            return await asyncio.to_thread(_search, segments, wanted)
        except OSError as error:
            raise Unavailable(self._trouble("cannot be read", error)) from error

    def _trouble(self, what: str, error: OSError) -> str:
        where = self._segments.directory if self._segments else ""
        why = error.strerror or error
        return f"history {where}: {what}: {why}; make room, or set OCICAT_HISTORY_DIR"


def _search(segments: Segments, wanted: Wanted) -> tuple[list[Holding], float | None]:
    begins: float | None = None
    found: list[Event] = []
    needle = wanted.needle
    for text in segments.texts():
        lines = text.splitlines()
        if begins is None:
            events = filter(None, map(event_of, lines))
            begins = next((e.seen or e.at for e in events if e.seen or e.at), None)
        events = filter(None, (event_of(line) for line in lines if needle in line))
        found += [event for event in events if wanted.fits(event)]
    return holdings(found), begins
