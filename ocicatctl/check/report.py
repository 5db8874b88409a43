"""The machine-readable answer of ``ipam check``: calicoctl's report, and what only we look at.

Pure: no I/O. ``calicoctl ipam release --from-report`` reads it; the fields that calicoctl does not
know come last, and it skips them.
"""

from collections.abc import Sequence
from typing import Any

from datastore import keys
from ocicatctl.check.addresses import is_delegated, is_service
from ocicatctl.check.cluster import Holding
from ocicatctl.check.findings import Findings
from ocicatctl.check.problem import Kind
from ocicatctl.check.repair import Plan
from ocicatctl.check.text import node_of


def check_report(findings: Findings, version: str, kernel: str) -> dict[str, Any]:
    """The report as plain values.

    Args:
        findings: what to tell.
        version: ours.
        kernel: why no kernel was looked at; empty if one was.
    """
    cluster, links = findings.cluster, findings.links
    information = cluster.information
    return {
        "version": version,
        "clusterGUID": information.get("clusterGUID", ""),
        "datastoreLocked": information.get("datastoreReady") is False,
        "clusterInformationRevision": str(cluster.revision(keys.CLUSTER_INFORMATION)),
        "clusterType": information.get("clusterType", ""),
        "allocations": {
            str(address): [_allocation(findings, holding) for holding in holdings]
            for address, holdings in cluster.held.items()
        },
        "leakedHandles": [
            {
                "ID": handle.name,
                "UID": None,
                "Revision": str(cluster.revision(keys.handle(handle.name))),
            }
            for handle in findings.of(Kind.LEAKED_HANDLE)
        ],
        "kernel": {
            "node": links.node if links else None,
            "links": len(links.report.links) if links else None,
            "notLookedAt": kernel or None,
        },
        "problems": [
            {"kind": problem.kind.value, "subject": problem.subject, "what": problem.what}
            for problem in findings.problems
        ],
    }


def repair_report(plan: Plan, failures: Sequence[str] | None) -> dict[str, Any]:
    """What ``--repair`` did or would do, for the report.

    Args:
        plan: what was to be done.
        failures: why each action was not done, empty if it was; ``None``: none was tried.
    """
    reasons = ["--dry-run"] * len(plan.actions) if failures is None else failures
    return {
        "repairs": [
            {
                "text": action.text,
                "proof": action.proof,
                "expects": dict(action.change.expect),  # keys and revisions that it rests on
                "notDone": why or None,
            }
            for action, why in zip(plan.actions, reasons, strict=True)
        ],
        "notRepaired": [
            {"subject": left.problem.subject, "what": left.problem.what, "why": left.why}
            for left in plan.left
        ],
    }


def _allocation(findings: Findings, holding: Holding) -> dict[str, Any]:
    cluster, users = findings.cluster, _users(findings, holding)
    node = node_of(cluster, holding)
    optional = {
        "handle": holding.handle_id,
        "sequenceNumber": holding.sequence,
        "pod": holding.fact("pod"),
        "namespace": holding.fact("namespace"),
        "node": node,
        "type": holding.fact("type"),
        "creationTimestamp": holding.fact("timestamp"),
    }
    is_borrowed = node != (cluster.blocks[holding.cidr].block.host or "")
    return {
        "ip": str(holding.address),
        **{k: v for k, v in optional.items() if v or k == "sequenceNumber"},
        "inUse": bool(users) and not holding.is_cooling,
        **({"borrowed": True} if is_borrowed else {}),
        **({"coolingDown": True} if holding.is_cooling else {}),
        "owners": users,
    }


def _users(findings: Findings, holding: Holding) -> list[str]:
    """Who uses an address, in a wider sense than calicoctl's.

    ``calicoctl ipam release`` frees what has none on the word of the report.
    """
    link = findings.links.by_address.get(holding.address) if findings.links else None
    return [
        *findings.cluster.users.get(holding.address, ()),
        *(["Service"] if is_service(holding) else []),
        *(["Plugin"] if is_delegated(findings.cluster, holding) else []),
        *([f"Link({link.interface_name})"] if link else []),
    ]
