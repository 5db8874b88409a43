"""What the benchmark of routes measured: a table for people and one line of JSON.

Pure: no I/O.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.stats import percentile
from ocicatctl.table import box

_HEADER = ("what", "median", "p99", "the bar")


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that was measured."""

    render_ms: Sequence[float]  # where nothing is decoded yet
    render_again_ms: Sequence[float]
    node_add_ms: Sequence[float]  # the distributor's processor time for one more node
    node_add_wall_ms: Sequence[float]  # from the write in etcd until BIRD has read its file
    node_add_reconfigures: Sequence[int]  # of BIRD, for each node that was added
    converge_ms: Sequence[float]  # until the last of the kernels has a new block
    converge_one_ms: Sequence[float]  # until each of them has it
    idle_cpu_pct: float  # of one core
    rss_mb: float
    others: Mapping[str, str] = field(default_factory=dict)  # for people only

    @property
    def reconfigures(self) -> int:
        """The most that one node came to."""
        return max(self.node_add_reconfigures)

    @property
    def table(self) -> str:
        """The figures as two boxes."""
        rows = [
            ("snapshot, desired, render, compare, ms", *_both(self.render_ms), "100"),
            ("the same when most is decoded already, ms", *_both(self.render_again_ms), ""),
            ("one node more: processor time, ms", *_both(self.node_add_ms), "50"),
            ("one node more: until BIRD has read it, ms", *_both(self.node_add_wall_ms), ""),
            ("a new block in the last kernel, ms", *_both(self.converge_ms), "250, p99 1000"),
            ("a new block in each kernel, ms", *_both(self.converge_one_ms), ""),
        ]
        others = {
            "one node more: reconfigures of BIRD (the bar: 1)": str(self.reconfigures),
            "distributor at rest, % of a core (the bar: 0.5)": f"{self.idle_cpu_pct:.2f}",
            "memory of the distributor, MB (the bar: 70)": f"{self.rss_mb:.1f}",
            **self.others,
        }
        return box(_HEADER, rows) + box(("also", "figure"), list(others.items()))

    @property
    def json(self) -> str:
        """The figures that are followed from change to change."""
        return json.dumps(
            {
                "render_ms": round(statistics.median(self.render_ms), 1),
                "node_add_ms": round(statistics.median(self.node_add_ms), 1),
                "node_add_reconfigures": self.reconfigures,
                "converge_p50_ms": round(statistics.median(self.converge_ms), 1),
                "converge_p99_ms": round(percentile(self.converge_ms, 99), 1),
                "idle_cpu_pct": round(self.idle_cpu_pct, 3),
                "rss_mb": round(self.rss_mb, 1),
            }
        )


def _both(times: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(times):.1f}", f"{percentile(times, 99):.1f}"
