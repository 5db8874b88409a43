"""``install-cni`` from the image, on nodes with and without a python3 of their own."""

import json
from pathlib import Path

import pytest

from ocicatctl.lab import show, system
from tests.image.containers import IMAGE, Role, podman, run
from tests.installation import CONFLIST, OCICAT, put, snapshot
from tests.lab.call import Call

OWN = "/opt/cni/bin/ocicat-python3"
INSTALLING = ("SYS_CHROOT",)


@pytest.fixture
def root(tmp_path):
    """The file system of a node that has no python3, no libc, no shell."""
    (tmp_path / "node/var/lib").mkdir(parents=True)
    put(tmp_path / "node", "/etc/hostname", "node-1")
    return tmp_path / "node"


def install_cni(node, root: Path, *options: str, **environment: str) -> str:
    role = Role(("install-cni", *options), INSTALLING, mounts=(f"{root}:/host",))
    return run(node, "install-cni", role, "--rm", environment=environment)


def uninstall(root: Path) -> str:
    options = ("--rm", "--network", "none", "--cap-drop", "all", "--user", "0")
    volume = f"--volume={root}:/host"
    return podman("run", *options, volume, IMAGE, "ocicatctl", "uninstall", "--root", "/host")


def first_line(script: Path) -> str:
    return script.read_text(errors="replace").partition("\n")[0]


def test_a_node_without_python_gets_the_images_own_and_loses_it_again(node, root):
    before = snapshot(root)

    install_cni(node, root)

    assert first_line(root / OCICAT.lstrip("/")) == f"#!{OWN} -IS"
    # As the node itself starts it: there is nothing else.
    answer = system.run("chroot", root, OCICAT, environment={"CNI_COMMAND": "VERSION"})
    assert json.loads(answer.stdout)["supportedVersions"]
    assert answer.stderr == ""
    assert f"{OWN}: removed" in uninstall(root)
    assert snapshot(root) == before


def test_pods_come_and_go_by_the_images_own_interpreter(lab, node, root):
    install_cni(node, root, OCICAT_CNI_SOCKET=node.environment["OCICAT_CNI_SOCKET"])
    namespace = lab.spec.pod_namespace("own")
    system.add_namespace(namespace)
    at = {"netns": str(system.NETNS / namespace), "executable": root / OCICAT.lstrip("/")}
    own = (str(root / OWN.lstrip("/")), "-IS")
    try:
        answers = [Call(node, command, wrapper=own, **at).run() for command in ("ADD", "DEL")]
    finally:
        system.remove_namespaces([namespace])

    assert [(answer.status, answer.stderr) for answer in answers] == [(0, ""), (0, "")]
    assert answers[0].document["ips"]
    assert show.leftovers(lab).found == ()


def test_a_python_that_cannot_run_the_launcher_does_not_count(node, root):
    put(root, "/usr/bin/python3", "#!/bin/sh\n", 0o755)

    install_cni(node, root)

    assert first_line(root / OCICAT.lstrip("/")) == f"#!{OWN} -IS"


def test_the_machines_own_python_counts(node):
    """The lab's launchers were installed with the machine's root at /host."""
    assert first_line(node.bin / "ocicat") == "#!/usr/bin/python3 -IS"


def test_calicos_variables_count(node, root):
    install_cni(
        *(node, root),
        CNI_CONF_NAME="05-mine.conflist",
        CNI_NET_DIR="/srv/net.d",
        CNI_BIN_DIR="/srv/bin",
        CNI_MTU="1400",
        CNI_NETWORK_CONFIG='{"name": "n", "plugins": [{"type": "ocicat", "mtu": __CNI_MTU__}]}',
    )

    written = json.loads((root / "srv/net.d/05-mine.conflist").read_text())
    assert written == {"name": "n", "plugins": [{"type": "ocicat", "mtu": 1400}]}
    assert (root / "srv/bin/ocicat").exists()
    assert not (root / CONFLIST.lstrip("/")).exists()


def test_a_node_that_refuses_is_named(node, tmp_path):
    (tmp_path / "node").mkdir()
    role = Role(("install-cni",), INSTALLING, mounts=(f"{tmp_path}/node:/host:ro",))

    with pytest.raises(Exception, match="Read-only file system"):
        run(node, "install-cni", role, "--rm")
