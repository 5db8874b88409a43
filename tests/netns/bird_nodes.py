"""A cluster's nodes for tests: namespaces joined by a switch, each with a real BIRD.

What BIRD gets is what our code makes of a store: resources are encoded, read as the route
distributor reads them, decided upon and rendered.
"""

import asyncio
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS, Session, sessions
from datamodel.errors import Unavailable
from datamodel.node import Node as Member
from route_distributor.bird.daemon import Bird
from route_distributor.bird.desired import BirdConfig, Settings, desired
from route_distributor.bird.render import render
from route_distributor.snapshot import ClusterSnapshot, cluster_snapshot
from tests.cluster import Pair, an_affinity, of_node, stored
from tests.netns.namespaces import eventually, inside, ip

BLOCKS = {
    "node-1": "10.233.77.0/24",
    "node-2": "10.233.88.0/24",
    "node-3": "10.233.55.0/24",
    **{f"node-{number}": f"10.233.{100 + number}.0/24" for number in range(4, 11)},
}
BLOCKS6 = {f"node-{number}": f"fd65::{number:x}:0/122" for number in range(1, 11)}
POD_GATEWAY, HOST_MAC = "169.254.1.1", "ee:ee:ee:ee:ee:ee"  # as the CNI plugin has them


class Lan:
    """Namespaces on one switch; *undo* takes them away."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self._name = f"ocicat-{uuid.uuid4().hex[:8]}"
        self.add(self._name)
        ip("-n", self._name, "link", "add", "switch", "up", "type", "bridge")

    def add(self, netns: str) -> None:
        """Add a namespace with nothing but lo."""
        self._undo.callback(subprocess.run, ["ip", "netns", "del", netns], check=False)
        ip("netns", "add", netns)
        ip("-n", netns, "link", "set", "lo", "up")

    def plug(self, what: str, *addresses: object) -> str:
        """Add a namespace with an eth0 on the switch, and return its name."""
        netns = f"{self._name}-{what}"
        self.add(netns)
        cable = f"name eth0 netns {netns}".split()
        ip("-n", self._name, "link", "add", what, "type", "veth", "peer", *cable)
        ip("-n", self._name, "link", "set", what, "up", "master", "switch")
        ip("-n", netns, "link", "set", "eth0", "up")
        for address in addresses:
            # An IPv6 address could not be bound before it is known that nobody else has it.
            ip("-n", netns, "addr", "add", address, "dev", "eth0", "nodad")
        return netns


class Node:
    """One node: a namespace, a file of ours, a BIRD."""

    def __init__(
        self,
        member: Member,
        directory: Path,
        cluster: Sequence[Member],
        lan: Lan,
        settings: Settings,
    ) -> None:
        self.name = member.name
        self.lan = lan
        self.netns = lan.plug(self.name, *(i for i in (member.ipv4, member.ipv6) if i))
        self.address, self.address6 = (str(i.ip) if i else "" for i in (member.ipv4, member.ipv6))
        self.cluster = tuple(cluster)
        self.settings = settings
        self.config = directory / f"{self.name}.conf"
        self.control = directory / f"{self.name}.ctl"
        self.bird = Bird(self.config, self.control)
        self.process: subprocess.Popen[bytes] | None = None
        own = [BLOCKS[self.name], *([BLOCKS6[self.name]] if member.ipv6 else [])]
        self._affinities = [an_affinity(block, host=self.name) for block in own]

    def snapshot(self, *pairs: Pair) -> ClusterSnapshot:
        """See the cluster as it is with *pairs* in the store as well."""
        entries = stored(*map(of_node, self.cluster), *self._affinities, *pairs)
        return cluster_snapshot(self.name, entries)

    def decide(self, *pairs: Pair) -> BirdConfig:
        """Say what BIRD should do then."""
        decision = desired(self.snapshot(*pairs), self.settings)
        assert isinstance(decision, BirdConfig)
        return decision

    def write(self, *pairs: Pair) -> bool:
        """Write the file that the route distributor would; tell whether it is another one."""
        decision = self.decide(*pairs)
        self.peers = len(decision.peers)
        return asyncio.run(self.bird.write(render(decision)))

    def start(self) -> None:
        command = ["bird", "-f", "-R", "-c", self.config, "-s", self.control]
        self.process = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.netns}", *command])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self) -> None:
        """Have BIRD say goodbye to its peers."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=10)

    @property
    def routes(self) -> list[str]:
        return [line.strip() for line in ip("-n", self.netns, "route").splitlines()]

    @property
    def routes6(self) -> list[str]:
        return [line.strip() for line in ip("-6", "-n", self.netns, "route").splitlines()]

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
    def is_running(self) -> bool:
        """Whether BIRD answers."""
        try:
            return "is up" in self.ask("show status")
        except Unavailable:
            return False

    @property
    def is_established(self) -> bool:
        """Whether every session is."""
        found = [session for session in self.sessions if session.is_established]
        return len(found) == self.peers

    @property
    def table(self) -> str:
        """BIRD's own table."""
        return self.ask("show route")

    def ask(self, command: str) -> str:
        """Give BIRD's answer to a command."""
        with BirdControl(str(self.control)) as control:
            return "\n".join(reply.text for reply in control.command(command))

    def configure(self, *pairs: Pair) -> None:
        """Do what the route distributor does when *pairs* come to be in the store."""
        if self.write(*pairs):
            asyncio.run(self.bird.configure())

    def add_pod(self, address: str) -> str:
        """Do what the CNI plugin does as far as BIRD sees it; return the host's link."""
        link = f"cali{uuid.uuid4().hex[:8]}"
        ip("-n", self.netns, "link", "add", link, "type", "veth", "peer", "name", f"p{link[:12]}")
        ip("-n", self.netns, "link", "set", link, "up")
        ip("-n", self.netns, "route", "add", address, "dev", link, "scope", "link")
        return link

    def serve(self, address: str) -> None:
        """Add a pod that answers to pings."""
        pod = f"{self.netns}-pod"
        self.lan.add(pod)
        link = self.add_pod(address)
        ip("-n", self.netns, "link", "set", f"p{link[:12]}", "name", "eth0", "netns", pod)
        ip("-n", self.netns, "link", "set", link, "address", HOST_MAC)
        ip("-n", pod, "addr", "add", f"{address}/32", "dev", "eth0")
        ip("-n", pod, "link", "set", "eth0", "up")
        ip("-n", pod, "neigh", "add", POD_GATEWAY, "lladdr", HOST_MAC, "dev", "eth0")
        ip("-n", pod, "route", "add", "default", "via", POD_GATEWAY, "dev", "eth0", "onlink")
        with inside(self.netns):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


@contextmanager
def joined(
    directory: Path, *members: Member, settings: Settings | None = None
) -> Iterator[tuple[Node, ...]]:
    """Nodes with their files written and nothing started; taken away afterwards."""
    with ExitStack() as undo:
        lan = Lan(undo)
        nodes = []
        for member in members:
            nodes.append(Node(member, directory, members, lan, settings or Settings()))
            undo.callback(nodes[-1].kill)
            nodes[-1].write()
        yield tuple(nodes)


def start(*nodes: Node) -> None:
    """Start every BIRD and wait until all of them know each other."""
    for node in nodes:
        node.start()
    for node in nodes:
        eventually(lambda node=node: node.is_running and node.is_established, seconds=20)


def wait_for(route: str, *nodes: Node) -> None:
    """Wait until the kernels of *nodes* have a route."""
    for node in nodes:
        eventually(lambda node=node: route in node.routes)


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
