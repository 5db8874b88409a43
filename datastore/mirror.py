"""A copy of some ranges that follows the store: list, watch, list again on any doubt.

Story, used by ipamd (its node's blocks) and the route distributor (nodes and affinities). Which
ranges it holds may depend on what it holds: a new affinity makes the mirror follow its block.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from datamodel.errors import OcicatError
from datastore.store import Entry, Store

log = logging.getLogger(__name__)

RETRY_PAUSE_S = 0.5

Entries = Mapping[str, Entry]
# Called with a key, what it held and what it holds now, for every change in the order of learning.
Observer = Callable[[str, Entry | None, Entry | None], None]


class Mirror:
    """What the store held when it was last heard of, plus what its user has learnt since."""

    def __init__(
        self,
        store: Store,
        ranges_of: Callable[[Entries], frozenset[str]],
        observe: Observer | None = None,
    ) -> None:
        self._store = store
        self._ranges_of = ranges_of
        self._observe = observe
        self._entries: dict[str, Entry] = {}
        self._ranges: frozenset[str] = frozenset()
        self._listed_at = 0  # revision
        self._learnt_at: dict[str, int] = {}  # key -> revision at which it is known best
        self._change = asyncio.Event()
        self._watching: asyncio.Timeout | None = None  # ends early if other ranges are wanted
        self._ready_flip = asyncio.Event()
        self._is_ready = False
        self.trouble = ""  # why it could not list or watch last time
        self.revision = 0
        self.epoch = store.epoch
        self.restorations = 0  # how often the store turned out to be another one

    @property
    def entries(self) -> Entries:
        """The keys and values, as far as known; perhaps stale while ``is_ready`` is false."""
        return self._entries

    @property
    def is_ready(self) -> bool:
        """Whether all ranges were listed and are being watched."""
        return self._is_ready

    async def ready_changed(self) -> None:
        """Wait until ``is_ready`` has changed."""
        await self._ready_flip.wait()

    def _set_ready(self, value: bool) -> None:
        if value != self._is_ready:
            self._is_ready = value
            self._ready_flip.set()
            self._ready_flip = asyncio.Event()

    async def changed(self) -> None:
        """Wait until something has changed since this last returned."""
        await self._change.wait()
        self._change.clear()

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        """Take over what was read or written at *revision*, without waiting for the watch.

        A watch that tells of an older revision of the same key changes nothing afterwards, nor
        does what was read before the last list change what that one has told. Keys
        that the mirror would not follow are left out, and dropped if it followed them so far:
        nobody would tell of their next change. Are the ranges others now, all are listed again.
        """
        if revision < self._listed_at:
            entries = {k: e for k, e in entries.items() if not within(k, self._ranges)}
        known = self._entries | {k: e for k, e in entries.items() if e is not None}
        ranges = self._ranges_of(known)
        news: dict[str, Entry | None] = {}
        for key, entry in entries.items():
            if within(key, ranges):
                news[key] = entry
            elif key in self._entries:
                news[key] = None
        self._take(revision, news)
        if self._watching is not None and ranges != self._ranges:
            self._watching.reschedule(asyncio.get_running_loop().time())
            self._watching = None

    async def refresh(self, *ranges: str) -> bool:
        """Read some of the ranges now; tell whether the watch had not told all of it yet.

        Raises:
            OcicatError: of the store; nothing has changed.
        """
        snapshot = await self._store.read(*ranges)
        held = {key: e for key, e in self._entries.items() if within(key, ranges)}
        self.learn(snapshot.revision, {**dict.fromkeys(held), **snapshot.entries})
        return held != {key: e for key, e in self._entries.items() if within(key, ranges)}

    async def run(self) -> None:
        """Follow the store; never returns."""
        while True:
            try:
                await self._list()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None) as self._watching:
                        await self._watch()
                self._watching = None
            except OcicatError as error:
                self._watching = None
                self.trouble = str(error)
                self._set_ready(False)
                log.warning("mirror lists again: %s", error)
                await asyncio.sleep(RETRY_PAUSE_S)

    async def _list(self) -> None:
        """Read all ranges at one revision, again as long as what is read names further ranges."""
        self._ranges = self._ranges_of(self._entries)
        while True:
            # What is learnt while the answer is under way may be newer than the answer.
            heard = max([self.revision, *self._learnt_at.values()])
            snapshot = await self._store.read(*sorted(self._ranges))
            wanted = self._ranges_of(snapshot.entries)
            if wanted <= self._ranges:
                break
            self._ranges = wanted
        self._ranges = wanted
        if snapshot.revision < heard or self._store.epoch != self.epoch:
            log.warning(
                "etcd is another one, or restored from a backup (its revision was %d and is %d): "
                "everything known before is forgotten",
                heard,
                snapshot.revision,
            )
            self._learnt_at = {}
            self.epoch = self._store.epoch
            self.restorations += 1
        self._listed_at = snapshot.revision
        entries = {key: e for key, e in snapshot.entries.items() if within(key, wanted)}
        gone = self._entries.keys() - entries.keys()
        self._take(snapshot.revision, {**dict.fromkeys(gone), **entries})
        # The watch begins after this revision: only what is newer can still be overtaken by it.
        self._learnt_at = {k: r for k, r in self._learnt_at.items() if r > snapshot.revision}
        self.revision = snapshot.revision
        self.trouble = ""
        self._set_ready(True)
        self._change.set()

    async def _watch(self) -> None:
        if self._ranges_of(self._entries) != self._ranges:
            return  # by what was learnt while the list was under way
        async for events in self._store.watch(self._ranges, self.revision):
            self._take(events.revision, events.entries)
            self.revision = max(self.revision, events.revision)
            self._change.set()
            if self._ranges_of(self._entries) != self._ranges:
                return  # list the new ranges; what is known stays in use meanwhile

    def _take(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        for key, entry in entries.items():
            if revision < self._learnt_at.get(key, 0):
                continue
            self._learnt_at[key] = revision
            before = self._entries.pop(key, None) if entry is None else self._entries.get(key)
            if entry is not None:
                self._entries[key] = entry
            if self._observe and before != entry:
                self._observe(key, before, entry)


def within(key: str, ranges: Collection[str]) -> bool:
    """Tell whether *key* lies in one of *ranges*."""
    return key in ranges or key.startswith(_prefixes(frozenset(ranges)))


@lru_cache(maxsize=16)
def _prefixes(ranges: frozenset[str]) -> tuple[str, ...]:
    return tuple(r for r in ranges if r.endswith("/"))
