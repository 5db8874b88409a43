"""BIRD's file, checked by the real ``bird -p``."""

import stat

import pytest

from datamodel.errors import Invalid, Unavailable
from route_distributor.bird.daemon import Bird

TEXT = "router id 10.0.0.11;\nprotocol device { }\n"


def a_bird(directory) -> Bird:
    return Bird(directory / "run" / "bird.conf", directory / "bird.ctl")


async def test_a_text_is_written_once(tmp_path):
    bird = a_bird(tmp_path)
    assert not await bird.is_written(TEXT)

    assert await bird.write(TEXT)
    assert not await bird.write(TEXT)

    assert await bird.is_written(TEXT)
    assert (tmp_path / "run" / "bird.conf").read_text() == TEXT


async def test_nobody_else_reads_the_passwords_in_it(tmp_path):
    bird = a_bird(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bird.conf.new").write_text("left by a crash")

    await bird.write(TEXT)

    assert stat.S_IMODE((tmp_path / "run" / "bird.conf").stat().st_mode) == 0o600


async def test_a_text_that_bird_refuses_replaces_nothing(tmp_path):
    bird = a_bird(tmp_path)
    await bird.write(TEXT)

    with pytest.raises(Invalid, match=r"bird -p refuses it: .*:1:\d+ syntax error"):
        await bird.write("nonsense;\n")

    assert await bird.is_written(TEXT)


async def test_a_check_that_is_killed_says_nothing_of_the_text(tmp_path, monkeypatch):
    program = tmp_path / "bird"
    program.write_text("#!/bin/sh\nkill -9 $$\n")  # as the kernel does when memory is short
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tmp_path))
        with pytest.raises(Unavailable, match="bird -p was killed by signal 9"):
            await a_bird(tmp_path).write(TEXT)

    assert await a_bird(tmp_path).write(TEXT)


async def test_a_bird_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(Unavailable, match=r"bird: cannot be started: .*package bird2"):
        await a_bird(tmp_path).write(TEXT)


async def test_a_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "run").write_text("in the way")

    with pytest.raises(Unavailable, match=r"bird\.conf: cannot be (read|replaced)"):
        await a_bird(tmp_path).write(TEXT)
