"""A cluster of virtual machines: two nodes beside each other, a third behind the router::

    n1 10.0.0.11 ─┐
    n2 10.0.0.12 ─┴─ router .254 ─ .254 ── n3 10.0.1.13

The router has eBGP with every node, is none itself, and its machine is also the cluster's etcd.
Everything on the machines is put there by the scripts of ``deploy/provision``.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.vm import image
from tests.vm.debian import SHARE
from tests.vm.machine import Machine, Spec
from tests.vm.node import Node, Pod, asking, provision
from tests.vm.waiting import say, until
from tests.vm.wire import Packet, Wire

NEAR, FAR = "10.0.0", "10.0.1"  # subnets
ROUTER, ROUTER_AS = f"{NEAR}.254", "64513"
ETCD = f"http://{ROUTER}:2379"
ADDRESSES = {1: f"{NEAR}.11", 2: f"{NEAR}.12", 3: f"{FAR}.13"}
POOL = "default-ipv4-ippool"
CIDR = "10.233.64.0/18"
NODE_MB, ROUTER_MB = 768, 512
TUNNELS = ("ipip", "vxlan")


class Cluster:
    """The machines, from their making to ``down``."""

    def __init__(self, directory: Path) -> None:
        """Boot all machines and make each what it is."""
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
            self._up()
        except BaseException:
            say(self.report())
            self.down()
            raise

    def _up(self) -> None:
        self.router = self._boot("router", 9, [self._near.plug(), self._far.plug()], ROUTER_MB)
        for number, address in ADDRESSES.items():
            wire = self._near if address.startswith(NEAR) else self._far
            machine = self._boot(f"n{number}", number, [wire.plug()], NODE_MB)
            self.nodes.append(Node(number, address, machine))
        _at_once(self._join, self.machines)

    def _join(self, machine: Machine) -> None:
        machine.wait()
        say(f"{machine.name}: booted ({machine.boot_s:.0f} s)")
        begun = time.monotonic()
        if machine is self.router:
            _configure(machine, f"{NEAR}.254/24", f"{FAR}.254/24")
            provision(machine, "etcd", {"ETCD_ADDRESS": ROUTER})
            nodes = " ".join(ADDRESSES.values())
            provision(machine, "router", {"ROUTER_ADDRESS": ROUTER, "NODE_ADDRESSES": nodes})
        else:
            node = next(node for node in self.nodes if node.machine is machine)
            _configure(machine, f"{node.address}/24", gateway=self.gateway(node))
            provision(machine, "node", self.settings(node))
            machine.run("ctr", "-n", "k8s.io", "image", "import", str(SHARE / "pod.tar"))
            machine.run("systemctl", "start", "ocicat-pods")
        say(f"{machine.name}: provisioned ({time.monotonic() - begun:.0f} s)")

    @staticmethod
    def gateway(node: Node) -> str:
        """The router's address in the node's subnet."""
        return f"{node.address.rpartition('.')[0]}.254"

    def settings(self, node: Node) -> dict[str, str]:
        """What ``deploy/provision/node.sh`` is told."""
        return {
            "NODE_NAME": node.name,
            "NODE_ADDRESS": f"{node.address}/24",
            "ETCD_ENDPOINTS": ETCD,
            "POOL": CIDR,
            "PEER": self.gateway(node),
            "PEER_AS": ROUTER_AS,
            # A daemon that an emulated processor starts needs longer than an ADD usually waits.
            "SETTINGS": "OCICAT_ADD_TIMEOUT_S=60\nOCICAT_DEL_TIMEOUT_S=90",
        }

    def down(self) -> None:
        """End every machine."""
        self._undo.close()

    def power_off(self, node: Node) -> None:
        """A node ends without a word, and is none of the cluster's machines any more."""
        node.machine.stop()
        self.nodes.remove(node)
        self.machines.remove(node.machine)

    def _boot(self, name: str, number: int, cards: Sequence[Any], mb: int) -> Machine:
        spec = Spec(name, number, cards, mb)
        machine = Machine(spec, self._image, self._directory / f"{name}.console")
        self._undo.callback(machine.stop)
        self.machines.append(machine)
        return machine

    def use_pool(self, **fields: str) -> None:
        """Change the pool as an operator does."""
        say(f"pool: {fields or 'without a tunnel'}")
        spec = {"cidr": CIDR, "blockSize": 24, "nodeSelector": "all()", "natOutgoing": True}
        document = {
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": {"name": POOL},
            "spec": {**spec, **fields},
        }
        self.nodes[0].apply(json.dumps(document))

    def use_bfd(self) -> None:
        """Turn BFD on for every session, and wait until it watches them."""
        on = {"ocicat.io/bfd": "true"}
        documents: list[dict[str, Any]] = [
            {"kind": "BGPConfiguration", "metadata": {"name": "default", "annotations": on}}
        ]
        for node in self.nodes:
            name = f"router-of-{node.name}"  # as deploy/provision/node.sh calls it
            spec = {
                "node": node.name,
                "peerIP": self.gateway(node),
                "asNumber": int(ROUTER_AS),
                "keepOriginalNextHop": True,
            }
            metadata = {"name": name, "annotations": on}
            documents.append({"kind": "BGPPeer", "metadata": metadata, "spec": spec})
        text = "\n---\n".join(
            json.dumps({"apiVersion": "projectcalico.org/v3", "spec": {}, **d}) for d in documents
        )
        self.nodes[0].apply(text)
        for machine in self.machines:
            socket = "" if machine is self.router else "-s /run/ocicat/bird.ctl"

            def look(machine: Machine = machine, socket: str = socket) -> bool:
                script = f"birdc {socket} show bfd sessions | grep -c ' Up '"
                said = machine.run("sh", "-c", script, check=False).stdout.strip()
                return int(said or "0") >= 3

            until(look, f"{machine.name}: three sessions with BFD", 180)

    def add_pods(self, *names: str) -> list[Pod]:
        """On each node pods of these names, with the node's behind, and no others."""
        begun = time.monotonic()
        wanted = {node.name: [f"{name}-{node.name}" for name in names] for node in self.nodes}
        _at_once(lambda node: node.want_pods(*wanted[node.name]), self.nodes)
        with ThreadPoolExecutor() as threads:
            found = list(threads.map(lambda node: node.pods(*wanted[node.name]), self.nodes))
        pods = [pod for pods in found for pod in pods]
        listing = ", ".join(f"{pod.name} {pod.address}" for pod in pods)
        say(f"pods: {listing} ({time.monotonic() - begun:.0f} s)")
        return pods

    def wait_for_route_of_router(self, pattern: str) -> None:
        """Wait until the router's ``ip route`` has such a line."""

        def look() -> bool:
            return any(map(re.compile(pattern).match, self.router_routes()))

        until(look, f"router: route {pattern}", 60, lambda: "\n".join(self.router_routes()))

    def router_routes(self) -> list[str]:
        """What ``ip route`` says on the router."""
        return self.router.run("ip", "route").stdout.splitlines()

    def router_asks(self, address: str) -> str:
        """What the web server of a pod tells the router: the pod's address, and who asked."""
        return self.router.run(*asking(address)).stdout.strip()

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
        told = [f"==== {node.name}\n{node.logs()}" for node in self.nodes]
        told += [f"==== {m.name}: console\n{m.console_tail()}" for m in self.machines]
        return "\n".join(told)


def _configure(machine: Machine, *addresses: str, gateway: str = "") -> None:
    """Give a machine its name and network, as whoever owns it does."""
    script = [f"echo {machine.name} >/etc/hostname; hostname {machine.name}"]
    for i, address in enumerate(addresses):
        lines = ["[Match]", f"Name=eth{i}", "[Network]", f"Address={address}"]
        lines += [f"Gateway={gateway}"] if gateway else []
        text = "\\n".join(lines)
        script.append(f"printf '{text}\\n' >/etc/systemd/network/20-eth{i}.network")
    script.append("systemctl restart systemd-networkd")
    script += [
        f"until ip -o addr show eth{i} | grep -q {address}; do sleep 0.2; done"
        for i, address in enumerate(addresses)
    ]
    machine.run("sh", "-ec", "\n".join(script))


def _at_once(call: Callable[[Any], None], things: Iterable[Any]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(call, things))
