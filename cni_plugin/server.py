"""The resident CNI server: keeps the slow imports loaded and serves launchers over a Unix socket.

Edge: sockets and threads. Each call has a thread of its own for as long as it lasts: netlink calls
block in the kernel, and a thread can enter a pod's namespace.
"""

import array
import contextlib
import errno
import logging
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cni_plugin import call_log, skel, wire
from cni_plugin.config import Config, make_parts, metered, read_config
from cni_plugin.deletions import Deletions
from cni_plugin.health import Pulse
from cni_plugin.parts import RELEASE_TIMEOUT_S, Parts
from cni_plugin.reporter import reporting
from datamodel.errors import OcicatError

log = logging.getLogger("cni_plugin")

# A kubelet's default limit is 110 pods; all of them may start at once.
MAX_CALLS = 128
# Open at once for a call: connection, two netlink sockets, two namespaces, a file; with room.
FDS_PER_CALL = 8
FDS_OF_OURS = 64
# For the launcher to send what it has read, or to take its answer: microseconds, unless hundreds of
# processes want the processor at once.
REQUEST_TIMEOUT_S = 20.0
DRAIN_PAUSE_S = 2.0
BACKLOG = 512
ACCEPT_PAUSE_S = 0.05


def main() -> None:
    """Serve until SIGTERM or SIGINT; calls under way are finished."""
    try:
        config = read_config(os.environ)
        # As long as all threads may be busy with callers that send and take as slowly as they may.
        pulse = Pulse(3 * REQUEST_TIMEOUT_S + config.del_timeout_s)
        parts = metered(make_parts(config), config, pulse)
    except OcicatError as error:
        sys.exit(f"cni_plugin: {error}")
    call_log.set_up(config.log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(config, parts, stop, pulse)


def serve(config: Config, parts: Parts, stop: threading.Event, pulse: Pulse) -> None:
    """Accept calls until *stop* is set; then serve those that wait, and end."""
    limit = min(MAX_CALLS, max(1, (_raise_file_limit() - FDS_OF_OURS) // FDS_PER_CALL))
    listener, name = _listen(config.socket)
    log.info("serving socket=%s pods=%s", config.socket, parts.pods or "not asked")
    threading.Thread(target=_drain, args=(parts, stop), daemon=True).start()
    # As many calls as there are threads; the others wait in the backlog, without a descriptor here.
    room = threading.BoundedSemaphore(limit)
    with (
        reporting(parts.ipam),
        Deletions(parts.meter.count_deletion) as deletions,
        ThreadPoolExecutor(limit, thread_name_prefix="call") as calls,
    ):
        sharing = replace(parts, delete_link=deletions.delete)

        def accept() -> bool:
            try:
                room.acquire()
                connection, _ = listener.accept()
            except OSError as error:  # nobody comes, or there is no descriptor left for him
                room.release()
                if not isinstance(error, TimeoutError):
                    log.warning("accept: %s", error)
                    time.sleep(ACCEPT_PAUSE_S)
                return False
            calls.submit(_serve_call, connection, sharing).add_done_callback(
                lambda _: room.release()
            )
            return True

        while not stop.is_set():
            pulse.beat()
            accept()
        _remove_name(config.socket, name)  # from now on launchers serve themselves
        while accept():
            pass
        listener.close()


def _raise_file_limit() -> int:
    """Allow as many open descriptors as we may have; return how many that are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _remove_name(path: str, ours: os.stat_result) -> None:
    """Remove the socket's name unless it is a successor's by now."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.stat(path), ours):
            os.unlink(path)


def _listen(path: str) -> tuple[socket.socket, os.stat_result]:
    """Listen at *path*, taking over from a predecessor without a moment between.

    Returns:
        The listening socket, and what its name in the file system is.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(temporary)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.settimeout(0.2)  # how soon a signal is noticed
    name = os.stat(temporary)
    os.rename(temporary, path)
    return listener, name


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
        except Exception:
            log.exception("bug")
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
            invocation = replace(invocation, is_caller_there=lambda: _is_there(connection))
            with call_log.following(invocation.environment):
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
        is_received = _closed_to_receipts(connection)
    if not is_received and answer.take_back:
        log.warning("the runtime did not wait for the answer: the ADD is taken back")
        answer.take_back()


def _closed_to_receipts(connection: socket.socket) -> bool:
    """Refuse receipts from now on, so that the launcher fails; tell whether one had come."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)
        connection.setblocking(False)
        return connection.recv(1) == wire.RECEIPT
    return False


def _is_there(connection: socket.socket) -> bool:
    """Whether the launcher has not gone away. It sends nothing before it gets its answer."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0) or connection.recv(1, socket.MSG_PEEK) != b""


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
        data, ancillary, flags, _ = connection.recvmsg(count - len(chunks), room)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.extend(array.array("i", payload))
        if flags & socket.MSG_CTRUNC:
            raise OSError(errno.EMFILE, "no descriptor left for CNI_NETNS")
        if not data:
            raise _NothingSent if not chunks else ConnectionResetError("the launcher went away")
        chunks += data
    return bytes(chunks)


if __name__ == "__main__":
    main()
