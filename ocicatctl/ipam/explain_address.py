"""Who holds an address, or why nobody does: as text and document.

Pure: no I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment
from datamodel.block import Address, Attribute, Block
from datamodel.endpoint import WorkloadEndpoint
from datamodel.pool import Network, Pool
from ocicatctl.ipam.explain_node import Document, counts_text, node_text, owner_of
from ocicatctl.ipam.holder import as_time
from ocicatctl.ipam.plan import Plan
from ocicatctl.ipam.usage import Counts

HELD, COOLING, FREE, UNCLAIMED, UNKNOWN = "held", "cooling", "free", "unclaimed", "unknown"


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What etcd says about one address."""

    address: Address
    plan: Plan  # with the address's block
    block: Network | None  # the block that has it, if one is there
    affinity: Affinity | None  # of the block's node for the block
    endpoints: Sequence[WorkloadEndpoint]  # that list it

    @property
    def read(self) -> Block | None:
        """The block, if it can be read."""
        return next((b for b in self.plan.blocks if b.cidr == self.block), None)

    @property
    def holder(self) -> Attribute | None:
        """Who holds the address; one that cools down is held by nobody."""
        found = self.read.holder_of(self.address) if self.read else None
        return found if found and found.released_at is None else None

    @property
    def pool(self) -> Pool | None:
        """The pool that has the address, enabled or not."""
        return next((p for p in self.plan.pools if self.address in p.cidr), None)

    @property
    def concerned(self) -> str | None:
        """The node whose next address is of interest with this one."""
        if self.holder and self.holder.node:
            return self.holder.node
        return self.read.host if self.read else None


def explain_address(facts: AddressFacts) -> Document:
    """Everything that etcd says about it; the node concerned is added by the caller."""
    holder, pool = facts.holder, facts.pool
    released_at = _released_at(facts)
    return {
        "address": str(facts.address),
        "state": _state(facts),
        "reasons": [] if holder else list(_reasons(facts)),
        "holder": None if holder is None else _holder(facts, holder),
        "releasedAt": released_at and as_time(released_at),
        "endpoints": [_endpoint(endpoint) for endpoint in facts.endpoints],
        "block": _block(facts),
        "pool": None
        if pool is None
        else {"name": pool.name, "cidr": str(pool.cidr), "disabled": pool.disabled},
        "notes": list(_notes(facts)),
    }


def _state(facts: AddressFacts) -> str:
    if facts.block is None:
        return UNCLAIMED
    if facts.read is None:
        return UNKNOWN
    if facts.holder:
        return HELD
    return COOLING if _released_at(facts) else FREE


def _released_at(facts: AddressFacts) -> datetime | None:
    found = facts.read.holder_of(facts.address) if facts.read else None
    return found.released_at if found else None


# ---- why nobody holds it -----------------------------------------------------------------------


def _reasons(facts: AddressFacts) -> Iterator[str]:
    if released_at := _released_at(facts):
        rest = timedelta(seconds=facts.plan.config.ip_cooldown_s)
        yield (
            f"it was released at {as_time(released_at)} and cools down until "
            f"{as_time(released_at + rest)}"
        )
    pool = facts.pool
    if pool is None:
        yield "it is in no pool"
    elif pool.disabled:
        yield f"{pool} is disabled"
    if facts.address in facts.plan.reservations:
        yield "it is reserved by an IPReservation: only who asks for just this one gets it"
    if facts.block is None:
        if pool and not pool.disabled:
            yield (
                f"its block {pool.block_of(facts.address)} is nobody's yet: the first node that "
                f"{pool.name} selects and that needs one may claim it"
            )
    elif facts.read is None:
        yield f"block {facts.block} cannot be read: nobody can say who holds it"
    else:
        yield _block_reason(facts, facts.read)


def _block_reason(facts: AddressFacts, block: Block) -> str:
    strict = facts.plan.config.strict_affinity
    if block.affinity is None:
        others = "" if strict else ", and any node may borrow of it when its own blocks are full"
        return f"block {block.cidr} is nobody's: no node has it for its own{others}"
    others = "nobody else gives out its addresses"
    if not strict:
        others = "others take its addresses only when their own blocks have no room"
    before = _before(facts, block)
    place = "" if before is None else f"; {before} of them are given out before this one"
    return f"block {block.cidr} is {owner_of(block)}: {others}{place}"


def _before(facts: AddressFacts, block: Block) -> int | None:
    """How many addresses the block gives out first; ``None`` if it never gives out this one."""
    reserved = facts.plan.reservations.ordinals(block.cidr)
    queue = [ordinal for ordinal in block.unallocated if ordinal not in reserved]
    ordinal = block.ordinal(facts.address)
    return queue.index(ordinal) if ordinal in queue else None


# ---- who holds it ------------------------------------------------------------------------------


def _holder(facts: AddressFacts, holder: Attribute) -> Document:
    known = holder.secondary or {}
    attachment = Attachment.of_handle(holder.handle_id or "")
    block = facts.read
    assert block is not None
    return {
        "handle": holder.handle_id,
        "namespace": known.get("namespace"),
        "pod": known.get("pod"),
        "network": attachment and attachment.network,
        "containerID": attachment and attachment.container_id,
        "interface": attachment and attachment.ifname,
        "node": holder.node,
        "type": known.get("type"),
        "since": known.get("timestamp"),
        "sequenceNumber": block.sequence_numbers.get(block.ordinal(facts.address) or 0, 0),
        "isBorrowed": holder.node is not None and holder.node != block.host,
        "attributes": dict(sorted(known.items())),
    }


def _endpoint(endpoint: WorkloadEndpoint) -> Document:
    return {
        "namespace": endpoint.id.namespace,
        "name": endpoint.id.name,
        "node": endpoint.id.node,
        "workload": endpoint.id.workload,
        "containerID": endpoint.container_id,
        "interface": endpoint.interface_name,
    }


def _block(facts: AddressFacts) -> Document | None:
    if facts.block is None:
        return None
    block = facts.read
    if block is None:
        return {"cidr": str(facts.block)}
    return {
        "cidr": str(block.cidr),
        "owner": owner_of(block),
        "node": block.host,
        "affinity": (facts.affinity.state or "confirmed") if facts.affinity else None,
        **Counts.of_block(block, facts.plan.reservations).document,
    }


def _notes(facts: AddressFacts) -> Iterator[str]:
    """What does not fit together."""
    holder, block = facts.holder, facts.read
    if block and block.host and not facts.affinity:
        yield f"node {block.host} has no affinity for block {block.cidr}: no peer has a route to it"
    elif facts.affinity and not facts.affinity.is_confirmed:
        yield f"the affinity is {facts.affinity.state}: no peer has a route to the block"
    if len(facts.endpoints) > 1:
        yield f"{len(facts.endpoints)} workload endpoints list it: only one can be right"
    if holder is None:
        if facts.endpoints and _state(facts) != UNKNOWN:
            yield "a workload endpoint lists it though nobody holds it; see ocicatctl ipam check"
        return
    attachment = Attachment.of_handle(holder.handle_id or "")
    if attachment and not facts.endpoints and "type" not in (holder.secondary or {}):
        yield "no workload endpoint lists it: it is leaked, or another plugin wires the container"
    for endpoint in facts.endpoints:
        if attachment and endpoint.container_id not in ("", attachment.container_id):
            yield (
                f"the endpoint is of container {endpoint.container_id}, "
                f"the address of {attachment.container_id}"
            )


# ---- text --------------------------------------------------------------------------------------


def address_text(document: Document) -> str:
    """The explanation for people."""
    return "".join(f"{line}\n" for line in _lines(document)) + _nodes_text(document)


def _lines(document: Document) -> Iterator[str]:
    holder, pool = document["holder"], document["pool"]
    yield f"{document['address']} {_headline(document)}"
    yield from (f"  because {reason}" for reason in document["reasons"])
    if holder:
        yield f"  handle     {holder['handle'] or '<none>'}"
        if holder["containerID"]:
            yield f"  container  {holder['containerID']}, {holder['interface']}"
    for endpoint in document["endpoints"]:
        link = f", link {endpoint['interface']}" if endpoint["interface"] else ""
        yield f"  endpoint   {endpoint['namespace']}/{endpoint['name']}{link}"
    if document["block"]:
        yield f"  block      {_block_text(document['block'])}"
    if holder:
        yield f"  borrowed   {'yes' if holder['isBorrowed'] else 'no'}"
    disabled = ", disabled" if pool and pool["disabled"] else ""
    yield f"  pool       {pool['name']} ({pool['cidr']}){disabled}" if pool else "  pool       none"
    yield from (f"  note       {note}" for note in document["notes"])


def _headline(document: Document) -> str:
    holder: Mapping[str, Any] | None = document["holder"]
    if holder is None:
        return "may be held or not" if document["state"] == UNKNOWN else "is held by nobody"
    if holder["pod"]:
        who = f"by pod {holder['namespace'] or ''}/{holder['pod']}"
    elif holder["type"]:
        who = f"as {holder['type']}"
    else:
        who = f"by {holder['handle'] or 'somebody without a handle'}"
    where = f" on node {holder['node']}" if holder["node"] else ""
    since = f" since {holder['since']}" if holder["since"] else ""
    return f"is held {who}{where}{since}"


def _block_text(block: Mapping[str, Any]) -> str:
    if "owner" not in block:
        return f"{block['cidr']}, which cannot be read"
    affinity = f", affinity {block['affinity']}" if block["affinity"] else ""
    return f"{block['cidr']}, {block['owner']}{affinity}: {counts_text(block)}"


def _nodes_text(document: Document) -> str:
    return "".join(f"\n{node_text(node)}" for node in document.get("nodes", ()))
