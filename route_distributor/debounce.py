"""When to act on a change: the first at once, then at most once per interval.

Pure: no I/O and no clock, the time is an argument.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Debounce:
    """Remembers when it was last acted."""

    interval_s: float = 1.0
    acted_at: float | None = None  # None: never yet

    def wait_s(self, now: float) -> float:
        """How long a change that is seen at *now* has to wait; 0: not at all."""
        if self.acted_at is None:
            return 0.0
        return max(0.0, self.acted_at + self.interval_s - now)

    def acted(self, now: float) -> "Debounce":
        """Take note that the changes so far were acted on at *now*."""
        return replace(self, acted_at=now)
