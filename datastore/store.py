"""The Store interface, and THE compare-and-swap loop.

Implemented by ``etcd.py`` (the real one) and ``memory.py`` (a dictionary); both pass
``tests/contract/test_store.py``. A *range* is a key, or a prefix that ends in "/" and stands for
every key below it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from datamodel.errors import OcicatError

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
    """Everything that one revision changed in the watched ranges; ``None``: the key was deleted."""

    revision: int
    entries: Mapping[str, Entry | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: if every expected key is at its revision, put and delete; else nothing.

    Every key that is written should be expected, else a foreign write could be lost. Revision 0
    expects the key to be absent.
    """

    expect: Mapping[str, int] = field(default_factory=dict)
    put: Mapping[str, bytes] = field(default_factory=dict)
    delete: frozenset[str] = frozenset()

    @property
    def operations(self) -> int:
        """The larger of the two counts that etcd limits (``MAX_OPERATIONS``)."""
        return max(len(self.expect), len(self.put) + len(self.delete))


@dataclass(frozen=True, slots=True)
class Committed:
    """The change was made, at *revision*: the new ``Entry.revision`` of every key that was put."""

    revision: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An expected key was at another revision; *actual* says what each of them holds now."""

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

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Return what the ranges hold, all at one revision."""

    async def commit(self, change: Change) -> Committed | Rejected:
        """Make the change if nobody changed an expected key."""

    def watch(self, ranges: frozenset[str], after: int) -> AsyncIterator[Events]:
        """Yield what changes after revision *after*, whole revisions, in order, without end.

        Raises:
            Doubt: the stream ended, was cancelled or compacted, or the store is not the same any
                more (cluster id changed, raft term or revision went backwards). List again.
        """

    async def close(self) -> None:
        """Let go of connections."""
