"""What was found about routes, as text and as documents.

Pure: no I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bird_api.protocols import Session
from bird_api.routes import BirdRoute
from kernel_api.lookup import KernelRoute
from ocicatctl.routes.explain import Finding, session_text
from ocicatctl.routes.explain_address import AddressFinding
from ocicatctl.routes.facts import View, encapsulation_text
from ocicatctl.table import box

HEADER = ("Destination", "Node", "Pool", "Encapsulation", "BIRD", "Kernel")

Document = dict[str, Any]


# ---- many destinations -------------------------------------------------------------------------


def table(findings: Sequence[Finding], view: View) -> str:
    """One line for each, and below a sentence for each thing that is wrong."""
    sentences = [
        *common_problems(view),
        *(f"{f.destination.cidr}: {problem}" for f in findings for problem in f.problems),
    ]
    wrong = "".join(f"{sentence}\n" for sentence in sentences)
    text = (
        box(HEADER, [_row(finding) for finding in findings]) if findings else "No blocks found.\n"
    )
    return f"{text}\n{wrong}" if wrong else text


def _row(finding: Finding) -> tuple[str, ...]:
    pool = finding.pool
    return (
        str(finding.destination.cidr),
        finding.destination.owner,
        pool.name if pool else "none",
        encapsulation_text(pool),
        _best(finding.bird),
        finding.kernel[0].action if finding.kernel else "-",
    )


def _best(routes: Sequence[BirdRoute]) -> str:
    if not routes:
        return "-"
    more = f", {len(routes) - 1} more" if routes[1:] else ""
    return f"{routes[0].protocol}, {_way(routes[0])}{more}"


def _way(route: BirdRoute) -> str:
    hops = " and ".join(
        f"via {hop.via} on {hop.device}" if hop.via else f"on {hop.device}" for hop in route.hops
    )
    return hops or route.kind


def session_line(session: Session) -> str:
    """A session in one line."""
    return f"session   {session.name}: {session_text(session)}"


def document(findings: Sequence[Finding], view: View) -> Document:
    """The same for programs."""
    return {
        "node": view.node,
        "problems": common_problems(view),
        "routes": [finding_document(finding, view) for finding in findings],
    }


def common_problems(view: View) -> list[str]:
    """What concerns this node as a whole."""
    return [problem for problem in (view.stranger, view.bird.mistake) if problem]


def finding_document(finding: Finding, view: View) -> Document:
    """One destination."""
    destination = finding.destination
    return {
        "destination": str(destination.cidr),
        "node": destination.node,
        "affinity": destination.affinity,
        "isBorrowed": destination.is_borrowed,
        "block": str(destination.block or destination.cidr),
        "pool": finding.pool.name if finding.pool else None,
        "encapsulation": encapsulation_text(finding.pool),
        "bird": [path_document(route, view) for route in finding.bird],
        "kernel": [kernel_document(route) for route in finding.kernel],
        "problems": list(finding.problems),
    }


def path_document(route: BirdRoute, view: View) -> Document:
    """One route of BIRD."""
    return {
        "destination": str(route.network),
        "protocol": route.protocol,
        "peer": teller(route, view),
        "kind": route.kind,
        "isBest": route.is_best,
        "since": route.since,
        "hops": [{"via": hop.via and str(hop.via), "link": hop.device} for hop in route.hops],
        "attributes": dict(route.attributes),
    }


def kernel_document(route: KernelRoute) -> Document:
    """One route of the kernel."""
    return {
        "destination": str(route.network),
        "kind": route.kind,
        "protocol": route.protocol,
        "metric": route.metric,
        "table": route.table,
        "hops": [
            {
                "via": hop.via and str(hop.via),
                "link": hop.device,
                "isOnlink": hop.is_onlink,
                "isDead": hop.is_dead,
            }
            for hop in route.hops
        ],
    }


def session_document(session: Session) -> Document:
    """One session."""
    return {
        "name": session.name,
        "peerAddress": str(session.peer_address),
        "state": session.state,
        "since": session.since,
        "info": session.info,
    }


def teller(route: BirdRoute, view: View) -> str | None:
    """Who told it: the node, or the address, of the session's peer; ``None``: no peer did."""
    session = view.session(route.protocol)
    if session is None:
        return None
    return view.name_of(session.peer_address) or str(session.peer_address)


# ---- one address -------------------------------------------------------------------------------


def address_text(found: AddressFinding) -> str:
    """Everything about it, for people."""
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: AddressFinding) -> Iterator[str]:
    facts, routed = found.facts, found.routed
    view = facts.view
    yield f"{facts.address} {_headline(found)}"
    if routed:
        destination, pool = routed.destination, routed.pool
        owner = destination.block_node if destination.is_borrowed else destination.node
        whose = f"of node {owner}" if owner else "of nobody"
        affinity = facts.affinity.state or "confirmed" if facts.affinity else "none"
        yield f"  block     {facts.block}, {whose}, affinity {affinity}"
        yield f"  borrowed  {'yes' if destination.is_borrowed else 'no'}"
        name = f"{pool.name} ({pool.cidr})" if pool else "none"
        yield f"  pool      {name}, encapsulation {encapsulation_text(pool)}"
        if destination.node and destination.node != view.node:
            for session in view.sessions_with(destination.node, facts.address.version):
                yield f"  {session_line(session)}"
    for path in facts.paths:
        yield f"  BIRD      {path_text(path, view)}"
    if not facts.paths:
        yield "  BIRD      has no route"
    yield f"  kernel    {facts.used or facts.dropping or facts.refusal}"
    yield from (f"  wrong     {problem}" for problem in [*common_problems(view), *found.problems])


def _headline(found: AddressFinding) -> str:
    facts = found.facts
    if facts.holder:
        known: Mapping[str, str] = facts.holder.secondary or {}
        pod = f"pod {known.get('namespace', '')}/{known['pod']}" if "pod" in known else ""
        who = pod or known.get("type") or facts.holder.handle_id or "somebody without a handle"
        where = f" on node {facts.holder.node}" if facts.holder.node else ""
        return f"is held by {who}{where}"
    owner = facts.view.name_of(facts.address)
    if owner:
        return f"is the address of node {owner} itself"
    return "is held by nobody"


def path_text(route: BirdRoute, view: View) -> str:
    """One route of BIRD: to where, which way, who told it, what it says of itself."""
    told = teller(route, view)
    by = f"told by {told} in {route.protocol}" if told else f"of {route.protocol}"
    best = ", the best" if route.is_best else ""
    said = {
        "next hop": route.next_hop,
        "AS path": route.attributes.get("BGP.as_path", ""),
        "communities": route.attributes.get("BGP.community", ""),
        "originator": route.attributes.get("BGP.originator_id", ""),
    }
    details = "".join(f", {name} {value}" for name, value in said.items() if value)
    return f"{route.network} {_way(route)}, {by} since {route.since}{best}{details}"


def address_document(found: AddressFinding) -> Document:
    """The same for programs."""
    facts, holder = found.facts, found.facts.holder
    return {
        "address": str(facts.address),
        "node": facts.view.node,
        "holder": holder
        and {
            "handle": holder.handle_id,
            "node": holder.node,
            "namespace": (holder.secondary or {}).get("namespace"),
            "pod": (holder.secondary or {}).get("pod"),
        },
        "block": facts.block and str(facts.block),
        "blockNode": facts.read.host if facts.read else None,
        "route": found.routed and finding_document(found.routed, facts.view),
        "paths": [path_document(path, facts.view) for path in facts.paths],
        "kernel": facts.used and kernel_document(facts.used),
        "kernelRefuses": facts.refusal or None,
        "droppedBy": facts.dropping and kernel_document(facts.dropping),
        "problems": [*common_problems(facts.view), *found.problems],
    }
