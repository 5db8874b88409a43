"""Brings a lab up and takes it down: real etcd, and on every node the real daemons and BIRD.

Story, used by ``ocicatctl lab`` and by the tests. Everything may be repeated: ``up`` starts what
does not run, ``down`` removes what there is.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datamodel.errors import Invalid, OcicatError
from datastore import keys
from ocicatctl.install import conflist, templates
from ocicatctl.lab import daemons, etcd, fabric, system
from ocicatctl.lab.pods import LabPod, PodRecords, write_json
from ocicatctl.lab.runtime import Container, Runtime
from ocicatctl.lab.spec import GATEWAY, LabSpec, NodeSpec

MESH_TIMEOUT_S = 120.0

_POD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?")  # of Kubernetes: a DNS label

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Say nothing."""


class Lab:
    """One lab, by name. What exists is read back from its directory and from the kernel."""

    def __init__(self, name: str, say: Say = _silent) -> None:
        self.spec = LabSpec(name)
        self._say = say
        self._records = PodRecords(self.spec.directory / "pods")

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

    @property
    def _state_file(self) -> Path:
        return self.spec.directory / "lab.json"

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
        _check_host()
        last = self.spec.node(nodes)
        wanted = [self.spec.node(i + 1) for i in range(last.number)]
        if self.exists:
            wanted = max(wanted, self.nodes, key=len)
        else:
            self._refuse_foreign_namespaces(wanted)
        self.spec.directory.mkdir(parents=True, exist_ok=True)
        write_json(self._state_file, {"nodes": len(wanted)})
        fabric.make(self.spec, wanted)
        names = ", ".join(node.namespace for node in wanted)
        self._say(f"namespaces: {self.spec.fabric} (bridge, etcd), {names}")
        took = etcd.start(self.spec)
        self._say(f"etcd: answers at {GATEWAY.ip} ({took:.1f} s)")
        self._start_nodes(wanted)
        self._wait_for_mesh(wanted)
        self.wait_for_routes()

    def _start_nodes(self, nodes: list[NodeSpec]) -> None:
        for node in nodes:  # all at once, then wait for each
            install(node)
            for daemon in daemons.DAEMONS[:-1]:
                daemons.start(node, daemon, wait=False)
        for node in nodes:
            took = sum(daemons.start(node, daemon) for daemon in daemons.DAEMONS)
            self._say(f"{node.name} ({node.address}): {', '.join(daemons.DAEMONS)} ({took:.1f} s)")

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

    def _refuse_foreign_namespaces(self, nodes: list[NodeSpec]) -> None:
        names = [self.spec.fabric, *(node.namespace for node in nodes)]
        if taken := [name for name in names if (system.NETNS / name).exists()]:
            raise Invalid(
                f"lab {self.spec.name}: namespace {', '.join(taken)} exists and is not the lab's; "
                "remove it with ip netns del, or choose another --name"
            )

    def _wait_for_mesh(self, nodes: list[NodeSpec]) -> None:
        took = system.wait_until(
            lambda: all(daemons.established(node) == len(nodes) - 1 for node in nodes),
            "BGP mesh",
            MESH_TIMEOUT_S,
        )
        count = len(nodes) * (len(nodes) - 1)
        self._say(f"BGP: {count} of {count} session ends established ({took:.1f} s)")

    def wait_for_routes(self) -> None:
        """Wait until every node's kernel has a route to every block, however new.

        Raises:
            Unavailable: one has not got it.
        """
        nodes = self.nodes
        owned = etcd.keys(self.spec, keys.ALL_AFFINITIES)
        blocks = {str(keys.cidr_of(key)) for key in owned}
        blocks = {block for block in blocks if not block.endswith("/32")}  # a pod's own route
        took = system.wait_until(
            lambda: all(blocks <= daemons.kernel_routes(node) for node in nodes),
            "kernel routes to every block on every node",
            MESH_TIMEOUT_S,
        )
        self._say(f"routes: {len(blocks)} blocks in every node's kernel ({took:.1f} s)")

    # ---- pods ------------------------------------------------------------------------------

    def pods(self) -> list[LabPod]:
        """Its pods, by node and name; those that are not attached are among them."""
        return self._records.all()

    def pod(self, name: str) -> LabPod:
        """The pod of that name.

        Raises:
            Invalid: there is none.
        """
        return self._records.get(name)

    def runtime(self, node: NodeSpec) -> Runtime:
        """The runtime of a node, with the conflist that is installed there."""
        installed = json.loads((node.directory / "net.d" / conflist.NAME).read_text())
        return Runtime(node.namespace, installed, node.bin)

    def container(self, node: NodeSpec, name: str, space: str = "default") -> LabPod:
        """Make a pod's namespace and remember it; it is not on the network yet."""
        if not _POD_NAME.fullmatch(name):
            raise Invalid(f"pod {name!r}: use up to 62 lower-case letters, digits and dashes")
        if self._records.exists(name):
            raise Invalid(f"pod {name}: exists already, on {self.pod(name).node}")
        namespace = self.spec.pod_namespace(name)
        if (system.NETNS / namespace).exists():
            raise Invalid(f"pod {name}: namespace {namespace} exists and is not the lab's")
        identity = hashlib.sha256(os.urandom(32)).hexdigest()
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={name}"
        container = Container(identity, str(system.NETNS / namespace), args=args)
        pod = LabPod(name, node.name, container, None)
        self._records.save(pod)
        system.add_namespace(namespace)
        return pod

    def add_pod(self, node: NodeSpec, name: str, space: str = "default") -> LabPod:
        """Make a pod and put it on the network, exactly as a runtime does.

        *space* is its namespace in Kubernetes.

        Raises:
            PluginError: the plugin refused; no pod is left.
        """
        pod = self.container(node, name, space)
        try:
            result = self.runtime(node).add(pod.container)
        except OcicatError:
            self.delete_pod(name)
            raise
        added = LabPod(name, node.name, pod.container, result)
        self._records.save(added)
        return added

    def delete_pod(self, name: str) -> None:
        """Take a pod off the network and remove it."""
        pod = self.pod(name)
        self.runtime(self.node(pod.node)).delete(pod.container, pod.result)
        system.remove_namespaces([pod.namespace])
        self._records.forget(pod)


def _check_host() -> None:
    if os.geteuid():
        raise Invalid("lab: network namespaces need root; run it with sudo")
    programs = ("ip", "nsenter", "etcd", "etcdctl", "bird", "birdc", "ping")
    path = system.BASE_ENVIRONMENT["PATH"]
    if missing := [name for name in programs if not shutil.which(name, path=path)]:
        raise Invalid(f"lab: {', '.join(missing)} not found; tools/setup installs them")


def install(node: NodeSpec) -> None:
    """Install the launcher as an operator would; under Calico's name as well."""
    node.directory.mkdir(exist_ok=True)
    installed = node.directory / "net.d" / conflist.NAME
    if installed.exists():
        return
    names = ("ocicat", "calico", "ocicat-ipam", "calico-ipam")
    command = (sys.executable, "-m", "cni_plugin.install", node.bin, *names)
    system.run(*command, environment=node.environment)
    document = json.loads(conflist.render(templates.configuration(), {}))
    document["plugins"] = [p for p in document["plugins"] if (node.bin / p["type"]).exists()]
    installed.parent.mkdir(exist_ok=True)
    installed.write_text(json.dumps(document))
