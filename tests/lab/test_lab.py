"""The lab itself: repeatable, side by side with others, and removed without a trace."""

import os
import signal
import subprocess
import sys
import time

import pytest

from datamodel.errors import Invalid
from ocicatctl.lab import daemons, show, system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.spec import LabSpec

CTL = [sys.executable, "-m", "ocicatctl"]


def ctl(*arguments, check=True):
    return subprocess.run([*CTL, *arguments], capture_output=True, text=True, check=check)


def namespaces(prefix):
    return [path.name for path in system.NETNS.iterdir() if path.name.startswith(prefix)]


@pytest.fixture
def name():
    """A lab's name of this test's own; whatever is left of the lab is removed."""
    name = f"s{os.getpid()}"
    yield name
    Lab(name).down()


def test_up_twice_changes_nothing_and_mends_what_died(lab):
    lab.add_pod(lab.nodes[0], "web")
    before = [system.pids_in([node.namespace]) for node in lab.nodes]

    lab.up(3)
    after = [system.pids_in([node.namespace]) for node in lab.nodes]
    daemons.kill(lab.nodes[0], "ipamd")
    lab.up(2)

    assert after == before
    assert daemons.running(lab.nodes[0]) == list(daemons.DAEMONS)
    assert len(lab.nodes) == 3


def test_labs_of_different_names_do_not_see_each_other(lab, name):
    first = lab.add_pod(lab.nodes[0], "web")

    ctl("lab", "up", "--name", name, "--nodes", "1", "--pods", "1")
    status = ctl("lab", "status", "--name", name).stdout
    inside = ctl("lab", "exec", "--name", name, "node-1", "--", "ip", "route").stdout
    ctl("lab", "add-pod", "--name", name, "node-1", "second")
    pinged = ctl("lab", "exec", "--name", name, "second", "--", "ping", "-c1", "-W2", "10.0.0.11")
    ctl("lab", "del-pod", "--name", name, "second")
    ctl("lab", "down", "--name", name)

    assert "web-1-1" in status
    assert "blackhole" in inside
    assert "1 received" in pinged.stdout
    assert namespaces(f"{name}-") == []
    assert not LabSpec(name).directory.exists()
    lab.runtime(lab.nodes[0]).check(first.container, first.result)


@pytest.mark.parametrize("after_s", [0.5, 1.5, 3.0])
def test_a_demo_that_is_killed_leaves_nothing_after_down(name, after_s):
    demo = subprocess.Popen(
        [*CTL, "lab", "demo", "--name", name, "--nodes", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after_s)
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    spaces = namespaces(f"{name}-")
    pids = system.pids_in(spaces)

    ctl("lab", "down", "--name", name)

    assert after_s < 1 or spaces, "the demonstration was over before it was killed"
    assert namespaces(f"{name}-") == []
    assert not [pid for pid in pids if system.is_alive(pid)]
    assert not LabSpec(name).directory.exists()


def test_a_namespace_of_somebody_else_is_not_touched(name):
    system.run("ip", "netns", "add", f"{name}-node-1")
    try:
        refused = ctl("lab", "up", "--name", name, "--nodes", "1", check=False)
        assert refused.returncode == 1
        assert f"namespace {name}-node-1 exists and is not the lab's" in refused.stderr
        ctl("lab", "down", "--name", name)
        assert namespaces(f"{name}-") == [f"{name}-node-1"]
    finally:
        system.run("ip", "netns", "del", f"{name}-node-1")


@pytest.mark.parametrize("wrong", ["", "Upper", "with space", "-dash", "a/b", "x" * 30])
def test_a_lab_name_that_cannot_be_is_refused(wrong):
    with pytest.raises(Invalid, match="lab name"):
        Lab(wrong)


@pytest.mark.parametrize("wrong", ["", "../x", "Web", "a b", "x" * 70])
def test_a_pod_name_that_cannot_be_is_refused(lab, wrong):
    with pytest.raises(Invalid, match="pod "):
        lab.add_pod(lab.nodes[0], wrong)


def test_mistakes_are_told_in_one_line(lab):
    name = lab.spec.name
    cases = (
        (("exec", "--name", name, "node-9", "--", "true"), "has no node node-9"),
        (("del-pod", "--name", name, "nobody"), "pod nobody: does not exist"),
        (("status", "--name", "no-such-lab"), "does not exist; bring it up"),
        (("up", "--name", "no-such-lab", "--nodes", "0"), "1 to 200 nodes"),
    )
    for arguments, expected in cases:
        refused = ctl("lab", *arguments, check=False)
        assert refused.returncode == 1
        assert expected in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_demonstration_does_not_take_a_lab_that_somebody_plays_with(lab):
    refused = ctl("lab", "demo", "--name", lab.spec.name, check=False)

    assert refused.returncode == 1
    assert "is up; take it down" in refused.stderr
    assert daemons.established(lab.nodes[0]) == 2
    assert show.leftovers(lab).found == ()
