"""The lab's etcd, and etcd's own client.

Edge: etcd(1), etcdctl(1), in the fabric's namespace.
"""

import subprocess

from ocicatctl.lab import system
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import LabSpec

START_TIMEOUT_S = 30.0
_PEER_URL = "http://127.0.0.1:2380"


def start(spec: LabSpec) -> float:
    """Start etcd, with the data it has, unless it runs; return the seconds until it answers."""
    directory = spec.directory / "etcd"
    directory.mkdir(exist_ok=True)
    pid_file = PidFile(directory, "etcd")
    if not pid_file.is_running():
        pid = system.start(
            "etcd",
            "--name=lab",
            f"--data-dir={directory / 'data'}",
            f"--listen-client-urls={spec.etcd_endpoint}",
            f"--advertise-client-urls={spec.etcd_endpoint}",
            f"--listen-peer-urls={_PEER_URL}",
            f"--initial-advertise-peer-urls={_PEER_URL}",
            f"--initial-cluster=lab={_PEER_URL}",
            namespace=spec.fabric,
            environment={},
            log=directory / "etcd.log",
        )
        pid_file.write(pid)
    return system.wait_until(lambda: _answers(spec), "etcd", START_TIMEOUT_S)


def kill(spec: LabSpec) -> None:
    """Kill etcd; ``start`` brings it back."""
    PidFile(spec.directory / "etcd", "etcd").kill()


def etcdctl(spec: LabSpec, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run etcd's own client against the lab's etcd."""
    return system.run(
        "etcdctl",
        f"--endpoints={spec.etcd_endpoint}",
        *arguments,
        namespace=spec.fabric,
        environment={"ETCDCTL_API": "3"},
        check=check,
    )


def keys(spec: LabSpec, prefix: str) -> list[str]:
    """The keys below *prefix*."""
    return etcdctl(spec, "get", "--prefix", "--keys-only", prefix).stdout.split()


def _answers(spec: LabSpec) -> bool:
    return etcdctl(spec, "endpoint", "health", check=False).returncode == 0
