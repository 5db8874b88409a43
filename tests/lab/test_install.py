"""An installation at work: its conflist and launchers on a node of the lab; nodes that refuse."""

import json
import sys
from pathlib import Path

import pytest

from ocicatctl.lab import system
from ocicatctl.lab.runtime import Runtime
from tests.installation import snapshot

OCICATCTL = (sys.executable, "-m", "ocicatctl")
DIRECTORIES = ("bin", "conf", "networkmanager", "networkd", "units", "etc", "state")
CALICO = """{
  "name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{
    "type": "calico", "log_level": "__LOG_LEVEL__", "mtu": __CNI_MTU__,
    "etcd_endpoints": "__ETCD_ENDPOINTS__", "nodename": "__KUBERNETES_NODE_NAME__",
    "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}}]}"""


@pytest.fixture
def here(tmp_path):
    """Where it is installed: on this machine, in directories of its own."""
    here = tmp_path / "installed"
    here.mkdir()
    return here


def install(here: Path, *more: str, before: str = "", **environment: str):
    """Install as root of this machine; *before* is a shell's line, in mounts that only it sees."""
    options = [f"--{name}-dir={here / name}" for name in DIRECTORIES]
    command = [*OCICATCTL, "install", "--no-systemd", *options, *more]
    if before:
        script = f'{before}\n"$@"; status=$?; ls -A "$DIR"; exit $status'
        command = ["unshare", "--mount", "sh", "-ec", script, "sh", *command]
        environment["DIR"] = str(here / "bin")
    return system.run(*command, environment=environment, check=False)


def conflist(here: Path) -> dict:
    return json.loads((here / "conf/10-ocicat.conflist").read_text())


@pytest.mark.parametrize("template", ["", CALICO], ids=["ours", "calico"])
def test_pods_come_and_go_with_what_was_installed(lab, node, here, template):
    settings = {k: v for k, v in node.environment.items() if k.startswith("OCICAT_")}
    done = install(here, "--calico", CNI_NETWORK_CONFIG=template, CNI_MTU="1400", **settings)
    assert done.returncode == 0, done.stderr
    runtime = Runtime(node.namespace, conflist(here), here / "bin")
    pod = lab.container(node, "installed")
    other = lab.add_pod(lab.nodes[1], "other")

    result = runtime.add(pod.container)

    address = result["ips"][0]["address"].partition("/")[0]
    system.run("ping", "-n", "-c1", "-W2", address, namespace=other.namespace)
    link = json.loads(
        system.run("ip", "-j", "link", "show", "eth0", namespace=pod.namespace).stdout
    )
    assert link[0]["mtu"] == 1400
    if not template:
        runtime.check(pod.container, result)
    runtime.delete(pod.container, result)


REFUSING = {
    "read-only": ("mount -t tmpfs -o ro none", r"bin/.ocicat.ocicat-new: Read-only file system"),
    "noexec": ("mount -t tmpfs -o noexec none", "is the file system mounted noexec?"),
    "full": ("mount -t tmpfs -o size=4k none", "No space left on device"),
}


@pytest.mark.parametrize(("mount", "message"), REFUSING.values(), ids=REFUSING)
def test_a_bin_directory_that_takes_no_launcher_leaves_all_as_before(here, mount, message):
    (here / "bin").mkdir()
    before = snapshot(here)

    done = install(here, before=f'{mount} "$DIR"')

    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""  # what ls saw on the mounted file system
    assert snapshot(here) == before


@pytest.mark.parametrize(
    ("state", "staged"),
    [("state", "state/.installed.json.ocicat-new"), ("state/a/b", "state/.a.ocicat-new")],
)
def test_a_record_that_cannot_be_written_comes_before_everything_else(here, state, staged):
    for name in ("state", "bin"):
        (here / name).mkdir()
    before = snapshot(here)

    done = install(
        here, f"--state-dir={here / state}", before=f"mount -t tmpfs -o ro none {here / 'state'}"
    )

    assert done.returncode == 1
    assert staged in done.stderr
    assert "Read-only file system" in done.stderr
    assert snapshot(here) == before


def test_without_the_distributions_python_the_launcher_has_that_of_ocicat(here):
    masked = "mount --bind /dev/null /usr/bin/python3"

    done = install(here, before=masked)

    assert done.returncode == 0, done.stderr
    first = (here / "bin/ocicat").read_text().partition(" ")[0]
    assert first == f"#!{Path(sys.executable).resolve()}"
