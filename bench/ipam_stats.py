"""What the IPAM benchmark measured: a table for people and one line of JSON.

Pure: no I/O.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.stats import percentile
from ocicatctl.table import box

_HEADER = ("what", "median", "p99", "against", "median", "p99", "ratio")


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing and what it is measured against, in milliseconds or per second."""

    what: str
    ours: Sequence[float]
    against: str
    theirs: Sequence[float]
    # In the order of getting worse: the p99 of a rate is the one that 99 % exceed.
    is_rate: bool = False

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        return (
            self.what,
            *self._figures(self.ours),
            self.against,
            *self._figures(self.theirs),
            f"{self.ratio:.2f}",
        )

    def _figures(self, values: Sequence[float]) -> tuple[str, str]:
        worst = -percentile([-v for v in values], 99) if self.is_rate else percentile(values, 99)
        digits = 0 if self.is_rate else 2
        return f"{statistics.median(values):.{digits}f}", f"{worst:.{digits}f}"


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured."""

    sequential: Compared
    in_flight: Compared
    claim: Compared
    rss_mb: float
    rss_growth_mb: float
    others: Mapping[str, str] = field(default_factory=dict)  # for people only

    @property
    def table(self) -> str:
        """The figures as two boxes."""
        rows = [row.cells for row in (self.sequential, self.in_flight, self.claim)]
        others = {
            **self.others,
            "memory of ipamd in the large store, MB": f"{self.rss_mb:.1f}",
            "growth of its memory over all pairs, MB": f"{self.rss_growth_mb:.1f}",
        }
        return box(_HEADER, rows) + box(("also", "figure"), list(others.items()))

    @property
    def json(self) -> str:
        """The figures that are followed from change to change."""
        return json.dumps(
            {
                "seq_over_txn": round(self.sequential.ratio, 3),
                "rate_64": round(statistics.median(self.in_flight.ours)),
                "rate_64_over_bare": round(self.in_flight.ratio, 3),
                "claim_ratio": round(self.claim.ratio, 3),
                "rss_mb": round(self.rss_mb, 1),
                "rss_growth_mb": round(self.rss_growth_mb, 1),
            }
        )
