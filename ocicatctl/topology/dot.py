"""The picture in the language of Graphviz, for whoever wants to lay it out anew.

Pure: no I/O.
"""

from collections.abc import Mapping

from ocicatctl.topology.cards import Bar, Card, PoolRow
from ocicatctl.topology.drawing import fit
from ocicatctl.topology.model import DOWN, UNKNOWN, UP
from ocicatctl.topology.picture import Picture, Wire

_STYLES = {UP: "solid", DOWN: "dashed", UNKNOWN: "dotted", "": "invis"}
_COLOURS = {UP: "#1a7f37", DOWN: "#cf222e", UNKNOWN: "#6e7781", "": "#6e7781"}
_FILLS = {"router": "#fff8e6", "reflector": "#f3f0ff"}
_WIDEST = 120  # characters of a text from etcd


def dot(picture: Picture) -> str:
    """The picture as a whole file of an undirected graph."""
    every = (*picture.upper, *picture.cards)
    ids = {card.key: f"n{number}" for number, card in enumerate(every)}
    lines = [
        "graph topology {",
        f"  label={_quoted(picture.title)};",
        '  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", fontname="monospace"];',
        '  edge [fontname="monospace", fontsize=10];',
        *(f"  {ids[card.key]} [{_card(card)}];" for card in every),
        *(f"  {_wire(wire, ids)};" for wire in picture.wires),
        *(f"  p{number} [{_pool(pool)}];" for number, pool in enumerate(picture.pools)),
        *(f"  // {_line(note)}" for note in picture.notes),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _card(card: Card) -> str:
    lines = [card.title, card.tag, *card.lines, *map(_bar, card.bars), card.problem]
    colour = ', color="#cf222e"' if card.problem else ""
    fill = _FILLS.get(card.kind)
    return f"label={_label(lines)}{colour}" + (f', fillcolor="{fill}"' if fill else "")


def _pool(pool: PoolRow) -> str:
    lines = [f"pool {pool.name}", _bar(pool.bar), *pool.facts]
    return f"label={_label(lines)}, shape=cylinder, style=filled"


def _bar(bar: Bar) -> str:
    return " ".join(filter(None, (bar.label, bar.value, bar.note)))


def _wire(wire: Wire, ids: Mapping[str, str]) -> str:
    a, b = (ids[end] for end in wire.ends)
    style = "solid" if wire.tunnels and not wire.state else _STYLES[wire.state]
    label = f", label={_quoted(', '.join(wire.tunnels))}" if wire.tunnels else ""
    colour = "#a98be8" if not wire.state else _COLOURS[wire.state]
    hint = _quoted(wire.text)
    return f'{a} -- {b} [style={style}, color="{colour}"{label}, tooltip={hint}]'


def _label(lines: list[str]) -> str:
    return _quoted("\n".join(filter(None, map(_line, lines))) + "\n", end=r"\l")


def _quoted(content: str, end: str = r"\n") -> str:
    """A string; a backslash would begin an escape, a line's end is written as one."""
    safe = fit(content).replace("\\", "\\\\").replace('"', r"\"")
    return '"' + safe.replace("\n", end) + '"'


def _line(content: str) -> str:
    return " ".join(fit(content[:_WIDEST]).split())
