"""The Store interface, and THE compare-and-swap loop.

Implemented by ``etcd.py`` (the real one) and ``memory.py`` (a dictionary); both pass
``tests/contract/test_store.py``. A *range* is a key, or a prefix that ends in "/" and stands for
every key below it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from datamodel.errors import OcicatError, Unavailable

# etcd refuses a transaction with more operations (or comparisons) than this: --max-txn-ops.
MAX_OPERATIONS = 128


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value and the revision of the write that gave it."""

    key: str
    value: bytes
    revision: int  # etcd's mod_revision


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What some ranges held at one revision."""

    revision: int
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Events:
    """Everything that one revision changed in a watched range; ``None``: the key was deleted."""

    revision: int
    entries: Mapping[str, Entry | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: if every expected key is at its revision, put and delete; else nothing.

    Every key that is written should be expected, else a foreign write could be lost. Revision 0
    expects the key to be absent. Of a prefix it is expected that nothing below it was written after
    the revision.
    """

    expect: Mapping[str, int] = field(default_factory=dict)
    put: Mapping[str, bytes] = field(default_factory=dict)
    delete: frozenset[str] = frozenset()
    lease: int = 0  # what is put goes when this lease ends; 0: it stays

    @property
    def operations(self) -> int:
        """The larger of the two counts that etcd limits (``MAX_OPERATIONS``)."""
        return max(len(self.expect), len(self.put) + len(self.delete))

    @property
    def expected_keys(self) -> dict[str, Entry | None]:
        """The single keys that are expected, each as if it were absent."""
        return {text: None for text in self.expect if not text.endswith("/")}


@dataclass(frozen=True, slots=True)
class Committed:
    """The change was made, at *revision*: the new ``Entry.revision`` of every key that was put."""

    revision: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An expected key was at another revision; *actual* says what each of them holds now.

    Of an expected prefix it has every key below.
    """

    revision: int
    actual: Mapping[str, Entry | None]


class Doubt(OcicatError):
    """A watch may have missed something: list again. Never leaves ``mirror.py``."""


class Store(Protocol):
    """What we need of etcd. Every call has a deadline of its own.

    Raises:
        Unavailable: no answer before the deadline. A commit may or may not have taken place.
        Invalid: the store refuses us (credentials, permission, a request too large).
    """

    @property
    def epoch(self) -> int:
        """Grows when the store turns out to be another one: restored from a backup, made anew."""

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Return what the ranges hold, all at one revision."""

    async def commit(self, change: Change) -> Committed | Rejected:
        """Make the change if nobody changed an expected key."""

    def watch(self, ranges: frozenset[str], after: int) -> AsyncIterator[Events]:
        """Yield what changes after revision *after*, without end: each range in order, once.

        What one revision changed in one range comes together. Of several ranges one may be ahead
        of the other: etcd sends them separately and does not say when a revision is complete.

        Raises:
            Doubt: the stream ended, was cancelled or compacted, or the store is not the same any
                more (cluster id changed, raft term or revision went backwards). List again.
        """

    async def close(self) -> None:
        """Let go of connections."""


class Leases(Protocol):
    """What keeps keys for as long as somebody says that it is still there: ``Change.lease``.

    Raises:
        Unavailable: no answer before the deadline.
        Invalid: the store refuses us.
    """

    async def grant(self, ttl_s: int) -> int:
        """Make a lease that ends *ttl_s* seconds after it was last kept alive; return its id."""

    async def keep_alive(self, lease: int) -> bool:
        """Have the lease begin anew; tell whether it was still there."""

    async def kept_alive_s(self, lease: int) -> float | None:
        """How many seconds ago the lease began or was kept alive; None: it is no more."""


def disjoint(ranges: Collection[str]) -> frozenset[str]:
    """Leave out the ranges that lie in another one of them, so that nothing is told twice."""
    prefixes = tuple(r for r in ranges if r.endswith("/"))
    return frozenset(r for r in ranges if not any(r != p and r.startswith(p) for p in prefixes))


T = TypeVar("T")

# Conflicts are with other nodes or an operator's tool; a hundred in a row is a fight, not a race.
MAX_ATTEMPTS = 100
MAX_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Decision(Generic[T]):
    """What a pure decision came to: read ``needs`` first, or make ``change`` and answer."""

    outcome: T
    change: Change = Change()
    # Keys whose value the decision must know, and prefixes below which it must know the keys.
    needs: frozenset[str] = frozenset()


class Memory(Protocol):
    """Where the loop puts what it hears from the store; the next decision looks there."""

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        """Remember what these keys hold at *revision*."""

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        """Remember which keys there are below *prefix*."""


async def settle(store: Store, memory: Memory, decide: Callable[[], Decision[T]]) -> T:
    """Decide, write, and decide again if somebody wrote first: THE compare-and-swap loop.

    *decide* is pure and looks only at *memory*, so it may run many times; what it does not know it
    names in ``needs``. Nothing is read as long as the memory is right; a change that only expects
    sees to it that it is, where an answer rests on it and nothing is to be written.

    Raises:
        Unavailable: the store does not answer, or others wrote first ``MAX_ATTEMPTS`` times.
    """
    contested: Iterable[str] = ()
    asked: frozenset[str] = frozenset()
    attempt = 0
    while attempt < MAX_ATTEMPTS:
        decision = decide()
        if decision.needs:
            attempt += decision.needs <= asked  # it may need much, but not the same for ever
            asked |= decision.needs
            await _read(store, memory, decision.needs)
            continue
        change = decision.change
        if not change.operations:
            return decision.outcome
        answer = await store.commit(change)
        if isinstance(answer, Committed):
            memory.learn(answer.revision, _written(change, answer.revision))
            return decision.outcome
        memory.learn(answer.revision, answer.actual)
        contested = change.expect
        await asyncio.sleep(random.uniform(0, min(MAX_PAUSE_S, 0.001 * 2**attempt)))
        attempt += 1
    raise Unavailable(
        f"etcd: others changed {', '.join(sorted(contested))} "
        f"{MAX_ATTEMPTS} times in a row; try again"
    )


async def _read(store: Store, memory: Memory, needs: frozenset[str]) -> None:
    wanted = sorted(need for need in needs if not need.endswith("/"))
    for i in range(0, len(wanted), MAX_OPERATIONS):
        some = wanted[i : i + MAX_OPERATIONS]
        snapshot = await store.read(*some)
        memory.learn(snapshot.revision, {key: snapshot.entries.get(key) for key in some})
    for prefix in needs.difference(wanted):
        below = await store.read(prefix, keys_only=True)
        memory.learn_keys(prefix, below.entries)


def _written(change: Change, revision: int) -> dict[str, Entry | None]:
    entries: dict[str, Entry | None] = dict.fromkeys(change.delete)
    return entries | {key: Entry(key, value, revision) for key, value in change.put.items()}
