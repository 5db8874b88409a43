"""Lines in files of a directory: appended to the newest, the oldest deleted for room.

Edge: files. Nothing is forced to disk (no fsync): what was written survives the death of this
process at any moment, but not a power failure of the next half minute. A torn line is the reader's
to skip. Nothing is remembered between two calls, so that whatever somebody does to the directory
is noticed by the next one.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

SEGMENTS = 4  # files that share the room; a quarter of it is lost when the oldest goes
_NAME = re.compile(r"[0-9]{8}\.jsonl")


class Segments:
    """A log that never takes more than *max_bytes*."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._limit = max_bytes // SEGMENTS

    def size(self) -> int:
        """How many bytes are there.

        Raises:
            OSError: nobody can tell.
        """
        return sum(size for _, size in self._found())

    def lines(self) -> Iterator[bytes]:
        """Yield every line, oldest first, without its end.

        Raises:
            OSError: they cannot be read.
        """
        for data in self.texts():
            yield from data.splitlines()

    def texts(self) -> Iterator[bytes]:
        """Yield the lines of one file after the other, oldest first.

        Raises:
            OSError: they cannot be read.
        """
        for number, _ in self._found():
            with contextlib.suppress(FileNotFoundError):  # the oldest may just have gone
                yield self._path(number).read_bytes()

    def append(self, lines: Sequence[bytes]) -> None:
        """Write *lines*, each with its end.

        Raises:
            OSError: not all of them were written; some may have been.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._found() or [(1, 0)]
        rest = list(lines)
        while rest:
            number, size = found[-1]
            count = _fitting(rest, self._limit - size)
            if not count and size:
                found.append((number + 1, 0))
                continue
            count = max(count, 1)
            portion = b"".join(rest[:count])
            self._make_room(found, len(portion) + 1)
            _append(self._path(number), portion)
            found[-1] = (number, size + len(portion))
            rest = rest[count:]

    def _make_room(self, found: list[tuple[int, int]], wanted: int) -> None:
        """Delete the oldest, never the newest."""
        while len(found) > 1 and sum(size for _, size in found) + wanted > self._max_bytes:
            number, _ = found.pop(0)
            self._path(number).unlink(missing_ok=True)

    def _found(self) -> list[tuple[int, int]]:
        """Number and size of every file, oldest first."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.directory) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        found.append((int(entry.name[:8]), entry.stat().st_size))
        return sorted(found)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:08d}.jsonl"


def _fitting(lines: Sequence[bytes], room: int) -> int:
    """How many of *lines*, from the first, fit in."""
    for i, line in enumerate(lines):
        room -= len(line)
        if room < 0:
            return i
    return len(lines)


def _append(path: Path, data: bytes) -> None:
    """Write all of *data* behind what is there, or leave it as it was."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(file).st_size
        is_torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        text = b"\n" + data if is_torn else data
        try:
            if os.write(file, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
