"""A launcher beside a server in a container: while that is being replaced, nobody can serve."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cni_plugin import wire
from cni_plugin.config import read_config
from cni_plugin.install import launcher
from cni_plugin.skel import Answer
from cni_plugin.versions import SUPPORTED
from ocicatctl.lab import system

RESULT = b"{}\n"


def written(directory: Path, **waits_s: int) -> Path:
    """The launcher as ``install`` writes it, or with less patience."""
    config = replace(read_config({}), socket=str(directory / "cni.sock"))
    text = launcher(config, is_waiting=True)
    for command, seconds in waits_s.items():
        source = text.replace(f'b"{command}": 20', f'b"{command}": {seconds}')
        assert source != text
        text = source.replace("\nMAGIC = b'", "\nMAGIC = b'x")  # so that the source counts
    path = directory / "ocicat"
    path.write_text(text)
    return path


def started(directory: Path, command: str, **waits_s: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-IS", written(directory, **waits_s)],
        env={"CNI_COMMAND": command},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def is_asleep(process: "subprocess.Popen[bytes]") -> bool:
    return "nanosleep" in Path(f"/proc/{process.pid}/wchan").read_text()


def listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(5)
    listener.settimeout(10)
    return listener


def serve(listener: socket.socket) -> None:
    """Answer one call, as the server does."""
    connection, _ = listener.accept()
    with closing(connection):
        lengths = wire.lengths(connection.recv(8, socket.MSG_WAITALL))
        connection.recv(sum(lengths), socket.MSG_WAITALL)
        connection.sendall(wire.encode_answer(Answer(0, RESULT)))
        connection.recv(1)


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK", "GC"])
def test_it_waits_for_the_server(tmp_path, command):
    listening(tmp_path / "cni.sock").close()  # what a killed server leaves behind
    with started(tmp_path, command) as process:
        system.wait_until(lambda: is_asleep(process), "the launcher's waiting", 10)
        with closing(listening(tmp_path / "cni.sock")) as listener:
            serve(listener)
            stdout, _ = process.communicate(timeout=10)

    assert (process.returncode, stdout) == (0, RESULT)


def test_a_call_whose_server_ends_in_the_middle_is_made_again_unless_it_is_an_add(tmp_path):
    """Half an ADD may be done; a DEL can be repeated, also with the namespace it had opened."""
    with closing(listening(tmp_path / "cni.sock")) as listener:
        answers = []
        for command in ("ADD", "DEL"):
            with started(tmp_path, command) as process:
                listener.accept()[0].close()
                if command == "DEL":
                    serve(listener)
                answers.append(process.communicate(timeout=10)[0])

    assert json.loads(answers[0])["code"] == 11
    assert answers[1] == RESULT


def test_a_server_that_dies_of_every_call_is_not_asked_for_ever(tmp_path):
    path, is_over = tmp_path / "cni.sock", threading.Event()

    def die() -> None:
        while not is_over.is_set():
            listener.accept()[0].close()

    with closing(listening(path)) as listener, started(tmp_path, "STATUS") as process:
        thread = threading.Thread(target=die)
        thread.start()
        stdout, _ = process.communicate(timeout=10)
        is_over.set()
        with closing(socket.socket(socket.AF_UNIX)) as last:
            last.connect(str(path))
        thread.join(10)

    assert json.loads(stdout)["code"] == 50


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("STATUS", 50)])
def test_it_gives_up_in_time_and_says_where_it_looked(tmp_path, command, code):
    waits_s = {"ADD": 1} if command == "ADD" else {}
    with started(tmp_path, command, **waits_s) as process:
        stdout, _ = process.communicate(timeout=10)

    assert process.returncode == 1
    error = json.loads(stdout)
    assert error["code"] == code
    assert f"does not answer at {tmp_path}/cni.sock" in error["msg"]


def test_it_tells_its_versions_without_a_server(tmp_path):
    with started(tmp_path, "VERSION") as process:
        stdout, _ = process.communicate(timeout=10)

    assert process.returncode == 0
    assert json.loads(stdout)["supportedVersions"] == list(SUPPORTED)
