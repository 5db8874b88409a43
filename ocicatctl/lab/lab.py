"""Brings a lab up and takes it down: real etcd, and on every node the real daemons and BIRD.

Story, used by ``ocicatctl lab`` and by the tests. Everything may be repeated: ``up`` starts what
does not run, ``down`` removes what there is.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS, sessions
from datamodel.errors import Invalid, OcicatError
from ocicatctl.lab import health, system
from ocicatctl.lab.runtime import Container, Runtime
from ocicatctl.lab.spec import ETCD_PORT, GATEWAY, LabSpec, NodeSpec

CONFLIST = Path(__file__).parents[2] / "deploy" / "10-ocicat.conflist"
AFFINITIES = "/calico/ipam/v2/host/"
READY_TIMEOUT_S = 30.0
MESH_TIMEOUT_S = 60.0

# In the order in which they start: BIRD needs the file that the distributor writes.
DAEMONS = ("ipamd", "cni-server", "route-distributor", "bird")

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod of the lab: a namespace that a runtime attached to the network."""

    name: str
    node: str
    container: Container
    result: dict[str, Any] | None  # of its ADD

    @property
    def address(self) -> str:
        """Its IPv4 address, without prefix length; "" if its ADD did not succeed."""
        ips = (self.result or {}).get("ips") or [{"address": ""}]
        return str(ips[0]["address"]).partition("/")[0]

    @property
    def namespace(self) -> str:
        """Its network namespace's name."""
        return Path(self.container.netns).name


class Lab:
    """One lab, by name. What exists is read back from its directory and from the kernel."""

    def __init__(self, name: str, say: Say = _silent) -> None:
        self.spec = LabSpec(name)
        self._say = say

    # ---- what there is ---------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether the lab was brought up and not taken down since."""
        return self._state_file.exists()

    @property
    def nodes(self) -> list[NodeSpec]:
        """The nodes it has."""
        return [self.spec.node(i + 1) for i in range(self._state()["nodes"])]

    def node(self, name: str) -> NodeSpec:
        """The node of that name.

        Raises:
            Invalid: there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise Invalid(
            f"lab {self.spec.name}: has no node {name}; it has "
            f"{', '.join(node.name for node in self.nodes)}"
        )

    def pods(self) -> list[LabPod]:
        """Its pods, by node and name; those whose ADD failed are among them."""
        found = [_read_pod(path) for path in sorted(self._pods.glob("*.json"))]
        return sorted(found, key=lambda pod: (pod.node, pod.name))

    @property
    def _state_file(self) -> Path:
        return self.spec.directory / "lab.json"

    @property
    def _pods(self) -> Path:
        return self.spec.directory / "pods"

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except FileNotFoundError:
            raise Invalid(
                f"lab {self.spec.name}: does not exist; bring it up with ocicatctl lab up"
            ) from None
        return state

    # ---- up and down -----------------------------------------------------------------------

    def up(self, nodes: int) -> None:
        """Bring the lab up with at least *nodes* nodes, or complete one that is up.

        Raises:
            Unavailable: something did not start; what did stays for a look, ``down`` removes it.
        """
        if os.geteuid():
            raise Invalid("lab: network namespaces need root; run it with sudo")
        self._say_what_is_missing()
        wanted = [self.spec.node(i + 1) for i in range(nodes)]
        if self.exists:
            wanted = max(wanted, self.nodes, key=len)
        else:
            self._refuse_foreign_namespaces(wanted)
        self._pods.mkdir(parents=True, exist_ok=True)
        _write(self._state_file, {"nodes": len(wanted)})
        self._make_fabric(wanted)
        self._start_etcd()
        for node in wanted:
            self._install(node)
            for daemon in DAEMONS[:-1]:
                self.start(node, daemon, wait=False)
        for node in wanted:
            self._finish(node)
        self._wait_for_mesh(wanted)
        self._wait_for_routes(wanted)

    def down(self) -> None:
        """Remove every namespace, process and file of the lab; of one that crashed as well."""
        directory = self.spec.directory
        if not directory.exists():
            return
        names = [pod.namespace for pod in self.pods()]
        if self.exists:
            names += [node.namespace for node in self.nodes] + [self.spec.fabric]
        system.remove_namespaces(names)
        shutil.rmtree(directory)
        if not any(directory.parent.iterdir()):
            directory.parent.rmdir()

    def _say_what_is_missing(self) -> None:
        programs = ("ip", "nsenter", "etcd", "etcdctl", "bird", "ping")
        path = system.BASE_ENVIRONMENT["PATH"]
        missing = [name for name in programs if not shutil.which(name, path=path)]
        if missing:
            raise Invalid(f"lab: {', '.join(missing)} not found; tools/setup installs them")

    def _refuse_foreign_namespaces(self, nodes: list[NodeSpec]) -> None:
        names = [self.spec.fabric, *(node.namespace for node in nodes)]
        if taken := [name for name in names if (system.NETNS / name).exists()]:
            raise Invalid(
                f"lab {self.spec.name}: namespace {', '.join(taken)} exists and is not the lab's; "
                "remove it with ip netns del, or choose another --name"
            )

    def _make_fabric(self, nodes: list[NodeSpec]) -> None:
        fabric = self.spec.fabric
        system.add_namespace(fabric)
        if not _has_link(fabric, "fabric0"):
            system.run("ip", "-n", fabric, "link", "add", "fabric0", "type", "bridge")
            system.run("ip", "-n", fabric, "addr", "add", str(GATEWAY), "dev", "fabric0")
            system.run("ip", "-n", fabric, "link", "set", "fabric0", "up")
        for node in nodes:
            system.add_namespace(node.namespace)
            if not _has_link(node.namespace, "eth0"):
                _plug_in(node)
        self._say(f"namespaces: {fabric} (bridge, etcd), {', '.join(n.namespace for n in nodes)}")

    def _start_etcd(self) -> None:
        directory = self.spec.directory / "etcd"
        directory.mkdir(exist_ok=True)
        if not self._is_running(directory, "etcd"):
            process = system.start(
                "etcd",
                "--name=lab",
                f"--data-dir={directory / 'data'}",
                f"--listen-client-urls={self.spec.etcd_endpoint}",
                f"--advertise-client-urls={self.spec.etcd_endpoint}",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                "--initial-cluster=lab=http://127.0.0.1:2380",
                namespace=self.spec.fabric,
                environment={},
                log=directory / "etcd.log",
            )
            _write_pid(directory, "etcd", process.pid)
        took = system.wait_until(self._etcd_answers, "etcd", READY_TIMEOUT_S)
        self._say(f"etcd: answers at {GATEWAY.ip}:{ETCD_PORT} ({took:.1f} s)")

    def _etcd_answers(self) -> bool:
        return self.etcdctl("endpoint", "health", check=False).returncode == 0

    def etcdctl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run etcd's own client against the lab's etcd."""
        return system.run(
            "etcdctl",
            f"--endpoints={self.spec.etcd_endpoint}",
            *arguments,
            namespace=self.spec.fabric,
            environment={"ETCDCTL_API": "3"},
            check=check,
        )

    def keys(self, prefix: str) -> list[str]:
        """The keys in etcd below *prefix*."""
        return self.etcdctl("get", "--prefix", "--keys-only", prefix).stdout.split()

    def _install(self, node: NodeSpec) -> None:
        """Install the launcher as an operator would; under Calico's name as well."""
        node.directory.mkdir(exist_ok=True)
        if (node.bin / "ocicat").exists():
            return
        system.run(
            sys.executable,
            *("-m", "cni_plugin.install", node.bin, "ocicat", "calico"),
            environment=node.environment,
        )
        (node.directory / "net.d").mkdir(exist_ok=True)
        shutil.copy(CONFLIST, node.directory / "net.d")

    # ---- daemons ---------------------------------------------------------------------------

    def start(self, node: NodeSpec, daemon: str, *, wait: bool = True) -> None:
        """Start a daemon of a node unless it runs; wait until it serves."""
        if not self._is_running(node.directory, daemon):
            process = system.start(
                *_command(node, daemon),
                namespace=node.namespace,
                environment=node.environment,
                log=node.directory / f"{daemon}.log",
            )
            _write_pid(node.directory, daemon, process.pid)
        if wait:
            what = f"{node.name}: {daemon}"
            system.wait_until(lambda: _serves(node, daemon), what, READY_TIMEOUT_S)

    def kill(self, node: NodeSpec, daemon: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a daemon and, unless it only pauses or goes on, wait for its end."""
        pid = _read_pid(node.directory, daemon)
        if pid is None:
            raise Invalid(f"{node.name}: {daemon} does not run")
        system.signal_process(pid, number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            system.wait_until(lambda: not system.is_alive(pid), f"end of {daemon}", READY_TIMEOUT_S)

    def kill_etcd(self) -> None:
        """Kill etcd; ``start_etcd`` brings it back with its data."""
        if pid := _read_pid(self.spec.directory / "etcd", "etcd"):
            system.signal_process(pid, signal.SIGKILL)
            system.wait_until(lambda: not system.is_alive(pid), "end of etcd", READY_TIMEOUT_S)

    def start_etcd(self) -> None:
        """Start etcd unless it runs."""
        self._start_etcd()

    def running(self, node: NodeSpec) -> list[str]:
        """Which daemons of a node run."""
        return [daemon for daemon in DAEMONS if self._is_running(node.directory, daemon)]

    def _is_running(self, directory: Path, daemon: str) -> bool:
        pid = _read_pid(directory, daemon)
        return pid is not None and system.is_alive(pid)

    def _finish(self, node: NodeSpec) -> None:
        took = system.wait_until(
            lambda: all(_serves(node, daemon) for daemon in DAEMONS[:-1]),
            f"{node.name}: {', '.join(DAEMONS[:-1])}",
            READY_TIMEOUT_S,
        )
        self.start(node, "bird")
        self._say(f"{node.name} ({node.address}): {', '.join(DAEMONS)} run ({took:.1f} s)")

    def _wait_for_mesh(self, nodes: list[NodeSpec]) -> None:
        took = system.wait_until(
            lambda: all(established(node) == len(nodes) - 1 for node in nodes),
            "BGP mesh",
            MESH_TIMEOUT_S,
        )
        count = len(nodes) * (len(nodes) - 1)
        self._say(f"BGP: {count} of {count} session ends established ({took:.1f} s)")

    def _wait_for_routes(self, nodes: list[NodeSpec]) -> None:
        blocks = {key.rpartition("/")[2].replace("-", "/") for key in self.keys(AFFINITIES)}
        took = system.wait_until(
            lambda: all(blocks <= set(bird_routes(node)) for node in nodes),
            "routes to every block on every node",
            MESH_TIMEOUT_S,
        )
        self._say(f"routes: {len(blocks)} blocks known on every node ({took:.1f} s)")

    # ---- pods ------------------------------------------------------------------------------

    def runtime(self, node: NodeSpec) -> Runtime:
        """The runtime of a node, with the conflist that is installed there."""
        conflist = json.loads((node.directory / "net.d" / CONFLIST.name).read_text())
        return Runtime(node.namespace, conflist, node.bin)

    def container(self, node: NodeSpec, name: str) -> LabPod:
        """Make a pod's namespace and remember it; it is not on the network yet."""
        path = self._pods / f"{name}.json"
        if path.exists():
            raise Invalid(f"pod {name}: exists already on {_read_pod(path).node}")
        namespace = self.spec.pod_namespace(name)
        if (system.NETNS / namespace).exists():
            raise Invalid(f"pod {name}: namespace {namespace} exists and is not the lab's")
        identity = hashlib.sha256(os.urandom(32)).hexdigest()
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        container = Container(identity, str(system.NETNS / namespace), args=args)
        pod = LabPod(name, node.name, container, None)
        self._save(pod)
        system.add_namespace(namespace)
        return pod

    def add_pod(self, node: NodeSpec, name: str) -> LabPod:
        """Make a pod and put it on the network, exactly as a runtime does.

        Raises:
            PluginError: the plugin refused; no pod is left.
        """
        pod = self.container(node, name)
        try:
            result = self.runtime(node).add(pod.container)
        except OcicatError:
            self.delete_pod(name)
            raise
        added = LabPod(name, node.name, pod.container, result)
        self._save(added)
        return added

    def pod(self, name: str) -> LabPod:
        """The pod of that name.

        Raises:
            Invalid: there is none.
        """
        path = self._pods / f"{name}.json"
        if not path.exists():
            known = ", ".join(pod.name for pod in self.pods()) or "none"
            raise Invalid(f"pod {name}: does not exist; there are {known}")
        return _read_pod(path)

    def delete_pod(self, name: str) -> None:
        """Take a pod off the network and remove it."""
        pod = self.pod(name)
        self.runtime(self.node(pod.node)).delete(pod.container, pod.result)
        self.forget_pod(pod)

    def forget_pod(self, pod: LabPod) -> None:
        """Remove a pod's namespace and its record, without a DEL."""
        system.remove_namespaces([pod.namespace])
        (self._pods / f"{pod.name}.json").unlink(missing_ok=True)

    def _save(self, pod: LabPod) -> None:
        container = {"id": pod.container.id, "netns": pod.container.netns}
        container |= {"ifname": pod.container.ifname, "args": pod.container.args}
        document = {"name": pod.name, "node": pod.node, "container": container}
        _write(self._pods / f"{pod.name}.json", {**document, "result": pod.result})


def established(node: NodeSpec) -> int:
    """How many BGP sessions of a node are established, asked of its BIRD."""
    with BirdControl(node.environment["OCICAT_BIRD_SOCKET"]) as bird:
        return sum(s.is_established for s in sessions(bird.command(SHOW_PROTOCOLS)))


def bird_routes(node: NodeSpec) -> tuple[str, ...]:
    """The prefixes in a node's BIRD, sorted."""
    control = node.environment["OCICAT_BIRD_SOCKET"]
    listing = system.run("birdc", "-r", "-s", control, "show", "route").stdout
    return tuple(sorted(re.findall(r"^\d[0-9./]+", listing, re.MULTILINE)))


def _command(node: NodeSpec, daemon: str) -> list[str]:
    if daemon == "bird":
        # -R: recover gracefully, so that peers keep our routes over a restart. -f: keep the pid.
        config, control = (node.environment[f"OCICAT_BIRD_{n}"] for n in ("CONFIG", "SOCKET"))
        return ["bird", "-f", "-R", "-c", config, "-s", control]
    modules = {"cni-server": "cni_plugin.server"}
    return [sys.executable, "-m", modules.get(daemon, daemon.replace("-", "_"))]


def _serves(node: NodeSpec, daemon: str) -> bool:
    environment = node.environment
    if daemon == "ipamd":
        return health.is_serving(environment["OCICAT_IPAM_SOCKET"])
    if daemon == "route-distributor":
        return Path(environment["OCICAT_BIRD_CONFIG"]).exists()
    name = "OCICAT_CNI_SOCKET" if daemon == "cni-server" else "OCICAT_BIRD_SOCKET"
    return health.accepts(environment[name])


def _plug_in(node: NodeSpec) -> None:
    """Give a node its uplink: a cable to the bridge, an address, a default route."""
    name, fabric = node.namespace, node.lab.fabric
    ends = ("eth0", "netns", name, "type", "veth", "peer", "name", node.uplink)
    system.run("ip", "-n", fabric, "link", "add", *ends)
    system.run("ip", "-n", fabric, "link", "set", node.uplink, "master", "fabric0", "up")
    system.run("ip", "-n", name, "addr", "add", str(node.address), "dev", "eth0")
    system.run("ip", "-n", name, "link", "set", "eth0", "up")
    system.run("ip", "-n", name, "route", "add", "default", "via", str(GATEWAY.ip))


def _has_link(namespace: str, name: str) -> bool:
    return system.run("ip", "-n", namespace, "link", "show", name, check=False).returncode == 0


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(path)


def _read_pod(path: Path) -> LabPod:
    document = json.loads(path.read_text())
    return LabPod(
        document["name"], document["node"], Container(**document["container"]), document["result"]
    )


def _write_pid(directory: Path, daemon: str, pid: int) -> None:
    (directory / f"{daemon}.pid").write_text(str(pid))


def _read_pid(directory: Path, daemon: str) -> int | None:
    try:
        return int((directory / f"{daemon}.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
