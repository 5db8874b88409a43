"""What the measured times come to: medians, p99s and ratios, as a table and as one line of JSON.

Pure: no I/O.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ocicatctl.table import box

HEADER = ("what", "ours median", "ours p99", "theirs median", "theirs p99", "ours / theirs")


@dataclass(frozen=True, slots=True)
class Row:
    """The same thing measured on both sides; times in seconds.

    ``key`` is the name of its ratio in the JSON; "" if the ratio is in the table only.
    """

    name: str
    ours: Sequence[float]
    theirs: Sequence[float]
    key: str = ""

    @property
    def ratio(self) -> float:
        """The ratio of the medians; below 1 we are faster."""
        return statistics.median(self.ours) / statistics.median(self.theirs)


def percentile(times: Sequence[float], percent: float) -> float:
    """The smallest time that *percent* of all do not exceed: one that was really measured.

    With fewer than 100 times the p99 is the longest.
    """
    rank = math.ceil(len(times) * percent / 100)
    return sorted(times)[max(rank, 1) - 1]


def table(rows: Sequence[Row]) -> str:
    """Draw the table; times in milliseconds."""
    return box(HEADER, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        *(f"{figure * 1000:.1f}" for figure in (*_figures(row.ours), *_figures(row.theirs))),
        f"{row.ratio:.2f}",
    )


def _figures(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), percentile(times, 99)


def ratios(rows: Sequence[Row]) -> str:
    """The ratios that have a key, as one line of JSON."""
    return json.dumps({row.key: round(row.ratio, 3) for row in rows if row.key})
