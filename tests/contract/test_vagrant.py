"""vagrant/Vagrantfile, as Debian's Vagrant reads it. No machine is made."""

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.deploy.test_provision import SCRIPTS, described, needed

ROOT = Path(__file__).parents[2]
NODES = {"n1": "192.168.77.11", "n2": "192.168.77.12", "n3": "192.168.77.13"}
ROUTER = "192.168.77.254"
# Profile -> with which settings it is looked at, and the CPUs and memory that nodes then have.
SIZES = {
    "plain": ({}, (2, 1024)),
    "kubeadm": ({"OCICAT_CPUS": "3", "OCICAT_MEMORY": "4096"}, (3, 4096)),
}

pytestmark = pytest.mark.skipif(
    platform.freedesktop_os_release()["ID"] != "debian" and not shutil.which("vagrant"),
    reason="vagrant: not in this distribution",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a command with settings, in a directory that has Vagrant's own files and nothing else.

    VirtualBox has a version there, which is all that is asked of it.
    """
    directory = tmp_path_factory.mktemp("vagrant")
    virtualbox = directory / "VBoxManage"
    virtualbox.write_text("#!/bin/sh\necho 7.0.20r163906\n")
    virtualbox.chmod(0o755)
    surroundings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OCICAT_")},
        "PATH": f"{directory}:{os.environ['PATH']}",
        "VAGRANT_HOME": str(directory / "home"),
        "VAGRANT_DOTFILE_PATH": str(directory / "dotfiles"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }

    def run(*command, lab=ROOT / "vagrant", **settings):
        return subprocess.run(
            command,
            cwd=directory,
            env={**surroundings, "VAGRANT_CWD": str(lab), **settings},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module", params=SIZES)
def profile(request):
    return request.param


@pytest.fixture(scope="module")
def machines(profile, run):
    """What a profile defines."""
    settings, _ = SIZES[profile]
    look = str(Path(__file__).with_name("vagrant_machines.rb"))
    done = run("ruby", look, OCICAT_PROFILE=profile, **settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_vagrant_finds_nothing_wrong_with_either_provider(machines, profile, run):
    assert [name for name, machine in machines.items() if any(machine["wrong"].values())] == []

    provider = {"plain": "libvirt", "kubeadm": "virtualbox"}[profile]  # the command: one of each
    done = run("vagrant", "validate", OCICAT_PROFILE=profile, VAGRANT_DEFAULT_PROVIDER=provider)

    assert (done.stdout, done.stderr) == ("Vagrantfile validated successfully.\n", "")


def test_there_are_a_router_and_three_nodes_on_one_network(machines):
    addresses = {name: machine["addresses"] for name, machine in machines.items()}

    assert addresses == {"router": [ROUTER], **{name: [ip] for name, ip in NODES.items()}}
    assert all(machine["hostname"] == name for name, machine in machines.items())
    assert {machine["box"] for machine in machines.values()} == {"debian/bookworm64"}


def test_nodes_are_as_large_as_the_environment_says(machines, profile):
    sizes = {name: (machine["cpus"], machine["memory"]) for name, machine in machines.items()}

    assert sizes == {"router": (1, 512), **dict.fromkeys(NODES, SIZES[profile][1])}


def test_every_script_is_carried_in_and_told_what_its_head_describes(machines):
    for machine in machines.values():
        assert machine["carried"]["/srv/ocicat/deploy"] == "../deploy"
        for script in machine["scripts"]:
            path = r"exec bash /srv/ocicat/deploy/provision/(\w+)\.sh"
            name = re.fullmatch(path, script["run"])[1]
            assert needed(SCRIPTS[name]) <= script["told"].keys() <= described(SCRIPTS[name]).keys()


def test_nodes_are_told_what_is_theirs_and_the_router_all_of_it(machines):
    etcd, router = (script["told"] for script in machines["router"]["scripts"])

    assert etcd == {"ETCD_ADDRESS": ROUTER}
    assert router["NODE_ADDRESSES"].split() == list(NODES.values())
    for name, address in NODES.items():
        (script,) = machines[name]["scripts"]
        told = script["told"]
        assert (told["NODE_NAME"], told["NODE_ADDRESS"]) == (name, f"{address}/24")
        assert (told["ETCD_ENDPOINTS"], told["PEER"]) == (f"http://{ROUTER}:2379", ROUTER)
        assert told.get("CONTROL_PLANE", NODES["n1"]) == NODES["n1"]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("OCICAT_PROFILE", "k3s", "no such profile; there are plain and kubeadm"),
        ("OCICAT_MEMORY", "2G", "is no whole number from 512; change it or unset OCICAT_MEMORY"),
    ],
)
def test_a_wrong_setting_is_named(run, setting, value, said):
    done = run("vagrant", "validate", **{setting: value})

    assert (done.returncode, done.stderr) == (1, f"{setting}={value}: {said}\n")


def test_no_machine_is_made_when_what_it_has_to_carry_is_missing(run, tmp_path):
    shutil.copytree(ROOT / "vagrant", tmp_path / "vagrant")

    done = run("vagrant", "up", "n1", "--provider", "libvirt", lab=tmp_path / "vagrant")

    assert done.returncode == 1
    assert f"{tmp_path}/build/vagrant/wheels: not there; docs/vagrant.md says" in done.stderr
