"""Ties log lines to the call that they are about: its trace id, and the file for such calls.

Whatever is logged in the thread of a call gets both. stderr gets everything that the settings ask
for; stdout, on which the CNI result goes, nothing ever.
"""

import logging
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from cni_plugin import log_file
from cni_plugin.log_conf import LogConf
from cni_plugin.log_file import LogFiles

OURS = "cni_plugin"  # the loggers of this package
STDERR_FORMAT = "%(levelname)s %(name)s %(message)s"  # journald knows when
_LEVELS = logging.getLevelNamesMapping()
FILE_FORMAT = f"%(asctime)s.%(msecs)03d {STDERR_FORMAT}"
# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace, parent, flags.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(slots=True)
class _Call:
    trace_id: str
    conf: LogConf | None = None  # not known before the configuration is read


_current: ContextVar[_Call | None] = ContextVar("call", default=None)


@contextmanager
def following(environment: Mapping[str, str]) -> Iterator[None]:
    """Log what is done within as done for the call of this environment."""
    token = _current.set(_Call(trace_id_of(environment.get("TRACEPARENT", ""))))
    try:
        yield
    finally:
        _current.reset(token)


def trace_id() -> str:
    """The trace of the current call; "" outside of one."""
    call = _current.get()
    return call.trace_id if call else ""


def log_to(conf: LogConf | None) -> None:
    """From now on log the current call to this file, too."""
    call = _current.get()
    if call is not None:
        call.conf = conf
        if conf and conf.level == "DEBUG":  # not before somebody wants to read it: it costs time
            logging.getLogger(OURS).setLevel(logging.DEBUG)


def trace_id_of(traceparent: str) -> str:
    """The runtime's trace, or one of our own: 32 hex digits."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1] if match else uuid.uuid4().hex


def set_up(level: str) -> None:
    """Log to stderr from *level* on, and calls to their files as their configurations say."""
    stderr = logging.StreamHandler()
    stderr.setLevel(level)
    stderr.setFormatter(_Formatter(STDERR_FORMAT))
    logging.basicConfig(level=level, handlers=[stderr])
    # A configuration may want to know more of its calls than stderr is told.
    ours = logging.getLogger(OURS)
    ours.setLevel(min(logging.INFO, _LEVELS[level]))
    ours.addHandler(FileHandler())


class _Formatter(logging.Formatter):
    """Ends every line with the trace id of the call that it is about."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line, whatever a caller has put into the names that it shows."""
        return super().formatMessage(record).replace("\n", "\\n")

    def format(self, record: logging.LogRecord) -> str:
        call, text = _current.get(), super().format(record)
        return f"{text} trace={call.trace_id}" if call else text


class FileHandler(logging.Handler):
    """Writes the lines of a call to the file of its configuration."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(_Formatter(FILE_FORMAT, "%Y-%m-%d %H:%M:%S"))
        self._files = LogFiles()

    def createLock(self) -> None:
        """Have none: a slow disk holds up the calls that are logged there, and no other."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or several if it has a traceback."""
        call = _current.get()
        if call is None or call.conf is None or record.levelno < _LEVELS[call.conf.level]:
            return
        if record.name != log_file.__name__:  # what it says of a file cannot go there
            self._files.write(call.conf, self.format(record))
