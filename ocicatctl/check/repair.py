"""Which problems can be mended, by which transactions, and why that is safe.

Pure: no I/O. What cannot be proven is not mended but said. Never touched: values that cannot be
read, addresses of which we do not know what they are for, and whatever somebody uses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from datamodel.affinity import Affinity
from datastore import codec, keys
from datastore.store import MAX_OPERATIONS
from ocicatctl.check.draft import Action, Draft
from ocicatctl.check.findings import Findings
from ocicatctl.check.problem import Kind, Problem
from ocicatctl.check.release import judge


@dataclass(frozen=True, slots=True)
class Left:
    """A problem that is not mended, and why not or what would have to be so."""

    problem: Problem
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order, and what is left."""

    actions: tuple[Action, ...]
    left: tuple[Left, ...]


def plan(findings: Findings) -> Plan:
    """Decide about every problem."""
    draft = Draft(findings.cluster, findings.now)
    actions: list[Action] = []
    left: list[Left] = []
    for kind, repair in _REPAIRS.items():
        for problem in findings.of(kind):
            outcome = repair(findings, draft, problem)
            if isinstance(outcome, Action):
                actions.append(outcome)
            elif outcome:
                left.append(Left(problem, outcome))
    left += [Left(p, _NO_REPAIR[p.kind]) for p in findings.problems if p.kind in _NO_REPAIR]
    return Plan(tuple(actions), tuple(left))


# What a repair decides: an action, why there is none, or that none is needed any more.
_Outcome = Action | str | None
_Repair = Callable[[Findings, Draft, Problem], _Outcome]


# ---- blocks and addresses ----------------------------------------------------------------------


def _rewrite(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    assert problem.cidr is not None
    if not draft.is_sound(problem.cidr):
        return "the block does not say who holds some addresses, or since when one is free"
    block = draft.block(problem.cidr)
    assert block is not None
    return Action(
        draft.change(blocks=[block]),
        f"rewrite {problem.subject}: {problem.what}",
        "its allocations are complete and stay as they are; queue and attributes follow from "
        "them, with the queue in the order that it has",
    )


def _release(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    handle_id = problem.name
    if handle_id in draft.released:
        return None
    if not handle_id:
        return "nobody says whose it is; see ipam release"
    verdict = judge(findings.cluster, findings.links, handle_id, findings.now)
    if not verdict.is_proven:
        return f"cannot be proven to be unused: {verdict.why}"
    holdings = findings.cluster.held_by[handle_id]
    changed = []
    for cidr in dict.fromkeys(holding.cidr for holding in holdings):
        block = draft.block(cidr)
        assert block is not None
        released, _ = block.release(
            handle_id, now=findings.now, cooldown_s=findings.cluster.cooldown_s
        )
        changed.append(released)
    gone = [keys.handle(handle_id), *([verdict.endpoint] if verdict.endpoint else [])]
    if len(changed) + len(gone) + len(verdict.guards) > MAX_OPERATIONS:
        return "its addresses are in more blocks than one transaction takes"
    change = draft.change(blocks=changed, delete=gone, guards=verdict.guards)
    draft.released.add(handle_id)
    told = ", ".join(f"{h.address} (sequence number {h.sequence})" for h in holdings)
    return Action(change, f"release {told} of {handle_id}", verdict.why)


def _disown(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    cidr, host = problem.cidr, problem.name
    assert cidr is not None
    block = draft.block(cidr)
    if block is None:
        return None  # it went with its last address
    if not draft.is_sound(cidr):
        return "the block does not say who holds some addresses"
    key, node = keys.affinity(host, cidr), keys.node(host)
    affinity = [] if key in findings.cluster.unreadable else [key]
    proof = f"there is no node {host}, and none may appear meanwhile"
    if block.is_unused:
        change = draft.change(drop=[cidr], delete=affinity, guards=[node])
        return Action(change, f"delete {problem.subject}", f"{proof}; nobody holds an address")
    change = draft.change(blocks=[replace(block, affinity=None)], delete=affinity, guards=[node])
    return Action(
        change,
        f"make {problem.subject} nobody's",
        f"{proof}; the {block.in_use} addresses that are held stay held",
    )


def _drop_empty(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    cidr = problem.cidr
    assert cidr is not None
    block = draft.block(cidr)
    if block is None:
        return None
    if not (draft.is_sound(cidr) and block.affinity is None and block.is_empty):
        return "the block is not what it was"
    return Action(
        draft.change(drop=[cidr]), f"delete {problem.subject}", "nobody owns it or holds an address"
    )


# ---- affinities --------------------------------------------------------------------------------


def _drop_affinity(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    assert problem.cidr is not None
    key = keys.affinity(problem.name, problem.cidr)
    change = draft.change(delete=[key], guards=[keys.block(problem.cidr)])
    proof = f"{problem.what}, and what is not the block's word has no effect but a wrong route"
    return Action(change, f"delete {problem.subject}", proof)


def _confirm(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    """Have the owner that the block names own it; no half-done claim or release then succeeds."""
    host, cidr = problem.name, problem.cidr
    assert cidr is not None
    block = draft.block(cidr)
    if block is None:
        return None
    if not draft.is_sound(cidr):
        return "the block does not say who holds some addresses"
    key = keys.affinity(host, cidr)
    affinity = codec.encode_affinity(Affinity(host, cidr), findings.cluster.value(key))
    change = draft.change(
        blocks=[block],
        put={key: affinity},
        guards=[keys.node(host)],
    )
    return Action(
        change,
        f"write affinity {host} {cidr} as confirmed, and the block anew",
        f"the block itself says that it belongs to node {host}, which exists; "
        "whoever is releasing it finds the block changed and gives up",
    )


# ---- handles -----------------------------------------------------------------------------------


def _recount(findings: Findings, draft: Draft, problem: Problem) -> _Outcome:
    handle_id, cluster = problem.name, findings.cluster
    if handle_id in draft.released:
        return None
    if "/" in handle_id or "\r" in handle_id:
        return "its name has a character with which no other reader finds it"
    key = keys.handle(handle_id)
    named = {*(cluster.handles.get(handle_id) or {}), *cluster.counts(handle_id)}
    guards = {keys.block(cidr) for cidr in named}
    for cidr in named:
        if not draft.is_sound(cidr):
            return f"block {cidr} does not say who holds some addresses"
    if len(guards) >= MAX_OPERATIONS:
        return "its blocks are more than one transaction takes"
    held = draft.counts(handle_id)
    if held:
        change = draft.change(
            put={key: codec.encode_handle(held, cluster.value(key))}, guards=guards
        )
        told = ", ".join(f"{n} in {cidr}" for cidr, n in held.items())
        proof = "it is only a count; the blocks say what is held and stay as they are"
        return Action(change, f"write {problem.subject} as holding {told}", proof)
    proof = "no block names it; those that it counts do not, and stay as they are"
    return Action(draft.change(delete=[key], guards=guards), f"delete {problem.subject}", proof)


# In the order in which they are done: what a block says is put right before what rests on it.
_REPAIRS: Mapping[Kind, _Repair] = {
    Kind.INVALID_BLOCK: _rewrite,
    Kind.LEAKED_ADDRESS: _release,
    Kind.NO_LINK: _release,
    Kind.AFFINITY_WITHOUT_BLOCK: _drop_affinity,
    Kind.STALE_AFFINITY: _drop_affinity,
    Kind.NO_SUCH_NODE: _disown,
    Kind.EMPTY_BLOCK: _drop_empty,
    Kind.BLOCK_WITHOUT_AFFINITY: _confirm,
    Kind.UNCONFIRMED_AFFINITY: _confirm,
    Kind.LEAKED_HANDLE: _recount,
    Kind.MISCOUNTED_HANDLE: _recount,
    Kind.MISSING_HANDLE: _recount,
}

_NO_REPAIR: Mapping[Kind, str] = {
    Kind.UNREADABLE: "nobody can say what it was to mean; write it anew or delete it",
    Kind.HIDDEN_HANDLE: "it is not one of ours",
    Kind.NO_CLUSTER_INFORMATION: "a start of ipamd writes it",
    Kind.BLOCK_OUTSIDE_POOLS: "only an operator knows whether pool or block is wrong",
    Kind.WRONG_BLOCK_SIZE: "the size of a block in use cannot be changed; drain its node",
    Kind.OUTSIDE_POOLS: "it is in use",
    Kind.NOT_ALLOCATED: "it is in use; ipamd records what a link of its node has",
    Kind.USED_TWICE: "both are in use",
    Kind.HELD_TWICE: "it may be in use",
    Kind.USED_WHILE_COOLING: "it is in use",
    Kind.NODE_WITHOUT_ADDRESS: "only the node knows its address",
    Kind.SHARED_NODE_ADDRESS: "only an operator knows which node is gone",
    Kind.UNRECORDED_LINK: "it is in use; its ipamd is about to record it",
    Kind.STOLEN_ADDRESS: "it is in use",
}
