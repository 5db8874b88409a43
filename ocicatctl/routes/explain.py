"""What becomes of packets to a block, or to a borrowed address, and what is wrong with that.

Pure: no I/O. The causes are looked for from etcd to the kernel: who has it, who tells of it, what
BIRD makes of it, what the kernel does. What follows from a cause that is found is not told again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bird_api.protocols import Session
from bird_api.routes import BirdRoute
from datamodel.pool import Pool
from kernel_api.lookup import BIRD, KernelHop, KernelRoute
from ocicatctl.routes.facts import TUNNELS, Destination, View, encapsulation

OURS = (BIRD, "80")  # the latter is what the route distributor itself puts there, as Felix does
DROPS = ("blackhole", "unreachable", "prohibit")
_NO_BIRD = "this node's BIRD does not answer"


@dataclass(frozen=True, slots=True)
class Finding:
    """One destination, with all that there is about it."""

    destination: Destination
    pool: Pool | None
    bird: Sequence[BirdRoute]  # for exactly it, the best one first
    kernel: Sequence[KernelRoute]  # for exactly it, the one that is used first
    problems: tuple[str, ...]


def explain(destination: Destination, view: View) -> Finding:
    """Say what this node's BIRD and kernel do with a destination, and what is wrong."""
    bird = view.bird.by_network.get(destination.cidr, ())
    kernel = view.kernel.by_network.get(destination.cidr, ())
    finding = Finding(destination, view.pool_of(destination.cidr), bird, kernel, ())
    problems = list(_claim_problems(destination, view))
    if not problems and not view.stranger:
        is_here = destination.node == view.node
        problems += _own_problems(finding, view) if is_here else _remote_problems(finding, view)
    return Finding(destination, finding.pool, bird, kernel, tuple(problems))


def session_text(session: Session) -> str:
    """How a session is, in words."""
    info = f" ({session.info})" if session.info else ""
    return f"{session.state} since {session.since}{info}"


# ---- who has it --------------------------------------------------------------------------------


def _claim_problems(destination: Destination, view: View) -> Iterator[str]:
    node, cidr = destination.node, destination.cidr
    if node is None:
        yield (
            "the block is nobody's: no node tells of it, only of single addresses that its pods "
            "still have of it"
        )
        return
    if not destination.is_borrowed and destination.affinity is None:
        yield (
            f"node {node} has no affinity for it: nobody tells of the block; "
            "see ocicatctl ipam check"
        )
    elif not destination.is_confirmed:
        yield (
            f"the affinity of node {node} is {destination.affinity}, not confirmed: nobody tells "
            "of the block; see ocicatctl ipam check"
        )
    address = view.address_of(node, cidr.version)
    if node not in view.nodes:
        yield f"node {node} is not in etcd: no node has a session with it; check that ipamd runs"
    elif (holder := view.name_of(address)) not in (None, node):
        yield (
            f"node {node} has the address {address} of node {holder}: no node can send to it; "
            "give each its own"
        )
    elif address is None:
        yield (
            f"node {node} has no IPv{cidr.version} address in etcd: no node can send to it; "
            "see ocicatctl get node"
        )


# ---- of this node ------------------------------------------------------------------------------


def _own_problems(finding: Finding, view: View) -> Iterator[str]:
    destination, kernel = finding.destination, finding.kernel
    cidr = destination.cidr
    if cidr.prefixlen < cidr.max_prefixlen:
        if not kernel:
            yield (
                f"the kernel has no blackhole for it: what is free in it goes to where the rest "
                f"goes; {_why_not_in_kernel(view)}"
            )
        elif kernel[0].kind not in DROPS:
            yield f"the kernel sends what is free in it away: {kernel[0].action}"
        return
    if not destination.is_borrowed:
        return  # of a block of one address the pod's own route is all there is
    if not _is_pod_route(kernel):
        yield (
            "the kernel has no route to a pod with this address; ocicatctl ipam check tells "
            "whether there is one"
        )
    elif finding.pool and finding.pool.disable_bgp_export:
        yield _not_exported(finding.pool)
    elif view.bird.mistake:
        yield f"nobody is told of it: {_NO_BIRD}"
    elif not finding.bird:
        yield "BIRD has not learnt it from the kernel: nobody is told of it"


def _is_pod_route(kernel: Sequence[KernelRoute]) -> bool:
    return any(hop.device.startswith("cali") for hop in (kernel[0].hops if kernel else ()))


def _why_not_in_kernel(view: View) -> str:
    if view.bird.mistake:
        return _NO_BIRD
    return "BIRD puts back within seconds what somebody removed"


# ---- of another node ---------------------------------------------------------------------------


def _remote_problems(finding: Finding, view: View) -> Iterator[str]:
    if not finding.kernel:
        yield from _missing(finding, view)
        return
    used = finding.kernel[0]
    is_unresolved = bool(finding.bird) and finding.bird[0].kind == "unreachable"
    if used.protocol not in OURS:
        yield _foreign(finding, used)
    elif used.kind == "unreachable" and is_unresolved:
        yield _unresolved(finding.bird[0])
    elif used.kind in DROPS:
        yield f"the kernel drops what goes there: {used.action}"
    else:
        yield from _hop_problems(finding, used, view)
        yield from _stale(finding, view)


def _missing(finding: Finding, view: View) -> Iterator[str]:
    """Why the kernel has no route for it."""
    destination, pool = finding.destination, finding.pool
    if pool and pool.is_contradictory:
        both = "ipipMode and vxlanMode both on, so none is used; choose one"
        what = both if pool.has_vxlan else "ipipMode on, which does not carry IPv6; take vxlanMode"
        yield f"pool {pool.name} has {what}"
        return
    device = view.tunnel(destination)
    if device and not view.kernel.links.get(device):
        state = "down" if device in view.kernel.links else "not there"
        yield f"device {device} is {state}; see ocicatctl node status"
    elif pool and encapsulation(pool)[1] == "VXLAN":
        yield from _missing_vxlan(finding, device, view)
    elif view.bird.mistake:
        yield f"the kernel has no route to it, and {_NO_BIRD}"
    elif not finding.bird:
        yield from _untold(finding, view)
    elif finding.bird[0].kind == "unreachable":
        yield _unresolved(finding.bird[0])
    else:
        yield (
            f"BIRD has a route to it ({finding.bird[0].protocol}), the kernel has none; "
            "BIRD puts back within seconds what somebody removed, else see its log"
        )


def _missing_vxlan(finding: Finding, device: str, view: View) -> Iterator[str]:
    node = view.nodes[finding.destination.node or ""]
    if device and node.vxlan_address(finding.destination.cidr.version) is None:
        yield f"node {node.name} has no address for its {device} in etcd yet; its ipamd gives it"
    else:
        yield "the kernel has no route to it; see ocicatctl node status"


def _untold(finding: Finding, view: View) -> Iterator[str]:
    """Why BIRD knows nothing of it."""
    node, version = finding.destination.node, finding.destination.cidr.version
    sessions = view.sessions_with(node, version)
    address = view.address_of(node, version)
    if finding.pool and finding.pool.disable_bgp_export:
        yield _not_exported(finding.pool)
    elif any(session.is_established for session in sessions):
        asked = (
            finding.destination.cidr.network_address if finding.destination.is_borrowed else node
        )
        yield (
            f"the session with node {node} is established, but {node} does not tell of it; "
            f"call ocicatctl routes {asked} there"
        )
    elif sessions:
        for session in sessions:
            yield f"session {session.name} with node {node} is {session_text(session)}"
    elif view.is_mesh:
        yield f"BIRD has no session with node {node} ({address}); see ocicatctl node status"
    else:
        yield (
            f"BIRD has no session with node {node} ({address}), there is no mesh, and no other "
            "peer tells of it; see ocicatctl get bgppeer"
        )


def _not_exported(pool: Pool) -> str:
    return f"pool {pool.name} has disableBGPExport: no peer is told of it"


def _unresolved(route: BirdRoute) -> str:
    next_hop = route.next_hop or "its next hop"
    return f"BIRD knows no way to {next_hop}, the next hop that {route.protocol} tells"


def _foreign(finding: Finding, used: KernelRoute) -> str:
    ours = [route for route in finding.kernel if route.protocol in OURS]
    goes = "goes before ours" if ours else "is in the way of ours"
    return f"a route of somebody else {goes}: {used.action}; remove it with ip route del"


def _hop_problems(finding: Finding, used: KernelRoute, view: View) -> Iterator[str]:
    wanted = view.tunnel(finding.destination)
    for hop in used.hops:
        if hop.is_dead:
            yield f"the kernel does not use {_way(hop)}: the link is down"
        elif (hop.device, hop.via) in view.kernel.silent:
            yield f"{hop.via} does not answer on {hop.device}: no packet leaves for it"
        if wanted and hop.device != wanted:
            yield f"it should go through {wanted} and goes through {hop.device}"
        elif not wanted and hop.device in TUNNELS.values():
            yield f"it should go without a tunnel and goes through {hop.device}"


def _way(hop: KernelHop) -> str:
    return f"{hop.via} on {hop.device}" if hop.via else hop.device


def _stale(finding: Finding, view: View) -> Iterator[str]:
    """The route of a session that is down is an old one, kept for a graceful restart."""
    if not finding.bird:
        return
    session = view.session(finding.bird[0].protocol)
    if session is not None and not session.is_established:
        yield (
            f"the route is an old one: session {session.name} is {session_text(session)}, and "
            "what it told is kept for a while"
        )
