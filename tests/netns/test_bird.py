"""Two nodes with real BIRDs and real routes: what our files make of them.

Each test has network namespaces of its own, joined by a switch, and its own processes.
"""

import asyncio
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS, Session, sessions
from datamodel.errors import Unavailable
from route_distributor.bird.daemon import Bird
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import Pair, a_node, an_affinity, stored

ADDRESSES = {"node-1": "10.0.0.11", "node-2": "10.0.0.12", "node-3": "10.0.0.13"}
BLOCKS = {"node-1": "10.233.77.0/24", "node-2": "10.233.88.0/24", "node-3": "10.233.55.0/24"}


def ip(*arguments: str) -> str:
    command = ("ip", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait until *condition* holds; return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "too late"
        time.sleep(0.05)
    return time.monotonic() - started


class Node:
    """One node: a namespace, a file of ours, a BIRD."""

    def __init__(self, name: str, netns: str, directory: Path, cluster: Sequence[str]) -> None:
        self.name = name
        self.cluster = [a_node(each, ADDRESSES[each]) for each in cluster]
        self.netns = netns
        self.config = directory / f"{name}.conf"
        self.control = directory / f"{name}.ctl"
        self.bird = Bird(self.config, self.control)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *pairs: Pair) -> None:
        """Write the file that the route distributor would with *pairs* in the store as well."""
        own = an_affinity(BLOCKS[self.name], host=self.name)
        decision = desired(cluster_snapshot(self.name, stored(*self.cluster, own, *pairs)))
        assert isinstance(decision, BirdConfig)
        assert asyncio.run(self.bird.write(render(decision)))

    def start(self) -> None:
        command = ["bird", "-f", "-R", "-c", self.config, "-s", self.control]
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns}", *command])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def routes(self) -> list[str]:
        return [line.strip() for line in ip("-n", self.netns, "route").splitlines()]

    @property
    def sessions(self) -> list[Session]:
        try:
            with BirdControl(str(self.control)) as control:
                return sessions(control.command(SHOW_PROTOCOLS))
        except Unavailable:
            return []  # not started yet

    @property
    def up_since(self) -> dict[str, float]:
        """When each session came up; what BIRD says of one moment differs by a millisecond."""
        clocks = {session.name: session.since.split(":") for session in self.sessions}
        return {n: int(h) * 3600 + int(m) * 60 + float(s) for n, (h, m, s) in clocks.items()}

    @property
    def is_established(self) -> bool:
        """Whether every session is."""
        found = [session for session in self.sessions if session.is_established]
        return len(found) == len(self.cluster) - 1

    @property
    def table(self) -> str:
        """BIRD's own table."""
        with BirdControl(str(self.control)) as control:
            return "\n".join(reply.text for reply in control.command("show route"))

    def configure(self, *pairs: Pair) -> None:
        """Do what the route distributor does when *pairs* come to be in the store."""
        self.write(*pairs)
        asyncio.run(self.bird.configure())

    def add_pod(self, address: str) -> str:
        """Do what the CNI plugin does as far as BIRD sees it; return the host's link."""
        link = f"cali{uuid.uuid4().hex[:8]}"
        ip("-n", self.netns, "link", "add", link, "type", "veth", "peer", "name", f"p{link[:12]}")
        ip("-n", self.netns, "link", "set", link, "up")
        ip("-n", self.netns, "route", "add", address, "dev", link, "scope", "link")
        return link


@contextmanager
def joined(directory: Path, *names: str) -> Iterator[tuple[Node, ...]]:
    """Nodes with their files written and nothing started; taken away afterwards."""
    mark = f"ocicat-{uuid.uuid4().hex[:8]}"
    nodes = tuple(Node(name, f"{mark}-{name}", directory, names) for name in names)
    with ExitStack() as undo:
        for netns in (mark, *(node.netns for node in nodes)):
            undo.callback(subprocess.run, ["ip", "netns", "del", netns], check=False)
            ip("netns", "add", netns)
        ip("-n", mark, "link", "add", "switch", "up", "type", "bridge")
        for node in nodes:
            undo.callback(node.kill)
            cable = f"name eth0 netns {node.netns}".split()
            ip("-n", mark, "link", "add", node.name, "type", "veth", "peer", *cable)
            ip("-n", mark, "link", "set", node.name, "up", "master", "switch")
            ip("-n", node.netns, "link", "set", "lo", "up")
            ip("-n", node.netns, "link", "set", "eth0", "up")
            ip("-n", node.netns, "addr", "add", f"{ADDRESSES[node.name]}/24", "dev", "eth0")
            node.write()
        yield nodes


def start(*nodes: Node) -> None:
    """Start every BIRD and wait until all of them know each other."""
    for node in nodes:
        node.start()
    for node in nodes:
        eventually(lambda node=node: node.is_established)


@contextmanager
def route_events(node: Node, file: Path) -> Iterator[None]:
    """Write every change of the node's routes into *file* meanwhile."""
    with file.open("wb") as out:
        monitor = subprocess.Popen(["ip", "-n", node.netns, "monitor", "route"], stdout=out)
        try:
            # The monitor needs a moment until it hears; a route of no other use shows that it does.
            eventually(lambda: _is_heard(node, file))
            yield
        finally:
            monitor.kill()
            monitor.wait()


def _is_heard(node: Node, events: Path) -> bool:
    # Anew each time: the kernel does not tell of a route that is replaced by the same.
    ip("-n", node.netns, "route", "flush", "192.0.2.0/24")
    ip("-n", node.netns, "route", "add", "192.0.2.0/24", "dev", "eth0")
    return "192.0.2.0/24" in events.read_text()


@pytest.fixture
def pair(tmp_path) -> Iterator[tuple[Node, ...]]:
    with joined(tmp_path, "node-1", "node-2") as nodes:
        yield nodes


@pytest.fixture
def mesh(pair) -> tuple[Node, ...]:
    start(*pair)
    return pair


def test_the_nodes_find_each_other_and_the_routes_read_as_in_calico(pair, record_property):
    one, two = pair
    started = time.monotonic()

    one.start()
    two.start()
    eventually(lambda: "10.233.88.0/24 via 10.0.0.12 dev eth0 proto bird" in one.routes)
    eventually(lambda: "10.233.77.0/24 via 10.0.0.11 dev eth0 proto bird" in two.routes)

    record_property("convergence_s", round(time.monotonic() - started, 2))
    assert time.monotonic() - started < 5
    assert "blackhole 10.233.77.0/24 proto bird" in one.routes
    assert "blackhole 10.233.88.0/24 proto bird" in two.routes
    (session,) = one.sessions
    assert str(session.peer_address) == "10.0.0.12"
    assert session.peer_type == "node-to-node mesh"


def test_a_new_block_reaches_the_peer_and_a_pod_does_not(mesh):
    one, two = mesh
    before = one.up_since
    one.add_pod("10.233.77.2")

    one.configure(an_affinity("10.233.99.0/24", host=one.name))
    eventually(lambda: "10.233.99.0/24 via 10.0.0.11 dev eth0 proto bird" in two.routes)

    # The pod's route is older than the block's, so BIRD has seen it by now.
    assert any(route.startswith("10.233.77.2 dev cali") for route in one.routes)
    assert "10.233.77.2" not in one.table
    assert not any("10.233.77.2" in route for route in two.routes)
    assert one.up_since == pytest.approx(before, abs=0.01)


def test_a_block_that_is_given_up_is_withdrawn(mesh):
    one, two = mesh
    one.configure(an_affinity("10.233.99.0/24", host=one.name))
    eventually(lambda: any("10.233.99.0/24" in route for route in two.routes))

    one.configure()

    eventually(lambda: not any("10.233.99.0/24" in r for r in one.routes + two.routes))


def test_a_block_of_one_address_is_announced_as_its_pod_comes_and_goes(mesh):
    one, two = mesh
    one.add_pod("10.233.79.5")
    one.configure(an_affinity("10.233.79.5/32", host=one.name))
    eventually(lambda: "10.233.79.5 via 10.0.0.11 dev eth0 proto bird metric 1024" in two.routes)

    ip("-n", one.netns, "route", "del", "10.233.79.5")

    eventually(lambda: not any("10.233.79.5" in route for route in two.routes))


def test_the_hosts_own_routes_are_learnt_but_not_told(pair):
    one, two = pair
    ip("-n", one.netns, "route", "add", "default", "via", "10.0.0.254")
    ip("-n", one.netns, "route", "add", "192.168.7.0/24", "via", "10.0.0.253")
    one.start()
    two.start()
    eventually(lambda: any("10.233.77.0/24" in route for route in two.routes))

    assert "0.0.0.0/0" in one.table
    assert "192.168.7.0/24" in one.table
    assert "0.0.0.0/0" not in two.table
    assert "192.168.7.0/24" not in two.table


def test_a_killed_bird_that_comes_back_costs_its_peer_no_route(mesh, tmp_path):
    one, two = mesh
    eventually(lambda: any("10.233.77.0/24" in route for route in two.routes))
    own_routes = one.routes
    events = tmp_path / "events"
    with route_events(two, events):
        one.kill()
        eventually(lambda: not two.is_established)
        assert one.routes == own_routes
        one.start()
        eventually(lambda: one.is_established and two.is_established)
        # One more change of ours shows that nothing is still on its way.
        one.configure(an_affinity("10.233.99.0/24", host=one.name))
        eventually(lambda: "10.233.99.0/24" in events.read_text())

    assert "10.233.77.0/24" not in events.read_text()
    assert set(own_routes) <= set(one.routes)


def test_a_bird_that_does_not_run_is_unavailable(pair):
    with pytest.raises(Unavailable, match="is bird running"):
        asyncio.run(pair[0].bird.configure())
