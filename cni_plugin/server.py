"""The resident CNI server: keeps the slow imports loaded and serves launchers over a Unix socket.

Edge: sockets and threads. Each call has a thread of its own for as long as it lasts: netlink calls
block in the kernel, and a thread can enter a pod's namespace.
"""

import array
import contextlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cni_plugin import skel, wire
from cni_plugin.config import Config, make_parts, read_config
from cni_plugin.parts import RELEASE_TIMEOUT_S, Parts
from datamodel.errors import OcicatError

log = logging.getLogger("cni_plugin")

# A kubelet's default limit is 110 pods; all of them may start at once.
MAX_CALLS = 128
REQUEST_TIMEOUT_S = 5.0  # for the launcher to send its request or take its answer
DRAIN_PAUSE_S = 2.0
BACKLOG = 512


def main() -> None:
    """Serve until SIGTERM or SIGINT; calls under way are finished."""
    try:
        config = read_config(os.environ)
    except OcicatError as error:
        sys.exit(f"cni_plugin: {error}")
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s %(message)s")
    parts = make_parts(config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(config, parts, stop)


def serve(config: Config, parts: Parts, stop: threading.Event) -> None:
    """Accept calls until *stop* is set."""
    listener = _listen(config.socket)
    log.info("serving socket=%s", config.socket)
    threading.Thread(target=_drain, args=(parts, stop), daemon=True).start()
    with ThreadPoolExecutor(MAX_CALLS, thread_name_prefix="call") as calls:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                calls.submit(_serve_call, connection, parts)
    listener.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(config.socket)


def _listen(path: str) -> socket.socket:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of a predecessor that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.settimeout(0.2)  # how soon a signal is noticed
    return listener


def _drain(parts: Parts, stop: threading.Event) -> None:
    """Deliver spooled releases: at once when we start, and when ipamd is back."""
    while not stop.is_set():
        try:
            delivered = parts.spool.deliver(
                lambda attachment, pod: parts.ipam.release(attachment, pod, RELEASE_TIMEOUT_S)
            )
            if delivered:
                log.info("delivered %d spooled releases", delivered)
        except (OcicatError, OSError) as error:
            log.warning("spooled releases wait: %s", error)
        stop.wait(DRAIN_PAUSE_S)


class _NothingSent(Exception):
    """The connection was closed before its first byte."""


def _serve_call(connection: socket.socket, parts: Parts) -> None:
    """Serve one launcher; whatever happens, nothing of it stays open."""
    fds: list[int] = []
    with connection:
        try:
            connection.settimeout(REQUEST_TIMEOUT_S)
            _check_peer(connection)
            header = _receive(connection, 2 * wire.LENGTH, fds)
            environment_length, stdin_length = wire.lengths(header)
            body = _receive(connection, environment_length + stdin_length, fds)
            invocation = wire.decode_request(
                body[:environment_length], body[environment_length:], fds[0] if fds else None
            )
            answer = skel.run(invocation, parts)
            _deliver(connection, answer)
        except _NothingSent:
            pass  # somebody looked whether we listen
        except (OSError, ValueError) as error:
            log.warning("call broken off: %s", error)
        except Exception:
            log.exception("bug")
        finally:
            for fd in fds:
                os.close(fd)


def _deliver(connection: socket.socket, answer: skel.Answer) -> None:
    """Send the answer; take the ADD back if the launcher does not confirm that it passed it on."""
    try:
        connection.settimeout(REQUEST_TIMEOUT_S)
        connection.sendall(wire.encode_answer(answer))
        is_received = connection.recv(1) == wire.RECEIPT
    except OSError:
        is_received = False
    if not is_received and answer.take_back:
        log.warning("the runtime did not wait for the answer: the ADD is taken back")
        answer.take_back()


def _check_peer(connection: socket.socket) -> None:
    """Only our own user (root) may call; the socket's mode says the same."""
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, uid, _ = struct.unpack("3i", credentials)
    if uid not in (0, os.geteuid()):
        raise PermissionError(f"call by uid {uid} refused")


def _receive(connection: socket.socket, count: int, fds: list[int]) -> bytes:
    """Receive exactly *count* bytes, and descriptors as they come along."""
    chunks = bytearray()
    while len(chunks) < count:
        room = socket.CMSG_SPACE(array.array("i").itemsize)
        data, ancillary, _, _ = connection.recvmsg(count - len(chunks), room)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.extend(array.array("i", payload))
        if not data:
            raise _NothingSent if not chunks else ConnectionResetError("the launcher went away")
        chunks += data
    return bytes(chunks)


if __name__ == "__main__":
    main()
