"""Text tables laid out as calicoctl lays them out.

Pure: no I/O. Every line of the result ends with a newline. Scripts that cut calicoctl's columns
work on ours, so blanks at the end of a line are part of the layout.
"""

import re
from collections.abc import Iterable, Sequence

Row = Sequence[str]

_MIN_WIDTH = 5  # of a column, gap included
_GAP = 3
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def columns(header: Row, rows: Sequence[Row]) -> str:
    """Lay out plain columns, each as wide as its longest cell and a gap, the last one too."""
    lines = (header, *rows)
    widths = [max(_MIN_WIDTH, width + _GAP) for width in _widths(lines)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n"
        for line in lines
    )


def box(header: Row, rows: Sequence[Row]) -> str:
    """Draw a box: the header in capitals and centred, plain numbers to the right, else left."""
    header = [cell.upper() for cell in header]
    widths = _widths((header, *rows))
    rule = "+" + "".join("-" * (width + 2) + "+" for width in widths)
    lines = [
        rule,
        _boxed(_centred(cell, width) for cell, width in zip(header, widths, strict=True)),
        rule,
        *(_boxed(_aligned(c, width) for c, width in zip(row, widths, strict=True)) for row in rows),
        *([rule] if rows else []),
    ]
    return "".join(line + "\n" for line in lines)


def _widths(lines: Sequence[Row]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]


def _boxed(cells: Iterable[str]) -> str:
    return "|" + "".join(f" {cell} |" for cell in cells)


def _aligned(cell: str, width: int) -> str:
    return cell.rjust(width) if _NUMBER.fullmatch(cell) else cell.ljust(width)


def _centred(cell: str, width: int) -> str:
    # str.center puts the odd blank now left, now right; here it is always on the right.
    left = (width - len(cell)) // 2
    return (" " * left + cell).ljust(width)
