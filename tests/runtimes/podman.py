"""podman with its CNI backend on a machine.

Edge: podman(1). Images, containers and locks are at podman's usual places, which are the machine's
own; what is not usual stands in a file of ours.
"""

import json
from collections.abc import Mapping
from typing import Any

from tests.runtimes.machine import Machine
from tests.runtimes.rootfs import SERVE

NETWORK = "pods"
_CONFIG_FILE = "/etc/podman.conf"
_NETWORKS = "/etc/podman-net.d"  # podman lists every network of its directory, not only the first
# The default of nproc is more than a restricted root may set ("rlimit type 7"). A profile would
# stay in the host's kernel.
_CONFIG = f"""
[containers]
apparmor_profile = "unconfined"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[network]
network_backend = "cni"
network_config_dir = "{_NETWORKS}"
cni_plugin_dirs = ["/opt/cni/bin"]
"""


class Podman:
    """The podman of one machine; it has no daemon."""

    def __init__(self, machine: Machine, rootfs: str, conflist: Mapping[str, Any]) -> None:
        self._machine = machine
        self._rootfs = rootfs
        machine.path(_CONFIG_FILE).write_text(_CONFIG)
        machine.path(_NETWORKS).mkdir()
        document = {**conflist, "name": NETWORK, "cniVersion": "0.4.0"}
        machine.path(f"{_NETWORKS}/{NETWORK}.conflist").write_text(json.dumps(document))

    def __call__(self, *arguments: str) -> str:
        """Run podman; return what it printed."""
        return self._machine.run(
            "podman", *arguments, environment={"CONTAINERS_CONF": _CONFIG_FILE}
        ).strip()

    def run(self, name: str, *options: str) -> str:
        """Run a container that serves, on the network; return its id."""
        parent = f"--cgroup-parent=/{self._machine.cgroup}"
        where = ("--network", NETWORK, parent, *options)
        # ":O": an overlay, so that the containers share the tree and keep what they write.
        return self(
            "run", "--detach", "--name", name, *where, "--rootfs", f"{self._rootfs}:O", *SERVE
        )

    def address(self, name: str) -> str:
        """The address that podman took from the plugin's result."""
        networks = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"]
        return str(networks[NETWORK]["IPAddress"])

    def remove(self, name: str) -> None:
        """End a container and forget it."""
        self("rm", "--force", "--time", "0", name)
