"""Whether what a command printed has the shape of what its page shows.

Of tables the headings count. Of other lines the words without a digit; where only what is behind a
label differs, the label.
"""

import re
from collections.abc import Iterable

_LABEL = re.compile(r"\s*([\w-]+:|[\w ]+?  )")
_BORDER = re.compile(r"[+|]")


def differences(shown: Iterable[str], printed: Iterable[str], *, only_headings: bool) -> list[str]:
    """The lines of the page that have no counterpart in what was printed."""
    lines = [line for line in printed if line.strip()]
    there = {_shape(line) for line in lines} | {_label(line) for line in lines} - {None}
    missing = []
    in_table = False
    for line in shown:
        if not line.strip():
            in_table = False
        elif _is_heading(line):
            in_table = True
            if _shape(line) not in there:
                missing.append(line)
        elif in_table or only_headings or line.strip() == "…" or line.startswith(("+--", "|")):
            continue
        elif _shape(line) not in there and _label(line) not in there:
            missing.append(line)
    return missing


def _is_heading(line: str) -> bool:
    words = _BORDER.sub(" ", line).split()
    letters = "".join(words)
    return len(words) > 1 and letters.isupper() and not re.search(r"\d", letters)


def _shape(line: str) -> tuple[str, ...]:
    words = _BORDER.sub(" ", line).split()
    return tuple("#" if re.search(r"\d", word) else word for word in words)


def _label(line: str) -> str | None:
    found = _LABEL.match(line)
    return found[1].strip() if found else None
