"""What a check says of one thing: it is fine, it is wrong, or nobody could look.

Pure: no I/O, no behaviour.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fine:
    """As it should be."""

    what: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """Not as it should be."""

    what: str  # "<object>: <what is wrong>"
    why: str  # what comes of it
    mend: str  # the command that mends it
    is_warning: bool = False  # nothing fails of it yet, or on this node alone


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not looked at, and why."""

    what: str


Finding = Fine | Wrong | Unknown
