"""The executable in the CNI bin directory: hands the call to the server, or serves it itself.

It runs for every call of every container, so it imports nothing that is not built into the
interpreter. ``install.py`` writes a copy with the four constants filled in. The bytes that it
sends are described in ``wire.py``.

Beside a server in a container nobody can serve a call in its place. Such a launcher has no
``IN_PROCESS``: while the container is being replaced, it waits.
"""

import _socket
import posix
import sys

SERVER = ""  # the server's Unix socket
IN_PROCESS: list[str] = []  # command that serves a call without the server
SETTINGS: dict[str, str] = {}  # environment of that command
VERSIONS = b""  # what it answers to VERSION itself if there is neither that nor a server

BUSY = (
    b'{"cniVersion": "1.0.0", "code": 11, '
    b'"msg": "cni server: ended or hung during the call; DEL the container, then try again"}\n'
)
ALONE = (
    b'{"cniVersion": "1.0.0", "code": 11, "msg": "cni server: does not answer, and %s cannot be '
    b'started in its place: %s; start the server, or run \\"ocicatctl install\\" again"}\n'
)
ABSENT = (
    b'{"cniVersion": "1.0.0", "code": %d, "msg": "cni server: does not answer at %s; '
    b'see whether its container runs on this node"}\n'
)
# How long for a server to be there, where nobody can serve in its place: a new container takes
# seconds. CHECK and STATUS are asked again by whoever asks.
WAITS_S = {b"ADD": 20, b"DEL": 30, b"GC": 30, b"CHECK": 5, b"STATUS": 1}
PAUSE_S = 0.05
PATIENCE_S = 60  # the server answers long before; this is for one that hangs


def main() -> int:
    """Serve the call; return the exit status."""
    command = posix.environ.get(b"CNI_COMMAND", b"")
    keep_standard_fds()
    stdin, lines, netns = request(command)  # first: the server does not wait for a slow runtime
    ends = 0.0
    while True:
        server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        server.settimeout(PATIENCE_S)
        is_there = False
        try:
            server.connect(SERVER)
            is_there = True
            send(server, lines, stdin or b"", netns)
            answer = receive(server, 9)
            stdout = receive(server, int.from_bytes(answer[1:5], "big"))
            stderr = receive(server, int.from_bytes(answer[5:9], "big"))
        except OSError:
            # Gone in the middle: an ADD may be half done, anything else may be done again.
            if is_there and command == b"ADD":
                write(1, BUSY)
                return 1
        else:
            return hand_on(server, command, answer[0], stdout, stderr)
        ends = waited(command, ends)
        if not ends:
            return serve_in_process(stdin) if IN_PROCESS else serve_alone(command)


def waited(command: bytes, ends: float) -> float:
    """Wait a moment for a server; return until when it may be waited for, 0 for no longer."""
    if IN_PROCESS or command not in WAITS_S:
        return 0.0
    import time  # not before it is needed

    ends = ends or time.monotonic() + WAITS_S[command]
    time.sleep(PAUSE_S)
    return ends if time.monotonic() < ends else 0.0


def hand_on(
    server: _socket.socket, command: bytes, status: int, stdout: bytes, stderr: bytes
) -> int:
    """Give the runtime what the server answered, and tell the server; return the exit status."""
    try:  # noqa: SIM105 - contextlib would have to be imported
        write(2, stderr)
    except OSError:
        pass  # a closed stderr is the runtime's choice
    try:
        write(1, stdout)
    except OSError:
        return 1
    try:
        server.send(b"\x06")  # received: without it the server takes an ADD back
    except OSError:
        return 1 if command == b"ADD" else status
    return status


def keep_standard_fds() -> None:
    """Let nothing of ours become stdin, stdout or stderr: using a closed one must fail."""
    for fd, mode in ((0, posix.O_WRONLY), (1, posix.O_RDONLY), (2, posix.O_RDONLY)):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", mode)  # the lowest free number: this one


def request(command: bytes) -> tuple[bytes | None, bytes, int | None]:
    """Collect what the server needs: stdin, the environment's lines, the open namespace.

    Without stdin if that cannot be read, so that it is as it was for whoever tries again.
    """
    lines = [b"@role=" + name().encode("utf-8", "surrogateescape")]
    for key, value in posix.environ.items():
        if key.startswith(b"CNI_") or key in (b"TRACEPARENT", b"TRACESTATE", b"BAGGAGE"):
            lines.append(key + b"=" + value)
    netns = None
    if path := posix.environ.get(b"CNI_NETNS"):
        try:
            netns = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except OSError as error:
            lines.append(b"@netns_mistake=cannot be opened: " + str(error.strerror).encode())
    stdin = read_stdin(command, lines)
    return stdin, b"\0".join(lines), netns


def read_stdin(command: bytes, lines: list[bytes]) -> bytes | None:
    """Read all of stdin for a command that uses it; ``None`` if it cannot be read."""
    stdin = b""
    if command not in (b"", b"VERSION"):
        try:
            while chunk := posix.read(0, 65536):
                stdin += chunk
        except OSError as error:
            lines.append(b"@stdin_mistake=cannot be read: " + str(error.strerror).encode())
            return None
    return stdin


def name() -> str:
    """The executable's own name: it chooses the role."""
    return sys.argv[0].rpartition("/")[2]


def send(server: _socket.socket, lines: bytes, stdin: bytes, netns: int | None) -> None:
    """Send the request, and the namespace's descriptor with its first bytes."""
    data = len(lines).to_bytes(4, "big") + len(stdin).to_bytes(4, "big") + lines + stdin
    rights = []
    if netns is not None:
        fd = netns.to_bytes(4, sys.byteorder)
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd)]
    sent = server.sendmsg([data], rights)
    if sent < len(data):  # sending nothing fails once the server has answered and hung up
        server.sendall(data[sent:])
    if netns is not None and IN_PROCESS:
        posix.close(netns)  # it is not sent again


def receive(server: _socket.socket, count: int) -> bytes:
    """Receive exactly *count* bytes."""
    data = b""
    while len(data) < count:
        chunk = server.recv(count - len(data))
        if not chunk:
            raise OSError("the server went away")
        data += chunk
    return data


def write(fd: int, data: bytes) -> None:
    """Write all of *data*."""
    while data:
        data = data[posix.write(fd, data) :]


def serve_in_process(stdin: bytes | None) -> int:
    """Become the plugin; give it back the stdin that was read."""
    if stdin is not None:
        again = posix.memfd_create("stdin", 0)
        write(again, stdin)
        posix.lseek(again, 0, 0)
        posix.dup2(again, 0)
    environment = dict(posix.environ)
    for key, value in SETTINGS.items():
        environment[key.encode()] = value.encode()
    try:
        posix.execve(IN_PROCESS[0], [*IN_PROCESS, name()], environment)
    except OSError as error:
        write(1, ALONE % (IN_PROCESS[0].encode(), str(error.strerror).encode()))
    return 1


def serve_alone(command: bytes) -> int:
    """Answer what can be answered by nobody but us."""
    if command == b"VERSION":
        write(1, VERSIONS)
        return 0
    write(1, ABSENT % (50 if command == b"STATUS" else 11, SERVER.encode()))
    return 1


# Not sys.exit: taking the interpreter down in good order costs 1 ms, and nothing is buffered.
posix._exit(main())
