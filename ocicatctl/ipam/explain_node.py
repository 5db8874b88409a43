"""Why a node's next address comes from where it does, or why there is none: as text and document.

Pure: no I/O. ``next_address.py`` decides.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from datamodel.affinity import Affinity
from datamodel.block import Block
from datamodel.pool import Network, Pool
from ocicatctl.ipam.next_address import Next, Request, Step
from ocicatctl.ipam.usage import Counts

Document = dict[str, Any]

_MAX_NAMED = 3  # blocks; a pool may have thousands


def no_such_node(name: str, *, is_spoilt: bool) -> Document:
    """The explanation of a node that is not registered, or whose resource nobody can read."""
    mistake = (
        "its Node resource cannot be read, so it gets no address"
        if is_spoilt
        else "has no Node resource, so it gets no address; "
        "if it was deleted by mistake, restart ipamd on it to register it again"
    )
    return {"node": name, "mistake": f"node {name}: {mistake}"}


def explain_node(request: Request, found: Next) -> Document:
    """What decides over the node's next address of one family, and what would come of it.

    Raises:
        Invalid: a pool that is asked for by name does not exist.
    """
    chosen, rejected = request.pools
    config = None if request.plan.wrong_config else request.plan.config
    verdicts = [(pool, "") for pool in chosen] + [(r.pool, r.reason) for r in rejected]
    named = {pool.name for pool, _ in verdicts}
    inside = [pool for pool, _ in verdicts]
    strays = [a for a in request.affinities if not any(p.contains(a.cidr) for p in inside)]
    return {
        "node": request.node.name,
        "family": f"IPv{request.version}",
        "strictAffinity": config and config.strict_affinity,
        "autoAllocateBlocks": config and config.auto_allocate_blocks,
        "blocksOwned": request.owned,
        "blockLimit": config and config.block_limit,
        "pools": [_pool(request, pool, reason) for pool, reason in verdicts],
        "poolsNotAskedFor": [
            pool.name
            for pool in request.plan.pools
            if pool.cidr.version == request.version and pool.name not in named
        ],
        "otherBlocks": [_own_block(request, affinity) for affinity in strays],
        "next": {
            "step": found.step.value,
            "blocks": [str(cidr) for cidr in found.blocks],
            "text": _next_text(request, found),
            "reasons": list(found.reasons),
            "error": found.error,
        },
    }


def _pool(request: Request, pool: Pool, reason: str) -> Document:
    own = [affinity for affinity in request.affinities if pool.contains(affinity.cidr)]
    return {
        "name": pool.name,
        "cidr": str(pool.cidr),
        "serves": not reason,
        "reason": reason,
        "blocks": pool.block_count,
        "blocksClaimed": sum(pool.contains(cidr) for cidr in request.claimed),
        "ownBlocks": [_own_block(request, affinity) for affinity in own],
    }


def _own_block(request: Request, affinity: Affinity) -> Document:
    block = request.read.get(affinity.cidr)
    wrong = _wrong(request, affinity, block)
    counts = None if block is None else Counts.of_block(block, request.plan.reservations)
    return {
        "cidr": str(affinity.cidr),
        "affinity": affinity.state or "confirmed",
        "mistake": wrong,
        **(counts.document if counts and not wrong else {}),
    }


def _wrong(request: Request, affinity: Affinity, block: Block | None) -> str:
    """Why the block is not the node's although it has an affinity for it; empty if it is."""
    if affinity.cidr not in request.claimed:
        return "does not exist: a claim or a release that broke off"
    if block is None:
        return "cannot be read"
    return "" if block.host == request.node.name else f"is {owner_of(block)}"


def owner_of(block: Block) -> str:
    """Whose the block is, in words."""
    return f"{block.host or block.affinity or 'nobody'}'s"


def _next_text(request: Request, found: Next) -> str:
    blocks = found.blocks
    texts = {
        Step.OWN: lambda: f"from the node's own block {blocks[0]}",
        Step.RESUME: lambda: f"from block {blocks[0]}, once the claim that broke off is finished",
        Step.CLAIM: lambda: f"from block {blocks[0]}, which nobody has and the node would claim",
        Step.RECLAIM: lambda: (
            f"from {_one_of(request, blocks)}; empty, so the node would take it over"
        ),
        Step.BORROW: lambda: f"borrowed from {_one_of(request, blocks)}",
    }
    return texts[found.step]() if found.step in texts else "none"


def _one_of(request: Request, blocks: Iterable[Network]) -> str:
    named = [f"{cidr} ({owner_of(request.read[cidr])})" for cidr in blocks]
    if len(named) == 1:
        return f"block {named[0]}"
    some = ", ".join(named[:_MAX_NAMED]) + (", …" if len(named) > _MAX_NAMED else "")
    return f"one of {len(named)} blocks: {some}"


# ---- text --------------------------------------------------------------------------------------


def node_text(document: Document) -> str:
    """The explanation for people."""
    if "mistake" in document:
        return f"{document['mistake']}\n"
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(document: Document) -> Iterator[str]:
    yield f"Node {document['node']}, {document['family']}: {_rules(document)}"
    for pool in document["pools"]:
        verdict = "serves" if pool["serves"] else f"does not serve: {pool['reason']}"
        claimed = f"{pool['blocksClaimed']:.5g} of {pool['blocks']:.5g} blocks claimed"
        yield f"  pool {pool['name']} ({pool['cidr']}): {verdict}; {claimed}"
        yield from (f"    {_block_line(block)}" for block in pool["ownBlocks"])
    if skipped := document["poolsNotAskedFor"]:
        yield f"  not asked for: {', '.join(f'pool {name}' for name in skipped)}"
    if document["otherBlocks"]:
        yield "  its blocks of other pools, which do not serve"
        yield from (f"    {_block_line(block)}" for block in document["otherBlocks"])
    yield f"  next address: {document['next']['text']}"
    yield from (f"    {reason}" for reason in document["next"]["reasons"])


def _rules(document: Mapping[str, Any]) -> str:
    if document["blockLimit"] is None:
        return "IPAM config cannot be read"
    strict = "strict affinity" if document["strictAffinity"] else "borrowing allowed"
    claims = "" if document["autoAllocateBlocks"] else ", claims no blocks (auto_allocate_blocks)"
    owned = f"{document['blocksOwned']} of at most {document['blockLimit']} blocks"
    return f"{strict}{claims}, {owned}"


def _block_line(block: Mapping[str, Any]) -> str:
    state = "" if block["affinity"] == "confirmed" else f" (affinity {block['affinity']})"
    return f"block {block['cidr']}{state}: {block['mistake'] or counts_text(block)}"


def counts_text(counts: Mapping[str, Any]) -> str:
    """How many addresses of a block are what."""
    extra = "".join(
        f", {counts[name]} {word}"
        for name, word in (("reserved", "reserved"), ("cooling", "cooling down"))
        if counts[name]
    )
    return f"{counts['free']} of {counts['total']} free{extra}"
