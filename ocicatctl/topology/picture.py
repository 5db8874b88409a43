"""What is on the picture: cards, the wires between them, pools, and what to say below.

Pure: no I/O. How it looks is left to ``svg.py`` and ``dot.py``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ocicatctl.topology.cards import (
    Card,
    PoolRow,
    group_card,
    groups,
    node_card,
    pool_row,
    router_card,
    with_inner,
)
from ocicatctl.topology.model import (
    DOWN,
    UNKNOWN,
    UP,
    SessionEnd,
    Topology,
    session_states,
    states,
)

FEW_NODES = 12  # of these every card has room for more
MOST_NOTES = 10


@dataclass(frozen=True, slots=True)
class Wire:
    """What is between two cards: BGP sessions, tunnels, or both."""

    ends: tuple[str, str]  # keys of cards
    state: str  # of the worst session; "": there is none
    tunnels: tuple[str, ...]  # their kinds
    text: str  # for whoever points at it


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it."""

    title: str
    upper: tuple[Card, ...]  # routers and route reflectors
    cards: tuple[Card, ...]
    wires: tuple[Wire, ...]
    pools: tuple[PoolRow, ...]
    notes: tuple[str, ...]

    @property
    def description(self) -> str:
        """The same in words, for whoever cannot see it."""
        lines = [self.title]
        for card in (*self.upper, *self.cards):
            about = [card.tag, *card.lines, *(f"{b.label} {b.value}" for b in card.bars)]
            lines.append(f"{card.title}: {', '.join(filter(None, [*about, card.problem]))}")
        lines += [f"pool {p.name}: {p.bar.value}, {', '.join(p.facts)}" for p in self.pools]
        return ". ".join([*lines, *self.notes]) + "."


def picture(topology: Topology) -> Picture:
    """Decide what is on the picture."""
    is_small = len(topology.places) <= FEW_NODES
    upper = [router_card(router) for router in topology.routers]
    cards: list[Card] = []
    of: dict[str, str] = {router.name: router.name for router in topology.routers}
    for places in groups(topology.places):
        card = node_card(places[0], is_small) if len(places) == 1 else group_card(places)
        of.update(dict.fromkeys((place.name for place in places), card.key))
        (upper if card.kind == "reflector" else cards).append(card)
    sessions = _by_pair(topology.sessions, lambda s: (of[s.node], of[s.other]))
    inside = {pair[0]: states(some) for pair, some in sessions.items() if pair[0] == pair[1]}
    cards = [with_inner(card, inside.get(card.key)) for card in cards]
    return Picture(
        title=topology.summary,
        upper=tuple(upper),
        cards=tuple(cards),
        wires=_wires(topology, of, sessions),
        pools=tuple(pool_row(pool) for pool in topology.pools),
        notes=notes(topology),
    )


# ---- wires -------------------------------------------------------------------------------------

Pair = tuple[str, str]


def _by_pair(
    sessions: Iterable[SessionEnd], of: Callable[[SessionEnd], Pair]
) -> dict[Pair, list[SessionEnd]]:
    found: dict[Pair, list[SessionEnd]] = {}
    for session in sessions:
        a, b = sorted(of(session))
        found.setdefault((a, b), []).append(session)
    return found


def _wires(
    topology: Topology, of: Mapping[str, str], sessions: Mapping[Pair, Sequence[SessionEnd]]
) -> tuple[Wire, ...]:
    kinds: dict[Pair, set[str]] = {}
    for tunnel in topology.tunnels:
        a, b = sorted(of[name] for name in tunnel.nodes)
        kinds.setdefault((a, b), set()).add(tunnel.kind)
    pairs = sorted({*sessions, *kinds})
    return tuple(
        _wire(pair, sessions.get(pair, ()), tuple(sorted(kinds.get(pair, ()))))
        for pair in pairs
        if pair[0] != pair[1]
    )


def _wire(pair: Pair, sessions: Sequence[SessionEnd], kinds: tuple[str, ...]) -> Wire:
    lines = [f"{pair[0]} – {pair[1]}"]
    if len(sessions) <= MOST_NOTES:
        lines += [_end_text(end) for end in sessions]
    else:
        lines.append(states(sessions))
    lines += [f"tunnel: {kind}" for kind in kinds]
    return Wire(pair, _worst(sessions), kinds, "\n".join(lines))


def _end_text(end: SessionEnd) -> str:
    why = end.why or ("mesh" if end.is_wanted else "nothing in etcd asks for it")
    info = f" ({end.info})" if end.info else ""
    return f"{end.node} to {end.address}, {why}: {end.state}{info}"


def _worst(ends: Sequence[SessionEnd]) -> str:
    each = session_states(ends)
    return next((state for state in (DOWN, UNKNOWN, UP) if state in each), "")


# ---- what is to be said ------------------------------------------------------------------------


def notes(topology: Topology) -> tuple[str, ...]:
    """What is wrong, a line for each; not more lines than one reads."""
    found = [f"session {_end_text(end)}" for end in topology.sessions if end.state == DOWN]
    found += [
        f"session {_end_text(end)}"
        for end in topology.sessions
        if not end.is_wanted and end.state != DOWN
    ]
    for block in topology.strays:
        used = f", {block.counts.in_use}/{block.counts.total} in use" if block.counts else ""
        found.append(f"block {block.cidr} is nobody's{used}{f': {block.note}' * bool(block.note)}")
    found += topology.problems
    if not (topology.places or topology.pools):
        found.append("etcd has neither nodes nor pools; is it the cluster's?")
    more = len(found) - MOST_NOTES
    return (*found[:MOST_NOTES], f"… and {more} more") if more > 1 else tuple(found)
