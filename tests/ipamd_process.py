"""A real ipamd for tests: its own process, socket and directory, and a client that speaks to it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ipam_api import ipam_pb2, ipam_pb2_grpc

ROOT = Path(__file__).parent.parent
KERNEL = ipam_pb2.Kernel(boot_id="boot-of-tests", netns="4026531840")
START_TIMEOUT_S = 30.0


class IpamdProcess:
    """One node's ipamd. ``with IpamdProcess(...) as ipamd:`` runs it and ends it again."""

    def __init__(
        self,
        endpoints: Sequence[str],
        node: str = "node-1",
        *,
        address: str = "192.0.2.1/24",
        environment: Mapping[str, str] | None = None,
        module: Sequence[str] = ("ipamd",),
    ) -> None:
        self.node = node
        self._module = module
        self.directory = Path(tempfile.mkdtemp(prefix="ipamd-test-"))
        self.socket = str(self.directory / "ipamd.sock")
        self._log_path = self.directory / "log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "ETCD_ENDPOINTS": ",".join(endpoints),
            "NODENAME": node,
            "IP": address,
            "OCICAT_IPAM_SOCKET": self.socket,
            "OCICAT_HISTORY_DIR": str(self.directory / "history"),
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    def __enter__(self) -> "IpamdProcess":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        self._close_channel()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *, report: bool = True) -> None:
        """Start it; wait until it serves; report a kernel without links, which lets it begin."""
        self.spawn()
        self.wait_until_serving()
        if report:
            self.report()

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._module],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_serving(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until its health says SERVING."""
        deadline = time.monotonic() + timeout_s
        while not self.is_serving():
            assert self.process is not None
            assert self.process.poll() is None, f"ipamd ended:\n{self.log}"
            assert time.monotonic() < deadline, f"ipamd does not serve:\n{self.log}"
            time.sleep(0.02)

    def is_serving(self) -> bool:
        """Whether its health says SERVING."""
        with contextlib.suppress(grpc.RpcError):
            stub = health_pb2_grpc.HealthStub(self.channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        return False

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal that ends it, wait, and return how it ended."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=20)
        self._close_channel()
        return code

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def channel(self) -> grpc.Channel:
        """A connection; a new one after each restart."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(
                f"unix:{self.socket}",
                options=[
                    ("grpc.max_reconnect_backoff_ms", 100),
                    ("grpc.use_local_subchannel_pool", 1),  # two may have the same socket
                ],
            )
        return self._channel

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    @property
    def stub(self) -> ipam_pb2_grpc.IpamStub:
        """The service."""
        return ipam_pb2_grpc.IpamStub(self.channel)

    # ---- the calls that tests make -------------------------------------------------------------

    def report(self, *links: ipam_pb2.ReportedLink) -> None:
        """Report the kernel's links."""
        request = ipam_pb2.ReportRequest(kernel=KERNEL, is_complete=True, links=links)
        self.stub.Report(request, timeout=10)

    def allocate(self, container_id: str, pod: str | None = None, timeout_s: float = 10) -> str:
        """Allocate an IPv4 address for a container's eth0 and return it."""
        answer = self.stub.Allocate(allocate_request(container_id, pod), timeout=timeout_s)
        return answer.addresses[0].address

    def release(
        self, container_id: str, pod: str | None = None, timeout_s: float = 10
    ) -> list[str]:
        """Release what the container holds; return the addresses that were freed."""
        answer = self.stub.Release(release_request(container_id, pod), timeout=timeout_s)
        return [address.address for address in answer.addresses]


def attachment(container_id: str) -> ipam_pb2.Attachment:
    return ipam_pb2.Attachment(network="net", container_id=container_id, ifname="eth0")


def _pod(container_id: str, name: str | None) -> ipam_pb2.Pod:
    return ipam_pb2.Pod(namespace="default", name=name or f"pod-{container_id}")


def allocate_request(container_id: str, pod: str | None = None) -> ipam_pb2.AllocateRequest:
    endpoint = ipam_pb2.Endpoint(
        interface_name=f"cali{container_id}"[:15],
        mac="02:00:00:00:00:01",
        profiles=["kns.default"],
        kernel=KERNEL,
    )
    return ipam_pb2.AllocateRequest(
        attachment=attachment(container_id),
        pod=_pod(container_id, pod),
        endpoint=endpoint,
        ipv4=True,
    )


def release_request(container_id: str, pod: str | None = None) -> ipam_pb2.ReleaseRequest:
    return ipam_pb2.ReleaseRequest(attachment=attachment(container_id), pod=_pod(container_id, pod))


@contextlib.contextmanager
def running(endpoints: Sequence[str], count: int) -> Iterator[list[IpamdProcess]]:
    """So many nodes, started side by side."""
    with contextlib.ExitStack() as stack:
        nodes = [
            IpamdProcess(endpoints, f"node-{i}", address=f"192.0.2.{i + 1}/24")
            for i in range(count)
        ]
        for node in nodes:
            stack.callback(node.__exit__)
            node.spawn()
        for node in nodes:
            node.wait_until_serving()
            node.report()
        yield nodes
