"""Say what a document may contain; take one apart and name everything that is wrong with it.

Pure: no I/O. A check is given a value, its path and the list of mistakes found so far; it returns
the value as it is stored. ``values.py`` has the checks of single values, ``fields.py`` the tables.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any, str, list[str]], Any]

_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Field:
    """One key of an object."""

    name: str
    check: Check
    is_required: bool = False
    # Go leaves false, 0 and empty values out; this one is stored, because absent means another.
    keeps_empty: bool = False


def leaf(parse: Callable[[Any], Any]) -> Check:
    """Check a single value; *parse* raises ValueError with what the value is not."""

    def check(value: Any, path: str, mistakes: list[str]) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            mistakes.append(f"{path}: {shown(value)} {error}")
            return None

    return check


def list_of(item: Check) -> Check:
    """Check every element of a list."""

    def check(value: Any, path: str, mistakes: list[str]) -> Any:
        if not isinstance(value, list):
            mistakes.append(f"{path}: {shown(value)} is not a list")
            return None
        return [item(element, f"{path}[{i}]", mistakes) for i, element in enumerate(value)]

    return check


def object_of(*fields: Field) -> Check:
    """Check an object that has these fields and no others; the result is in their order."""
    by_name = {field.name: field for field in fields}

    def check(value: Any, path: str, mistakes: list[str]) -> Any:
        if not isinstance(value, dict):
            mistakes.append(f"{path}: {shown(value)} is not an object with fields")
            return None
        mistakes += [_unknown(path, name, list(by_name)) for name in value if name not in by_name]
        found = {}
        for name, field in by_name.items():
            where = f"{path}.{name}" if path else name
            given = value.get(name)
            if field.is_required and given in (None, "", [], {}):
                mistakes.append(f"{where}: is missing")
            if given is None:
                continue
            stored = field.check(given, where, mistakes)
            if stored or (stored is not None and field.keeps_empty):
                found[name] = stored
        return found

    return check


def anything(value: Any, path: str, mistakes: list[str]) -> Any:
    """Take a value that only others understand, if it can be stored at all."""
    if not _is_json(value):
        mistakes.append(f"{path}: {shown(value)} cannot be written as JSON")
    return value


def shown(value: Any) -> str:
    """The value as it can stand in a message: on one line, and not too long."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _unknown(path: str, name: Any, known: Sequence[str]) -> str:
    where = f"{path}: " if path else ""
    lower = {text.lower(): text for text in known}
    near = difflib.get_close_matches(str(name).lower(), lower, n=1)
    hint = f'did you mean "{lower[near[0]]}"?' if near else f"there are {', '.join(known)}"
    return f'{where}unknown field "{name}"; {hint}'


def _is_json(value: Any, depth: int = 0) -> bool:
    if depth > 50:  # an alias in YAML can contain itself
        return False
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_json(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_json(v, depth + 1) for v in value)
    return value is None or isinstance(value, str | bool | int)
