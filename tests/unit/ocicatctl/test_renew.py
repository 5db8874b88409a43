"""Upgrading a node: files first, then one daemon after the other, or back to what was."""

from dataclasses import replace

import pytest

from datamodel.errors import Invalid, OcicatError, Unavailable
from ocicatctl.install import templates
from ocicatctl.install.install import install
from ocicatctl.install.renew import renew
from ocicatctl.install.wanted import Directories, files
from tests.installation import LAUNCHERS, OCICAT, a_disk, put, snapshot

SERVICES = list(templates.SERVICES)
IPAMD, CNI_SERVER, DISTRIBUTOR, BIRD = SERVICES
UNITS = "/etc/systemd/system"


class FakeDaemons:
    """Daemons that run what their unit files say: those of a broken version do not serve."""

    def __init__(self, root, running=SERVICES, dead=()):
        self._root = root
        self._running = list(running)
        self._dead = set(dead)  # they do not serve, whatever runs
        self.done = []

    def running(self):
        return self._running

    def serves(self, service):
        unit = (self._root / UNITS.lstrip("/") / service).read_text()
        return service not in self._dead and f"/broken/bin/{service[:-8]}\n" not in unit

    def reload(self):
        self.done.append("reload")

    def restart(self, service):
        self.done.append(service)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


@pytest.fixture
def disk(root):
    disk = a_disk(root)
    install([*wanted("1")], disk, trust)
    return disk


def trust(paths):
    """That launchers work is not the point here."""


def wanted(version):
    units = templates.unit_files(Directories(), f"/opt/ocicat/{version}/bin")
    return files(Directories(), LAUNCHERS, f"#!/bin/sh\n# {version}\n", None, units)


def upgraded(disk, daemons, version="2", **options):
    return list(renew(disk, wanted(version), trust, daemons, timeout_s=0.01, **options))


def test_daemons_are_restarted_in_order_and_bird_is_left_alone(root, disk):
    daemons = FakeDaemons(root)

    said = upgraded(disk, daemons)

    assert daemons.done == ["reload", IPAMD, CNI_SERVER, DISTRIBUTOR]
    assert f"{OCICAT}: renewed" in said
    assert said[-1].startswith(f"{DISTRIBUTOR}: restarted, serves after ")


def test_bird_is_restarted_if_its_unit_has_changed(root, disk):
    older = [
        replace(file, content=b"# older\n") if file.path.endswith(BIRD) else file
        for file in wanted("1")
    ]
    install(older, disk, trust)
    daemons = FakeDaemons(root)

    upgraded(disk, daemons)

    assert daemons.done == ["reload", *SERVICES]


def test_only_what_runs_is_restarted(root, disk):
    daemons = FakeDaemons(root, running=[DISTRIBUTOR])

    upgraded(disk, daemons)

    assert daemons.done == ["reload", DISTRIBUTOR]
    assert upgraded(disk, FakeDaemons(root, running=[]))[-1] == "daemons: none runs"


def test_a_version_that_does_not_serve_makes_way_for_the_former(root, disk):
    before = snapshot(root, with_identity=False)
    daemons, said = FakeDaemons(root), []

    with pytest.raises(Unavailable, match=r"does not serve .* the former version is back"):
        said += renew(disk, wanted("broken"), trust, daemons, timeout_s=0.01)

    assert daemons.done == ["reload", IPAMD, "reload", IPAMD]
    after = snapshot(root, with_identity=False)
    assert {path for path in before if before[path] != after[path]} == set()


def test_who_did_not_serve_before_is_not_waited_for(root, disk):
    daemons = FakeDaemons(root, dead=[IPAMD])

    said = upgraded(disk, daemons)

    assert f"{IPAMD}: restarted; it did not serve before, and is not waited for" in said
    assert daemons.done == ["reload", IPAMD, CNI_SERVER, DISTRIBUTOR]


def test_a_file_that_cannot_be_put_in_place_restarts_nothing(root, disk):
    put(root, OCICAT, "another installer's", 0o755)
    before, daemons = snapshot(root), FakeDaemons(root)

    with pytest.raises(Invalid, match="was changed since it was installed"):
        upgraded(disk, daemons)
    assert (snapshot(root), daemons.done) == (before, [])


def test_a_launcher_that_does_not_work_restarts_nothing(root, disk):
    def refuse(paths):
        raise Unavailable("launcher: does not answer VERSION")

    before, daemons = snapshot(root, with_identity=False), FakeDaemons(root)

    with pytest.raises(OcicatError, match="does not answer"):
        list(renew(disk, wanted("2"), refuse, daemons, timeout_s=0.01))
    assert (snapshot(root, with_identity=False), daemons.done) == (before, [])


def test_without_systemd_files_change_and_somebody_else_restarts(disk):
    said = upgraded(disk, None)

    assert f"{OCICAT}: renewed" in said
    assert said[-1] == "daemons: are not systemd's here; have those restarted that runs them"


def test_a_dry_run_says_it_all_and_does_nothing(root, disk):
    before, daemons = snapshot(root), FakeDaemons(root)

    said = upgraded(disk, daemons, is_trial=True)

    assert f"{OCICAT}: renewed" in said
    assert said[-1] == f"{DISTRIBUTOR}: would be restarted"
    assert (snapshot(root), daemons.done) == (before, [])


def test_upgrading_again_completes_one_that_was_killed(root, disk):
    install([*wanted("2")][:3], disk, trust)  # as far as it came
    daemons = FakeDaemons(root)

    upgraded(disk, daemons)

    assert daemons.done == ["reload", IPAMD, CNI_SERVER, DISTRIBUTOR]
    assert all(line.endswith("unchanged") for line in install(wanted("2"), disk, trust))
