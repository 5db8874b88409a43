"""Where cards and wires are: cards around an empty middle, in which the wires run.

Pure: no I/O. So no wire crosses a card. Routers and reflectors are above; where nodes are few they
are below, else all around, clockwise. Lengths are in pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

GAP = 26  # between cards
ROW = 6  # so many nodes stand in one row below
RATIO = 1.4  # of width to height, about, where they stand all around

# Side -> the direction from a card on it into the middle.
INWARD = {"top": (0, 1), "bottom": (0, -1), "left": (1, 0), "right": (-1, 0)}


@dataclass(frozen=True, slots=True)
class Box:
    """Where a card is."""

    key: str
    side: str
    x: float
    y: float
    width: float
    height: float

    @property
    def edge(self) -> tuple[float, float]:
        """The centre of its edge towards the middle."""
        dx, dy = INWARD[self.side]
        return (
            self.x + self.width / 2 * (1 + dx),
            self.y + self.height / 2 * (1 + dy),
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """All boxes by key, and how large it is."""

    boxes: Mapping[str, Box]
    width: float
    height: float


def layout(
    upper: Sequence[str], keys: Sequence[str], width: float, heights: Mapping[str, float]
) -> Layout:
    """Place cards of one width; *heights* are by key."""
    sides = _sides(list(upper), list(keys))
    top, bottom = sides["top"], sides["bottom"]
    tall = {side: sum(heights[k] + GAP for k in sides[side]) - GAP for side in ("left", "right")}
    row = max(len(top), len(bottom), 1) * (width + GAP) - GAP
    middle = max(*tall.values(), *(_arc_depth(len(some)) for some in (top, bottom)), 0)
    left = width + 2 * GAP if sides["left"] else 0.0
    total = row + left + (width + 2 * GAP if sides["right"] else 0.0)
    top_height = max((heights[key] for key in top), default=0.0)
    middle_y = top_height + GAP * bool(top)
    bottom_y = middle_y + middle + GAP * bool(bottom)
    boxes: dict[str, Box] = {}
    for side, y in (("top", top_height), ("bottom", bottom_y)):
        some = sides[side]
        x = (total - len(some) * (width + GAP) + GAP) / 2
        for key in some:
            at = y - heights[key] if side == "top" else y
            boxes[key] = Box(key, side, x, at, width, heights[key])
            x += width + GAP
    for side, x in (("left", 0.0), ("right", total - width)):
        y = middle_y + (middle - tall[side]) / 2
        for key in sides[side]:
            boxes[key] = Box(key, side, x, y, width, heights[key])
            y += heights[key] + GAP
    height = bottom_y + max((heights[key] for key in bottom), default=0.0)
    return Layout(boxes, total, height)


def _sides(upper: list[str], keys: list[str]) -> dict[str, list[str]]:
    none: dict[str, list[str]] = {"top": upper, "right": [], "bottom": [], "left": []}
    if upper and len(keys) <= ROW:
        return {**none, "bottom": keys}
    if not upper and len(keys) <= 2 * ROW:
        half = len(keys) // 2
        return {
            **none,
            "top": keys[:half],
            "bottom": keys[half:][::-1] if half > 1 else keys[half:],
        }
    all_of_them = len(upper) + len(keys)
    side = min(range(1, all_of_them // 2), key=lambda n: abs(_ratio(all_of_them, n) - RATIO))
    on_top = max(0, math.ceil((all_of_them - 2 * side) / 2) - len(upper))
    return {
        "top": [*upper, *keys[:on_top]],
        "right": keys[on_top : on_top + side],
        "bottom": keys[on_top + side : len(keys) - side][::-1],
        "left": keys[len(keys) - side :][::-1],
    }


def _ratio(count: int, side: int) -> float:
    """Of width to height, with so many on each side; a card is about twice as wide as high."""
    return ((count - 2 * side) / 2 + 2) * 2 / (side + 2)


def _arc_depth(count: int) -> float:
    """How far into the middle the arcs between so many cards of one row reach."""
    return 90 + 34 * min(count, 8) if count else 0


# ---- wires -------------------------------------------------------------------------------------

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """A Bézier curve."""

    start: Point
    control_1: Point
    control_2: Point
    end: Point

    @property
    def centre(self) -> Point:
        """The point halfway."""
        points = zip(self.start, self.control_1, self.control_2, self.end, strict=True)
        x, y = ((a + 3 * b + 3 * c + d) / 8 for a, b, c, d in points)
        return x, y


def curves(pairs: Sequence[tuple[str, str]], found: Layout) -> list[Curve]:
    """Lead a curve through the middle for each pair of cards, in the order given.

    Where many leave a card they do in the order in which they go, so that few of them cross.
    """
    leaving: dict[str, list[tuple[tuple[float, float], int, int]]] = {}
    for number, (a, b) in enumerate(pairs):
        one, other = found.boxes[a], found.boxes[b]
        leaving.setdefault(a, []).append((_direction(one, other), number, 0))
        leaving.setdefault(b, []).append((_direction(other, one), number, 1))
    starts: dict[tuple[int, int], Point] = {}
    for key, some in leaving.items():
        for place, (_, number, end) in enumerate(sorted(some)):
            starts[number, end] = _anchor(found.boxes[key], (place + 1) / (len(some) + 1))
    return [
        _curve(found.boxes[a], starts[number, 0], found.boxes[b], starts[number, 1])
        for number, (a, b) in enumerate(pairs)
    ]


def _direction(box: Box, other: Box) -> tuple[float, float]:
    """Where another card is, along the edge: those to one end of it, the others, the other end."""
    (x, y), (to_x, to_y) = box.edge, other.edge
    dx, dy = INWARD[box.side]
    along = (to_x - x) if dx == 0 else (to_y - y)
    if box.side == other.side:  # the nearest one at the outside, its arc is below the others
        return (-2.0 if along < 0 else 2.0), -along
    away = (to_x - x) * dx + (to_y - y) * dy
    return math.atan2(along, max(away, 1.0)) / math.pi, along


def _anchor(box: Box, share: float) -> Point:
    x, y = box.edge
    if box.side in ("top", "bottom"):
        return box.x + box.width * (0.12 + 0.76 * share), y
    return x, box.y + box.height * (0.12 + 0.76 * share)


def _curve(one: Box, start: Point, other: Box, end: Point) -> Curve:
    distance = math.dist(start, end)
    depth = 40 + 0.22 * distance if one.side == other.side else 0.4 * distance
    if one.side == other.side:
        depth = min(depth, 230.0)
    first, second = INWARD[one.side], INWARD[other.side]
    return Curve(
        start,
        (start[0] + first[0] * depth, start[1] + first[1] * depth),
        (end[0] + second[0] * depth, end[1] + second[1] * depth),
        end,
    )
