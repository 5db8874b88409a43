"""Which pools serve a request, and why the others do not.

Pure: no I/O. Decided as Calico decides it. ``ipamd/block_choice.py`` takes a block of what comes
out; ``ocicatctl ipam explain`` shows the reasons.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from datamodel.errors import Invalid
from datamodel.pool import Pool
from datamodel.selector import parse

WORKLOAD = "Workload"  # what pods need a pool to be for
TUNNEL = "Tunnel"  # the same of tunnel devices


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of a pool."""

    version: int  # the family, 4 or 6
    names: tuple[str, ...] = ()  # names or CIDRs in order of preference; none: any that selects
    use: str = WORKLOAD
    namespace_labels: Mapping[str, str] = field(default_factory=dict)  # none without a namespace
    node_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A pool that does not serve, and everything that speaks against it."""

    pool: Pool
    reason: str


def choose_pools(pools: Sequence[Pool], wanted: Wanted) -> tuple[list[Pool], list[Rejected]]:
    """The pools to try, in this order, and of the others why not.

    Pools of the other family are not mentioned. Where the request names pools, these are used in
    the order in which it names them, whatever they select and however they are assigned; the
    others are not mentioned either. Else it is every pool that selects node and namespace, by name.

    Raises:
        Invalid: a pool that the request names does not exist, or is not enabled.
    """
    family = sorted((p for p in pools if p.cidr.version == wanted.version), key=lambda p: p.name)
    if wanted.names:
        named = [_named(name, wanted.version, pools) for name in wanted.names]
        candidates = [(pool, list[str]()) for pool in dict.fromkeys(named)]
    else:
        candidates = [(pool, [*closed(pool), *_unselected(pool, wanted)]) for pool in family]
    chosen, rejected = [], []
    for pool, reasons in candidates:
        if wanted.use not in pool.allowed_uses:
            reasons.append(f"allowedUses is {', '.join(pool.allowed_uses)}")
        if reasons:
            rejected.append(Rejected(pool, ", ".join(reasons)))
        else:
            chosen.append(pool)
    return chosen, rejected


def closed(pool: Pool) -> list[str]:
    """Why nobody gets a new address of the pool, even if asked for by name."""
    facts = {
        "is disabled": pool.disabled,
        "is being deleted": pool.is_deleting,
        "is not allocatable, says its status": not pool.is_allocatable,
    }
    return [reason for reason, is_so in facts.items() if is_so]


def _unselected(pool: Pool, wanted: Wanted) -> list[str]:
    """Why the pool is not for a request that names none."""
    is_automatic = pool.assignment_mode == "Automatic"
    reasons = [] if is_automatic else [f"assignmentMode is {pool.assignment_mode}"]
    for field_name, text, labels, whose in (
        ("nodeSelector", pool.node_selector, wanted.node_labels, "this node's"),
        ("namespaceSelector", pool.namespace_selector, wanted.namespace_labels, "the namespace's"),
    ):
        try:
            if not parse(text).matches(labels):
                reasons.append(f"{field_name} {text!r} does not match {whose} labels")
        except Invalid as error:
            reasons.append(f"{field_name} cannot be read: {error}")
    return reasons


def _named(name: str, version: int, pools: Sequence[Pool]) -> Pool:
    enabled = [p for p in pools if p.cidr.version == version and not closed(p)]
    for pool in enabled:
        if _is(pool, name):
            return pool
    others = [p for p in pools if p.cidr.version != version and _is(p, name)]
    wrong = (
        f"is an IPv{others[0].cidr.version} pool" if others else "does not exist, or is not enabled"
    )
    known = ", ".join(f"{pool.name} ({pool.cidr})" for pool in enabled)
    raise Invalid(
        f"pool {name}: {wrong}; "
        f"the enabled pools are {known or 'none'}: correct ipv{version}_pools or create the pool"
    )


def _is(pool: Pool, name: str) -> bool:
    """Whether *name* is the pool's name, or its CIDR however that is written."""
    if name == pool.name:
        return True
    try:
        return "/" in name and ipaddress.ip_network(name) == pool.cidr
    except ValueError:
        return False
