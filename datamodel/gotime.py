"""Times and spans of time as Go writes them: Calico's ``timestamp`` attribute, and durations.

Pure: no I/O.
"""

import re
from datetime import UTC, datetime

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = rf"([0-9]+(?:\.[0-9]*)?)({'|'.join(_UNITS)})"
DURATION_MAX_S = 2**63 / 1e9  # Go counts nanoseconds


def parse_duration(text: str) -> float:
    """Read a span of time like "1m30s", in seconds.

    Raises:
        ValueError: it is none, it is negative, or Go could not hold it.
    """
    if text != "0" and not re.fullmatch(f"(?:{_PART})+", text):
        raise ValueError(f'{text!r} is not a duration like "2m0s" or "90s"')
    found = sum(float(count) * _UNITS[unit] for count, unit in re.findall(_PART, text))
    if found >= DURATION_MAX_S:
        raise ValueError(f"{text!r} is longer than a duration can be")
    return found


def go_time(time: datetime) -> str:
    """A time as Go prints it by default, the form of Calico's ``timestamp`` attribute."""
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return f"{text.rstrip('0').rstrip('.')} +0000 UTC"


def parse_go_time(text: str) -> datetime | None:
    """Read Calico's ``timestamp`` attribute; ``None`` if it is no such time."""
    stamp, _, zone = text.partition(" +")
    try:
        moment = datetime.fromisoformat(_six_digits(stamp))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if zone == "0000 UTC" else None


def _six_digits(stamp: str) -> str:
    """Python reads exactly three or six digits of a second, Go writes up to nine."""
    seconds, dot, fraction = stamp.partition(".")
    return f"{seconds}.{fraction[:6].ljust(6, '0')}" if dot else seconds
