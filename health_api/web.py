"""Serves a daemon's metrics and health over HTTP.

Edge: HTTP, in threads of their own, so that they answer whatever the daemon does. docs/metrics.md
says what is at which path.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from datamodel.errors import Invalid, OcicatError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

LOOP_TIMEOUT_S = 5.0  # a snapshot of a large cluster takes a tenth of a second
SEND_TIMEOUT_S = 10.0  # who does not take his answer must not keep a thread

# Says what is wrong, nothing if all is well; raises an OcicatError if it cannot find out.
Check = Callable[[], str]


class WebServer:
    """Serves until ``stop``, or until the process ends."""

    def __init__(
        self,
        setting: str,
        address: tuple[str, int],
        registry: CollectorRegistry,
        checks: dict[str, Check],
    ) -> None:
        """Serve the metrics, and what *checks* say at their paths, from now on.

        Args:
            setting: the environment variable that the address is from, for the error.
            address: an IP address, and a port; 0: any that is free.
            registry: what is shown at every path that has no check.
            checks: path → what is asked there, in a thread of its own.

        Raises:
            Invalid: nobody can serve there.
        """
        host, port = address
        metrics = make_wsgi_app(registry)

        def serve(environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
            check = checks.get(environ["PATH_INFO"])
            if check is None:
                served: Iterable[bytes] = metrics(environ, start)
                return served
            return _told(check, start)

        kind = _IPv6Server if ":" in host else _Server
        try:
            self._server = make_server(host, port, serve, kind, _Handler)
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise Invalid(
                f"{setting} {where}: {error.strerror or error}; "
                "take an address of this host and a port that is free"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port: int = self._server.server_port

    def stop(self) -> None:
        """Serve no more; takes up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As inherited it asks DNS for a name that nobody needs, and may wait long for it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()


class _IPv6Server(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = SEND_TIMEOUT_S

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def _told(check: Check, start: "StartResponse") -> Iterable[bytes]:
    try:
        wrong = check()
    except OcicatError as error:
        wrong = str(error)
    start("503 Service Unavailable" if wrong else "200 OK", [("Content-Type", "text/plain")])
    return [f"{wrong or 'ok'}\n".encode()]


def loop_check(
    loop: asyncio.AbstractEventLoop,
    ask: Check = lambda: "",
    timeout_s: float = LOOP_TIMEOUT_S,
) -> Check:
    """Make a check of whether an event loop still gets round to its work.

    Args:
        loop: the daemon's.
        ask: what to ask on it, where nothing changes meanwhile.
        timeout_s: so long the loop may be busy with something else.
    """

    async def answer() -> str:
        return ask()

    def check() -> str:
        work = answer()
        try:
            asking = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:
            work.close()
            return "the event loop has ended"
        try:
            return asking.result(timeout_s)
        except TimeoutError:
            asking.cancel()
            return "the event loop is stuck"

    return check
