"""A node with a plugin on it, and the containers of one case.

It remembers what was attached, so that no case has to clean up, and knows how the node looked
before, so that every case ends with the question whether it looks so again. What differs from
plugin to plugin is in ``ocicat.py`` and ``other.py``.
"""

import hashlib
import itertools
import json
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from ocicatctl.lab import system
from tests.conformance.plugin import Outcome, Plugin, Pod
from tests.conformance.snapshot import Snapshot, take

SETTLE_S = 10.0  # what a call may leave to daemons: the take-back of an ADD, a spooled release


class Node(ABC):
    """One node. ``baseline`` is what it looks like when nothing is attached."""

    address: str  # its own, that containers reach
    records: Path  # where the plugin keeps files
    dual_stack: Mapping[str, Any]  # what to change in the configuration to get both families
    further: Mapping[str, Any]  # and for an interface beside one that has the default route

    def __init__(self, plugin: Plugin, prefix: str, directories: Iterable[Path]) -> None:
        self.plugin = plugin
        self.directories = tuple(directories)
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._pods: list[Pod] = []
        self._attached: dict[tuple[str, ...], dict[str, Any]] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        self.baseline = Snapshot(frozenset())
        self._seen: Snapshot | None = None  # what it looked like, if nothing was done since
        self.given_out: list[str] = []  # an address of each family

    # ---- what a kind of node knows ---------------------------------------------------------

    @abstractmethod
    def store(self) -> Mapping[str, object]:
        """What is recorded elsewhere than in files."""

    @abstractmethod
    def reset(self) -> None:
        """Take away what a plugin left, so that the next case starts from a node in order."""

    @abstractmethod
    def with_one_address(self, family: int = 4) -> Mapping[str, Any]:
        """What to change in the configuration to get a range of a single address.

        Args:
            family: 6 means both families, with plenty for IPv4.
        """

    @abstractmethod
    def release_behind_its_back(self, pod: Pod) -> None:
        """Free the container's address without a DEL."""

    # ---- calls -----------------------------------------------------------------------------

    def pod(self) -> Pod:
        """A container that is not on the network: a namespace of its own, and a new id."""
        number = next(self._numbers)
        name = f"{self._prefix}pod-{number}"
        system.add_namespace(name)
        pod = Pod(hashlib.sha256(name.encode()).hexdigest(), str(system.NETNS / name))
        self._pods.append(pod)
        return pod

    def call(self, verb: str, pod: Pod | None = None, **how: Any) -> Outcome:
        """``Plugin.call``; what is attached by it will be detached after the test."""
        self._seen = None
        outcome = self.plugin.call(verb, pod, **how)
        if pod and outcome.status == 0:
            if verb == "ADD":
                self.remember(pod, how)
            if verb == "DEL":
                self.forget(pod)
        return outcome

    def remember(self, pod: Pod, how: Mapping[str, Any]) -> None:
        """Detach it after the test, with the same configuration and environment."""
        conf = {**(how.get("conf") or {}), "prevResult": None}
        kept = {"pod": pod, "conf": conf, "environment": how.get("environment")}
        self._attached[pod.id, pod.ifname] = kept

    def forget(self, pod: Pod) -> None:
        """It is detached, or nobody will ever detach it."""
        self._attached.pop((pod.id, pod.ifname), None)

    def added(self, pod: Pod, **how: Any) -> dict[str, Any]:
        """The result of an ADD that has to succeed."""
        outcome = self.call("ADD", pod, **how)
        assert outcome.status == 0, outcome
        return outcome.document

    def checked(self, pod: Pod, result: Mapping[str, Any], **conf: Any) -> Outcome:
        """CHECK with the result of ADD."""
        return self.call("CHECK", pod, conf={**conf, "prevResult": result})

    def started(self, verb: str, pod: Pod, *, feed: bool = True) -> "subprocess.Popen[bytes]":
        """A call under way; it has its configuration unless that is left to the caller."""
        self._seen = None
        process = self.plugin.start(self.plugin.variables(verb, pod))
        self._running.append(process)
        if verb == "ADD":
            self.remember(pod, {})
        if feed and process.stdin:
            process.stdin.write(json.dumps(self.plugin.conf_with({})).encode())
            process.stdin.close()
            process.stdin = None
        return process

    # ---- containers ------------------------------------------------------------------------

    def sleeper(self, pod: Pod) -> "subprocess.Popen[bytes]":
        """A process in the container, as long as the container is there."""
        process = subprocess.Popen(["nsenter", f"--net={pod.netns}", "--", "sleep", "infinity"])
        self._running.append(process)
        here, its = os.stat(pod.netns), f"/proc/{process.pid}/ns/net"
        system.wait_until(lambda: os.path.samestat(os.stat(its), here), "setns", 5)
        return process

    def remove_namespace(self, pod: Pod) -> None:
        """Remove a container's namespace, as a runtime does, and wait until it is gone."""
        peers = {link.get("link_index") for link in self.links(pod).values()}
        hosts = {name for name, link in self.links().items() if link["ifindex"] in peers}
        system.remove_namespaces([pod.namespace])
        system.wait_until(lambda: not hosts & self.links().keys(), "end of the links", 10)

    # ---- looking ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything on the node and in the containers of this test."""
        namespaces = {"node": self.plugin.namespace, **self._containers()}
        self._seen = take(namespaces, self.directories, self.store)
        return self._seen

    def at_first(self) -> Snapshot:
        """The same before anything was done: the node was found at its baseline just now."""
        return Snapshot(self.baseline.lines | take(self._containers()).lines)

    def _containers(self) -> dict[str, Path]:
        names = ("pod" if number == 0 else f"pod-{number + 1}" for number in itertools.count())
        pods = zip(names, self._pods, strict=False)
        return {name: Path(pod.netns) for name, pod in pods if Path(pod.netns).exists()}

    def ip(self, *arguments: str, pod: Pod | None = None) -> str:
        """Run ip(8) on the node or in a container, as somebody who tampers does."""
        self._seen = None
        return system.run("ip", *arguments, namespace=self._namespace(pod)).stdout

    def links(self, pod: Pod | None = None) -> dict[str, dict[str, Any]]:
        """The links on the node or in a container, by name."""
        listing = json.loads(self.ip("-j", "-d", "link", pod=pod))
        return {link["ifname"]: link for link in listing}

    def host_end(self, pod: Pod) -> str:
        """The name of the link on the node that leads to the container's interface."""
        peer = self.links(pod)[pod.ifname]["link_index"]
        (name,) = (name for name, link in self.links().items() if link["ifindex"] == peer)
        return name

    def addresses_in(self, pod: Pod) -> list[str]:
        """The addresses of the container's interface, IPv4 first, without link-local ones."""
        listing = json.loads(self.ip("-j", "addr", "show", pod.ifname, pod=pod))
        found = [info["local"] for info in listing[0]["addr_info"] if info["scope"] == "global"]
        return sorted(found, key=lambda address: ":" in address)

    def set_sysctl(self, name: str, value: str, pod: Pod | None = None) -> None:
        """Change a setting below /proc/sys/net."""
        self._seen = None
        line = f"echo {value} > /proc/sys/net/{name}"
        system.run("sh", "-c", line, namespace=self._namespace(pod))

    def ping(self, address: str, source: Pod | None = None) -> bool:
        """Whether the very first packet is answered."""
        command = ("ping", "-n", "-c", "1", "-W", "2", address)
        return system.run(*command, namespace=self._namespace(source), check=False).returncode == 0

    def unused_address(self, family: int = 4) -> str:
        """An address that could be given out and is not."""
        found = self.given_out[0 if family == 4 else 1]
        length = 24 if family == 4 else 120
        return str(ip_network(f"{found}/{length}", strict=False)[200])

    def _namespace(self, pod: Pod | None) -> str:
        return pod.namespace if pod else self.plugin.namespace.name

    # ---- order -----------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Attach a pod and detach it: what happens once on a node has happened then."""
        for conf in ({}, self.dual_stack):
            pod = self.pod()
            result = self.call("ADD", pod, conf=conf)
            if result.status == 0:
                ips = result.document["ips"]
                self.given_out = [str(ip_interface(ip["address"]).ip) for ip in ips]
            self.tidy()
        assert self.given_out, result
        self.baseline = self.snapshot()

    def tidy(self) -> None:
        """Detach what a test left attached, as a runtime does, and remove its containers."""
        try:
            for how in list(self._attached.values()):
                self.call("DEL", **how)
        finally:
            self._attached.clear()
            for process in self._running:
                end(process)
            self._running.clear()
            system.remove_namespaces([pod.namespace for pod in self._pods])
            self._pods.clear()

    def assert_as_before(self, within_s: float = SETTLE_S) -> None:
        """The node looks as it did before the test, at the latest after a moment."""
        deadline = time.monotonic() + within_s
        while changes := self._changes(self.snapshot()):
            if time.monotonic() > deadline:
                break
            time.sleep(system.POLL_S)
        assert not changes, "\n".join(["the node is not as it was before:", *changes])

    def restore(self) -> None:
        """After a case: nothing is attached, and the node is as before, or is made so."""
        is_idle = not (self._attached or self._running)
        has_been_seen = is_idle and self._seen is not None and not self._changes(self._seen)
        try:
            self.tidy()
            if not has_been_seen:
                self.assert_as_before()
        except AssertionError:
            self.reset()
            raise

    def _changes(self, seen: Snapshot) -> list[str]:
        changes = seen - self.baseline
        return [change for change in changes if change[2:].startswith(("node:", "file", "store"))]


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a call, as a runtime does whose patience is at an end."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe and not pipe.closed:
            pipe.close()
