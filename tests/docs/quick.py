"""ocicatctl without its imports: one process has made them and forks for each call.

Of a call as operators make it, imports are three quarters, and here are more than a hundred calls.
``install`` puts an executable ``ocicatctl`` into a directory. It sends arguments, environment and
what it has open to the process that ``serve`` runs, and ends with the status of the call.
"""

import importlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cni_plugin.netns import entered
from ocicatctl.__main__ import main
from ocicatctl.lab import system
from tests.docs.pages import ROOT, all_commands

_CLIENT = """\
#!{python} -IS
import posix, sys
from _socket import AF_UNIX, SCM_RIGHTS, SHUT_WR, SOCK_STREAM, SOL_SOCKET, socket
connection = socket(AF_UNIX, SOCK_STREAM)
connection.connect({path!r})
opened = [0, 1, 2, posix.open(".", 0), posix.open("/proc/self/ns/net", 0)]
fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in opened)
connection.sendmsg([b"+"], [(SOL_SOCKET, SCM_RIGHTS, fds)])
words = [argument.encode() for argument in sys.argv[1:]]
settings = [name + b"=" + value for name, value in posix.environ.items()]
connection.sendall(b"\\0".join([str(len(words)).encode(), *words, *settings]))
connection.shutdown(SHUT_WR)
posix._exit((connection.recv(1) or b"\\xff")[0])
"""
_FDS = 5


def install(directory: Path, path: Path) -> None:
    """Write the executable that calls the process at *path*."""
    program = directory / "ocicatctl"
    program.write_text(_CLIENT.format(python=sys.executable, path=str(path)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@contextmanager
def running(directory: Path) -> Iterator[Path]:
    """Have calls served; yield the directory that has the executable."""
    path = directory / "calls"
    with subprocess.Popen([sys.executable, "-m", "tests.docs.quick", path], cwd=ROOT) as process:
        try:
            system.wait_until(path.exists, "the process that serves calls", 30)
            install(directory, path)
            yield directory
        finally:
            process.terminate()


def serve(path: str) -> None:
    """Serve calls until somebody ends this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that serve a call
    assert [*all_commands()]  # each is imported
    importlib.import_module("datastore.etcd")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(16)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _serve_one(connection)
        connection.close()


def _serve_one(connection: socket.socket) -> None:
    """Call in a process of its own, which may become another program, and tell its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, fds, _, _ = socket.recv_fds(connection, 1, _FDS)
    received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    count, *words = os.fsdecode(received).split("\0")
    child = os.fork()
    if child == 0:
        _call(fds, words[: int(count)], dict(w.partition("=")[::2] for w in words[int(count) :]))
    _, status = os.waitpid(child, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _call(fds: list[int], arguments: list[str], environment: dict[str, str]) -> None:
    *standard, directory, namespace = fds
    for number, fd in enumerate(standard):
        os.dup2(fd, number)
    # As a new process has them: these know what they can do with what they write to.
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.fchdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ocicatctl", *arguments]
    with entered(namespace):
        status = _status()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status() -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
