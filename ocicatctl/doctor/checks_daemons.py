"""The node's daemons, and whether kernel, BIRD and etcd agree.

Pure: no I/O.
"""

from collections.abc import Iterator

from datamodel.pool import Network
from kernel_api.lookup import KernelRoute
from ocicatctl.check.problem import Kind, Problem
from ocicatctl.doctor.facts import Cluster, CniServer, Facts, Ipamd, Routing
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong
from ocicatctl.routes.explain import OURS, session_text
from ocicatctl.routes.explain import Finding as RouteFinding

_SHOWN = 5  # of findings of one kind; the command that follows shows all
_OLD_S = 60.0
_CHECK = "ocicatctl ipam check --repair"


def ipamd(facts: Facts) -> Iterator[Finding]:
    """Whether ipamd answers and gives out addresses."""
    seen = facts.of(Ipamd)
    if seen.status is None:
        yield Wrong(
            seen.mistake,
            "no address is given out: ADDs wait and fail; DELs are noted",
            "systemctl restart ocicat-ipamd",
        )
        return
    if seen.status.waits_for:
        yield Wrong(
            f"ipamd: gives out no address: {seen.status.waits_for}",
            "ADDs wait and fail",
            "systemctl status ocicat-cni-server ocicat-ipamd",
        )
    for text in seen.status.findings:
        yield Wrong(
            f"ipamd: {text}",
            "reconciling found it and must not mend it by itself",
            "ocicatctl ipam check",
        )
    if not seen.status.waits_for and not seen.status.findings:
        blocks = len(seen.status.blocks)
        yield Fine(f"ipamd: gives out addresses as {seen.status.node}, has {blocks} blocks")


def cni_server(facts: Facts) -> Iterator[Finding]:
    """Whether the CNI server answers."""
    seen = facts.of(CniServer)
    if seen.mistake:
        yield Wrong(
            f"CNI server {seen.mistake}",
            "each call starts a process of its own: slow; ipamd hears of no links",
            "systemctl restart ocicat-cni-server",
        )
    else:
        yield Fine("CNI server: answers")


def spool(facts: Facts) -> Iterator[Finding]:
    """Whether releases wait that ipamd has not been told."""
    seen = facts.of(CniServer)
    if seen.waiting and seen.oldest_s > _OLD_S:
        yield Wrong(
            f"spool {facts.settings.spool}: {seen.waiting} releases wait, for up to "
            f"{seen.oldest_s:.0f} s",
            "addresses of pods that are gone stay in use",
            "systemctl restart ocicat-ipamd ocicat-cni-server",
            is_warning=True,
        )
    else:
        yield Fine(f"spool: {seen.waiting} releases wait")


def route_distributor(facts: Facts) -> Iterator[Finding]:
    """Whether the route distributor does all it should."""
    seen = facts.of(Routing)
    if seen.mistake:
        yield Wrong(
            f"{facts.settings.routes}: {seen.mistake}",
            "nobody can tell how routing is",
            f"rm {facts.settings.routes} && systemctl restart ocicat-route-distributor",
        )
    elif seen.status is None:
        yield Wrong(
            f"route distributor: has not written {facts.settings.routes} since the boot",
            "nobody tells BIRD and the kernel of new nodes, blocks and tunnels",
            "systemctl restart ocicat-route-distributor",
        )
    else:
        for text in seen.status.complaints:
            yield Wrong(
                f"route distributor: {text}",
                "that much of routing is left out on this node",
                "ocicatctl node status",
            )
        if not seen.status.complaints:
            parts = ", ".join(seen.status.parts)
            yield Fine(f"route distributor: {parts or 'all'} as wanted")


def bird(facts: Facts) -> Iterator[Finding]:
    """Whether BIRD answers, and its sessions are established."""
    seen = facts.of(Routing).bird
    if seen.mistake:
        yield Wrong(
            seen.mistake,
            "peers forget this node's pods, and this node learns of no others",
            "systemctl restart ocicat-bird",
        )
        return
    down = [session for session in seen.sessions if not session.is_established]
    for session in down[:_SHOWN]:
        yield Wrong(
            f"BGP session {session.name} with {session.peer_address}: {session_text(session)}",
            "pods of that node, or what that router tells, are not reached from here",
            f"birdc -s {facts.settings.bird} restart {session.name}",
        )
    if not down:
        yield Fine(f"BIRD: {len(seen.sessions)} BGP sessions established")


# ---- what etcd says ----------------------------------------------------------------------------

# A word for each kind that the doctor explains; of the others the check's own words are enough.
_WHY = {
    Kind.NO_LINK: "the address is not given out, and nobody has it",
    Kind.LEAKED_ADDRESS: "the address is not given out, and nobody has it",
    Kind.UNRECORDED_LINK: "its address may be given to another pod",
    Kind.STOLEN_ADDRESS: "two pods have one address: answers go to the wrong one",
    Kind.SHARED_NODE_ADDRESS: "peers send to the wrong node, sessions flap",
    Kind.AFFINITY_WITHOUT_BLOCK: "a route for a block that is not there",
    Kind.BLOCK_WITHOUT_AFFINITY: "nobody tells peers of the block",
    Kind.UNREADABLE: "nobody can work with it",
}
_NODES = (Kind.SHARED_NODE_ADDRESS, Kind.NODE_WITHOUT_ADDRESS)


def addresses(facts: Facts) -> Iterator[Finding]:
    """Whether addresses in etcd and links of this node's kernel agree: what ipam check finds."""
    seen = facts.of(Cluster)
    problems = [problem for problem in seen.problems if problem.kind not in _NODES]
    yield from _problems(problems, _CHECK)
    if seen.unasked:
        yield Unknown(f"links of this node: {seen.unasked}")
    elif not problems:
        links = len(seen.report.links) if seen.report else 0
        yield Fine(f"addresses: {links} links of this node and etcd agree")


def node_addresses(facts: Facts) -> Iterator[Finding]:
    """Whether each node has an address that is its own."""
    problems = [problem for problem in facts.of(Cluster).problems if problem.kind in _NODES]
    yield from _problems(problems, "ocicatctl get node -o wide")
    if not problems:
        yield Fine("nodes: each has an address of its own")


def _problems(problems: list[Problem], mend: str) -> Iterator[Finding]:
    for problem in problems[:_SHOWN]:
        why = _WHY.get(problem.kind, "addresses leak, or are given out twice")
        yield Wrong(str(problem), why, mend)
    more = len(problems) - _SHOWN
    if more > 0:
        yield Wrong(f"{more} more of the kind", "as above", "ocicatctl ipam check")


def routes(facts: Facts) -> Iterator[Finding]:
    """Whether every block has its route here, this node's a blackhole: what routes finds."""
    seen = facts.of(Cluster)
    wrong = [(found, text) for found in seen.routes for text in found.problems]
    for found, text in wrong[:_SHOWN]:
        destination = found.destination
        is_own = destination.node == seen.view.node
        yield Wrong(
            f"{destination.cidr}: {text}",
            "packets to free addresses of this node leave it again, in circles"
            if is_own
            else f"pods of {destination.node or 'nobody'} are not reached from here",
            _route_mend(found),
        )
    if len(wrong) > _SHOWN:
        yield Wrong(f"{len(wrong) - _SHOWN} more of the kind", "as above", "ocicatctl routes")
    for text in seen.unreadable:
        yield Wrong(text, "it is left out of all that is judged", "ocicatctl ipam check")
    if not wrong:
        yield Fine(f"routes: those of {len(seen.routes)} blocks are as they should be")


def _route_mend(found: RouteFinding) -> str:
    used = found.kernel[0] if found.kernel else None
    if used and used.protocol not in (*OURS, "kernel"):
        return _delete(used)
    return "systemctl restart ocicat-bird" if found.destination.is_confirmed else _CHECK


def _delete(route: KernelRoute) -> str:
    program = "ip -6" if route.network.version == 6 else "ip"
    kind = "" if route.kind == "unicast" else f"{route.kind} "
    metric = f" metric {route.metric}" if route.metric else ""
    return f"{program} route del {kind}{route.network} proto {route.protocol}{metric}"


def stray_routes(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel has routes of ours inside of pools for which etcd has no block."""
    seen = facts.of(Cluster)
    known = [found.destination.cidr for found in seen.routes]
    stray = [
        route
        for route in seen.view.kernel.routes
        if route.protocol in OURS
        and any(pool.contains(route.network) for pool in seen.pools)
        and not any(_overlaps(route.network, cidr) for cidr in known)
    ]
    for route in stray[:_SHOWN]:
        yield Wrong(
            f"{route}: etcd has no such block",
            "packets go where no pod is; a new block of that range is not reached",
            _delete(route),
        )
    if not stray:
        yield Fine("routes: none without a block")


def _overlaps(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
