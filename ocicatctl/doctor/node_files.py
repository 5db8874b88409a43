"""The node's files and processes, as far as the doctor reads them.

Edge: files, /proc. What is not there, or cannot be read, is empty.
"""

import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from datamodel.errors import Invalid
from ocicatctl.doctor.settings import Settings
from ocicatctl.install.disk import Disk


class NodeFiles:
    """A node's file system, wherever it is mounted; paths are those on the node."""

    def __init__(self, settings: Settings) -> None:
        self.disk = Disk(settings.root, settings.state_dir)
        self._root = settings.root

    def text(self, path: str) -> str | None:
        """What is in a file; ``None``: nobody can read it."""
        try:
            return self.at(path).read_text(errors="replace")
        except (OSError, Invalid):
            return None

    def at(self, path: str) -> Path:
        """Where a path of the node is for us, links followed."""
        return self.disk.at(path, follows=True)

    def names(self, directory: str) -> list[str]:
        """What is in a directory, sorted."""
        try:
            return sorted(self.disk.names(directory))
        except (OSError, Invalid):
            return []

    def texts(self, *patterns: str) -> list[tuple[str, str]]:
        """Path and content of every file that one of the globs names, each glob's sorted."""
        found = []
        for pattern in patterns:
            parent, name = os.path.split(pattern)
            paths = [
                str(PurePosixPath(parent, entry))
                for entry in self.names(parent)
                if fnmatch(entry, name)
            ]
            found += [(path, text) for path in paths if (text := self.text(path)) is not None]
        return found

    def processes(self) -> Mapping[str, list[str]]:
        """The command line of a process of each name; the kernel cuts names off at 15 bytes."""
        return dict(self._processes())

    def _processes(self) -> Iterator[tuple[str, list[str]]]:
        proc = self._root / "proc" if (self._root / "proc/1").exists() else Path("/proc")
        for directory in sorted(proc.iterdir()):
            if not directory.name.isdecimal():
                continue
            try:
                line = (directory / "cmdline").read_bytes()
                name = (directory / "comm").read_text().strip()
            except OSError:
                continue  # ended meanwhile
            yield name, [part.decode(errors="replace") for part in line.split(b"\0") if part]
