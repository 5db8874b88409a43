"""What ``ipam check`` prints: calicoctl's lines in calicoctl's order, then what only we look at.

Pure: no I/O. The wording of the first part is calicoctl's (3.33, without what it asks Kubernetes),
because scripts look for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datamodel.block import Attribute
from ocicatctl.check.addresses import is_service
from ocicatctl.check.cluster import Cluster, Holding
from ocicatctl.check.findings import Findings
from ocicatctl.check.problem import CALICOCTL, KERNEL, Kind, Problem
from ocicatctl.check.repair import Plan

_TOP_NODES = 20
_SHOWN = 10  # problems of a kind, unless all are wanted


@dataclass(frozen=True, slots=True)
class Show:
    """How much is wanted."""

    all_ips: bool = False
    problem_ips: bool = False

    @property
    def problems(self) -> bool:
        """Whether every single problem is wanted."""
        return self.all_ips or self.problem_ips


def check_text(findings: Findings, show: Show, kernel: str) -> str:
    """The answer to ``ipam check``.

    Args:
        findings: what to tell.
        show: how much of it.
        kernel: why no kernel was looked at; empty if one was.
    """
    parts = (
        _loaded(findings.cluster, show),
        _busiest_nodes(findings.cluster),
        _scanned(findings, show),
        _further(findings, show, kernel),
    )
    return "".join(f"{line}\n" for part in parts for line in part)


# ---- calicoctl's part --------------------------------------------------------------------------


def _loaded(cluster: Cluster, show: Show) -> Iterator[str]:
    yield "Checking IPAM for inconsistencies..."
    yield ""
    yield "Loading all IPAM blocks..."
    yield f"Found {len(cluster.blocks)} IPAM blocks."
    for cidr, read in cluster.blocks.items():
        yield f" IPAM block {cidr} affinity={read.block.affinity or '<none>'}:"
        for ordinal, index in enumerate(read.block.allocations if show.all_ips else ()):
            if index is not None:
                attributes = attributes_text(read.block.attributes[index])
                yield f"  {read.block.address(ordinal)} allocated; attrs {attributes}"
    yield f"IPAM blocks record {sum(map(len, cluster.held.values()))} allocations."
    yield ""
    pools = [pool for pool in cluster.pools if not pool.disabled]
    yield "Loading all IPAM pools..."
    yield from (f"  {pool.cidr}" for pool in pools)
    yield f"Found {len(pools)} active IP pools."
    yield ""
    yield "Loading all nodes."
    yield from _users(cluster, "Node(", show)
    yield f"Found {cluster.tunnels} node tunnel IPs."
    yield ""
    yield "Loading all workload endpoints."
    yield from _users(cluster, "Workload(", show)
    yield f"Found {cluster.workloads} workload IPs."
    yield f"Workloads and nodes are using {len(cluster.users)} IPs."
    yield ""
    yield "Loading all handles"


def attributes_text(attribute: Attribute) -> str:
    """An attribute as calicoctl writes it."""
    facts = ",".join(f"{k}={v}" for k, v in sorted((attribute.secondary or {}).items()))
    return f"Main:{attribute.handle_id or '<none>'} Extra:{facts}"


def _users(cluster: Cluster, kind: str, show: Show) -> Iterator[str]:
    for address, users in cluster.users.items() if show.all_ips else ():
        yield from (f"  {address} belongs to {user}" for user in users if user.startswith(kind))


def node_of(cluster: Cluster, holding: Holding) -> str:
    """The node that an address is for; empty if nobody says so."""
    return holding.fact("node") or cluster.blocks[holding.cidr].block.host or ""


def _busiest_nodes(cluster: Cluster) -> Iterator[str]:
    counts: dict[str, int] = {}
    for holdings in cluster.held.values():
        for holding in holdings:
            node = node_of(cluster, holding)
            counts[node] = counts.get(node, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    yield f"Looking for top (up to {_TOP_NODES}) nodes by allocations..."
    yield from (f"  {node} has {count} allocations" for node, count in ordered[:_TOP_NODES])
    if ordered:
        most, median = ordered[0][1], ordered[len(ordered) // 2][1]
        yield f"Node with most allocations has {most}; median is {median}"
    yield ""


def _scanned(findings: Findings, show: Show) -> Iterator[str]:
    cluster = findings.cluster
    leaked = findings.of(Kind.LEAKED_ADDRESS)
    yield "Scanning for IPs that are allocated but not actually in use..."
    yield from _leaked(cluster, leaked, show)
    yield f"Found {len(leaked)} IPs that are allocated in IPAM but not actually in use."
    yield "Scanning for IPs that are in use by a workload or node but not allocated in IPAM..."
    outside, unheld = findings.of(Kind.OUTSIDE_POOLS), findings.of(Kind.NOT_ALLOCATED)
    yield from _used(findings, show)
    yield f"Found {len(outside)} in-use IPs that are not in active IP pools."
    yield (
        f"Found {len(unheld)} in-use IPs that are in active IP pools but have no corresponding "
        "IPAM allocation."
    )
    yield ""
    handles, missing = findings.of(Kind.LEAKED_HANDLE), findings.of(Kind.MISSING_HANDLE)
    good = len(cluster.handles) - len(handles)
    yield "Scanning for IPAM handles with no matching IPs..."
    yield from (f"  {h.name} doesn't have any active IPs." for h in handles if show.all_ips)
    yield f"Found {len(handles)} handles with no matching IPs (and {good} handles with matches)."
    yield "Scanning for IPs with missing handle..."
    yield from (
        f"  {h.name} is in use in a block but doesn't exist." for h in missing if show.problems
    )
    yield f"Found {len(missing)} handles mentioned in blocks with no matching handle resource."
    invalid = findings.of(Kind.INVALID_BLOCK)
    yield "Validating IPAMBlock structures..."
    yield from (f"  IPAMBlock BlockKey(cidr={b.cidr}) is invalid: {b.what}" for b in invalid)
    yield f"Found {len(invalid)} invalid IPAMBlocks."
    count = sum(problem.kind in CALICOCTL for problem in findings.problems)
    yield f"Check complete; found {count} problems."


def _leaked(cluster: Cluster, leaked: Sequence[Problem], show: Show) -> Iterator[str]:
    for address in (problem.address for problem in leaked if show.problems):
        for holding in cluster.held[address] if address else ():
            yield f"  {address} leaked; attrs {attributes_text(holding.attribute)}"


def _used(findings: Findings, show: Show) -> Iterator[str]:
    """What calicoctl tells of addresses with several users, or with none that holds them."""
    endings = {
        Kind.USED_TWICE: "has multiple owners.",
        Kind.OUTSIDE_POOLS: "in use by {} is not in any active IP pool.",
        Kind.NOT_ALLOCATED: "in use by {} and in active IPAM pool but has no IPAM allocation.",
    }
    for kind, ending in endings.items() if show.problems else ():
        for address in (problem.address for problem in findings.of(kind)):
            users = findings.cluster.users[address] if address and "{}" in ending else [""]
            yield from (f"  {address} {ending.format(user)}" for user in users)


# ---- what only we look at ----------------------------------------------------------------------


def _further(findings: Findings, show: Show, kernel: str) -> Iterator[str]:
    problems = findings.problems
    stored = [p for p in problems if p.kind not in CALICOCTL | KERNEL]
    linked = [p for p in problems if p.kind in KERNEL]
    yield ""
    yield "Scanning for what calicoctl does not look at..."
    yield from _listed(stored, show)
    yield f"Found {len(stored)} further problems in etcd."
    if links := findings.links:
        count = len(links.report.links)
        yield f"Comparing with the {count} links that the kernel of node {links.node} has..."
        yield from _listed(linked, show)
        yield f"Found {len(linked)} differences between etcd and that kernel."
    else:
        yield f"The kernel of this node was not looked at: {kernel}."
    services = sum(any(map(is_service, holdings)) for holdings in findings.cluster.held.values())
    if services:
        yield f"Not judged: {services} IPs of services; Kubernetes was not asked."
    yield f"Found {len(problems)} problems in all."


def _listed(problems: Sequence[Problem], show: Show) -> Iterator[str]:
    by_kind: dict[Kind, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    for found in by_kind.values():
        shown = found if show.problems else found[:_SHOWN]
        yield from (f"  {problem}" for problem in shown)
        if more := len(found) - len(shown):
            yield f"  ... and {more} more of this kind; --show-problem-ips shows them all"


def ipamd_text(says: Sequence[str]) -> str:
    """What this node's ipamd has to tell: why it gives out nothing, what it does not dare."""
    if not says:
        return ""
    return "".join(f"{line}\n" for line in ("", "ipamd of this node:", *(f"  {s}" for s in says)))


# ---- repairs -----------------------------------------------------------------------------------


def again_text(findings: Findings) -> str:
    """What a second check found."""
    count = len(findings.problems)
    lines = ["", "Checked again.", *_listed(findings.problems, Show(problem_ips=True))]
    return "".join(f"{line}\n" for line in (*lines, f"Found {count} problems in all."))


def plan_text(plan: Plan) -> str:
    """What would be done and what not, each with its reason."""
    lines = ["", "What --repair would do:"]
    for action in plan.actions:
        lines += [f"  {action.text}", f"    safe: {action.proof}"]
    return "".join(f"{line}\n" for line in (*lines, *_left(plan)))


def done_text(plan: Plan, failures: Sequence[str]) -> str:
    """What was done and what not, each with its reason.

    Args:
        plan: what was to be done.
        failures: why each action was not done; empty: it was.
    """
    lines = ["", "Repairing..."]
    count = 0
    for action, failure in zip(plan.actions, failures, strict=True):
        lines += [f"  {action.text}", f"    safe: {action.proof}"]
        lines += [f"    not done: {failure}"] if failure else []
        count += not failure
    done = f"Made {count} of {len(plan.actions)} repairs."
    return "".join(f"{line}\n" for line in (*lines, done, *_left(plan)))


def _left(plan: Plan) -> Iterator[str]:
    yield "What is not repaired:" if plan.left else "Nothing else is wrong."
    for left in plan.left:
        yield from (f"  {left.problem}", f"    not repaired: {left.why}")
