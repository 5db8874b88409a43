"""What is measured of the parts: how passes end, how long they take, what they changed.

``metrics.py`` keeps the numbers for Prometheus, if anybody reads them.
"""

from dataclasses import dataclass

OK, INVALID, FAILED, BUG = "ok", "invalid", "failed", "bug"
OUTCOMES = (OK, INVALID, FAILED, BUG)


@dataclass(frozen=True, slots=True)
class Pass:
    """One attempt to bring a part up to date."""

    part: str
    took_s: float
    outcome: str = OK
    changed: int = 0  # how many things were made, replaced or removed
    is_healing: bool = False  # and this was because of somebody else
    converged_s: float | None = None  # since etcd told of the change; None: there was none


class Meter:
    """Measures, and keeps nothing."""

    def count(self, done: Pass) -> None:
        """A pass has ended."""

    def show_problems(self, number: int) -> None:
        """So much is wrong now."""
