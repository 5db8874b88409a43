"""containerd on a machine: the daemon, and its own client ctr(1).

Edge: containerd(8), ctr(1). Everything is at its usual places, which are the machine's own.
"""

import json
import signal
from collections.abc import Mapping
from typing import Any

from ocicatctl.lab import system
from tests.runtimes.machine import Machine
from tests.runtimes.rootfs import IMAGE

SOCKET = "/run/containerd/containerd.sock"
START_TIMEOUT_S = 20.0
# Where CRI mounts the namespaces of its sandboxes, one file for each.
NETNS = "/run/containerd/io.containerd.grpc.v1.cri/netns"
# CRI makes its containers in this namespace of containerd, ctr in "default".
CRI_NAMESPACE = "k8s.io"

# restrict_oom_score_adj: without CAP_SYS_RESOURCE no sandbox would start. disable_apparmor: a
# profile would stay in the host's kernel.
_CONFIG = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


class Containerd:
    """The daemon of one machine; it may be killed and started again."""

    def __init__(self, machine: Machine, image: str) -> None:
        self.machine = machine
        machine.path("/etc/containerd.toml").write_text(_CONFIG)
        self.start()
        for namespace in ("default", CRI_NAMESPACE):
            self.ctr("--namespace", namespace, "image", "import", image)

    def start(self) -> None:
        """Start it; return when it answers."""
        script = "echo $$ >/run/containerd.pid; exec containerd --config /etc/containerd.toml"
        self._waits = self.machine.start("sh", "-c", script)
        system.wait_until(
            self._answers,
            f"containerd on {self.machine.node.name}",
            START_TIMEOUT_S,
        )

    def _answers(self) -> bool:
        return "Server" in self.ctr("version", check=False)

    def kill(self) -> None:
        """Kill the daemon alone: containers, their shims and plugins that run stay."""
        pid = self.machine.path("/run/containerd.pid").read_text().strip()
        self.machine.run("kill", f"-{signal.SIGKILL.value}", pid)
        system.wait_until(lambda: not system.is_alive(self._waits), "end of containerd", 10)

    def ctr(self, *arguments: str, check: bool = True) -> str:
        """Run containerd's client; return what it printed."""
        return self.machine.run("ctr", *arguments, check=check)

    def run(self, name: str, *command: str) -> str:
        """Run a container on the network to its end; return what it printed."""
        return self.ctr(*self._run("--rm", name), *command)

    def serve(self, name: str) -> int:
        """Run a container on the network that serves until it is killed.

        Returns:
            The id of the process that waits for its end, to send DEL.
        """
        waits = self.machine.start("ctr", *self._run("--rm", name))
        system.wait_until(lambda: self._is_running(name), f"container {name}", START_TIMEOUT_S)
        return waits

    def detach(self, name: str) -> None:
        """Run a container on the network that serves and that nobody sends DEL for."""
        self.ctr(*self._run("--detach", name))

    def _run(self, how: str, name: str) -> tuple[str, ...]:
        return ("run", how, "--cni", "--cgroup", f"/{self.machine.cgroup}/{name}", IMAGE, name)

    def _is_running(self, name: str) -> bool:
        lines = self.ctr("task", "list").splitlines()
        return any(line.split()[::2] == [name, "RUNNING"] for line in lines)

    def kill_container(self, name: str, waits: int) -> None:
        """Kill a container that serves; return when its DEL was sent and it is forgotten."""
        self.ctr("task", "kill", "--signal", "KILL", name)
        system.wait_until(lambda: not system.is_alive(waits), f"end of {name}", START_TIMEOUT_S)

    def forget_detached(self, name: str) -> None:
        """Kill a detached container and forget it, with the note that ctr itself forgets."""
        self.ctr("task", "delete", "--force", name)
        self.ctr("container", "delete", name)
        for note in self.machine.path("/var/lib/cni/results").glob(f"*-{name}-eth0"):
            note.unlink()

    def inside(self, container: str, *command: str, namespace: str = "default") -> str:
        """Run a command in a container; return what it printed."""
        return self.ctr(
            "--namespace", namespace, "task", "exec", "--exec-id", "once", container, *command
        )

    def netns(self) -> set[str]:
        """The namespaces that CRI mounted and has not removed."""
        folder = self.machine.path(NETNS)
        return {f"{NETNS}/{path.name}" for path in folder.iterdir()} if folder.exists() else set()

    def remove_forgotten(self, netns: set[str], sandbox: str) -> None:
        """Remove, as an operator has to, what a killed containerd started and forgot.

        Args:
            netns: namespaces that stay.
            sandbox: the one that stays.
        """
        for path in self.netns() - netns:
            self.machine.run("umount", path, check=False)  # killed before it was mounted
            self.machine.path(path).unlink()
        for pid, command in self.machine.processes().items():
            if "containerd-shim" in command and sandbox not in command:
                self.machine.run("kill", "-KILL", str(pid), check=False)


def write_conflist(machine: Machine, conflist: Mapping[str, Any]) -> None:
    """Make it the machine's network, as an installer does: whole or not at all."""
    target = machine.path("/etc/cni/net.d/10-ocicat.conflist")
    new = target.with_suffix(".new")
    new.write_text(json.dumps(conflist))
    new.replace(target)
