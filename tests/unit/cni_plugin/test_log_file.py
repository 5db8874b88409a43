"""On real files: what is written, put aside and removed, and what cannot be."""

import contextlib
import fcntl
import logging
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cni_plugin.log_conf import LogConf
from cni_plugin.log_file import LogFiles, tidy


@pytest.fixture
def conf(tmp_path) -> LogConf:
    return LogConf(str(tmp_path / "log/cni/cni.log"), max_bytes=100, max_count=3)


@pytest.fixture
def files() -> LogFiles:
    return LogFiles()


def lines(conf: LogConf) -> list[str]:
    return Path(conf.path).read_text().splitlines()


def aside(conf: LogConf) -> list[str]:
    """The names of the files put aside, oldest first."""
    return sorted(set(os.listdir(os.path.dirname(conf.path))) - {os.path.basename(conf.path)})


def open_files(*below: Path | str) -> list[str]:
    """Of what is open in this process, that which lies below these paths."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in found if name.startswith(tuple(map(str, below)))]


# ---- what is written ---------------------------------------------------------------------------


def test_a_line_is_appended_and_its_directory_made(conf, files):
    files.write(conf, "one")
    files.write(conf, "two")

    assert lines(conf) == ["one", "two"]
    assert os.stat(conf.path).st_mode & 0o777 == 0o644
    assert os.stat(os.path.dirname(conf.path)).st_mode & 0o777 == 0o755


def test_a_line_that_is_no_text_is_written_all_the_same(conf, files):
    files.write(conf, "a\udcffb")

    assert lines(conf) == [r"a\udcffb"]


def test_several_files_are_written_at_once_and_none_stays_open(tmp_path, files):
    confs = [LogConf(str(tmp_path / f"{i}.log")) for i in range(200)]
    for _ in range(3):
        for conf in confs:
            files.write(conf, "x")

    assert [lines(conf) for conf in confs] == [["x"] * 3] * 200
    assert open_files(tmp_path) == []


def test_another_rotator_may_move_the_file_away(conf, files):
    files.write(conf, "one")
    os.rename(conf.path, f"{conf.path}.1")
    files.write(conf, "two")

    assert lines(conf) == ["two"]


# ---- what is full ------------------------------------------------------------------------------


def test_a_full_file_is_put_aside_under_calicos_name(conf, files):
    files.write(conf, "x" * 60)
    files.write(conf, "y" * 60)

    assert lines(conf) == ["y" * 60]
    [name] = aside(conf)
    assert re.fullmatch(r"cni-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log", name)


def test_a_line_longer_than_a_file_has_one_for_itself(conf, files):
    for letter in "abc":
        files.write(conf, letter * 500)

    assert lines(conf) == ["c" * 500]
    assert len(aside(conf)) == 2


def test_the_oldest_of_too_many_goes(conf, files):
    for i in range(8):
        files.write(conf, f"{i}" * 99)

    kept = [(Path(conf.path).parent / name).read_text()[0] for name in aside(conf)]
    assert kept == ["4", "5", "6"]


def test_what_is_too_old_goes_at_the_first_line_and_others_files_stay(conf, files):
    directory = os.path.dirname(conf.path)
    os.makedirs(directory)
    now = datetime.now(UTC)

    def name(age: timedelta, rest: str = ".log") -> str:
        return f"cni-{(now - age).strftime('%Y-%m-%dT%H-%M-%S')}.000{rest}"

    old = [name(timedelta(days=31)), name(timedelta(days=40), ".log.zst")]
    kept = [name(timedelta(days=29)), "cni-old.log", "other-2020-01-01T00-00-00.000.log"]
    for each in (*old, *kept):
        Path(directory, each).touch()

    files.write(conf, "x")

    assert aside(conf) == sorted(kept)


def test_many_writers_lose_no_line(conf):
    big = replace(conf, max_bytes=20_000, max_count=1000)

    def write(number: int) -> None:
        files = LogFiles()
        for i in range(200):
            files.write(big, f"{number} {i} {'x' * 50}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    directory = os.path.dirname(conf.path)
    found = [
        tuple(line.split()[:2])
        for name in os.listdir(directory)
        for line in Path(directory, name).read_text().splitlines()
    ]
    assert len(found) == len(set(found)) == 1600
    assert len(os.listdir(directory)) > 1


def test_who_puts_the_file_aside_holds_up_nobody(conf, files):
    files.write(conf, "x" * 90)
    with open(conf.path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        files.write(conf, "y" * 90)

    assert lines(conf) == ["x" * 90, "y" * 90]
    assert aside(conf) == []


def test_to_tidy_what_somebody_tidied_is_no_mistake(conf, files):
    files.write(conf, "x")
    tidy(conf)

    assert lines(conf) == ["x"]


# ---- what cannot be written --------------------------------------------------------------------


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "cni_plugin.log_file")
    return caplog


def test_a_directory_that_cannot_be_made_is_told_once(tmp_path, files, told):
    (tmp_path / "file").write_text("")
    conf = LogConf(str(tmp_path / "file/cni.log"))

    for _ in range(3):
        files.write(conf, "x")

    assert told.messages == [f"log file {conf.path}: cannot be written: Not a directory"]


def test_when_it_can_be_written_again_that_is_told(tmp_path, files, told):
    (tmp_path / "log").write_text("")
    conf = LogConf(str(tmp_path / "log/cni.log"))
    files.write(conf, "x")
    (tmp_path / "log").unlink()
    files.write(conf, "y")
    files.write(conf, "z")

    assert lines(conf) == ["y", "z"]
    assert told.messages[1:] == [f"log file {conf.path}: is written again"]


def test_a_link_is_not_followed_to_where_the_result_goes(tmp_path, files, told):
    conf = LogConf(str(tmp_path / "cni.log"))
    os.symlink("/dev/stdout", conf.path)

    files.write(conf, "x")

    assert "cannot be written" in told.messages[0]


@pytest.mark.parametrize("path", ["/dev/null", "/dev/full", "/proc/self/fd/1", "/"])
def test_what_is_no_file_is_not_written(path, files, told):
    files.write(LogConf(path), "x")

    assert f"log file {path}: cannot be written: " in told.messages[0]


def test_a_fifo_that_nobody_reads_is_not_waited_for(tmp_path, files, told):
    conf = LogConf(str(tmp_path / "cni.log"))
    os.mkfifo(conf.path)
    begun = time.monotonic()

    files.write(conf, "x")

    assert time.monotonic() - begun < 5
    assert "cannot be written" in told.messages[0]


def test_nothing_stays_open_after_a_failure(tmp_path, files, told):
    os.mkfifo(tmp_path / "cni.log")
    for path in (str(tmp_path / "cni.log"), "/dev/full", "/proc/x/y"):
        files.write(LogConf(path), "x")

    assert open_files(tmp_path, "/dev/full") == []
    assert len(told.messages) == 3


ON_A_FULL_DISK = """
import logging, sys
from cni_plugin.log_conf import LogConf
from cni_plugin.log_file import LogFiles
logging.basicConfig(format="%(message)s")
files, conf = LogFiles(), LogConf(sys.argv[1] + "/cni.log")
for _ in range(20):
    files.write(conf, "x" * 1000)
"""


def test_a_full_disk_is_told_once_and_fails_nothing(tmp_path):
    script = 'mount -t tmpfs -o size=8k none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", tmp_path, sys.executable, ON_A_FULL_DISK],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    expected = f"log file {tmp_path}/cni.log: cannot be written: No space left on device\n"
    assert done.stderr == expected
