"""A watch of the Kubernetes API: one long answer, an event a line.

Edge: the socket of the answer. Blocking; ``close`` may be called from another thread and ends what
waits.
"""

import contextlib
import http.client
import socket
import threading
import time

from datamodel.errors import Unavailable
from kube_api.answer import Event, event_of
from kube_api.connection import Stream

MAX_LINE = 8 << 20
_PART = 1 << 16


class Watch:
    """The events of one kind, from one version on."""

    def __init__(
        self,
        about: str,
        sock: socket.socket,
        stream: Stream,
        response: http.client.HTTPResponse,
    ) -> None:
        self._about = about
        self._sock = sock
        self._stream = stream
        self._response = response
        self._rest = b""  # the beginning of a line
        self._reading = threading.Lock()

    def read(self, timeout_s: float) -> list[Event] | None:
        """Wait for the next events and return those that have come; ``None``: it has ended.

        The API ends every watch after a while. One whose other side has died without a word is
        found out only by the deadline: the API tells something every minute.

        Raises:
            Expired: the API has forgotten where we are.
            Unavailable: it breaks off, or nothing comes in time.
            Invalid: something else than events comes.
        """
        with self._reading:
            return self._read(timeout_s)

    def _read(self, timeout_s: float) -> list[Event] | None:
        self._stream.end = time.monotonic() + timeout_s
        while True:
            part = self._part(timeout_s)
            if not part:
                if self._rest:
                    raise Unavailable(f"{self._about}: its watch breaks off in the middle")
                return None
            *lines, self._rest = (self._rest + part).split(b"\n")
            if len(self._rest) > MAX_LINE:
                raise Unavailable(f"{self._about}: an event is longer than {MAX_LINE} bytes")
            if events := [event_of(self._about, line) for line in lines if line.strip()]:
                return events

    def close(self) -> None:
        """End it, and whoever waits for it."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # of TLS, too, only the socket
        # Who reads must have left it before its number can become that of another connection.
        with self._reading:
            self._sock.close()

    def _part(self, timeout_s: float) -> bytes:
        try:
            return self._response.read1(_PART)
        except TimeoutError as error:
            message = f"its watch tells nothing for {timeout_s:g} s"
            raise Unavailable(f"{self._about}: {message}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last when closed
            message = f"its watch breaks off: {str(error) or type(error).__name__}"
            raise Unavailable(f"{self._about}: {message}") from error
