"""Entries of the store as values, each decoded once for as long as it stays the same.

Pure: no I/O. What is remembered depends on an entry's key and value alone, so what is returned
never depends on what came before: it only comes faster.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from datamodel.errors import Invalid
from datastore.store import Entry

T = TypeVar("T")


class Decoded:
    """Remembers what the entries of the last pass were, and forgets those that are gone."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[bytes, Any]]] = {}  # by prefix, then by key

    def below(
        self,
        entries: Mapping[str, Entry],
        prefix: str,
        decode: Callable[[str, bytes], T],
        skipped: list[str],
    ) -> dict[str, T]:
        """Decode what lies below *prefix*, by name and in the names' order.

        One prefix always goes with the same *decode*. What it refuses is left out, and *skipped*
        says so.
        """
        last = self._known.get(prefix, {})
        known = {}
        values = {}
        for key in sorted(k for k in entries if k.startswith(prefix)):
            value = entries[key].value
            before = last.get(key)
            known[key] = (
                before if before and before[0] == value else (value, _read(decode, key, value))
            )
            result = known[key][1]
            if isinstance(result, Invalid):
                skipped.append(str(result))
            else:
                values[key.removeprefix(prefix)] = result
        self._known[prefix] = known
        return values


def _read(decode: Callable[[str, bytes], T], key: str, value: bytes) -> T | Invalid:
    try:
        return decode(key, value)
    except Invalid as error:
        return error
