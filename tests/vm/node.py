"""One node of the cluster in its machine, and its pods, as the host commands them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datamodel.errors import Unavailable
from tests.vm.debian import LIBRARY, SHARE
from tests.vm.machine import Machine
from tests.vm.waiting import until

PROVISION_TIMEOUT_S = 400.0
APPLY_TIMEOUT_S = 120.0
ROUTES_TIMEOUT_S = 120.0
PODS_TIMEOUT_S = 180.0
UNITS = ("ocicat-ipamd", "ocicat-cni-server", "ocicat-route-distributor", "ocicat-bird")
_JOURNAL = "journalctl --no-hostname -b -n 60 -o short-monotonic"
_LOGS = (
    "systemctl --no-pager --no-legend list-units --failed",
    f"{_JOURNAL} {' '.join(f'-u {unit}' for unit in (*UNITS, 'ocicat-pods'))}",
    f"{_JOURNAL} -p warning -u containerd -u init.scope",
)
_PYTHON = "/opt/ocicat/0.1.0/bin/python"


def provision(
    machine: Machine, role: str, settings: Mapping[str, str], wheels: str = "wheels"
) -> None:
    """Run one of the scripts in ``deploy/provision`` there."""
    given = {"WHEELS": str(SHARE / wheels), **settings}
    script = str(SHARE / "provision" / f"{role}.sh")
    machine.run(script, environment=given, timeout_s=PROVISION_TIMEOUT_S)


def asking(address: str) -> tuple[str, ...]:
    """The command that prints what the web server of a pod says, of tests/runtimes/rootfs.py."""
    # Debian's static busybox crashes where libnss-systemd is.
    code = "import sys, urllib.request as web; print(web.urlopen(sys.argv[1]).read().decode())"
    return ("python3", "-c", code, f"http://{address}/cgi-bin/who")


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster."""

    number: int
    address: str
    machine: Machine

    @property
    def name(self) -> str:
        return self.machine.name

    def sh(self, script: str, *, check: bool = True, timeout_s: float = 120.0) -> str:
        """Run a shell's script there; return what it printed."""
        return self.machine.run("sh", "-ec", script, check=check, timeout_s=timeout_s).stdout

    def ctl(self, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
        """Run ``ocicatctl`` there, with the node's settings."""
        command = ("ocicatctl", *arguments)
        return self.machine.run(*command, stdin=stdin, check=check, timeout_s=120.0).stdout

    def apply(self, text: str) -> None:
        """Apply resources; on a busy host etcd may need more than one try."""

        def look() -> bool:
            command = ("ocicatctl", "apply", "-f", "-")
            return not self.machine.run(*command, stdin=text.encode(), check=False).returncode

        until(look, f"{self.name}: ocicatctl apply", APPLY_TIMEOUT_S, lambda: text)

    def want_pods(self, *names: str) -> None:
        """Say which pods the node shall have, as a kubelet's static pods."""
        listing = "".join(f"{name}\n" for name in names)
        script = (
            "set -e; mkdir -p /etc/ocicat-pods; cd /etc/ocicat-pods; cat >/run/wanted;"
            " { ls | grep -vxFf /run/wanted || true; } | xargs -r rm; xargs -r touch </run/wanted"
        )
        self.machine.run("sh", "-c", script, stdin=listing.encode())

    def pods(self, *names: str) -> "list[Pod]":
        """Wait until the node has exactly these pods."""

        def look() -> list[Pod] | None:
            text = self.sh("cat /run/ocicat-pods.json || echo '{}'")
            found = json.loads(text or "{}")
            if found.keys() != set(names):
                return None
            return [
                Pod(self, n, found[n]["address"], found[n]["id"], found[n]["pid"]) for n in names
            ]

        return until(look, f"{self.name}: pods {' '.join(names)}", PODS_TIMEOUT_S, self.logs)

    @property
    def routes(self) -> list[str]:
        """What ``ip route`` says."""
        return [line.strip() for line in self.machine.run("ip", "route").stdout.splitlines()]

    def wait_for_route(self, pattern: str, *, gone: bool = False) -> None:
        """Wait until ``ip route`` has such a line, or has it no more.

        Raises:
            Unavailable: it has not in time.
        """
        wanted = re.compile(pattern)
        until(
            lambda: any(map(wanted.fullmatch, self.routes)) != gone,
            f"{self.name}: {'no ' if gone else ''}route {pattern}",
            ROUTES_TIMEOUT_S,
            lambda: "\n".join(self.routes),
        )

    def ping(self, target: str, *options: str, prefix: Sequence[str] = ()) -> int:
        """Send three echo requests; return how many were answered.

        More are sent while answers are late: only -w waits for these. After the first answer
        ping heeds -W no more, and leaves after twice the longest answer's time.
        """
        command = (*prefix, "ping", "-n", "-c3", "-i0.2", "-w10", *options, target)
        said = self.machine.run(*command, check=False).stdout
        return len(set(re.findall(r"icmp_seq=([123]) ttl", said)))

    def background(self, name: str, *command: str) -> None:
        """Start a command that goes on; ``finish`` returns what it printed."""
        run = ("systemd-run", "-q", "--collect", f"--unit={name}", "--service-type=exec")
        out = (f"--property=StandardOutput=file:/run/{name}.out", f"--setenv=PYTHONPATH={LIBRARY}")
        self.machine.run(*run, *out, *command)

    def finish(self, name: str, signal: str = "TERM") -> str:
        """Signal a command that ``background`` started, wait for its end."""
        self.machine.run("systemctl", "kill", f"--signal={signal}", name)
        wait = f"while systemctl -q is-active {name}; do sleep 0.3; done; cat /run/{name}.out"
        return self.sh(wait)

    def begin_churn(self, width: int) -> None:
        """Add and delete sandboxes until ``finish("churn")``."""
        self.background("churn", _PYTHON, str(LIBRARY / "kubelet.py"), "churn", str(width))

    def logs(self) -> str:
        """The last lines of each daemon's log."""
        told = []
        try:
            told.extend(self.machine.run(*line.split(), check=False).stdout for line in _LOGS)
        except Unavailable as error:
            told.append(str(error))
        return "\n".join(told)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a node."""

    node: Node
    name: str
    address: str
    sandbox: str
    pid: str  # of the sandbox's process

    @property
    def block(self) -> str:
        """The block of its address; the pool here has blocks of 256."""
        return f"{self.address.rpartition('.')[0]}.0/24"

    @property
    def mtu(self) -> int:
        """How long a packet its link takes."""
        listing = self.inside("ip", "-j", "link", "show", "eth0")
        return int(json.loads(listing)[0]["mtu"])

    def inside(self, *command: str) -> str:
        """Run a program of the node in the pod's network."""
        return self.node.machine.run(*self.prefix, *command).stdout

    @property
    def prefix(self) -> tuple[str, ...]:
        """What puts a command into the pod's network namespace."""
        return ("nsenter", "-t", self.pid, "-n")

    def ping(self, target: str, *options: str) -> int:
        """Send three echo requests; return how many were answered."""
        return self.node.ping(target, *options, prefix=self.prefix)

    def asks(self, address: str) -> str:
        """What the web server of another pod says: its own address, and who asked."""
        return self.inside(*asking(address)).strip()
