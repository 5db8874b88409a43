"""The bytes between launcher and server, each side against the other's real code."""

import array
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from cni_plugin import wire
from cni_plugin.args import Invocation
from cni_plugin.config import read_config
from cni_plugin.install import launcher
from cni_plugin.skel import Answer


def encoded(lines: list[str]) -> bytes:
    return "\0".join(lines).encode(errors="surrogateescape")


def test_lengths_are_read():
    assert wire.lengths((3).to_bytes(4) + (70_000).to_bytes(4)) == (3, 70_000)


@pytest.mark.parametrize("lengths", [(wire.MAX_BYTES, 1), (2**32 - 1, 0), (0, 2**32 - 1)])
def test_lengths_out_of_all_proportion_are_refused(lengths):
    with pytest.raises(ValueError, match="a request of"):
        wire.lengths(b"".join(n.to_bytes(4) for n in lengths))


def test_a_request_is_read():
    lines = ["@role=ocicat", "CNI_COMMAND=ADD", "CNI_ARGS=A=1;B=2", "CNI_IFNAME="]

    invocation = wire.decode_request(encoded(lines), b'{"name":"x"}', 7)

    assert invocation == Invocation(
        environment={"CNI_COMMAND": "ADD", "CNI_ARGS": "A=1;B=2", "CNI_IFNAME": ""},
        stdin=b'{"name":"x"}',
        netns_fd=7,
        netns_mistake="is empty",
        stdin_mistake="",
        role="ocicat",
    )


def test_the_launchers_own_words_are_no_environment():
    lines = ["@role=calico", "@netns_mistake=cannot be opened: x", "@stdin_mistake=cannot be read"]

    invocation = wire.decode_request(encoded(lines), b"", None)

    assert invocation.environment == {}
    assert invocation.role == "calico"
    assert invocation.netns_mistake == "cannot be opened: x"
    assert invocation.stdin_mistake == "cannot be read"


def test_bytes_that_are_no_text_are_kept():
    invocation = wire.decode_request(b"CNI_IFNAME=\xe9th0", b"", None)

    assert os.fsencode(invocation.environment["CNI_IFNAME"]) == b"\xe9th0"


def test_an_empty_request_is_an_empty_environment():
    assert wire.decode_request(b"", b"", None).environment == {}


def test_an_answer_is_written():
    data = wire.encode_answer(Answer(1, b"out", b"problem"))

    assert data == b"\x01" + (3).to_bytes(4) + (7).to_bytes(4) + b"outproblem"


# ---- the launcher itself -----------------------------------------------------------------------


class OneCall:
    """A server for one launcher: remembers what it was sent, answers what it was told."""

    def __init__(self, path: str, answer: Answer):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(10)
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self.invocation: Invocation | None = None
        self.netns: os.stat_result | None = None
        self.receipt = b""

    def __enter__(self) -> "OneCall":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with closing(connection):
            connection.settimeout(10)
            data, fds = self._receive(connection)
            first, _ = wire.lengths(data)
            body = data[8:]
            self.invocation = wire.decode_request(body[:first], body[first:], None)
            for fd in fds:
                self.netns = os.fstat(fd)
                os.close(fd)
            connection.sendall(wire.encode_answer(self._answer))
            self.receipt = connection.recv(1)

    def _receive(self, connection: socket.socket) -> tuple[bytes, list[int]]:
        data, fds = b"", []
        while len(data) < 8 or len(data) < 8 + sum(wire.lengths(data)):
            chunk, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
            assert chunk, "the launcher went away"
            data += chunk
            for _, _, payload in ancillary:
                fds += array.array("i", payload)
        return data, fds


def launch(
    directory,
    stdin: bytes,
    environment: dict[str, str],
    *,
    name="ocicat",
    edit=lambda text: text,
    **popen,
):
    """Run the launcher as ``install`` writes it, or edited."""
    config = replace(read_config({}), socket=str(directory / "cni.sock"))
    path = directory / name
    path.write_text(edit(launcher(config)))
    return subprocess.run(
        [sys.executable, "-IS", path],
        input=stdin,
        env=environment,
        capture_output=True,
        timeout=20,
        check=False,
        **popen,
    )


def test_what_the_launcher_sends_is_what_the_server_reads(tmp_path):
    netns = tmp_path / "netns"
    netns.touch()
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": str(netns),
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=1;B=2",
        "TRACEPARENT": "00-1",
        "SECRET": "not for the server",
    }
    stdin = b'{"name": "' + b"x" * 300_000 + b'"}'

    with OneCall(str(tmp_path / "cni.sock"), Answer(0, b"{}\n", b"")) as server:
        done = launch(tmp_path, stdin, environment)

    sent = {k: v for k, v in environment.items() if k != "SECRET"}
    assert server.invocation == Invocation(sent, stdin, None, "is empty", "", "ocicat")
    assert server.netns is not None
    assert os.path.samestat(server.netns, netns.stat())
    assert server.receipt == wire.RECEIPT
    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


def test_the_launcher_passes_the_answer_on(tmp_path):
    out = b"x" * 200_000
    with OneCall(str(tmp_path / "cni.sock"), Answer(1, out, b"text for people\n")) as server:
        done = launch(tmp_path, b"{}", {"CNI_COMMAND": "DEL"})

    assert server.receipt == wire.RECEIPT
    assert (done.returncode, done.stdout, done.stderr) == (1, out, b"text for people\n")


def test_a_python_that_is_not_the_one_of_the_installation_compiles_the_launcher_itself(tmp_path):
    def of_another(text: str) -> str:
        assert "\nMAGIC = b'" in text
        return text.replace("\nMAGIC = b'", "\nMAGIC = b'x").replace("\nCODE = b'", "\nCODE = b'x")

    with OneCall(str(tmp_path / "cni.sock"), Answer(0, b"{}\n", b"")):
        done = launch(tmp_path, b"{}", {"CNI_COMMAND": "ADD"}, edit=of_another)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"{}\n", b"")


def test_a_launcher_is_the_same_each_time_it_is_made():
    assert launcher(read_config({})) == launcher(read_config({}))


def test_the_launchers_name_is_its_role(tmp_path):
    with OneCall(str(tmp_path / "cni.sock"), Answer(0)) as server:
        launch(tmp_path, b"{}", {"CNI_COMMAND": "DEL"}, name="calico-ipam")

    assert server.invocation is not None
    assert server.invocation.role == "calico-ipam"


def test_a_namespace_that_is_gone_is_told_to_the_server(tmp_path):
    environment = {"CNI_COMMAND": "DEL", "CNI_NETNS": str(tmp_path / "gone")}

    with OneCall(str(tmp_path / "cni.sock"), Answer(0)) as server:
        launch(tmp_path, b"{}", environment)

    assert server.netns is None
    assert server.invocation is not None
    assert server.invocation.netns_mistake == "cannot be opened: No such file or directory"


def test_version_does_not_wait_for_stdin(tmp_path):
    held_open, never_written = os.pipe()
    with (
        OneCall(str(tmp_path / "cni.sock"), Answer(0, b"{}")) as server,
        os.fdopen(held_open, "rb") as stdin,
        os.fdopen(never_written, "wb"),
    ):
        config = replace(read_config({}), socket=str(tmp_path / "cni.sock"))
        path = tmp_path / "ocicat"
        path.write_text(launcher(config))
        done = subprocess.run(
            [sys.executable, "-IS", path],
            stdin=stdin,
            env={"CNI_COMMAND": "VERSION"},
            capture_output=True,
            timeout=20,
            check=False,
        )

    assert done.stdout == b"{}"
    assert server.invocation is not None
    assert server.invocation.stdin == b""


@pytest.mark.parametrize(("command", "status"), [("DEL", 0), ("CHECK", 0), ("ADD", 1)])
def test_a_server_that_dies_behind_its_answer_spoils_only_an_add(tmp_path, command, status):
    """Nobody takes the receipt: an ADD may be taken back, anything else was done."""

    class Dying(OneCall):
        def _serve(self):
            connection, _ = self._listener.accept()
            with closing(connection):
                self._receive(connection)
                connection.shutdown(socket.SHUT_RD)
                connection.sendall(wire.encode_answer(self._answer))

    with Dying(str(tmp_path / "cni.sock"), Answer(0, b"{}")):
        done = launch(tmp_path, b"{}", {"CNI_COMMAND": command})

    assert done.returncode == status
