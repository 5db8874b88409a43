"""The systemd units: what systemd says of them, and that they come and go with an installation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from datamodel.errors import Invalid
from ocicatctl.install import preparing, templates
from ocicatctl.install.install import install
from ocicatctl.install.remove import remove
from ocicatctl.install.settings import settings
from ocicatctl.install.wanted import Directories, directories
from tests.installation import ENVIRONMENT, STATE, a_disk, put, snapshot, wanted

# "systemd-analyze security": 0 is best, 10 is worst. docs/install.md states them.
EXPOSURE = {
    "ocicat-ipamd.service": 1.3,
    "ocicat-cni-server.service": 2.9,
    "ocicat-route-distributor.service": 2.2,
    "ocicat-bird.service": 2.1,
}
UNITS = "/etc/systemd/system"
TEMPLATE = templates.unit_files(Directories(), "/bin")[0].content
LINK = f"{UNITS}/multi-user.target.wants/ocicat.target"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "node"
    root.mkdir()
    return root


@pytest.fixture
def disk(root):
    return a_disk(root)


def install_all(disk, programs="/opt/ocicat/1/bin", **options):
    where = Directories()
    files = wanted("#!/bin/sh\n", units=templates.unit_files(where, programs))
    inside = (templates.certificates(where),)
    return install(files, disk, lambda paths: None, directories=inside, **options)


def take_back(disk, **options):
    given = {"is_live": False, "with_pods": False, "purges": False, **options}
    return list(remove(disk, **given))


# ---- what systemd says of them -----------------------------------------------------------------


@pytest.fixture
def units(tmp_path):
    programs = str(Path(sys.executable).parent)
    for file in templates.unit_files(Directories(), programs):
        (tmp_path / Path(file.path).name).write_bytes(file.content)
    return tmp_path


def analyze(*arguments):
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_finds_nothing_wrong_with_the_units(units):
    names = (*templates.SERVICES, templates.TARGET)

    done = analyze("verify", "--man=no", *(units / name for name in names))

    ours = [line for line in done.stderr.splitlines() if "ocicat" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", templates.SERVICES)
def test_units_are_no_more_exposed_than_the_page_says(units, name):
    done = analyze("security", "--offline=true", units / name)

    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done
    assert float(found[1]) <= EXPOSURE[name]
    page = (Path(__file__).parents[3] / "docs/install.md").read_text()
    assert f"`{name.removesuffix('.service')}` | {EXPOSURE[name]} |" in page


# ---- they come and go --------------------------------------------------------------------------


def test_after_uninstall_the_node_is_as_before_with_units_enabled_or_not(root, disk):
    (root / UNITS.lstrip("/")).mkdir(parents=True)
    before = snapshot(root)
    for is_enabled in (False, True):
        install_all(disk)
        if is_enabled:
            link = root / LINK.lstrip("/")
            link.parent.mkdir()
            link.symlink_to(f"{UNITS}/ocicat.target")

        said = take_back(disk)

        assert snapshot(root) == before
        assert (f"{LINK}: removed" in said) == is_enabled


def test_units_name_the_programs_of_the_version_that_installed_them(root, disk):
    install_all(disk)
    install_all(disk, "/opt/ocicat/2/bin")

    text = (root / UNITS.lstrip("/") / "ocicat-ipamd.service").read_text()
    assert "ExecStart=/opt/ocicat/2/bin/ocicat-ipamd" in text
    assert not re.search(r"@\w+@", text)


def test_an_environment_file_that_is_there_stays_and_is_nobody_elses(root, disk):
    put(root, ENVIRONMENT, "NODENAME=n1\n", 0o640)
    before = snapshot(root)

    assert f"{ENVIRONMENT}: kept: it is the operator's" in install_all(disk)
    assert f"{ENVIRONMENT}: kept: it is the operator's" in install_all(disk, replaces=True)
    take_back(disk)

    assert snapshot(root) == before


def test_an_environment_file_that_was_edited_outlives_upgrade_and_uninstall(root, disk):
    install_all(disk)
    assert (root / ENVIRONMENT.lstrip("/")).stat().st_mode & 0o777 == 0o600
    put(root, ENVIRONMENT, "NODENAME=n1\n", 0o600)

    assert f"{ENVIRONMENT}: kept: it is the operator's" in install_all(disk, "/opt/ocicat/2/bin")
    assert f"{ENVIRONMENT}: kept: it was changed since it was installed" in take_back(disk)
    assert (root / ENVIRONMENT.lstrip("/")).read_text() == "NODENAME=n1\n"


@pytest.mark.parametrize("purges", [False, True])
def test_what_daemons_have_recorded_stays_unless_it_is_purged(root, disk, purges):
    before = snapshot(root)
    install_all(disk)
    spooled = put(root, f"{STATE}/releases/1.json", "{}")
    history = put(root, "/var/lib/private/ocicat-ipamd/history/1.jsonl", "{}")
    (root / "var/lib/ocicat-ipamd").symlink_to("private/ocicat-ipamd")

    said = take_back(disk, purges=purges)

    verb = "removed" if purges else "kept: who held which address; --purge removes it"
    assert f"/var/lib/ocicat-ipamd: {verb}" in said
    assert spooled.exists() == history.exists() == (not purges)
    if purges:
        (root / "var/lib/private").rmdir()  # systemd's
        assert snapshot(root) == before


def test_where_an_installation_is_its_record_tells(disk):
    install_all(disk)

    assert directories(disk.recall().files) == Directories()
    assert directories(("/x/ocicat", "/y/ocicat.target")) == Directories(bin="/x", units="/y")


def test_a_unit_that_was_edited_is_kept_and_named(root, disk):
    install_all(disk)
    put(root, f"{UNITS}/ocicat-bird.service", "mine")

    assert f"{UNITS}/ocicat-bird.service: kept: it was changed" in "\n".join(
        install_all(disk, "/opt/ocicat/2/bin")
    )


def test_a_foreign_unit_of_our_name_is_refused(root, disk):
    put(root, f"{UNITS}/ocicat-bird.service", "theirs")
    before = snapshot(root)

    with pytest.raises(Invalid, match=r"ocicat-bird\.service: is not ours; with --replace"):
        install_all(disk)
    assert snapshot(root) == before


# ---- the environment file ----------------------------------------------------------------------


def test_the_environment_file_is_read_as_systemd_does():
    text = "# A=1\n; B=2\nC=3\n D = 'four 4' \nE=\"5\"\nF='6\nno assignment\n9=9\nG=\n"

    assert settings(text) == {"C": "3", "D": "four 4", "E": "5", "F": "'6", "G": ""}
    assert settings(TEMPLATE.decode()) == {}


def test_launchers_carry_what_the_environment_file_says_if_daemons_read_it(root, disk):
    put(root, ENVIRONMENT, "OCICAT_CNI_SOCKET=/run/of-file.sock\n", 0o600)

    read = preparing.environment(disk, Directories(), with_units=True)
    unread = preparing.environment(disk, Directories(), with_units=False)

    assert read["OCICAT_CNI_SOCKET"] == "/run/of-file.sock"
    assert "OCICAT_CNI_SOCKET" not in unread
