"""The commands that the pages show, and those in the commands' own --help.

A fenced block is read in one of two ways. Where a line begins with ``$ `` it is a session: a
command, then what it prints; a line ``…`` stands for any lines. Else, if its language is that of a
shell, or it has none and begins with a word that ``commands.py`` knows, it is a script: it is run
as a whole, or not at all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

from ocicatctl.__main__ import ocicatctl

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
SHELLS = ("sh", "bash", "shell", "console")

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)
COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_AHEAD = re.compile(r"sudo|\w+=\S*")
_INLINE = re.compile(r"`(?:\$ )?(ocicatctl [^`]+)`")
_DRAWING = re.compile(r"[\u2500-\u257f▶◀▲▼]")
_PLACEHOLDER = re.compile(r"[\[\]|<>…]|\.\.\.|\b[A-Z]{1,}\b|-f$|\$")


@dataclass(frozen=True, slots=True)
class Example:
    """A command, and what the page says that it prints."""

    page: str
    line: int
    command: str
    output: tuple[str, ...] | None = None  # None: the page does not say

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Block:
    """The commands of a block: they are called one after the other."""

    examples: tuple[Example, ...]
    files: tuple[tuple[str, str], ...] = ()  # that the block shows with cat

    def __str__(self) -> str:
        return str(self.examples[0])


@cache
def pages() -> tuple[Path, ...]:
    """Every page."""
    return (*(ROOT / name for name in PAGES), *sorted((ROOT / "docs").rglob("*.md")))


@dataclass(frozen=True, slots=True)
class Fence:
    """A fenced block as it stands on a page."""

    page: str
    line: int  # of its first line of text
    language: str
    text: str


def fences() -> Iterator[Fence]:
    """Every fenced block of every page."""
    for path in pages():
        text = path.read_text()
        for match in _FENCE.finditer(text):
            indent, body = match["indent"], match["text"]
            lines = [line.removeprefix(indent) for line in body.splitlines()]
            line = text.count("\n", 0, match.start()) + 2
            yield Fence(str(path.relative_to(ROOT)), line, match["language"], "\n".join(lines))


def manifests() -> dict[str, str]:
    """The YAML of Calico's resources on all pages, by where it stands."""
    return {
        f"{fence.page}:{fence.line}": fence.text
        for fence in fences()
        if fence.language == "yaml" and "apiVersion: projectcalico.org/v3" in fence.text
    }


def blocks(known: frozenset[str]) -> tuple[Block, ...]:
    """The blocks of commands on all pages, and of --help; *known* are first words of commands."""
    found = [block for fence in fences() if (block := _block(fence, known))]
    return (*found, *_helps())


def _block(fence: Fence, known: frozenset[str]) -> Block | None:
    if fence.language not in ("", *SHELLS):
        return None
    if re.search(r"^\$ ", fence.text, re.MULTILINE):
        return _session(fence)
    first = next((w for w in COMMENT.sub("", fence.text).split() if not _AHEAD.fullmatch(w)), "")
    if fence.language == "" and _DRAWING.search(fence.text):
        return None
    if fence.language not in SHELLS and first.removeprefix(".venv/bin/") not in known:
        return None
    return Block((Example(fence.page, fence.line, fence.text),))


def _session(fence: Fence) -> Block | None:
    examples: list[Example] = []
    files: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", fence.text, flags=re.MULTILINE)[1:]:
        line = fence.line + fence.text.count("\n", 0, fence.text.index(f"$ {part}"))
        lines = part.splitlines()
        length = next(i for i, text in enumerate(lines, 1) if not text.endswith("\\"))
        command, output = "\n".join(lines[:length]), tuple(lines[length:])
        if named := re.fullmatch(r"cat (\S+)", command):
            files.append((named[1], "\n".join(output) + "\n"))
        else:
            shown = output if any(text.strip() for text in output) else None
            examples.append(Example(fence.page, line, command, shown))
    return Block(tuple(examples), tuple(files)) if examples else None


def _helps() -> Iterator[Block]:
    for name, command in all_commands():
        examples = re.search(
            r"^Examples?:\n(.+?)(?:\n\n|\n\x08|\Z)", command.epilog or "", re.MULTILINE | re.DOTALL
        )
        for line in examples[1].splitlines() if examples else ():
            yield Block((Example(f"{name} --help", 0, line.strip()),))


def all_commands(
    group: click.Group = ocicatctl, name: str = "ocicatctl"
) -> Iterator[tuple[str, click.Command]]:
    """ocicatctl and everything below it, by the words that one types."""
    yield name, group
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{name} {word}")
        elif command is not None:
            yield f"{name} {word}", command


def inline() -> dict[str, str]:
    """Commands of ocicatctl within sentences, as they could be typed, by where they stand."""
    return {
        f"{path.relative_to(ROOT)}: {text}": text
        for path in pages()
        for text in _INLINE.findall(path.read_text())
        if not _PLACEHOLDER.search(text)
    }
