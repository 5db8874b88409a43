"""What contradicts what: the problems of a cluster's addresses.

Pure: no I/O. ``check_store`` is the whole check. What is a problem is said in
``addresses.py`` (addresses and their users), ``ownership.py`` (blocks, affinities,
nodes, pools, handles) and ``kernel.py`` (links); ``repair.py`` says what can be mended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from datamodel.report import Report
from datastore.store import Entry
from ocicatctl.check.addresses import address_problems
from ocicatctl.check.cluster import Cluster, read_cluster
from ocicatctl.check.kernel import Links, kernel_problems
from ocicatctl.check.ownership import ownership_problems
from ocicatctl.check.problem import Kind, Problem


@dataclass(frozen=True, slots=True)
class Findings:
    """What was looked at, and what is wrong with it."""

    cluster: Cluster
    links: Links | None  # of one node; None: no kernel was looked at
    now: datetime
    problems: tuple[Problem, ...]

    def of(self, kind: Kind) -> list[Problem]:
        """The problems of one kind."""
        return [problem for problem in self.problems if problem.kind is kind]

    def also_in(self, earlier: "Findings") -> "Findings":
        """Without what an earlier look did not find, or found otherwise.

        A look takes some time, and requests go on meanwhile; what two looks find is no request
        that was just under way.
        """
        seen = set(earlier.problems)
        return replace(self, problems=tuple(p for p in self.problems if p in seen))


def check_store(
    entries: Mapping[str, Entry], report: Report | None, node: str, now: datetime
) -> Findings:
    """Find every problem.

    Args:
        entries: all that etcd has below ``check_cluster.RANGES``, best at one revision.
        report: what the kernel of *node* has, asked just before; None: it was not asked.
        node: the node of the report.
        now: the time of the look.
    """
    cluster = read_cluster(entries, now)
    links = Links.of(node, report) if report else None
    problems = (
        *address_problems(cluster, links),
        *ownership_problems(cluster, now),
        *(kernel_problems(cluster, links, now) if links else ()),
    )
    return Findings(cluster, links, now, problems)
