"""A node without a python3 for the launchers gets the image's own, and loses it again."""

import json
import subprocess
import sys
from functools import partial

import pytest

from datamodel.errors import Invalid
from ocicatctl.install import conflist, interpreter, launcher, preparing
from ocicatctl.install.install import install
from ocicatctl.install.uninstall import uninstall
from ocicatctl.install.wanted import LAUNCHERS, Directories, File, files
from tests.installation import OCICAT, TEMPLATE, a_disk, put, snapshot

BIN = Directories().bin
OWN = f"{BIN}/ocicat-python3"
ANY = "#!/usr/bin/python3 -IS\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


@pytest.fixture
def disk(root):
    """A node whose python3 cannot run: its own interpreter, /bin/sh, is not there."""
    return a_disk(root)


@pytest.fixture
def ours(tmp_path):
    """Stands for the image's: what is executed here runs on this machine."""
    return put(tmp_path, "image/python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n', 0o755)


def put_in_place(disk, own: File):
    script = launcher.text({}, own.path, is_waiting=True)
    wanted = files(Directories(), LAUNCHERS, script, conflist.render(TEMPLATE, {}), (own,))
    return install(wanted, disk, preparing.prover(disk, (own,)))


def chosen(disk, ours) -> File | None:
    return interpreter.choose(disk, ANY, BIN, is_tried=True, ours=ours)


def test_it_comes_with_the_launchers_and_goes_with_them(root, disk, ours):
    before = snapshot(root)
    own = chosen(disk, ours)
    assert own is not None

    said = put_in_place(disk, own)

    assert said[0] == f"{OWN}: installed"
    assert (root / OWN.lstrip("/")).read_bytes() == ours.read_bytes()
    script = root / OCICAT.lstrip("/")
    assert script.read_text().startswith(f"#!{OWN} -IS\n")
    answer = subprocess.run(
        [root / OWN.lstrip("/"), "-IS", script],
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        check=True,
    )
    assert json.loads(answer.stdout)["supportedVersions"]
    assert all(line.endswith(": unchanged") for line in put_in_place(disk, own))
    uninstall(disk)
    assert snapshot(root) == before


def test_a_newer_one_is_put_in_its_place(root, disk, ours):
    put_in_place(disk, chosen(disk, ours))
    ours.write_text(ours.read_text() + "# newer\n")

    said = put_in_place(disk, chosen(disk, ours))

    assert said[0] == f"{OWN}: renewed"
    assert (root / OWN.lstrip("/")).read_bytes() == ours.read_bytes()


def test_one_that_does_not_run_leaves_the_node_as_before(root, disk, ours):
    before = snapshot(root)
    ours.write_text("#!/bin/false\n")

    with pytest.raises(Invalid, match="does not answer VERSION"):
        put_in_place(disk, chosen(disk, ours))

    assert snapshot(root) == before


def test_one_that_was_changed_is_not_fought_over(root, disk, ours):
    put_in_place(disk, chosen(disk, ours))
    put(root, OWN, "somebody else's", 0o755)
    ours.write_text(ours.read_text() + "# newer\n")

    with pytest.raises(Invalid, match=f"{OWN}: was changed since it was installed"):
        put_in_place(disk, chosen(disk, ours))


def test_a_node_with_a_python_that_runs_the_launcher_gets_none(tmp_path, ours):
    whole = a_disk(tmp_path / "another")
    choose = partial(interpreter.choose, whole, ANY, BIN, ours=ours)

    assert choose(is_tried=False) is None
    assert choose(is_tried=True) is not None


def test_outside_of_the_image_there_is_none_to_give(disk, root, tmp_path):
    nothing = tmp_path / "nothing"

    with pytest.raises(Invalid, match="usr/bin/python3: cannot run the launcher; install python3"):
        chosen(disk, nothing)
    (root / "usr/bin/python3").unlink()
    with pytest.raises(Invalid, match="usr/bin/python3: is not there; install python3"):
        chosen(disk, nothing)
