"""Times as Go prints them by default: the form of Calico's ``timestamp`` attribute.

Pure: no I/O.
"""

from datetime import UTC, datetime


def go_time(time: datetime) -> str:
    """A time as Go prints it by default, the form of Calico's ``timestamp`` attribute."""
    text = time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text} +0000 UTC"


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
