"""Appends lines to the log files that network configurations name, and puts full ones aside.

Edge: files. Nothing is kept open between two lines, so any number of configurations, processes and
outside log rotators may share a file. Whatever goes wrong is told once and fails nothing.
"""

import contextlib
import fcntl
import logging
import os
import re
import stat
import time
from datetime import UTC, datetime

from cni_plugin.log_conf import LogConf

log = logging.getLogger(__name__)

TIDY_PERIOD_S = 3600  # how often what is too old is looked for
MAX_KNOWN = 100  # files of which we remember something

# Not through a link: /dev/stdout and /proc/self/fd/1 are links, and stdout is for the CNI result.
# Not blocking: a FIFO without a reader would be waited for.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STAMP = "%Y-%m-%dT%H-%M-%S"


class LogFiles:
    """All log files; each is opened for a line and closed again."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}  # path → what was told last
        self._tidied: dict[str, float] = {}  # path → when

    def write(self, conf: LogConf, line: str) -> None:
        """Append a line. Never raises for what the file system does."""
        try:
            _append(conf, f"{line}\n".encode(errors="backslashreplace"))
            self._tidy_at_times(conf)
            self._note(conf.path, "")
        except OSError as error:
            self._note(conf.path, error.strerror or str(error))

    def _tidy_at_times(self, conf: LogConf) -> None:
        now = time.monotonic()
        if now - self._tidied.get(conf.path, -TIDY_PERIOD_S) < TIDY_PERIOD_S:
            return
        if len(self._tidied) >= MAX_KNOWN:
            self._tidied.clear()
        self._tidied[conf.path] = now
        tidy(conf)

    def _note(self, path: str, trouble: str) -> None:
        """Tell only what is new."""
        if trouble == self._troubles.get(path, ""):
            return
        if len(self._troubles) >= MAX_KNOWN:
            self._troubles.clear()
        if trouble:
            self._troubles[path] = trouble
            log.warning("log file %s: cannot be written: %s", path, trouble)
        else:
            del self._troubles[path]
            log.info("log file %s: is written again", path)


def _append(conf: LogConf, line: bytes) -> None:
    fd = _open(conf.path)
    try:
        size = os.fstat(fd).st_size
        if size and size + len(line) > conf.max_bytes and _put_aside(conf, fd):
            os.close(fd)
            fd = _open(conf.path)
        while line:
            line = line[os.write(fd, line) :]
    finally:
        os.close(fd)


def _open(path: str) -> int:
    try:
        fd = os.open(path, _FLAGS, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        fd = os.open(path, _FLAGS, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("is not a regular file")
    return fd


def _put_aside(conf: LogConf, fd: int) -> bool:
    """Rename the full file *fd*; tell whether there is room for a new one now.

    While another call or process is at it, lines go on into the full one.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(fd), os.stat(conf.path)):
            os.rename(conf.path, _aside(conf.path))
            tidy(conf)
    return True


def _aside(path: str) -> str:
    """The name of a full file, as Calico's: ``cni-2026-08-22T13-33-20.123.log`` for ``cni.log``."""
    stem, extension = os.path.splitext(path)
    while True:
        now = datetime.now(UTC)
        name = f"{stem}-{now.strftime(_STAMP)}.{now.microsecond // 1000:03}{extension}"
        if not os.path.lexists(name):
            return name


def tidy(conf: LogConf) -> None:
    """Remove the files put aside that are too old or too many; Calico's compressed ones too."""
    directory, name = os.path.split(conf.path)
    stem, extension = os.path.splitext(name)
    ours = re.compile(
        rf"{re.escape(stem)}-(\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d)\.\d{{3}}{re.escape(extension)}"
        r"(\.gz|\.zst)?"
    )
    aside = sorted((m for n in os.listdir(directory) if (m := ours.fullmatch(n))), key=_name)
    oldest = datetime.fromtimestamp(time.time() - conf.max_age_s, UTC).strftime(_STAMP)
    newest = {match[0] for match in aside[-conf.max_count :]}
    for match in aside:
        if match[0] not in newest or match[1] < oldest:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, match[0]))


def _name(match: re.Match[str]) -> str:
    return match[0]
