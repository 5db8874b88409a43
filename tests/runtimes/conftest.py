"""Two nodes of a lab as machines of their own, with real container runtimes on them."""

import json
import os
import shutil

import pytest

from ocicatctl.install import conflist as template
from ocicatctl.install import templates
from ocicatctl.lab import system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.runtime import DEBIAN_PLUGINS
from tests.runtimes import rootfs, traces
from tests.runtimes.containerd import SOCKET, Containerd, write_conflist
from tests.runtimes.cri import Cri
from tests.runtimes.machine import Machine
from tests.runtimes.podman import Podman

NODES = 2
PROGRAMS = ("containerd", "ctr", "runc", "podman", "busybox", "iptables", "tc", "unshare")
HOST_PORT = 8000  # where every machine itself serves, beside its pods


@pytest.fixture(scope="session")
def conflist():
    """The one that we ship, with the plugin for bandwidth behind."""
    shipped = json.loads(template.render(templates.configuration(), {}))
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    return {**shipped, "plugins": [*shipped["plugins"], bandwidth]}


@pytest.fixture(scope="session")
def whole_lab():
    """A lab of its own: only here its nodes have runtimes."""
    path = system.BASE_ENVIRONMENT["PATH"]
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if not os.path.exists(DEBIAN_PLUGINS / "bandwidth"):
        missing.append(str(DEBIAN_PLUGINS / "bandwidth"))
    assert not missing, f"{', '.join(missing)}: not found; tools/setup installs it"
    lab = Lab(f"r{os.getpid()}")
    try:
        lab.up(NODES)
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def machines(whole_lab, conflist):
    """A machine per node, with the plugins installed and a web server."""
    made = []
    try:
        for node in whole_lab.nodes:
            machine = Machine(node)
            made.append(machine)
            install_plugins(machine)
            write_conflist(machine, conflist)
            rootfs.write_directory(machine.path("/run/pod"))
            rootfs.write_image(machine.path("/run/pod.tar"))
            machine.run("busybox", "httpd", "-p", f"0.0.0.0:{HOST_PORT}", "-h", "/run/pod/www")
        yield made
    finally:
        for machine in made:
            machine.stop()


def install_plugins(machine):
    """Ours as the lab installed it; of the others those that Debian has."""
    target = machine.path("/opt/cni/bin")
    for plugin in machine.node.bin.iterdir():
        shutil.copy(plugin, target)
    for plugin in DEBIAN_PLUGINS.iterdir():
        (target / plugin.name).symlink_to(plugin)


@pytest.fixture(scope="session")
def containerds(machines):
    """A containerd per machine, with the image of our containers."""
    return [Containerd(machine, "/run/pod.tar") for machine in machines]


@pytest.fixture(scope="session")
def kubelets(containerds):
    """A client per containerd, once it is ready for pods."""
    made = []
    for containerd in containerds:
        machine = containerd.machine
        cri = Cri(machine.path(SOCKET), f"/{machine.cgroup}")
        system.wait_until(cri.is_network_ready, f"network of {machine.node.name}", 20)
        made.append(cri)
    yield made
    for cri in made:
        cri.close()


@pytest.fixture(scope="session")
def podman(machines, conflist):
    return Podman(machines[0], "/run/pod", conflist)


@pytest.fixture(scope="session")
def residents(whole_lab):
    """A pod on each node that no runtime knows of and that nothing may disturb.

    It also has reconcile work as on any node in use: where the last link of all vanishes without a
    DEL, ipamd rather doubts the report.
    """
    return [whole_lab.add_pod(node, f"resident-{node.number}") for node in whole_lab.nodes]


@pytest.fixture
def lab(whole_lab, machines, residents):
    """The lab; after the test everything is as before, on every machine and in the store."""

    def look():
        return traces.everything(whole_lab, machines)

    before = look()
    yield whole_lab
    traces.assert_gone(look, before)
    for node, pod in zip(whole_lab.nodes, residents, strict=True):
        whole_lab.runtime(node).check(pod.container, pod.result)
