"""What stands on the cards of the picture, and in the rows of its pools.

Pure: no I/O. More than 50 nodes are put into groups: those of an AS and a subnet share a card.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_interface

from ocicatctl.ipam.usage import Counts
from ocicatctl.routes.facts import encapsulation_text
from ocicatctl.topology.model import BlockFill, Place, PoolFill, Router

MOST_CARDS = 50
MOST_GROUPS = 24
MOST_OWNERS = 4  # of borrowed addresses, and BGPPeers that lead to a router


@dataclass(frozen=True, slots=True)
class Bar:
    """How full something is: parts of one, the rest is free."""

    label: str
    value: str
    used: float = 0.0
    lent: float = 0.0  # of what is used
    reserved: float = 0.0
    note: str = ""
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class Card:
    """A node, a router outside, or several nodes."""

    key: str
    kind: str  # "node", "reflector", "router" or "group"
    title: str
    tag: str = ""  # beside the title
    lines: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool below the picture."""

    bar: Bar
    name: str
    facts: tuple[str, ...]
    is_disabled: bool


def groups(places: Sequence[Place]) -> list[list[Place]]:
    """Which nodes share a card: none, unless there are too many."""
    if len(places) <= MOST_CARDS:
        return [[place] for place in places]
    keys: tuple[Callable[[Place], str], ...] = (
        lambda p: f"{p.as_number} {_subnet(p)} {p.cluster_id}",
        lambda p: f"{p.as_number} {p.cluster_id}",
        lambda p: str(bool(p.cluster_id)),
    )
    found = [_by(key, places) for key in keys]
    return next((some for some in found if len(some) <= MOST_GROUPS), found[-1])


def _by(key: Callable[[Place], str], places: Sequence[Place]) -> list[list[Place]]:
    found: dict[str, list[Place]] = {}
    for place in places:
        found.setdefault(key(place), []).append(place)
    return list(found.values())


def _subnet(place: Place) -> str:
    return str(ip_interface(place.addresses[0]).network) if place.addresses else ""


def node_card(place: Place, is_small: bool) -> Card:
    """The card of one node; of few nodes each has room for more."""
    lines = [*place.addresses]
    if place.cluster_id:
        lines.append(f"reflects, cluster {place.cluster_id}")
    lines += [f"{device} {address}" for device, address in place.tunnels]
    lines += [f"borrows {count} of {owner}" for owner, count in place.borrowed[:MOST_OWNERS]]
    return Card(
        key=place.name,
        kind="reflector" if place.cluster_id else "node",
        title=place.name,
        tag=f"AS {place.as_number}" if place.as_number else "",
        lines=tuple(lines),
        bars=_bars(place.blocks, 6 if is_small else 3),
        problem=place.problem,
    )


def group_card(places: Sequence[Place]) -> Card:
    """The card that several nodes share."""
    first = places[0]
    subnets = {_subnet(place) for place in places if place.addresses}
    wrong = sum(bool(place.problem) for place in places)
    return Card(
        key=first.name,
        kind="reflector" if all(place.cluster_id for place in places) else "group",
        title=f"{len(places)} nodes",
        tag=f"AS {first.as_number}" if len({p.as_number for p in places}) == 1 else "",
        lines=(f"{first.name} …", f"… {places[-1].name}", *(subnets if len(subnets) == 1 else ())),
        bars=_bars([block for place in places for block in place.blocks], 1),
        problem=f"{wrong} with problems" if wrong else "",
    )


def router_card(router: Router) -> Card:
    """The card of a router outside."""
    return Card(
        key=router.name,
        kind="router",
        title=str(router.address),
        tag=f"AS {router.as_number}" if router.as_number else "",
        lines=("router outside", *(f"BGPPeer {name}" for name in router.peers[:MOST_OWNERS])),
    )


def with_inner(card: Card, inner: str | None) -> Card:
    """The card of a group with what there is to tell of its nodes' sessions with each other."""
    if inner is None:
        return card
    return replace(card, lines=(*card.lines, "among them:", inner))


def _bars(blocks: Sequence[BlockFill], most: int) -> tuple[Bar, ...]:
    if len(blocks) <= most:
        return tuple(_block_bar(block) for block in blocks)
    shown, rest = blocks[: most - 1], blocks[most - 1 :]
    known = [block for block in rest if block.counts]
    sums = Counts(
        total=sum(b.counts.total for b in known if b.counts),
        in_use=sum(b.counts.in_use for b in known if b.counts),
        reserved=sum(b.counts.reserved for b in known if b.counts),
        free=sum(b.counts.free for b in known if b.counts),
    )
    label = f"{len(rest)} more blocks" if shown else f"{len(rest)} blocks"
    unusual = sum(bool(block.note) for block in rest)
    note = f"unusual: {unusual}" if unusual else ""
    lent = sum(block.lent_count for block in rest)
    return (*(_block_bar(block) for block in shown), _bar(label, sums, lent, note))


def _block_bar(block: BlockFill) -> Bar:
    if block.counts is None:
        return Bar(str(block.cidr), "", note=block.note, is_known=False)
    notes = [block.note, *(f"{count} lent to {node}" for node, count in block.lent)]
    return _bar(str(block.cidr), block.counts, block.lent_count, "; ".join(filter(None, notes)))


def _bar(label: str, counts: Counts, lent: int, note: str) -> Bar:
    total = counts.total or 1
    return Bar(
        label=label,
        value=f"{counts.in_use}/{counts.total}",
        used=counts.in_use / total,
        lent=min(lent, counts.in_use) / total,
        reserved=max(0, counts.total - counts.in_use - counts.free) / total,
        note=note,
    )


def pool_row(fill: PoolFill) -> PoolRow:
    """What is told of a pool."""
    pool = fill.pool
    blocks = f"{fill.block_count} of {pool.block_count} blocks"
    facts = [
        f"blocks of /{pool.block_size}",
        "no tunnel" if not fill.tunnel else encapsulation_text(pool),
        "NAT" if pool.nat_outgoing else "no NAT",
        "disabled" if pool.disabled else "",
        "not told by BGP" if pool.disable_bgp_export else "",
        "" if pool.node_selector in ("", "all()") else f"nodes: {pool.node_selector}",
        "by hand only" if pool.assignment_mode == "Manual" else "",
        "contradicts itself: two tunnels" if pool.is_contradictory else "",
    ]
    bar = _bar(str(pool.cidr), fill.counts, 0, blocks)
    return PoolRow(bar, pool.name, tuple(filter(None, facts)), pool.disabled)
