"""What `lab demo` and `lab status` show: read back from etcd, kernel and BIRD, never made up.

Story. Tables about the cluster are those of ``ocicatctl get``, ``ipam show`` and ``node status``,
run on the node as an operator would.
"""

import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from datastore import keys
from ocicatctl.lab import etcd, system
from ocicatctl.lab.daemons import bgp_sessions, running
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pods import LabPod
from ocicatctl.lab.spec import NodeSpec
from ocicatctl.node.command import as_json
from ocicatctl.table import box, columns

PING_TRIES = 3
PING_WAIT_S = 2
PARALLEL_PINGS = 16

_RTT = re.compile(r"time=([0-9.]+) ms")


def ctl(node: NodeSpec, *arguments: str) -> str:
    """Run ``ocicatctl`` on a node; return what it prints."""
    done = system.run(
        sys.executable,
        *("-m", "ocicatctl", *arguments),
        namespace=node.namespace,
        environment=node.environment,
    )
    return done.stdout.rstrip("\n")


def draw(lab: Lab, output: str) -> system.Done:
    """Run ``ocicatctl topology`` on the first node, with the sessions of all whose BIRD runs."""
    directory = lab.spec.directory / "sessions"
    directory.mkdir(exist_ok=True)
    for node in lab.nodes:
        file = directory / f"{node.name}.json"
        file.unlink(missing_ok=True)
        if "bird" in running(node):
            file.write_text(as_json(bgp_sessions(node)))
    first = lab.nodes[0]
    return system.run(
        sys.executable,
        *("-m", "ocicatctl", "topology", "-o", output, "--sessions", directory),
        namespace=first.namespace,
        environment=first.environment,
        check=False,
    )


def routes(node: NodeSpec) -> str:
    """``ip route`` of a node."""
    return system.run("ip", "route", namespace=node.namespace).stdout.rstrip("\n")


def blocks(lab: Lab) -> str:
    """Which node owns which block."""
    rows = []
    for key in etcd.keys(lab.spec, keys.ALL_AFFINITIES):
        node = key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
        rows.append([node, str(keys.cidr_of(key))])
    return columns(["NODE", "BLOCK"], rows).rstrip("\n")


@dataclass(frozen=True, slots=True)
class Place:
    """From where or to where a ping goes."""

    name: str
    namespace: str
    address: str


def place_of_pod(pod: LabPod) -> Place:
    """A pod as a place to ping."""
    return Place(pod.name, pod.namespace, pod.address)


def place_of_node(node: NodeSpec) -> Place:
    """A node as a place to ping."""
    return Place(node.name, node.namespace, str(node.address.ip))


class Matrix:
    """Round-trip times in milliseconds from every place to every other; ``None``: no answer."""

    def __init__(self, sources: Sequence[Place], targets: Sequence[Place]) -> None:
        self.sources = sources
        self.targets = targets
        pairs = [(s, t) for s in sources for t in targets if s != t]
        with ThreadPoolExecutor(PARALLEL_PINGS) as pool:
            times = pool.map(lambda pair: ping(*pair), pairs)
        self.times = dict(zip(pairs, times, strict=True))

    @property
    def answered(self) -> int:
        """How many pairs answered."""
        return sum(time is not None for time in self.times.values())

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return len(self.times)

    def table(self) -> str:
        """The matrix for people: a row per source, a column per target."""
        header = ["ms", *(target.name for target in self.targets)]
        rows = [[s.name, *(self._cell(s, t) for t in self.targets)] for s in self.sources]
        return box(header, rows).rstrip("\n")

    def _cell(self, source: Place, target: Place) -> str:
        if source == target:
            return ""
        time = self.times[source, target]
        return "LOST" if time is None else f"{time:.2f}"


def ping(source: Place, target: Place) -> float | None:
    """The best round-trip time of a few tries in milliseconds; ``None``: no answer to any."""
    command = ("ping", "-n", "-c", str(PING_TRIES), "-i", "0.02", "-W", str(PING_WAIT_S))
    done = system.run(*command, target.address, namespace=source.namespace, check=False)
    times = [float(time) for time in _RTT.findall(done.stdout)]
    return min(times) if len(times) == PING_TRIES else None


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is still there of pods: empty once every pod is gone."""

    found: tuple[str, ...]


def leftovers(lab: Lab) -> Leftovers:
    """Look for anything of a pod in kernels and etcd."""
    found: list[str] = []
    for node in lab.nodes:
        links = system.run("ip", "-o", "link", namespace=node.namespace).stdout
        found += [f"{node.name}: link {name}" for name in re.findall(r"(cali[^@:]+)[@:]", links)]
        found += [f"{node.name}: route {r}" for r in routes(node).splitlines() if " cali" in r]
        found += [f"{node.name}: undelivered release {p.name}" for p in _spooled(node)]
    for prefix in (keys.ALL_HANDLES, keys.ENDPOINTS):
        found += [f"etcd: {key}" for key in etcd.keys(lab.spec, prefix)]
    found += [f"etcd: {line}" for line in _blocks_in_use(lab)]
    return Leftovers(tuple(found))


def _spooled(node: NodeSpec) -> list[Path]:
    return sorted(Path(node.environment["OCICAT_SPOOL_DIR"]).glob("*.json"))


def _blocks_in_use(lab: Lab) -> list[str]:
    listing = etcd.etcdctl(lab.spec, "get", "--prefix", keys.ALL_BLOCKS).stdout
    return [line[:100] for line in listing.splitlines() if re.search(r'"handle_id"', line)]
