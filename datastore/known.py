"""What one command has read of the store, for decisions that run again when somebody wrote first.

Pure: no I/O. ``datastore/store.py`` fills it.
"""

from collections.abc import Iterable, Iterator, Mapping

from datastore.store import Entry, Snapshot


class Known:
    """Keys and what they held when they were last heard of."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry | None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __getitem__(self, key: str) -> Entry | None:
        """What is at *key*; ``None``: nothing. It must be known."""
        return self._entries[key]

    def below(self, prefix: str) -> Iterator[Entry]:
        """The entries that are known below *prefix*, in the order of their keys."""
        for key in sorted(key for key in self._entries if key.startswith(prefix)):
            if entry := self._entries[key]:
                yield entry

    def take(self, snapshot: Snapshot) -> None:
        """Remember what was read."""
        self._entries.update(snapshot.entries)

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        """Remember what these keys hold at *revision*."""
        self._entries.update(entries)

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        """Nothing: which keys there are is read with ``take``."""
