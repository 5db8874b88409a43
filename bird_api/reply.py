"""BIRD's reply protocol: lines that begin with a four-digit code.

Pure: no I/O. ``0003 Reconfigured`` ends an answer; ``1002-…`` goes on, and so does a line that
begins with a space and has the code of the line before it. 0xxx to 2xxx is an answer, 8xxx a
refusal, 9xxx a command that BIRD does not understand. The number is for programs, the text for
people: only the number is ever looked at.
"""

import re
from dataclasses import dataclass

from datamodel.errors import Invalid

CONTINUED = "-"
RECONFIGURED = frozenset({3, 4, 5})  # done, in progress, queued behind one in progress
ERRORS = 8000  # and above

_CODED = re.compile(r"(\d{4})([ -])(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """One line of an answer."""

    code: int
    text: str


def parse_line(line: str, previous: Reply | None) -> tuple[Reply | None, bool]:
    """Read one line; say as well whether it ends the answer.

    ``None`` for a line that belongs to no answer: BIRD mixes in its log, each line behind a "+".

    Raises:
        Invalid: this is not BIRD's protocol.
    """
    if line.startswith("+"):
        return None, False
    if line.startswith(" ") and previous is not None:
        return Reply(previous.code, line[1:]), False
    found = _CODED.fullmatch(line)
    if found is None:
        raise Invalid(f"{line[:80]!r} is not a reply of BIRD")
    code, separator, text = found.groups()
    return Reply(int(code), text), separator != CONTINUED
