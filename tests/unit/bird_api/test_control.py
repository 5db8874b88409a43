"""Against a socket that talks like BIRD; the real one is in tests/netns/test_bird.py."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from bird_api.control import BirdControl
from bird_api.reply import Reply
from datamodel.errors import Invalid, Unavailable

GREETING = b"0001 BIRD 2.0.12 ready.\n"


@contextmanager
def a_bird(directory, answer: bytes, greeting: bytes = GREETING, *, hangs: bool = False):
    """Listen; greet, read one command, answer, and then hang or hang up."""
    path = str(directory / "bird.ctl")
    done = threading.Event()

    def serve():
        with listener.accept()[0] as connection:
            connection.sendall(greeting)
            if connection.recv(100):
                connection.sendall(answer)
            if hangs:
                done.wait(5)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path
        finally:
            done.set()
            thread.join()


def test_an_answer_is_all_its_lines(tmp_path):
    answer = b"0002-Reading configuration\n from x\n0003 Reconfigured\n"

    with a_bird(tmp_path, answer) as path, BirdControl(path) as control:
        replies = control.command("configure")

    assert replies == [
        Reply(2, "Reading configuration"),
        Reply(2, "from x"),
        Reply(3, "Reconfigured"),
    ]


@pytest.mark.parametrize("code", [8001, 8002, 9001])
def test_a_refusal_carries_birds_own_words(tmp_path, code):
    with (
        a_bird(tmp_path, b"0002-Reading\n%d x.conf:3:1 syntax error\n" % code) as path,
        BirdControl(path) as control,
        pytest.raises(Invalid, match=r"x\.conf:3:1 syntax error$"),
    ):
        control.command("configure")


def test_nobody_there_is_said_with_what_to_do(tmp_path):
    path = str(tmp_path / "bird.ctl")

    with pytest.raises(Unavailable, match=rf"BIRD {path}: No such file.*; is bird running"):
        BirdControl(path).__enter__()


@pytest.mark.parametrize("answer", [b"", b"0002-Reading configuration\n"])
def test_a_bird_that_hangs_up_is_unavailable(tmp_path, answer):
    with (
        a_bird(tmp_path, answer) as path,
        BirdControl(path) as control,
        pytest.raises(Unavailable, match="closed the connection"),
    ):
        control.command("configure")


def test_a_bird_that_never_ends_its_answer_meets_the_deadline(tmp_path):
    with a_bird(tmp_path, b"0002-Reading\n", hangs=True) as path, BirdControl(path, 0.1) as control:
        started = time.monotonic()

        with pytest.raises(Unavailable, match=r"no answer within 0\.1 s"):
            control.command("configure")

    assert time.monotonic() - started < 1


def test_a_server_that_is_not_bird_is_told_apart(tmp_path):
    with (
        a_bird(tmp_path, b"", greeting=b"+OK POP3 ready\r\n220 smtp\n") as path,
        pytest.raises(Invalid, match="'220 smtp' is not a reply of BIRD"),
    ):
        BirdControl(path).__enter__()


def test_a_command_is_one_line(tmp_path):
    with (
        a_bird(tmp_path, b"0000 \n") as path,
        BirdControl(path) as control,
        pytest.raises(Invalid, match="more than one line"),
    ):
        control.command("show status\ndown")
