"""Whether what a handle holds may be released: only if it is proven that nobody uses it.

Pure: no I/O. There are two proofs. The kernel of the node, asked just now, has no link of the
container; or the node does not exist any more, and no endpoint either. Everything else stays.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime

from datamodel.attachment import Attachment
from datamodel.attribute import DELEGATED, GATEWAY, GATEWAY_HANDLE
from datamodel.block import Address
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datastore import codec, keys
from ocicatctl.check.cluster import Cluster, Holding
from ocicatctl.check.kernel import GRACE, Links, made_at, made_in

# What we know the meaning of. An address of which more is said may be somebody's in a way that we
# cannot judge: a virtual machine keeps its address while it is stopped.
_FACTS = frozenset({"pod", "namespace", "node", "timestamp", "boot", "netns"})
_TUNNELS = {
    GATEWAY: GATEWAY_HANDLE,  # a node's as well, and gone with it
    "ipipTunnelAddress": "ipip-tunnel-addr-",
    "vxlanTunnelAddress": "vxlan-tunnel-addr-",
    "vxlanV6TunnelAddress": "vxlan-v6-tunnel-addr-",
    "wireguardTunnelAddress": "wireguard-tunnel-addr-",
    "wireguardV6TunnelAddress": "wireguard-v6-tunnel-addr-",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is proven, and how; or what would have to be so."""

    is_proven: bool
    why: str
    guards: frozenset[str] = frozenset()  # keys on which the proof rests, besides the blocks
    endpoint: str | None = None  # the key of the container's own endpoint, which goes with it


def judge(cluster: Cluster, links: Links | None, handle_id: str, now: datetime) -> Verdict:
    """Tell whether everything that *handle_id* holds may be released."""
    holdings = cluster.held_by[handle_id]
    if cluster.handles.get(handle_id, {}) is None:
        return Verdict(False, f"handle {handle_id} cannot be read; delete it first")
    first = holdings[0]
    node, attachment = first.fact("node"), Attachment.of_handle(handle_id)
    own = _own_endpoint(cluster, first, attachment)
    if doubt := _doubt(cluster, links, holdings, own):
        return Verdict(False, doubt)
    if attachment is None and not _is_tunnel(first):
        return Verdict(False, "its handle is not one of a container or a tunnel")
    made = made_at(first)
    if made is not None and now - made < GRACE:
        return Verdict(False, f"it is younger than {GRACE.seconds} s; run this again later")
    endpoint = _endpoint_key(first, attachment)
    if node not in cluster.nodes:
        if own:
            return Verdict(False, f"node {node} is gone, its endpoint is not; see node delete")
        why = f"node {node} does not exist any more, and no endpoint or tunnel has the address"
        return Verdict(True, why, frozenset({keys.node(node), *endpoint}))
    why, is_proven = _of_kernel(links, first, attachment)
    return Verdict(is_proven, why, frozenset(endpoint), own) if is_proven else Verdict(False, why)


def _own_endpoint(cluster: Cluster, holding: Holding, attachment: Attachment | None) -> str | None:
    """The key of the endpoint that was written for this very container, if it is there."""
    for key in _endpoint_key(holding, attachment):
        entry = cluster.entries.get(key)
        with contextlib.suppress(Invalid):
            if entry and attachment:
                endpoint = codec.decode_endpoint(key, entry.value)
                return key if endpoint.container_id == attachment.container_id else None
    return None


def _doubt(cluster: Cluster, links: Links | None, holdings: list[Holding], own: str | None) -> str:
    """What speaks against any release; empty: nothing does."""
    first = holdings[0]
    itself = [f"Workload({own.removeprefix(keys.ENDPOINTS)})"] if own else []
    for holding in holdings:
        users = cluster.users.get(holding.address)
        if users and users != itself:
            return f"{users[0]} uses {holding.address}, which the same handle holds"
        if len(cluster.held[holding.address]) > 1:
            return f"{holding.address} is held in two blocks"
        if not cluster.blocks[holding.cidr].is_sound:
            return f"block {holding.cidr} does not say who holds some of its addresses"
        if link := _linked(links, holding.address):
            return f"link {link} has it; only its endpoint is missing: restart the pod"
        if holding.fact("node") != first.fact("node"):
            return "its addresses are of several nodes"
        if not _is_known(holding):
            return "nobody here knows what such an address is for"
    if unreadable := sorted(k for k in cluster.unreadable if k.startswith(keys.ENDPOINTS)):
        return f"{unreadable[0]} cannot be read and may be the endpoint that uses it; mend that"
    return ""


def _linked(links: Links | None, address: Address) -> str:
    link = links.by_address.get(address) if links else None
    return link.interface_name if link else ""


def _is_known(holding: Holding) -> bool:
    facts, attribute = holding.attribute.secondary or {}, holding.attribute
    has_more = any(value for name, value in attribute.extra.items())
    is_delegated = facts.get("type") == DELEGATED
    is_container = facts.keys() <= (_FACTS | {"type"} if is_delegated else _FACTS)
    return bool(facts.get("node")) and not has_more and (is_container or _is_tunnel(holding))


def _is_tunnel(holding: Holding) -> bool:
    """Whether it is exactly what Calico writes for the tunnel of a node."""
    facts = holding.attribute.secondary or {}
    prefix = _TUNNELS.get(facts.get("type", ""))
    is_named_so = prefix is not None and holding.handle_id == f"{prefix}{facts.get('node')}"
    return is_named_so and facts.keys() <= {*_FACTS, "type"}


def _endpoint_key(holding: Holding, attachment: Attachment | None) -> tuple[str, ...]:
    """The endpoint that whoever uses the address again would write with it."""
    if attachment is None:
        return ()
    pod = holding.attribute.pod
    where = EndpointId.of(holding.fact("node"), attachment, pod)
    return (keys.endpoint(where.namespace, where.name),)


def _of_kernel(
    links: Links | None, holding: Holding, attachment: Attachment | None
) -> tuple[str, bool]:
    """What the node's kernel says, and whether it is a proof."""
    node, kernel, made = holding.fact("node"), made_in(holding), made_at(holding)
    if attachment is None:
        return f"it is the tunnel's of node {node}, which exists; its ipamd frees it", False
    if kernel is None:
        return "nobody noted in which kernel its link is, if it has one; see ipam release", False
    if links is None or links.node != node:
        return f"only the kernel of node {node} can prove it; run this there, with ipamd up", False
    if made is None:
        return "nobody noted when it was allocated", False
    here = links.report.kernel
    if kernel.boot_id != here.boot_id:
        return f"its link was made before {node} was booted, and no link outlives that", True
    if kernel.netns != here.netns:
        return "its link is in another network namespace than the CNI server looks at", False
    if not links.report.is_complete:
        return f"the kernel of {node} did not list all its links; run this again", False
    if link := links.by_digest.get(attachment.digest):
        return f"link {link.interface_name} is its container's", False
    return (
        f"the kernel of {node}, asked just now, has no link of its container; no other endpoint "
        f"and no tunnel has the address, and it was allocated more than {GRACE.seconds} s ago",
        True,
    )
