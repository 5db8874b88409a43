"""install and uninstall, killed before each change of the file system: the next call mends it."""

import itertools
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ocicatctl.install import templates
from ocicatctl.install.install import install
from ocicatctl.install.uninstall import uninstall
from ocicatctl.install.wanted import Directories, File
from tests.installation import (
    CALICO,
    CONFLIST,
    OCICAT,
    RECORD,
    a_disk,
    put,
    snapshot,
    wanted,
)

ROOT = Path(__file__).parents[2]
SCRIPT = "#!/bin/sh\n# the launcher; that it works is not the point here\n"

# Runs one call and kills itself before the n-th change that the interpreter announces (PEP 578).
KILLED = f"""
import os, signal, sys
from pathlib import Path
from ocicatctl.install.disk import Disk
from ocicatctl.install.install import install
from ocicatctl.install.uninstall import uninstall
from tests.installation import STATE, wanted

root, verb, mtu, left = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
files = wanted({SCRIPT!r}, mtu=mtu, for_calico=True)

def watch(event, arguments):
    global left
    if event not in ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"):
        if event != "open" or not arguments[2] & os.O_WRONLY:
            return
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
if verb == "install":
    install(files, Disk(Path(root), STATE), lambda paths: None, replaces=True)
else:
    uninstall(Disk(Path(root), STATE))
"""


MANY = 10  # a call with fewer changes than that would mean that they are not seen


def kill_points(
    make: Callable[[str], Path], verb: str, mtu: str = "0", step: int = 1
) -> Iterator[Path]:
    """For each change of a call, or every *step*-th, a node on which it was killed just before."""
    for number in itertools.count(1, step):
        root = make(f"killed-{number}")
        command = [sys.executable, "-c", KILLED, root, verb, mtu, str(number)]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode == 0:
            assert number > MANY
            return
        assert done.returncode == -signal.SIGKILL
        yield root


def copy_of(root: Path) -> Path:
    """The same node once more, hard links and all, to try another cure on."""
    copy = root.with_name(f"{root.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", root, copy], check=True)
    return copy


def put_in_place(root: Path, mtu: str = "0", units: Sequence[File] = ()) -> Path:
    files = wanted(SCRIPT, mtu=mtu, for_calico=True, units=units)
    install(files, a_disk(root), lambda paths: None, replaces=True)
    return root


def take_back(root: Path) -> Path:
    said = uninstall(a_disk(root))
    assert not [line for line in said if ": kept" in line]  # nobody edited anything
    return root


@pytest.fixture
def fresh(tmp_path):
    """Makes a node that has foreign files in three places of ours."""

    def make(name: str) -> Path:
        root = tmp_path / name
        a_disk(root)
        put(root, OCICAT, "theirs", 0o755)
        (root / CALICO.lstrip("/")).symlink_to("/opt/calico/bin/calico")
        put(root, CONFLIST, "theirs", 0o640)
        return root

    return make


def content(root: Path) -> dict[str, tuple]:
    return snapshot(root, with_identity=False)


def assert_whole(root: Path, *states: dict[str, tuple]) -> None:
    """What all of these states have is there, as one of them has it: never half, never gone."""
    now = content(root)
    for path in set.intersection(*map(set, states)):
        assert now[path] in [state[path] for state in states], path


def test_a_killed_install_is_completed_by_the_same_call_or_taken_back(fresh):
    before, complete = content(fresh("before")), content(put_in_place(fresh("after")))

    for root in kill_points(fresh, "install"):
        assert_whole(root, before, complete)
        assert content(take_back(copy_of(root))) == before, root
        assert content(put_in_place(root)) == complete, root
        assert content(take_back(root)) == before, root


def test_a_killed_upgrade_is_completed_by_the_same_call_or_taken_back(fresh):
    def installed(name: str) -> Path:
        return put_in_place(fresh(name))

    before = content(fresh("before"))
    old, new = content(installed("old")), content(put_in_place(installed("new"), mtu="1400"))

    for root in kill_points(installed, "install", mtu="1400"):
        assert_whole(root, {path: e for path, e in old.items() if path != RECORD}, new)
        assert content(take_back(copy_of(root))) == before, root
        assert content(put_in_place(copy_of(root))) == old, root
        assert content(put_in_place(root, mtu="1400")) == new, root


def test_a_half_installed_former_version_is_completed_by_the_next_or_taken_back(fresh):
    """The next one has files that the former had not: units."""
    units = templates.unit_files(Directories(), "/opt/ocicat/2/bin")
    before = content(fresh("before"))
    complete = content(put_in_place(fresh("after"), "1400", units))
    del complete[RECORD]  # directories are in it in the order in which they were made

    for root in kill_points(fresh, "install", step=7):
        assert_whole(put_in_place(root, "1400", units), complete)
        assert content(take_back(root)) == before, root


def test_a_killed_uninstall_is_completed_by_the_same_call_or_undone_by_install(fresh):
    def installed(name: str) -> Path:
        return put_in_place(fresh(name))

    before, complete = content(fresh("before")), content(installed("after"))

    for root in kill_points(installed, "uninstall"):
        assert_whole(root, before, complete)
        assert content(take_back(copy_of(root))) == before, root
        assert content(put_in_place(root)) == complete, root
        assert content(take_back(root)) == before, root
