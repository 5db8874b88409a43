"""Give BIRD commands over its control socket, as birdc does.

Edge: BIRD's Unix socket. Blocking: on an event loop call it in a thread. It never waits longer
than its deadline.
"""

import socket
import time
from types import TracebackType
from typing import Self

from bird_api.reply import ERRORS, Reply, parse_line
from datamodel.errors import Invalid, Unavailable

TIMEOUT_S = 5.0
MAX_REPLY_BYTES = 16 * 1024 * 1024  # a full table of routes has far less


class Refused(Invalid):
    """BIRD refuses a command, or does not know it; ``code`` says why."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class BirdControl:
    """A connection to one BIRD; use it in a ``with`` statement."""

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unread = b""

    def __enter__(self) -> Self:
        """Connect and read BIRD's greeting.

        Raises:
            Unavailable: nobody listens there, or BIRD does not greet in time.
        """
        try:
            deadline = time.monotonic() + self._timeout_s
            self._socket.settimeout(self._timeout_s)
            self._socket.connect(self._path)
            self._answer(deadline)
        except OSError as error:
            self._socket.close()
            raise self._unavailable(error) from error
        except BaseException:  # what __enter__ leaves by raising, __exit__ never sees
            self._socket.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def command(self, text: str) -> list[Reply]:
        """Send one command and return the lines of BIRD's answer.

        Raises:
            Refused: BIRD refuses the command (8xxx) or does not know it (9xxx).
            Invalid: the command, or the answer, is none.
            Unavailable: no whole answer before the deadline, or BIRD is gone. The connection is
                of no more use, and whether the command was carried out is unknown.
        """
        if "\n" in text:
            raise Invalid(f"BIRD command {text!r}: has more than one line")
        deadline = time.monotonic() + self._timeout_s
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(text.encode() + b"\n")
            replies = self._answer(deadline)
        except OSError as error:
            raise self._unavailable(error) from error
        if replies[-1].code >= ERRORS:
            last = replies[-1]
            raise Refused(f"BIRD {self._path}: {text}: {last.text}", last.code)
        return replies

    def _answer(self, deadline: float) -> list[Reply]:
        replies: list[Reply] = []
        size = 0
        is_last = False
        while not is_last:
            line = self._line(deadline)
            size += len(line)
            if size > MAX_REPLY_BYTES:
                raise Invalid(f"BIRD {self._path}: answer is longer than {MAX_REPLY_BYTES} bytes")
            try:
                reply, is_last = parse_line(line, replies[-1] if replies else None)
            except Invalid as error:
                raise Invalid(f"BIRD {self._path}: {error}") from error
            if reply is not None:
                replies.append(reply)
        return replies

    def _line(self, deadline: float) -> str:
        while b"\n" not in self._unread:
            # The deadline is for the whole answer: a BIRD that trickles must not hold us forever.
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError
            self._socket.settimeout(remaining)
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("BIRD closed the connection")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace")

    def _unavailable(self, error: OSError) -> Unavailable:
        if isinstance(error, TimeoutError):
            what = f"no answer within {self._timeout_s:g} s"
        else:
            what = error.strerror or str(error)
        return Unavailable(f"BIRD {self._path}: {what}; is bird running with -s {self._path}?")
