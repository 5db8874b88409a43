"""A real etcd for tests: started, killed, frozen and thrown away again.

Every server has a data directory and ports of its own and never outlives the test process.
"""

import contextlib
import dataclasses
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from datastore.config import EtcdConfig

START_TIMEOUT_S = 15.0
_BIND_ATTEMPTS = 5
_random = (
    random.SystemRandom()
)  # hypothesis seeds the other one: all runs would have the same ports


@dataclasses.dataclass(frozen=True)
class Certificates:
    """PEM files of one authority: what the server shows, and what a client shows."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class EtcdServer:
    """One member. ``with EtcdServer() as etcd:`` runs it; ``members`` makes a cluster."""

    def __init__(
        self,
        name: str = "lone",
        *,
        certificates: Certificates | None = None,
        flags: Sequence[str] = (),
        heartbeat_ms: int = 20,
    ) -> None:
        self.name = name
        self.certificates = certificates
        self.client_port, self.peer_port = free_ports(2)
        self.peers = {name: self.peer_port}
        self._flags = [
            f"--heartbeat-interval={heartbeat_ms}",
            f"--election-timeout={heartbeat_ms * 10}",
            # Lets a test ping often enough to notice a frozen server within a second or two.
            "--grpc-keepalive-min-time=200ms",
            *flags,
        ]
        self._dir = Path(tempfile.mkdtemp(prefix="etcd-test-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._has_served = False

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self.client_port}"

    @property
    def config(self) -> EtcdConfig:
        """What a client needs to reach this one member."""
        if self.certificates is None:
            return EtcdConfig((self.endpoint,))
        return EtcdConfig(
            (self.endpoint,),
            ca_cert_file=self.certificates.ca,
            cert_file=self.certificates.client,
            key_file=self.certificates.client_key,
        )

    @property
    def log(self) -> str:
        return (self._dir / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, on its old data if it has run before, and wait until it serves."""
        for _ in range(_BIND_ATTEMPTS):
            self.spawn()
            if self._serves():
                return
            if self._has_served or "address already in use" not in self.log:
                break
            # Somebody else took a port between our look and etcd's bind.
            self.client_port, self.peer_port = free_ports(2)
            self.peers = {self.name: self.peer_port}
            self.wipe()
        raise RuntimeError(f"etcd {self.name} does not start:\n{self.log[-3000:]}")

    def spawn(self) -> None:
        """Start it without waiting: a member of a new cluster serves only with a quorum."""
        assert self._process is None
        with (self._dir / "log").open("wb") as log:
            self._process = subprocess.Popen(
                # The kernel kills it should the test process die without cleaning up.
                ["setpriv", "--pdeathsig", "KILL", "etcd", *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_it_serves(self) -> None:
        if not self._serves():
            raise RuntimeError(f"etcd {self.name} does not start:\n{self.log[-3000:]}")

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it keep its connections and do nothing; it does when this returns."""
        self._send(signal.SIGSTOP)
        assert self._process is not None
        state = Path(f"/proc/{self._process.pid}/stat")
        while state.read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def wipe(self) -> None:
        """Throw its data away; the next start makes a store of the same cluster id."""
        assert self._process is None
        shutil.rmtree(self._dir / "data", ignore_errors=True)

    def ctl(self, *arguments: str) -> str:
        """Run etcdctl against it and return what it prints."""
        tls = []
        if self.certificates is not None:
            tls = [
                f"--cacert={self.certificates.ca}",
                f"--cert={self.certificates.client}",
                f"--key={self.certificates.client_key}",
            ]
        done = subprocess.run(
            ["etcdctl", f"--endpoints={self.endpoint}", *tls, *arguments],
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self) -> None:
        """Kill it and remove what it wrote."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _arguments(self) -> list[str]:
        client_url, peer_url = self.endpoint, f"http://127.0.0.1:{self.peer_port}"
        cluster = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in self.peers.items())
        arguments = [
            f"--name={self.name}",
            f"--data-dir={self._dir / 'data'}",
            f"--listen-client-urls={client_url}",
            f"--advertise-client-urls={client_url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster={cluster}",
            *self._flags,
        ]
        if self.certificates is not None:
            arguments += [
                f"--cert-file={self.certificates.server}",
                f"--key-file={self.certificates.server_key}",
                f"--trusted-ca-file={self.certificates.ca}",
                "--client-cert-auth",
            ]
        return arguments

    def _serves(self) -> bool:
        """Wait for the line that our own process writes when it has its ports and a leader.

        Asking the port instead could reach somebody else's etcd.
        """
        assert self._process is not None
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            if "ready to serve client requests" in self.log:
                self._has_served = True
                return True
            time.sleep(0.02)
        self._end(signal.SIGKILL)
        return False

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is not signal.SIGKILL:
            self._process.send_signal(signal.SIGCONT)  # a frozen process takes no other signal
        self._process.wait(timeout=10)
        self._process = None


@contextlib.contextmanager
def members(n: int) -> Iterator[list[EtcdServer]]:
    """Run a cluster of *n*."""
    # Slower heartbeats than alone: a busy machine must not cause elections.
    servers = [EtcdServer(f"m{i}", heartbeat_ms=50) for i in range(n)]
    with contextlib.ExitStack() as undo:
        for server in servers:
            undo.callback(server.close)
            server.peers = {s.name: s.peer_port for s in servers}
        for server in servers:
            server.spawn()
        for server in servers:
            server.wait_until_it_serves()
        yield servers


def free_ports(n: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses.

    They lie below those that the kernel gives to outgoing connections, else one of these could
    take the port while a test has its server down.
    """
    found: list[int] = []
    while len(found) < n:
        port = _random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


def make_certificates(where: Path, *, expired: str = "") -> Certificates:
    """Make an authority, a server certificate for 127.0.0.1 and a client certificate.

    *expired*: "server" or "client", whose certificate was good until yesterday.
    """
    made = Certificates(
        *(where / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key"))
    )
    ca_key = where / "ca-key.pem"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _openssl("req", "-x509", *new_key, "-subj", "/CN=test-ca", "-keyout", ca_key, "-out", made.ca)
    extensions = where / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    for certificate, key in (
        (made.server, made.server_key),
        (made.client, made.client_key),
    ):
        request = certificate.with_suffix(".csr")
        subject = f"/CN={certificate.stem}"
        _openssl("req", *new_key, "-subj", subject, "-keyout", key, "-out", request)
        authority = ("-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial")
        days = "-1" if certificate.stem == expired else "30"
        _openssl(
            *("x509", "-req", "-in", request, *authority, "-days", days),
            *("-extfile", extensions, "-out", certificate),
        )
    return made


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], capture_output=True, check=True)
