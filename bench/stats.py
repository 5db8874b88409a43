"""What the measurements come to: medians, p99s, ratios and costs, as tables and a line of JSON.

Pure: no I/O.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
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


Cost = Mapping[str, float]  # processor time of a call in seconds, by who used it
EXECUTABLES = "executables"


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured."""

    rows: Sequence[Row]
    costs: Mapping[str, Cost]  # by side and verb, "ours ADD"
    rss_mb: float  # of our server

    @property
    def table(self) -> str:
        """Two boxes for people; all times in milliseconds."""
        who = list(dict.fromkeys(name for cost in self.costs.values() for name in cost))
        lines = [
            (name, *(f"{c[name] * 1000:.1f}" if name in c else "" for c in self.costs.values()))
            for name in who
        ]
        totals = (f"{sum(cost.values()) * 1000:.1f}" for cost in self.costs.values())
        return box(HEADER, [_cells(row) for row in self.rows]) + box(
            ("processor time of a call", *self.costs), [*lines, ("all", *totals)]
        )

    @property
    def json(self) -> str:
        """What is followed from change to change, in one line."""
        return json.dumps(
            {
                **{row.key: round(row.ratio, 3) for row in self.rows if row.key},
                "cpu_ms_per_add": round(self.costs["ours ADD"]["cni-server"] * 1000, 2),
                "rss_mb": round(self.rss_mb, 1),
            }
        )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        *(f"{figure * 1000:.1f}" for figure in (*_figures(row.ours), *_figures(row.theirs))),
        f"{row.ratio:.2f}",
    )


def _figures(times: Sequence[float]) -> tuple[float, float]:
    return statistics.median(times), percentile(times, 99)
