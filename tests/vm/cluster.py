"""A cluster of virtual machines: two nodes beside each other, a third behind a router if wanted.

Every node runs ipamd, the plugin's server, the route distributor and BIRD, the first etcd as well::

    node-1 10.0.0.11 ─┐
    node-2 10.0.0.12 ─┴─ router .254 ─ .254 ── node-3 10.0.1.13
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ocicatctl.lab.spec import GATEWAY
from tests.vm import image
from tests.vm.machine import Machine, Spec
from tests.vm.node import Node, Pod
from tests.vm.wire import Packet, Wire

NEAR, FAR = "10.0.0", "10.0.1"  # subnets
POOL = "default-ipv4-ippool"
CIDR = "10.233.64.0/18"
NODE_MB, ROUTER_MB = 640, 256
TUNNELS = ("ipip", "vxlan")


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"vm: {text}\n")
    sys.stderr.flush()


class Cluster:
    """The machines, from their making to ``down``."""

    def __init__(self, directory: Path) -> None:
        """Boot the first two nodes."""
        self.nodes: list[Node] = []
        self.machines: list[Machine] = []
        self._directory = directory
        self._undo = ExitStack()
        begun = time.monotonic()
        self._image = image.build()
        say(f"image: {self._image.disk.parent} ({time.monotonic() - begun:.1f} s)")
        self._near, self._far = self.wires = [Wire(), Wire()]
        for wire in self.wires:
            self._undo.callback(wire.cut)
        try:
            first, second = (self._boot(i, [self._near.plug()]) for i in (1, 2))
            self._wait(first, second)
            _configure(first, f"ip addr add {GATEWAY.ip}/32 dev lo")  # where etcd listens
            self._add_nodes(Node(1, f"{NEAR}.11", first), Node(2, f"{NEAR}.12", second))
        except BaseException:
            say(self.report())
            self.down()
            raise

    def add_far_node(self) -> None:
        """Boot the router and the node behind it."""
        third = self._boot(3, [self._far.plug()])
        router = self._boot(9, [self._near.plug(), self._far.plug()], name="router", mb=ROUTER_MB)
        self._wait(third, router)
        for i, subnet in enumerate((NEAR, FAR)):
            _configure(router, f"ip addr add {subnet}.254/24 dev eth{i}; ip link set eth{i} up")
        _configure(router, "sysctl -q -w net.ipv4.ip_forward=1")
        self._add_nodes(Node(3, f"{FAR}.13", third))

    def down(self) -> None:
        """End every machine."""
        self._undo.close()

    def _boot(
        self, number: int, cards: Sequence[Any], *, name: str = "", mb: int = NODE_MB
    ) -> Machine:
        spec = Spec(name or f"node-{number}", number, cards, mb)
        machine = Machine(spec, self._image, self._directory / f"{spec.name}.console")
        self._undo.callback(machine.stop)
        self.machines.append(machine)
        return machine

    def _wait(self, *machines: Machine) -> None:
        _at_once(Machine.wait, machines)
        say(f"booted: {', '.join(f'{m.name} ({m.boot_s:.1f} s)' for m in machines)}")

    def _add_nodes(self, *nodes: Node) -> None:
        begun = time.monotonic()
        self.nodes += nodes
        for node in nodes:
            subnet = node.address.rpartition(".")[0]
            _configure(
                node.machine,
                f"""
                hostname node-{node.number}
                ip addr add {node.address}/24 dev eth0
                ip link set eth0 up
                ip route add default via {subnet}.254
                """,
            )
        _at_once(Node.up, nodes)
        names = ", ".join(node.machine.name for node in nodes)
        say(f"daemons serve: {names} ({time.monotonic() - begun:.1f} s)")

    def use_pool(self, **fields: str) -> None:
        """Change the pool as an operator does."""
        say(f"pool: {fields or 'without a tunnel'}")
        spec = {"cidr": CIDR, "blockSize": 24, "nodeSelector": "all()", **fields}
        document = {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": POOL},
            "spec": spec,
        }
        self.nodes[0].python("ocicatctl", "apply", "-f", "-", stdin=json.dumps(document).encode())

    def add_pods(self, name: str) -> list[Pod]:
        """A pod on each node."""
        with ThreadPoolExecutor() as threads:
            pods = list(threads.map(lambda n: n.add_pod(f"{name}-{n.number}"), self.nodes))
        say(f"pods: {', '.join(f'{pod.name} {pod.address}' for pod in pods)}")
        return pods

    def forget_packets(self) -> None:
        """Start to look at the wires."""
        for wire in self.wires:
            wire.seen.clear()

    @property
    def packets(self) -> list[Packet]:
        """What was on the wires since."""
        return [packet for wire in self.wires for packet in list(wire.seen)]

    def travelled(self, one: Pod, two: Pod) -> set[str]:
        """What kinds of packets the wires had for two pods: bare ones, or their nodes' tunnel's."""
        pods, nodes = ({one.address, two.address}, {one.node.address, two.node.address})
        bare = {p.kind for p in self.packets if pods & {p.source, p.target}}
        between = {p.kind for p in self.packets if nodes == {p.source, p.target}}
        return bare | between.intersection(TUNNELS)

    def report(self) -> str:
        """What one wants to see of every machine when a test fails."""
        told = [f"==== {node.machine.name}\n{node.logs()}" for node in self.nodes]
        told += [f"==== {m.name}: console\n{m.console_tail()}" for m in self.machines]
        return "\n".join(told)


def _configure(machine: Machine, script: str) -> None:
    machine.run("sh", "-ec", script)


def _at_once(call: Callable[[Any], None], things: Iterable[Any]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(call, things))
