"""Reads the environment file as systemd does.

Pure: no I/O. Only what an environment file needs: no continued lines, no escapes within quotes.
"""

import re

_ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*", re.ASCII)
_QUOTES = "\"'"


def settings(text: str) -> dict[str, str]:
    """The variables; a line that is none is passed over, as systemd does."""
    found = {}
    for line in text.splitlines():
        if line.lstrip()[:1] in ("#", ";"):
            continue
        if assignment := _ASSIGNMENT.fullmatch(line):
            found[assignment[1]] = _unquoted(assignment[2])
    return found


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]
    return value[1:-1] if is_quoted else value
