"""Installing into a real directory and taking it back: exactly that, whoever else is there."""

import json
import os
import stat
import subprocess
from contextlib import contextmanager

import pytest

from cni_plugin.config import read_config
from cni_plugin.install import launcher, prove
from datamodel.errors import Invalid, OcicatError, Unavailable
from ocicatctl.install import wanted as wanting
from ocicatctl.install.install import install
from ocicatctl.install.uninstall import uninstall
from tests.installation import (
    CALICO,
    CALICO_IPAM,
    CONFLIST,
    DROP_INS,
    NETWORKD,
    OCICAT,
    OCICAT_IPAM,
    RECORD,
    STATE,
    a_disk,
    put,
    snapshot,
    wanted,
)

LAUNCHER = launcher(read_config({"OCICAT_CNI_SOCKET": "/nonexistent/cni.sock"}))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "node"
    root.mkdir()
    return root


@pytest.fixture
def disk(root):
    return a_disk(root)


@contextmanager
def umask(mask: int):
    before = os.umask(mask)
    yield
    os.umask(before)


def prove_all(paths):
    for path in paths:
        prove(path)


def trust(paths):
    """Where launchers are not the point, they are not called: it takes a tenth of a second each."""


def a_foreign_node(root):
    """Somebody else's files where ours belong, and beside them."""
    put(root, OCICAT, "#!/bin/sh\necho theirs\n", 0o700)
    put(root, CALICO_IPAM, "\x7fELF", 0o755)
    (root / CALICO.lstrip("/")).symlink_to("../../calico/bin/calico")
    put(root, CONFLIST, "{}", 0o640)
    put(root, NETWORKD, "[Match]\nName=cali*\n")
    put(root, "/etc/cni/net.d/87-podman.conflist", "{}")
    put(root, "/etc/NetworkManager/NetworkManager.conf", "")
    put(root, f"{STATE}/releases/1", "a spooled release")
    return snapshot(root)


# ---- what is put in place ----------------------------------------------------------------------


def test_all_is_put_in_place_for_everybody_who_must_read_it_whatever_the_umask(root, disk):
    with umask(0o077):
        install(wanted(LAUNCHER, for_calico=True), disk, prove_all)

    modes = {path: entry[0] for path, entry in snapshot(root).items()}
    for path in (OCICAT, OCICAT_IPAM, CALICO, CALICO_IPAM):
        assert modes[path] == "-rwxr-xr-x"
    assert modes[CONFLIST] == "-rw-------"
    assert [modes[path] for path in DROP_INS] == ["-rw-r--r--"] * 3
    assert modes["/opt/cni/bin"] == modes["/etc/cni/net.d"] == "drwxr-xr-x"
    done = subprocess.run(
        [root / OCICAT.lstrip("/")], env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True
    )
    assert json.loads(done.stdout)["supportedVersions"]


def test_installing_again_touches_nothing(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    before = snapshot(root)

    said = install(wanted(LAUNCHER), disk, trust)

    assert snapshot(root) == before
    assert all(line.endswith(": unchanged") for line in said)


def test_only_what_is_new_is_written(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    before = snapshot(root)

    said = install(wanted(LAUNCHER, mtu="1400"), disk, trust)

    after = snapshot(root)
    assert {path for path in after if after[path] != before[path]} == {CONFLIST, RECORD}
    assert f"{CONFLIST}: renewed" in said
    assert json.loads((root / CONFLIST.lstrip("/")).read_text())["plugins"][0]["mtu"] == 1400


def test_a_file_that_was_deleted_comes_back(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    before = snapshot(root, with_identity=False)
    (root / OCICAT.lstrip("/")).unlink()

    install(wanted(LAUNCHER), disk, trust)

    assert snapshot(root, with_identity=False) == before


def test_a_launcher_that_lost_its_mode_gets_it_back(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    (root / OCICAT.lstrip("/")).chmod(0o644)

    install(wanted(LAUNCHER), disk, trust)

    assert stat.S_IMODE((root / OCICAT.lstrip("/")).stat().st_mode) == 0o755


def test_calicos_names_stay_once_they_were_asked_for():
    assert wanting.names("/opt/cni/bin", (), for_calico=False) == ("ocicat", "ocicat-ipam")
    every = ("ocicat", "ocicat-ipam", "calico", "calico-ipam")
    assert wanting.names("/opt/cni/bin", (), for_calico=True) == every
    assert wanting.names("/opt/cni/bin", (OCICAT, CALICO), for_calico=False) == every
    assert wanting.names("/usr/lib/cni", (OCICAT, CALICO), for_calico=False) == every[:2]


def test_a_dry_run_says_it_all_and_does_nothing(root, disk):
    before = snapshot(root)

    said = install(wanted(LAUNCHER), disk, trust, is_trial=True)

    assert f"{CONFLIST}: installed" in said
    assert snapshot(root) == before


# ---- uninstall removes exactly that ------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize(
    "directories",
    [(), (STATE,), ("/opt/cni/bin", "/etc/cni/net.d"), ("/etc/systemd/network", STATE)],
)
def test_after_uninstall_the_node_is_as_before(root, disk, directories, calls):
    for directory in directories:
        (root / directory.lstrip("/")).mkdir(parents=True)
    before = snapshot(root)
    install(wanted(LAUNCHER, for_calico=True), disk, trust)
    install(wanted(LAUNCHER, mtu="1400", for_calico=True), disk, trust)

    for _ in range(calls):
        uninstall(disk)

    assert snapshot(root) == before


def test_nothing_is_made_by_an_uninstall_of_nothing(root, disk):
    before = snapshot(root)

    assert uninstall(disk) == ["nothing is installed"]
    assert snapshot(root) == before


def test_the_configuration_goes_first(disk):
    install(wanted(LAUNCHER), disk, trust)
    install(wanted(LAUNCHER, for_calico=True), disk, trust)

    said = uninstall(disk)

    assert said[0] == f"{CONFLIST}: removed"
    assert said[-1] == f"{OCICAT}: removed"


def test_what_came_into_our_directories_since_stays(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    put(root, "/opt/cni/bin/portmap", "")
    put(root, f"{STATE}/releases/1", "a spooled release")

    uninstall(disk)

    left = {path for path, entry in snapshot(root).items() if not entry[0].startswith("d")}
    assert left == {"/usr/bin/python3", "/opt/cni/bin/portmap", f"{STATE}/releases/1"}


def test_a_dry_run_of_uninstall_does_nothing(root, disk):
    install(wanted(LAUNCHER), disk, trust)
    before = snapshot(root)

    assert f"{CONFLIST}: removed" in uninstall(disk, is_trial=True)
    assert snapshot(root) == before


# ---- foreign files -----------------------------------------------------------------------------


def test_foreign_files_are_refused_all_at_once_and_nothing_changes(root, disk):
    before = a_foreign_node(root)

    with pytest.raises(Invalid) as error:
        install(wanted(LAUNCHER, for_calico=True), disk, trust)

    named = [line.partition(": ")[0] for line in str(error.value).splitlines()]
    assert named == [OCICAT, CALICO, CALICO_IPAM, NETWORKD, CONFLIST]
    assert "--replace" in str(error.value)
    assert snapshot(root) == before


def test_foreign_files_that_were_replaced_are_put_back_the_very_same(root, disk):
    before = a_foreign_node(root)

    said = install(wanted(LAUNCHER, for_calico=True), disk, prove_all, replaces=True)
    assert f"{CALICO}: replaced; what was there is kept as {CALICO}.before-ocicat" in said[2]
    prove(root / CALICO.lstrip("/"))
    install(wanted(LAUNCHER, for_calico=True, mtu="1400"), disk, prove_all)
    uninstall(disk)

    assert snapshot(root) == before


def test_a_foreign_file_that_is_the_same_as_ours_stays_theirs(root, disk):
    put(root, OCICAT, LAUNCHER, 0o755)
    before = snapshot(root)

    assert f"{OCICAT}: unchanged" in install(wanted(LAUNCHER), disk, trust)
    uninstall(disk)

    assert snapshot(root) == before


@pytest.mark.parametrize("replaces", [False, True])
def test_a_directory_in_a_files_place_is_refused(root, disk, replaces):
    (root / OCICAT.lstrip("/")).mkdir(parents=True)
    before = snapshot(root)

    with pytest.raises(Invalid, match=f"{OCICAT}: is a directory"):
        install(wanted(LAUNCHER), disk, trust, replaces=replaces)
    assert snapshot(root) == before


def test_a_second_original_is_not_put_over_the_first(root, disk):
    put(root, CALICO, "theirs")
    put(root, f"{CALICO}.before-ocicat", "an older one of theirs")
    before = snapshot(root)

    with pytest.raises(Invalid, match=r"calico\.before-ocicat is there already"):
        install(wanted(LAUNCHER, for_calico=True), disk, trust, replaces=True)
    assert snapshot(root) == before


# ---- the operator's changes --------------------------------------------------------------------


def test_a_configuration_that_was_edited_is_kept_and_named(root, disk):
    before = snapshot(root)
    install(wanted(LAUNCHER), disk, trust)
    edited = put(root, CONFLIST, '{"mine": true}', 0o600)

    assert f"{CONFLIST}: kept: it was changed" in "\n".join(
        install(wanted(LAUNCHER, mtu="1400"), disk, trust, replaces=True)
    )
    assert f"{CONFLIST}: kept: it was changed since it was installed" in uninstall(disk)

    assert edited.read_text() == '{"mine": true}'
    left = {path for path in snapshot(root) if path not in before}
    assert left == {CONFLIST, "/etc", "/etc/cni", "/etc/cni/net.d"}
    assert uninstall(disk) == ["nothing is installed"]


def test_an_edited_file_that_had_replaced_another_leaves_both(root, disk):
    put(root, CONFLIST, "theirs")
    install(wanted(LAUNCHER), disk, trust, replaces=True)
    put(root, CONFLIST, "mine")

    said = uninstall(disk)

    assert f"what was there before us is {CONFLIST}.before-ocicat" in said[0]
    assert (root / CONFLIST.lstrip("/")).read_text() == "mine"
    assert (root / f"{CONFLIST}.before-ocicat".lstrip("/")).read_text() == "theirs"


def test_a_launcher_that_another_installer_overwrote_is_not_fought_over(root, disk):
    install(wanted(LAUNCHER, for_calico=True), disk, trust)
    put(root, CALICO, "Calico's own again", 0o755)
    before = snapshot(root)

    with pytest.raises(Invalid, match=f"{CALICO}: was changed since it was installed"):
        install(wanted(LAUNCHER, for_calico=True, mtu="1400"), disk, trust, replaces=True)
    assert snapshot(root) == before
    uninstall(disk)
    assert (root / CALICO.lstrip("/")).read_text() == "Calico's own again"


# ---- it cannot be done -------------------------------------------------------------------------

BROKEN = {
    "ends at once": "#!/bin/false\n",
    "says something else": "#!/bin/sh\necho '{}'\n",
    "has no interpreter": "#!/nonexistent/python3 -IS\n",
    "is no program": "\n",
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_launcher_that_does_not_answer_is_not_put_in_place(root, disk, script):
    before = a_foreign_node(root)

    with pytest.raises(OcicatError, match=r"ocicat.*: does not answer VERSION"):
        install(wanted(script, for_calico=True), disk, prove_all, replaces=True)

    assert snapshot(root) == before


def test_after_a_failed_upgrade_the_old_installation_stands(root, disk):
    install(wanted(LAUNCHER), disk, prove_all)
    before = snapshot(root, with_identity=False)

    with pytest.raises(OcicatError):
        install(wanted("#!/bin/false\n", mtu="1400", for_calico=True), disk, prove_all)

    assert snapshot(root, with_identity=False) == before


def test_a_record_that_is_not_ours_is_named(root, disk):
    for content in ("", "[]", "{}", '{"version": 2}', '{"version": 1, "files": {"/x": 1}}'):
        put(root, RECORD, content)

        with pytest.raises(Invalid, match=r"installed\.json: is .*; move it away"):
            install(wanted(LAUNCHER), disk, trust)
        with pytest.raises(Invalid, match=r"installed\.json: is .*; move it away"):
            uninstall(disk)


def test_two_at_the_same_time_do_not_mix(root, disk):
    with (
        a_disk(root).ours_alone(),
        pytest.raises(Unavailable, match="another install or uninstall is running"),
    ):
        install(wanted(LAUNCHER), disk, trust)


# ---- a node's file system under a prefix -------------------------------------------------------


def test_no_link_of_the_node_leads_out_of_its_root(root, disk, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "opt").mkdir()
    (root / "opt/cni").symlink_to(outside)  # on the node it is a path of the node
    (root / "srv").symlink_to("..")
    (root / str(outside).lstrip("/")).mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/cni").symlink_to("../../../../srv/srv/var")
    before = snapshot(root)

    install(wanted(LAUNCHER), disk, trust)

    assert list(outside.iterdir()) == []
    assert (root / f"{outside}/bin/ocicat".lstrip("/")).is_file()
    assert (root / "var/net.d/10-ocicat.conflist").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"node", "outside"}
    uninstall(disk)
    assert snapshot(root) == before


def test_links_that_lead_round_in_a_circle_are_named(root, disk):
    (root / "opt").symlink_to("/srv")
    (root / "srv").symlink_to("/opt")
    before = snapshot(root)

    with pytest.raises(Invalid, match="links lead round in a circle"):
        install(wanted(LAUNCHER), disk, trust)
    assert snapshot(root) == before
