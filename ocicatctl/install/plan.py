"""Decides what install and uninstall do with each file, by record and disk.

Pure: no I/O. Nothing foreign is ever destroyed: it is left, or kept beside ours and put back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePosixPath

from ocicatctl.install.manifest import Entry, Manifest
from ocicatctl.install.wanted import File


def temporary(path: str) -> str:
    """Where a file is written before it is renamed; no runtime or daemon reads such a name."""
    return str(PurePosixPath(path).with_name(f".{PurePosixPath(path).name}.ocicat-new"))


def original(path: str) -> str:
    """Where the foreign file is kept that ours replaces."""
    return f"{path}.before-ocicat"


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the disk at a path; the defaults: nothing."""

    exists: bool = False
    is_directory: bool = False
    digest: str | None = None  # None: not a regular file
    mode: int = 0
    has_original: bool = False  # something is at original(path) ...
    is_original: bool = False  # ... and it is this very file: install was killed between two steps


class Putting(Enum):
    """What install does with a file."""

    INSTALLED = auto()
    RENEWED = auto()
    REPLACED = auto()
    UNCHANGED = auto()
    KEPT = auto()
    LEFT = auto()


CHANGES = (Putting.INSTALLED, Putting.RENEWED, Putting.REPLACED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What install does; if there are mistakes, nothing."""

    puttings: Mapping[str, Putting]
    mistakes: tuple[str, ...]
    during: Manifest  # recorded before the first change
    after: Manifest  # recorded when all is in place


def plan(
    files: Sequence[File],
    found: Mapping[str, Found],
    missing: Sequence[str],
    manifest: Manifest,
    *,
    replaces: bool,
) -> Plan:
    """Decide on every file.

    Args:
        found: what is on the disk at each file's path.
        missing: directories that have to be made, outer ones first.
        replaces: foreign files make way.
    """
    puttings: dict[str, Putting] = {}
    mistakes = []
    wanted = {file.path for file in files}
    during = {path: entry for path, entry in manifest.files.items() if path not in wanted}
    after = dict(during)
    for file in files:
        entry = manifest.files.get(file.path)
        what = _putting(file, found[file.path], entry, replaces=replaces)
        if isinstance(what, str):
            mistakes.append(f"{file.path}: {what}")
            continue
        puttings[file.path] = what
        has_original = what is Putting.REPLACED or (entry is not None and entry.has_original)
        now = Entry(frozenset({file.digest}), has_original)
        if what in CHANGES:
            before = entry.digests if entry else frozenset()
            during[file.path] = Entry(before | now.digests, has_original)
            after[file.path] = now
        elif entry:
            during[file.path] = entry
            after[file.path] = now if what is Putting.UNCHANGED else entry
    new = tuple(path for path in missing if path not in manifest.directories)
    directories = manifest.directories + new
    return Plan(
        puttings, tuple(mistakes), Manifest(during, directories), Manifest(after, directories)
    )


_OVERWRITTEN = "was changed since it was installed; move it away, then call this again"


def _putting(file: File, found: Found, entry: Entry | None, *, replaces: bool) -> Putting | str:
    """What to do, or why it cannot be done."""
    if not found.exists:
        return Putting.INSTALLED
    if found.is_directory:
        return "is a directory; move it away"
    if (found.digest, found.mode) == (file.digest, file.mode):
        return Putting.UNCHANGED
    if file.is_operators and not (entry and found.digest in entry.digests - {file.digest}):
        return Putting.LEFT
    if entry and found.digest in entry.digests:
        return Putting.RENEWED
    if entry and found.is_original:
        return Putting.REPLACED  # goes on where it was killed
    if entry and _was_put(entry, found):
        return _OVERWRITTEN if file.is_launcher or file.is_interpreter else Putting.KEPT
    beside = original(file.path)
    if not replaces:
        return f"is not ours; with --replace it is kept as {beside} until uninstall"
    if found.has_original:
        return f"cannot be kept: {beside} is there already; move that away"
    return Putting.REPLACED


class Removing(Enum):
    """What uninstall does with a file."""

    REMOVED = auto()
    RESTORED = auto()
    UNTOUCHED = auto()  # install never came to it, or uninstall is done with it
    KEPT = auto()


def removing(entry: Entry, found: Found) -> Removing:
    """Decide what becomes of an installed file."""
    if found.is_original:
        return Removing.UNTOUCHED
    if found.exists and found.digest not in entry.digests:
        return Removing.KEPT if _was_put(entry, found) else Removing.UNTOUCHED
    if entry.has_original and found.has_original:
        return Removing.RESTORED
    return Removing.REMOVED if found.exists else Removing.UNTOUCHED


def _was_put(entry: Entry, found: Found) -> bool:
    """Whether ours was at a path where something else is now.

    It was not if it was to replace something of which no copy has been kept.
    """
    return found.has_original or not entry.has_original
