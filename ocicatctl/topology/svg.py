"""Draw the picture as SVG.

Pure: no I/O. The same picture gives the same bytes.
"""

from collections.abc import Iterator, Sequence

from ocicatctl.topology import drawing
from ocicatctl.topology.cards import Bar, Card, PoolRow
from ocicatctl.topology.drawing import CHARACTER, TITLE_CHARACTER, cells, fitting, number
from ocicatctl.topology.layout import Curve, Layout, curves, layout
from ocicatctl.topology.model import DOWN, STATES, UP
from ocicatctl.topology.picture import Picture, Wire
from ocicatctl.topology.style import style

MARGIN = 28
PAD = 12
LINE = 16
BAR = 6
NARROWEST, WIDEST = 176.0, 300.0
PAGE = 760.0  # the least width, for what stands below
HEAD_CHARACTER = 10.0  # of the headline, of which the font is not known
MANY_WIRES = 150  # more than these are drawn thin, and without tunnels


def svg(picture: Picture) -> str:
    """The picture as a whole SVG file."""
    every = (*picture.upper, *picture.cards)
    width = min(WIDEST, max([NARROWEST, *map(_wanted_width, every)]))
    heights = {card.key: _height(card) for card in every}
    found = layout(
        [card.key for card in picture.upper], [card.key for card in picture.cards], width, heights
    )
    page = max(PAGE, found.width + 2 * MARGIN)
    left, top = (page - found.width) / 2, 74.0
    drawn = [*_wires(picture.wires, found)]
    for card in every:
        at = found.boxes[card.key]
        drawn.append(drawing.group(_card(card, at.x, at.y, (at.width, at.height)), _hint(card)))
    below, height = _below(picture, page, top + found.height + 34)
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" '
        f'viewBox="0 0 {number(page)} {number(height)}" width="{number(page)}" '
        f'height="{number(height)}">',
        '<title id="t">Topology of an Ocicat cluster</title>',
        f'<desc id="d">{drawing.escaped(picture.description)}</desc>',
        f"<style>{style()}</style>",
        drawing.box(0.5, 0.5, (page - 1, height - 1), "page", 10),
        drawing.text(
            MARGIN, 38, fitting(picture.title, int((page - 2 * MARGIN) / HEAD_CHARACTER)), "head"
        ),
        f'<g transform="translate({number(left)} {number(top)})">',
        *drawn,
        "</g>",
        *below,
        "</svg>",
    )
    return "\n".join(whole) + "\n"


# ---- cards -------------------------------------------------------------------------------------


def _wanted_width(card: Card) -> float:
    title = cells(card.title) * TITLE_CHARACTER + (cells(card.tag) + 2) * CHARACTER
    lines = [cells(line) for line in (*card.lines, card.problem)]
    lines += [max(cells(b.label) + 2 + cells(b.value), cells(b.note)) for b in card.bars]
    return max(title, max(lines) * CHARACTER) + 2 * PAD


def _height(card: Card) -> float:
    lines = len(card.lines) + bool(card.problem)
    bars = sum(_bar_height(bar) for bar in card.bars)
    return PAD + 17 + lines * LINE + bars + PAD - 4 + (4 if card.bars else 0)


def _bar_height(bar: Bar) -> float:
    return LINE + BAR + 8 + (LINE - 2 if bar.note else 0)


def _hint(card: Card) -> str:
    lines = [card.title, card.tag, *card.lines, card.problem]
    lines += [f"{bar.label} {bar.value} {bar.note}" for bar in card.bars]
    return "\n".join(filter(None, lines))


def _card(card: Card, x: float, y: float, size: tuple[float, float]) -> Iterator[str]:
    inner = size[0] - 2 * PAD
    kind = " ".join(["card", *([card.kind] if card.kind in ("router", "reflector") else [])])
    yield drawing.box(x, y, size, f"{kind} lost" if card.problem else kind, 8)
    left, right, at = x + PAD, x + size[0] - PAD, y + PAD + 11
    room = int((inner - (cells(card.tag) + 1) * CHARACTER * bool(card.tag)) / TITLE_CHARACTER)
    yield drawing.text(left, at, fitting(card.title, room), "title")
    if card.tag:
        yield drawing.text(right, at, card.tag, "dim", "end")
    at += 3
    for line in card.lines:
        at += LINE
        yield drawing.text(left, at, fitting(line, int(inner / CHARACTER)), "dim")
    if card.problem:
        at += LINE
        yield drawing.text(left, at, fitting(card.problem, int(inner / CHARACTER)), "bad")
    at += 4
    for bar in card.bars:
        yield from _bar(bar, left, at, inner)
        at += _bar_height(bar)


def _bar(bar: Bar, x: float, y: float, width: float) -> Iterator[str]:
    """A bar below its label; *y* is where it all begins."""
    yield drawing.text(x, y + LINE, fitting(bar.label, int(width / CHARACTER) - len(bar.value) - 1))
    if bar.value:
        yield drawing.text(x + width, y + LINE, bar.value, "dim", "end")
    yield from _fill(bar, x, y + LINE + 5, width)
    if bar.note:
        note = fitting(bar.note, int(width / CHARACTER))
        yield drawing.text(x, y + 2 * LINE + BAR + 2, note, "odd" if bar.is_known else "bad")


def _fill(bar: Bar, x: float, y: float, width: float) -> Iterator[str]:
    yield drawing.box(x, y, (width, BAR), "free", BAR / 2)
    if not bar.is_known:
        return
    own = max(0.0, bar.used - bar.lent)
    for share, kind in ((own, "used"), (bar.lent, "lent"), (bar.reserved, "reserved")):
        if share:
            part = min(max(share * width, 3.0), width)  # one of very many is to be seen, too
            yield drawing.box(x, y, (part, BAR), kind, min(BAR, part) / 2)
            x += part


# ---- wires -------------------------------------------------------------------------------------


def _wires(wires: Sequence[Wire], found: Layout) -> Iterator[str]:
    led = list(zip(wires, curves([wire.ends for wire in wires], found), strict=True))
    is_dense = len(led) > MANY_WIRES
    if not is_dense:
        yield from (_tubes(wire, curve) for wire, curve in led if wire.tunnels)
    for wire, curve in sorted(led, key=lambda pair: pair[0].state == DOWN):  # above the others
        if wire.state:
            yield drawing.group(_wire(wire, curve, is_dense), wire.text)


def _tubes(wire: Wire, curve: Curve) -> str:
    tubes = (drawing.path(_points(curve), f"tube {kind}") for kind in wire.tunnels)
    return drawing.group(tubes, wire.text)


def _wire(wire: Wire, curve: Curve, is_dense: bool) -> Iterator[str]:
    thin = ' stroke-width="0.6" opacity="0.6"' if is_dense else ' stroke-width="1.8"'
    extra = thin if wire.state != DOWN else ""
    yield drawing.path(_points(curve), wire.state).replace("/>", f"{extra}/>")
    for x, y in (curve.start, curve.end):
        if wire.state == UP and not is_dense:
            yield f'<circle cx="{number(x)}" cy="{number(y)}" r="3" class="dot"/>'
    if wire.state == DOWN:
        x, y = curve.centre
        cross = f"M{number(x - 6)} {number(y - 6)}l12 12m0-12l-12 12"
        yield drawing.path(cross, "cross")


def _points(curve: Curve) -> str:
    flat = [
        f"{number(x)} {number(y)}"
        for x, y in (curve.start, curve.control_1, curve.control_2, curve.end)
    ]
    return f"M{flat[0]}C{' '.join(flat[1:])}"


# ---- below -------------------------------------------------------------------------------------


def _below(picture: Picture, page: float, y: float) -> tuple[list[str], float]:
    """Pools, what is to be said, and the key to the colours; and where it ends."""
    drawn: list[str] = []
    for pool in picture.pools:
        drawn.append(drawing.group(_pool(pool, y, page - 2 * MARGIN), pool.name))
        y += 3 * LINE + 12
    for note in picture.notes:
        line = fitting(note, int((page - 2 * MARGIN) / CHARACTER))
        drawn.append(drawing.text(MARGIN, y + LINE, line, "bad"))
        y += LINE + 2
    y += 16 if picture.notes else 4
    drawn += _key(picture, y)
    return drawn, y + 34


def _pool(pool: PoolRow, y: float, width: float) -> Iterator[str]:
    bar = pool.bar
    room = int(width / TITLE_CHARACTER) - cells(bar.label) - 40
    title = f"pool {fitting(pool.name, max(room, 16))}"
    kind = "title dim" if pool.is_disabled else "title"
    yield drawing.text(MARGIN, y + LINE, title, kind)
    yield drawing.text(MARGIN + (cells(title) + 1) * TITLE_CHARACTER, y + LINE, bar.label)
    right = f"{bar.value} in use, {bar.note}"
    yield drawing.text(MARGIN + width, y + LINE, right, "dim", "end")
    yield from _fill(bar, MARGIN, y + LINE + 6, width)
    facts = fitting(" · ".join(pool.facts), int(width / CHARACTER))
    yield drawing.text(MARGIN, y + 2 * LINE + 12, facts, "dim")


def _key(picture: Picture, y: float) -> Iterator[str]:
    """What the colours mean, of those that are there."""
    bars = [bar for card in (*picture.upper, *picture.cards) for bar in card.bars]
    bars += [pool.bar for pool in picture.pools]
    x = float(MARGIN)
    fills = {"used": "in use", "lent": "in use by others", "reserved": "reserved", "free": "free"}
    shown = [kind for kind in fills if kind == "free" or any(getattr(b, kind) for b in bars)]
    for kind in shown if bars else ():
        yield drawing.box(x, y + 7, (18, BAR), kind, BAR / 2)
        yield drawing.text(x + 24, y + 14, fills[kind], "dim")
        x += 24 + len(fills[kind]) * CHARACTER + 20
    for state in STATES:
        if any(wire.state == state for wire in picture.wires):
            label = f"session {state}"
            yield f'<path d="M{number(x)} {number(y + 10)}h24" class="{state}" stroke-width="1.8"/>'
            yield drawing.text(x + 30, y + 14, label, "dim")
            x += 30 + len(label) * CHARACTER + 20
    for kind in sorted({kind for wire in picture.wires for kind in wire.tunnels}):
        yield f'<path d="M{number(x + 5)} {number(y + 10)}h16" class="tube {kind}"/>'
        yield drawing.text(x + 32, y + 14, f"{kind} tunnel", "dim")
        x += 32 + (len(kind) + 7) * CHARACTER + 20
