"""One node of the cluster in its machine, and its pods, as the host commands them."""

import compileall
import io
import json
import re
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodel.errors import Unavailable
from ocicatctl.lab.spec import LabSpec
from tests.vm.machine import Machine

ROOT = Path(__file__).parents[2]
UP_TIMEOUT_S = 300.0
ROUTES_TIMEOUT_S = 90.0
POLL_S = 0.2

# What the guests need of the checkout: the packages that run there, and what calls them.
_CODE = (
    *("bird_api", "cni_plugin", "datamodel", "datastore", "ipam_api", "ipamd"),
    *("kernel_api", "kube_api", "ocicatctl", "route_distributor", "tests/vm/inside.py"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the cluster."""

    number: int
    address: str
    machine: Machine

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of its daemons, and of ``ocicatctl`` there."""
        return LabSpec().node(self.number).environment

    def python(self, *arguments: str, stdin: bytes = b"", timeout_s: float = 120.0) -> str:
        """Run a module of ours there."""
        command = (sys.executable, "-m", *arguments)
        done = self.machine.run(
            *command, environment=self.environment, stdin=stdin, timeout_s=timeout_s
        )
        return done.stdout

    def up(self) -> None:
        """Send it the checkout and start what a node runs."""
        self.machine.run("tar", "-x", "-C", str(ROOT), stdin=_checkout())
        self.python("tests.vm.inside", "up", str(self.number), timeout_s=UP_TIMEOUT_S)

    def add_pod(self, name: str) -> "Pod":
        """Attach a pod as a runtime does."""
        result = json.loads(self.python("tests.vm.inside", "add-pod", str(self.number), name))
        return Pod(self, name, str(result["ips"][0]["address"]).partition("/")[0])

    @property
    def routes(self) -> list[str]:
        """What ``ip route`` says."""
        return [line.strip() for line in self.machine.run("ip", "route").stdout.splitlines()]

    def wait_for_route(self, pattern: str) -> None:
        """Wait until ``ip route`` has such a line.

        Raises:
            Unavailable: it has not in time.
        """
        deadline = time.monotonic() + ROUTES_TIMEOUT_S
        wanted = re.compile(pattern)
        while not any(map(wanted.fullmatch, routes := self.routes)):
            if time.monotonic() > deadline:
                told = "\n".join(routes)
                raise Unavailable(f"{self.machine.name}: no route {pattern}; there are:\n{told}")
            time.sleep(POLL_S)

    def ping(self, target: str, *options: str, prefix: Sequence[str] = ()) -> int:
        """Send three echo requests; return how many were answered."""
        command = (*prefix, "ping", "-n", "-c3", "-i0.2", "-W5", *options, target)
        said = self.machine.run(*command, check=False).stdout
        found = re.search(r"(\d+) received", said)
        return int(found[1]) if found else 0

    def logs(self) -> str:
        """The last lines of each daemon's log."""
        command = ("sh", "-c", "tail -n 15 /run/ocicat-lab/default/*/*.log")
        try:
            return self.machine.run(*command, check=False).stdout
        except Unavailable as error:
            return str(error)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a node."""

    node: Node
    name: str
    address: str

    @property
    def block(self) -> str:
        """The block of its address; the pool here has blocks of 256."""
        return f"{self.address.rpartition('.')[0]}.0/24"

    @property
    def mtu(self) -> int:
        """How long a packet its link takes."""
        listing = self.node.machine.run("ip", "-n", self.name, "-j", "link", "show", "eth0")
        return int(json.loads(listing.stdout)[0]["mtu"])

    def ping(self, target: str, *options: str) -> int:
        """Send three echo requests; return how many were answered."""
        return self.node.ping(target, *options, prefix=("ip", "netns", "exec", self.name))


def _checkout() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in _CODE:
            # Here it takes a moment, in a guest a second for each program that starts.
            compileall.compile_dir(ROOT / name, quiet=2)
            archive.add(ROOT / name, arcname=name)
    return packed.getvalue()
