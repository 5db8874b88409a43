"""Calls the installed executable as a runtime does, and looks at everything it could leave."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from ocicatctl.lab import system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.spec import NodeSpec
from tests.lab_store import held

CONF = {
    "cniVersion": "1.0.0",
    "name": "k8s-pod-network",
    "type": "ocicat",
    "ipam": {"type": "ocicat-ipam"},
    "policy": {"type": "k8s"},
}


@dataclass(frozen=True)
class Answer:
    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict:
        return json.loads(self.stdout)


@dataclass
class Call:
    """One call, right in every respect unless a test changes something."""

    node: NodeSpec
    command: str = "ADD"
    netns: str = ""
    container_id: str = "c0ffee"
    ifname: str = "eth0"
    conf: dict | str = field(default_factory=lambda: dict(CONF))
    environment: dict = field(default_factory=dict)  # on top; None removes
    executable: Path | None = None
    wrapper: tuple[str, ...] = ()  # a command that runs the executable

    def run(self) -> Answer:
        environment = {
            "CNI_COMMAND": self.command,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": "/usr/lib/cni",
            **self.environment,
        }
        done = subprocess.run(
            [
                "nsenter",
                f"--net={system.NETNS / self.node.namespace}",
                "--",
                *self.wrapper,
                str(self.executable or self.node.bin / "ocicat"),
            ],
            env={k: v for k, v in environment.items() if v is not None},
            input=self.conf if isinstance(self.conf, str) else json.dumps(self.conf),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


def traces(lab: Lab, node: NodeSpec, *namespaces: str) -> dict:
    """Everything a call could leave behind: kernel state, files and the store."""
    found = {}
    for namespace in (node.namespace, *namespaces):
        for what in ("link", "addr", "route", "neigh"):
            arguments = ("-o", what) if what != "neigh" else ("neigh", "show", "nud", "permanent")
            found[namespace, what] = system.run("ip", *arguments, namespace=namespace).stdout
    found["files"] = sorted(
        str(path)
        for path in node.directory.rglob("*")
        if path.suffix != ".log" and not path.is_dir()
    )
    found["store"] = held(lab)
    return found
