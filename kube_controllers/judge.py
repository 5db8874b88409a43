"""Which nodes are gone, and which addresses no pod has any more, by what Kubernetes and etcd say.

Pure: no I/O. Whatever is not known for certain is held and counted, never freed. What is found here
is found twice, a while apart; whoever acts on it asks Kubernetes once more.
docs/kube-controllers.md says why these rules.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from datamodel.block import Address
from kube_controllers.cluster import Cluster
from kube_controllers.survey import Holding, Kind, StoredNode, Survey

# Why something is held that Kubernetes does not know any more: labels of a metric.
PODS_BOUND = "pods are bound to the node"
LIVES = "the node's ipamd runs"
UNKNOWN = "somebody unknown holds addresses of the node"
GRACE = "its grace period is not over"
LEFT_TO_IPAMD = "the node's ipamd can see for itself"
STATIC = "the pod may be a static one"
NOT_READY = "the node is not ready"

Key = tuple[str, str]  # node and handle; no handle: the node itself


@dataclass(frozen=True, slots=True)
class Suspect:
    """What seemed to be gone for the first time at *since_s*, and what showed if it was not."""

    seen: frozenset[tuple[object, int]]
    since_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """When a comparison is made."""

    clock_s: float  # grows evenly, whatever is done to the time of day
    node_grace_s: float
    leak_grace_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """A node that is to be taken back, and all that it holds."""

    node: StoredNode
    seen: Mapping[Address, int]

    @property
    def key(self) -> Key:
        """As a suspect."""
        return self.node.name, ""


@dataclass(frozen=True, slots=True)
class Leak:
    """Addresses of a node that lives whose pod is not there."""

    holding: Holding
    kubernetes_names: tuple[str, ...]
    why: str

    @property
    def key(self) -> Key:
        """As a suspect."""
        return self.holding.node, self.holding.handle_id


@dataclass
class Judgement:
    """What came of comparing."""

    suspects: dict[Key, Suspect] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)
    returned: list[StoredNode] = field(default_factory=list)  # though we had begun with them
    leaks: list[Leak] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)  # for the operator
    ripe_s: float | None = None  # when the next suspect's grace is over


def judge(
    cluster: Cluster, stored: Survey, suspects: Mapping[Key, Suspect], moment: Moment
) -> Judgement:
    """Tell what is gone, given the suspects of the last judgement."""
    found = Judgement(findings=list(stored.mistakes))
    if doubt := _doubt(cluster, stored):
        found.findings.append(doubt)
        return found
    judging = _Judging(cluster, suspects, moment, found, frozenset(cluster.pods.values()))
    for node in stored.nodes.values():
        judging.node(node)
    found.findings += [
        f"node {name}: has no resource, but {count} affinities and handles are its own; "
        f"if it is gone, run ocicatctl node delete {name}"
        for name, count in sorted(stored.strays.items())
    ]
    return found


def _doubt(cluster: Cluster, stored: Survey) -> str:
    """Why nothing of what Kubernetes says may be believed; "": it may.

    A cluster that is ours has one of our nodes and some pods, those of its own control plane if no
    others.
    """
    ours = {name for node in stored.nodes.values() for name in node.kubernetes_names}
    if not ours:
        return ""
    if ours.isdisjoint(cluster.nodes):
        return (
            f"Kubernetes lists {len(cluster.nodes)} nodes, but none of the {len(ours)} that etcd "
            "knows; nothing is freed. Is it the cluster of this etcd?"
        )
    if not cluster.pods:
        return "Kubernetes lists no pod at all; nothing is freed"
    return ""


@dataclass
class _Judging:
    cluster: Cluster
    before: Mapping[Key, Suspect]
    moment: Moment
    found: Judgement
    bound: frozenset[str]  # names of nodes that pods are bound to

    def node(self, node: StoredNode) -> None:
        """Judge a node, and if it lives what it holds."""
        names = node.kubernetes_names
        if not names:
            return  # Kubernetes knows nothing of it
        is_there = any(name in self.cluster.nodes for name in names)
        if node.is_departed and (is_there or node.entry is not None):
            self.found.returned.append(node)
        elif is_there:
            for holding in node.holdings:
                self._holding(node, holding)
        elif why := self._why_it_may_live(node):
            self.found.held[why] += 1
            if why is UNKNOWN:  # the others pass by themselves
                self._tell(node, why)
        elif self._is_long_enough(
            (node.name, ""), node.signs | node.addresses.items(), self.moment.node_grace_s
        ):
            self.found.gone.append(Gone(node, node.addresses))

    def _why_it_may_live(self, node: StoredNode) -> str:
        if node.is_claimed:
            return LIVES
        if any(name in self.bound for name in node.kubernetes_names):
            return PODS_BOUND
        if any(holding.kind is Kind.UNKNOWN for holding in node.holdings):
            return UNKNOWN
        return ""

    def _tell(self, node: StoredNode, why: str) -> None:
        self.found.findings.append(
            f"node {node.name}: is gone from Kubernetes, but {why}; nothing of it is freed. If it "
            f"is gone for good, run ocicatctl node delete {node.name}"
        )

    def _holding(self, node: StoredNode, holding: Holding) -> None:
        if holding.kind is not Kind.POD:
            return
        assert holding.pod is not None
        where = self.cluster.pods.get(holding.pod)
        if where == "" or where in node.kubernetes_names:
            return
        why = "its pod is gone" if where is None else f"its pod is on node {where}"
        if reason := self._why_it_may_be_used(node, holding):
            self.found.held[reason] += 1
        elif self._is_long_enough(
            (node.name, holding.handle_id),
            frozenset(holding.addresses.items()),
            self.moment.leak_grace_s,
        ):
            self.found.leaks.append(Leak(holding, node.kubernetes_names, why))

    def _why_it_may_be_used(self, node: StoredNode, holding: Holding) -> str:
        """Why containers may go on using an address whose pod Kubernetes does not know."""
        assert holding.pod is not None
        if holding.is_ipamds:
            return LEFT_TO_IPAMD
        if holding.pod.name.endswith(tuple(f"-{name}" for name in node.kubernetes_names)):
            return STATIC  # what the API has of it is only a mirror, and need not be there
        if not all(self.cluster.nodes.get(name, True) for name in node.kubernetes_names):
            return NOT_READY  # nobody there can have ended the containers
        return ""

    def _is_long_enough(
        self, key: Key, seen: frozenset[tuple[object, int]], grace_s: float
    ) -> bool:
        """Whether it has been so for the grace period, in which nothing about it was in doubt."""
        now_s, suspect = self.moment.clock_s, self.before.get(key)
        if suspect is None or suspect.seen != seen or suspect.since_s < self.cluster.since_s:
            suspect = Suspect(seen, now_s)
        self.found.suspects[key] = suspect
        if now_s - suspect.since_s >= grace_s:
            return True
        self.found.held[GRACE] += 1
        ripe_s = suspect.since_s + grace_s
        self.found.ripe_s = min(ripe_s, self.found.ripe_s or ripe_s)
        return False
