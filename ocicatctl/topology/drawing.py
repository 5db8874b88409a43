"""SVG elements, and how wide text is.

Pure: no I/O. Texts come from etcd and may hold anything: what is no character for XML becomes
U+FFFD, the rest is escaped. Numbers have at most one decimal, so that bytes are the same anywhere.
"""

import unicodedata
from collections.abc import Iterable
from xml.sax.saxutils import escape

CHARACTER = 7.0  # the width of one in the small font, which has one for all
TITLE_CHARACTER = 8.5  # in that of titles


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "") -> str:
    """A line of text."""
    classes = f' class="{kind}"' if kind else ""
    at = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{number(x)}" y="{number(y)}"{classes}{at}>{escaped(content)}</text>'


def box(x: float, y: float, size: tuple[float, float], kind: str, radius: float = 0) -> str:
    """A rectangle of a width and a height."""
    round_ = f' rx="{number(radius)}"' if radius else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(size[0])}" '
        f'height="{number(size[1])}"{round_} class="{kind}"/>'
    )


def path(points: str, kind: str) -> str:
    """A line."""
    return f'<path d="{points}" class="{kind}"/>'


def group(content: Iterable[str], hint: str = "") -> str:
    """Several elements, with a text for whoever points at them."""
    title = f"<title>{escaped(hint)}</title>" if hint else ""
    return f"<g>{title}{''.join(content)}</g>"


def number(value: float) -> str:
    """A coordinate."""
    return f"{round(value, 1):g}"


def escaped(content: str) -> str:
    """A text as XML takes it."""
    return escape(fit(content))


def fit(content: str) -> str:
    """A text without what is no character that can be shown."""
    return "".join(c if _is_fit(c) else "\N{REPLACEMENT CHARACTER}" for c in content)


def _is_fit(character: str) -> bool:
    return character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Cn")


def cells(content: str) -> int:
    """How many characters' width a text takes; some have that of two, some none."""
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c)
        for c in content
    )


def fitting(content: str, most: int) -> str:
    """The text in one line, cut where it would be wider than so many characters."""
    line = " ".join(content.split())
    if cells(line) <= most:
        return line
    while line and cells(line) > most - 1:
        line = line[:-1]
    return f"{line}…"
