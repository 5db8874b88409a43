"""The daemons of a lab's nodes as containers of the built image, with a DaemonSet's mounts.

Edge: podman(1), by ``tools/image --podman``. A container shares its node's network namespace and
has of the machine what ``ROLES`` names; docs/image.md has the same table.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ocicatctl.lab import daemons, system
from ocicatctl.lab.spec import LabSpec, NodeSpec

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("OCICAT_IMAGE") or "localhost/ocicat:latest"
USER = 65532  # the image's own
RUN_TIMEOUT_S = 120
CONFIG = Path(__file__).with_name("containers.conf")
_CONFIGURATION = """{
  "name": "k8s-pod-network", "cniVersion": "1.0.0", "plugins": [{
    "type": "ocicat", "log_level": "__LOG_LEVEL__", "mtu": __CNI_MTU__,
    "ipam": {"type": "ocicat-ipam"}, "policy": {"type": "k8s"}, "capabilities": {"ips": true}}]}"""
_SYSCTLS = "/proc/sys/net:/host/proc/sys/net"  # a container's own /proc/sys is read-only
# Settings whose files are at their usual places in a container.
_PLACES = ("SOCKET", "DIR", "CONFIG", "STATUS")


@dataclass(frozen=True, slots=True)
class Role:
    """How one daemon is run."""

    command: tuple[str, ...]
    capabilities: tuple[str, ...] = ()
    user: int = 0
    mounts: tuple[str, ...] = ()


ROLES = {
    "ipamd": Role(("ipamd",), user=USER),
    "cni-server": Role(
        ("cni-server",), ("DAC_OVERRIDE", "NET_ADMIN", "SYS_ADMIN"), mounts=(_SYSCTLS,)
    ),
    "route-distributor": Role(("route-distributor",), ("NET_ADMIN",), mounts=(_SYSCTLS,)),
    "bird": Role(
        ("bird", "-f", "-R", "-c", "/run/ocicat/bird.conf", "-s", "/run/ocicat/bird.ctl"),
        ("NET_ADMIN", "NET_BIND_SERVICE"),
    ),
}


def podman(*arguments: str | Path, namespace: str | None = None, check: bool = True) -> str:
    """Run podman with the store of ``tools/image``; return what it printed.

    Raises:
        Unavailable: it failed.
    """
    cache = {k: v for k, v in os.environ.items() if k in ("OCICAT_IMAGE_CACHE", "HOME")}
    done = system.run(
        *(ROOT / "tools/image", "--podman", *arguments),
        namespace=namespace,
        environment={"CONTAINERS_CONF": str(CONFIG), **cache},
        timeout_s=RUN_TIMEOUT_S,
        check=check,
    )
    return done.stdout.strip()


def missing() -> str:
    """Why there is nothing to run; "" if there is."""
    if not shutil.which("podman"):
        return "podman: not found; make image installs it"
    absent = subprocess.run(
        [ROOT / "tools/image", "--podman", "image", "exists", IMAGE], check=False
    ).returncode
    return f"{IMAGE}: not found; make image builds it" if absent else ""


def run(
    node: NodeSpec,
    name: str,
    role: Role,
    *options: str | Path,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a container of the image on a node, as little privileged as its role says."""
    mounts = (
        f"{node.directory}:/run/ocicat",
        f"{node.directory}/ipamd:/run/ocicat-ipamd",
        f"{node.directory}:/var/lib/ocicat",
        f"{node.lab.directory}/history/{node.name}:/var/lib/ocicat/history",
        *role.mounts,
    )
    is_up = (system.NETNS / node.namespace).exists()  # not yet where it is only prepared
    return podman(
        *("run", "--replace", "--name", f"{node.namespace}-{name}", "--network", "host"),
        *("--read-only", "--read-only-tmpfs=false", "--security-opt", "no-new-privileges"),
        *("--cap-drop", "all", *(f"--cap-add={capability}" for capability in role.capabilities)),
        *("--user", f"{role.user}:{role.user}"),
        *(f"--volume={mount}" for mount in mounts),
        *(f"--env={key}={value}" for key, value in (environment or {}).items()),
        *(*options, IMAGE, *role.command),
        namespace=node.namespace if is_up else None,
    )


@contextmanager
def instead_of_processes(lab: LabSpec, nodes: int) -> Iterator[None]:
    """Within the block the nodes of a lab that is not up yet run their daemons as containers."""
    assert not missing(), missing()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemons, "_launch", launch)
        specs = [lab.node(number + 1) for number in range(nodes)]
        try:
            for node in specs:
                prepare(node)
            yield
        finally:
            for node in specs:
                remove(node)


def launch(node: NodeSpec, daemon: str, environment: Mapping[str, str]) -> int:
    """Start a daemon as a container; return its process id. In place of the lab's own way."""
    pid_file = node.directory / f"{daemon}.pid"
    settings = {k: v for k, v in environment.items() if not k.endswith(_PLACES)}
    settings["OCICAT_IPAM_SOCKET"] = "/run/ocicat-ipamd/ipamd.sock"
    log = ("--log-driver", "k8s-file", "--log-opt", f"path={node.directory}/{daemon}.log")
    run(
        *(node, daemon, ROLES[daemon], "--detach", "--pidfile", pid_file, *log),
        environment=settings,
    )
    return int(pid_file.read_text())


def prepare(node: NodeSpec) -> None:
    """What a DaemonSet's init containers do: directories of ipamd's user, and ``install-cni``."""
    for directory in (node.directory / "ipamd", node.lab.directory / "history" / node.name):
        directory.mkdir(parents=True)
    (node.directory / "ipamd.sock").symlink_to("ipamd/ipamd.sock")  # where the lab looks for it
    own = ("/run/ocicat-ipamd", "/var/lib/ocicat/history")
    run(node, "prepare", Role(("chown", f"{USER}:{USER}", *own), ("CHOWN",)), "--rm")
    install(node)


def install(node: NodeSpec, *options: str, host: Path = Path("/")) -> str:
    """Run ``install-cni`` for the machine itself, into directories of the node."""
    places = {"bin": "bin", "conf": "net.d", "networkmanager": "nm", "networkd": "networkd"}
    directories = [f"--{name}-dir={node.directory / at}" for name, at in places.items()]
    directories.append(f"--state-dir={node.directory / 'installed'}")
    environment = {
        "CNI_NETWORK_CONFIG": _CONFIGURATION,
        "OCICAT_CNI_SOCKET": node.environment["OCICAT_CNI_SOCKET"],
    }
    role = Role(
        ("install-cni", "--calico", *directories, *options),
        ("SYS_CHROOT",),
        mounts=(f"{host}:/host:rslave",),
    )
    return run(node, "install-cni", role, "--rm", environment=environment)


def inspect(node: NodeSpec, daemon: str) -> dict[str, Any]:
    """What podman knows of a daemon's container."""
    found: dict[str, Any] = json.loads(podman("inspect", f"{node.namespace}-{daemon}"))[0]
    return found


def remove(node: NodeSpec) -> None:
    """Remove the containers of a node, whatever state they are in."""
    for name in (*ROLES, "prepare", "install-cni"):
        podman("rm", "--force", "--ignore", "--time", "0", f"{node.namespace}-{name}")
