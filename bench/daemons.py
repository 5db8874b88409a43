"""The daemons that the benchmarks measure: an etcd that syncs to disk, and those of one node.

Edge: processes, /proc. Each has a directory of its own and ends with the benchmark.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import grpc

from bench import process
from bench.ipam_pods import KERNEL
from datamodel.errors import OcicatError
from datamodel.report import Report
from datastore.config import EtcdConfig
from ipam_api import ipam_pb2
from ipam_api.client import IpamClient

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 60.0
POLL_S = 0.05
# As a kubelet sees to it for an API server's etcd: no benchmark fills it.
QUOTA_BYTES = 8 << 30


class NotStarted(OcicatError):
    """A daemon does not come up."""


class Daemon:
    """A process with a directory and a log; killed, and the directory removed, at the end."""

    def __init__(self, name: str, parent: Path) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"ocicat-bench-{name}-", dir=parent))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; the kernel kills it should the benchmark die first."""
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, is_up: Callable[[], bool]) -> None:
        """Wait until it is up.

        Raises:
            NotStarted: it ended, or takes too long.
        """
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{self.name}: does not start:\n{self.log[-2000:]}")
            time.sleep(POLL_S)

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """Processor time it has used so far."""
        return process.cpu_s(self.pid)

    @property
    def rss_mb(self) -> float:
        """Its resident memory in MB (10⁶ bytes)."""
        return process.rss_mb(self.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Etcd(Daemon):
    """One member with etcd's defaults: a commit is on disk before it is answered."""

    def __init__(self, parent: Path) -> None:
        super().__init__("etcd", parent)
        client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        self.endpoint = client
        self.start(
            [
                "etcd",
                "--name=bench",
                f"--data-dir={self.directory / 'data'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=bench={peer}",
                f"--quota-backend-bytes={QUOTA_BYTES}",
            ],
            {"PATH": os.environ["PATH"]},
        )

    def __enter__(self) -> Self:
        self.wait_until(lambda: "ready to serve client requests" in self.log)
        return self

    @property
    def config(self) -> EtcdConfig:
        """How to reach it."""
        return EtcdConfig((self.endpoint,))

    @property
    def db_mb(self) -> float:
        """The size of its database file in MB (10⁶ bytes)."""
        return (self.directory / "data/member/snap/db").stat().st_size / 1e6


class Ipamd(Daemon):
    """One node's ipamd, as it runs on a node: log and owner history on disk."""

    def __init__(self, parent: Path, etcd: Etcd, number: int = 0) -> None:
        super().__init__("ipamd", parent)
        self.node = f"bench-{number}"
        self.socket = str(self.directory / "ipamd.sock")
        self.start(
            [sys.executable, "-m", "ipamd"],
            {
                "PATH": os.environ["PATH"],
                "ETCD_ENDPOINTS": etcd.endpoint,
                "NODENAME": self.node,
                "IP": f"192.0.2.{number + 1}/24",
                "OCICAT_IPAM_SOCKET": self.socket,
                "OCICAT_HISTORY_DIR": str(self.directory / "history"),
            },
        )
        self.client = IpamClient(self.socket)
        self._channel = grpc.insecure_channel(f"unix:{self.socket}")
        # The kind of call with which the bare transactions are made, too. Takes an encoded request.
        self.allocate: Callable[..., ipam_pb2.AllocateResponse] = self._channel.unary_unary(
            "/ocicat.ipam.v1.Ipam/Allocate",
            response_deserializer=ipam_pb2.AllocateResponse.FromString,
        )

    def __enter__(self) -> Self:
        """Wait until it owns a block, and report a kernel without links: it then gives out."""
        self.wait_until(self._owns_a_block)
        self.client.report(Report(KERNEL, is_complete=True, links=()))
        return self

    def _owns_a_block(self) -> bool:
        try:
            return bool(self.client.status(timeout_s=1).blocks)
        except OcicatError:
            return False

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._channel.close()
        super().__exit__()


class Distributor(Daemon):
    """One node's route distributor, as it runs on a node; BIRD is started apart."""

    def __init__(self, parent: Path, etcd: Etcd, node: str) -> None:
        super().__init__("distributor", parent)
        self.config = self.directory / "bird.conf"
        self.socket = self.directory / "bird.ctl"
        self.start(
            [sys.executable, "-m", "route_distributor"],
            {
                "PATH": os.environ["PATH"],
                "ETCD_ENDPOINTS": etcd.endpoint,
                "NODENAME": node,
                "OCICAT_BIRD_CONFIG": str(self.config),
                "OCICAT_BIRD_SOCKET": str(self.socket),
                "OCICAT_ROUTES_STATUS": str(self.directory / "routes.json"),
                "OCICAT_SECRETS_DIR": str(self.directory / "secrets"),
            },
        )

    def __enter__(self) -> Self:
        """Wait until it has written BIRD's file."""
        self.wait_until(self.config.exists)
        return self

    @property
    def run_s(self) -> float:
        """Its processor time so far, to the nanosecond."""
        return process.run_s(self.pid)


class Bird(Daemon):
    """The BIRD of a distributor, in the network namespace of the benchmark."""

    def __init__(self, parent: Path, distributor: Distributor) -> None:
        super().__init__("bird", parent)
        self._socket = distributor.socket
        command = ["bird", "-f", "-R", "-c", distributor.config, "-s", distributor.socket]
        self.start(list(map(str, command)), {"PATH": os.environ["PATH"]})

    def __enter__(self) -> Self:
        self.wait_until(self._socket.exists)
        return self

    @property
    def reconfigured(self) -> int:
        """How often it has read its file again."""
        return self.log.count("<INFO> Reconfigured")


def directory_on_disk(path: Path) -> Path:
    """The directory itself, unless it is in memory, where a sync costs nothing.

    Raises:
        NotStarted: it is.
    """
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", path], capture_output=True, text=True, check=False
    ).stdout.strip()
    if kind in ("", "tmpfs", "ramfs"):
        raise NotStarted(f"{path}: is {kind or 'not there'}; name a directory on a disk")
    return path


def _free_ports(n: int) -> list[int]:
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [probe.getsockname()[1] for probe in with_ports]
    for probe in with_ports:
        probe.close()
    return ports
