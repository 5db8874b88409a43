"""The Store in a dictionary, with etcd's revisions, history and limits.

No I/O. It passes the same contract tests as ``etcd.py``; made for tests and trials.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field

from datamodel.errors import Invalid, Unavailable
from datastore.store import (
    MAX_OPERATIONS,
    Change,
    Committed,
    Doubt,
    Entry,
    Events,
    Rejected,
    Snapshot,
    disjoint,
)


@dataclass(slots=True)
class _Lease:
    ttl_s: int
    end: asyncio.TimerHandle | None = None  # None: it has ended
    keys: set[str] = field(default_factory=set)


class MemoryStore:
    """A store that is gone with its process; the faults of a real one happen when asked for."""

    def __init__(self) -> None:
        self.revision = 1  # as an empty etcd
        self.epoch = 0  # see EtcdStore.epoch
        self._entries: dict[str, Entry] = {}
        self._history: list[Events] = []
        self._grown = asyncio.Event()  # set, and replaced, when there is more to watch
        self._leases: dict[int, _Lease] = {}
        self._failing: list[bool] = []  # of the next commits: whether they take place all the same

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Return what the ranges hold."""
        await asyncio.sleep(0)  # others get their turn, as they do while a real store answers
        entries = {
            key: Entry(key, b"", entry.revision) if keys_only else entry
            for key, entry in sorted(self._entries.items())
            if _is_in(key, ranges)
        }
        return Snapshot(self.revision, entries)

    async def commit(self, change: Change) -> Committed | Rejected:
        """Make the change if nobody changed an expected key."""
        await asyncio.sleep(0)
        _check_size(change.operations)
        if twice := sorted(change.put.keys() & change.delete):
            raise Invalid(f"memory store: {', '.join(twice)}: put and deleted in one change")
        if change.lease and self._leases[change.lease].end is None:
            raise Invalid(f"memory store: lease {change.lease} is no more")
        if self._failing:
            if self._failing.pop(0):
                self._commit(change)
            raise Unavailable("memory store: does not answer, as it was told")
        return self._commit(change)

    async def watch(self, ranges: frozenset[str], after: int) -> AsyncGenerator[Events, None]:
        """Yield what changes after revision *after*: each range in order, in whole revisions.

        As in etcd, one range may be ahead of another.

        Raises:
            Doubt: *after* has not come yet, or the watch was made to fail.
        """
        if after > self.revision:
            raise Doubt(f"memory store: revision {after} has not come yet")
        history = self._history
        position = 0
        while True:
            new, position = history[position:], len(history)
            for text in sorted(disjoint(ranges)):
                for events in new:
                    entries = {k: e for k, e in events.entries.items() if _is_in(k, (text,))}
                    if events.revision > after and entries:
                        yield Events(events.revision, entries)
            if position < len(history):
                continue
            if history is not self._history:
                raise Doubt("memory store: watch ended, as it was told")
            await self._grown.wait()

    async def grant(self, ttl_s: int) -> int:
        """Make a lease."""
        await asyncio.sleep(0)
        lease = len(self._leases) + 1
        self._leases[lease] = _Lease(ttl_s)
        self._begin(lease)
        return lease

    async def keep_alive(self, lease: int) -> bool:
        """Have the lease begin anew; tell whether it was still there."""
        await asyncio.sleep(0)
        is_there = lease in self._leases and self._leases[lease].end is not None
        if is_there:
            self._begin(lease)
        return is_there

    async def kept_alive_s(self, lease: int) -> float | None:
        """How many seconds ago the lease began or was kept alive; None: it is no more."""
        await asyncio.sleep(0)
        found = self._leases.get(lease)
        if found is None or found.end is None:
            return None
        return found.ttl_s - (found.end.when() - asyncio.get_running_loop().time())

    async def close(self) -> None:
        """There is nothing to let go of."""

    def fail_next(self, n: int, *, applied: bool) -> None:
        """Let the next *n* commits go unanswered, carried out or not."""
        self._failing += [applied] * n

    def fail_watches(self) -> None:
        """End every watch, as a restart does; what they have not delivered yet still comes."""
        self._history = list(self._history)
        self._wake()

    def restore(self, revision: int) -> None:
        """Go back to an earlier revision, as when a backup is restored: a new epoch begins."""
        self._history = [events for events in self._history if events.revision <= revision]
        self._entries = {}
        for events in self._history:
            self._apply(events)
        self.revision = revision
        self.epoch += 1
        for number, lease in self._leases.items():  # as in etcd after a change of leader
            if lease.keys & self._entries.keys():
                self._begin(number)
        self._wake()

    def _begin(self, number: int) -> None:
        lease = self._leases[number]
        if lease.end:
            lease.end.cancel()
        lease.end = asyncio.get_running_loop().call_later(lease.ttl_s, self._end, number)

    def _end(self, number: int) -> None:
        lease = self._leases[number]
        lease.end = None
        self._commit(Change(delete=frozenset(lease.keys)))

    def _commit(self, change: Change) -> Committed | Rejected:
        if not all(self._is_so(text, revision) for text, revision in change.expect.items()):
            actual = change.expected_keys
            actual |= {k: e for k, e in self._entries.items() if _is_in(k, change.expect)}
            return Rejected(self.revision, actual)
        # Like etcd: a change that changes nothing has no revision of its own.
        deleted = change.delete & self._entries.keys()
        if not (change.put or deleted):
            return Committed(self.revision)
        self.revision += 1
        entries: dict[str, Entry | None] = dict.fromkeys(sorted(deleted))
        entries |= {key: Entry(key, value, self.revision) for key, value in change.put.items()}
        events = Events(self.revision, entries)
        for number, lease in self._leases.items():
            lease.keys -= entries.keys()
            if number == change.lease:
                lease.keys |= change.put.keys()
        self._history.append(events)
        self._apply(events)
        self._wake()
        return Committed(self.revision)

    def _is_so(self, text: str, revision: int) -> bool:
        if text.endswith("/"):
            below = (e for key, e in self._entries.items() if key.startswith(text))
            return all(entry.revision <= revision for entry in below)
        entry = self._entries.get(text)
        return (entry.revision if entry else 0) == revision

    def _apply(self, events: Events) -> None:
        for key, entry in events.entries.items():
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


def _check_size(operations: int) -> None:
    if operations > MAX_OPERATIONS:
        raise Invalid(
            f"memory store: {operations} operations at once; {MAX_OPERATIONS} are allowed"
        )


def _is_in(key: str, ranges: Iterable[str]) -> bool:
    return any(key.startswith(r) if r.endswith("/") else key == r for r in ranges)
