"""The two sides of the comparison: what each is called with, and whether a call did its work.

Edge: network namespaces, to look for a pod's link. A call that fails ends the benchmark: its time
would mean nothing.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.execute import Call, Ended, Ends, execute
from bench.process import cpu_s
from cni_plugin import netns
from datamodel.errors import OcicatError
from ocicatctl.lab.runtime import DEBIAN_PLUGINS, Container
from ocicatctl.lab.system import BASE_ENVIRONMENT

SUBNET = "10.99.0.0/16"


class CallFailed(OcicatError):
    """A measured call did not do its work."""


@dataclass(frozen=True, slots=True)
class Side:
    """One plugin with its configuration and the containers that it serves."""

    name: str
    program: Path
    conf: Mapping[str, Any]
    containers: Sequence[Container]
    daemons: Mapping[str, int] = field(default_factory=dict)  # that work for it: process by name
    results: dict[str, Any] = field(default_factory=dict)  # of the ADDs, by container

    def add(self, containers: Sequence[Container]) -> Ends:
        """Run ADD for all *containers* at once.

        Raises:
            CallFailed: an exit status, a result without an address, or no link in the pod.
        """
        ends = execute([self._call("ADD", container) for container in containers])
        for container, ended in zip(containers, ends.ended, strict=True):
            self.results[container.id] = self._result(container, ended)
            if not _has_link(container):
                raise CallFailed(f"{self.name} ADD: no link {container.ifname} in the container")
        addresses = [ip["address"] for result in self.results.values() for ip in result["ips"]]
        if len(set(addresses)) < len(addresses):
            raise CallFailed(f"{self.name} ADD: an address was given out twice: {addresses}")
        return ends

    def delete(self, containers: Sequence[Container]) -> Ends:
        """Run DEL for all *containers* at once.

        Raises:
            CallFailed: an exit status, or the link is still in the pod.
        """
        ends = execute([self._call("DEL", container) for container in containers])
        for container, ended in zip(containers, ends.ended, strict=True):
            self._check_exit("DEL", ended)
            if _has_link(container):
                raise CallFailed(f"{self.name} DEL: the link {container.ifname} is still there")
            del self.results[container.id]
        return ends

    def daemons_cpu_s(self) -> dict[str, float]:
        """The processor time that each of its daemons has used so far."""
        return {name: cpu_s(pid) for name, pid in self.daemons.items()}

    def _call(self, verb: str, container: Container) -> Call:
        """The call exactly as a runtime makes it: a DEL is given the ADD's result."""
        conf = dict(self.conf)
        if verb == "DEL":
            conf["prevResult"] = self.results[container.id]
        environment = {
            "PATH": BASE_ENVIRONMENT["PATH"],
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container.id,
            "CNI_NETNS": container.netns,
            "CNI_IFNAME": container.ifname,
            "CNI_ARGS": container.args,
            "CNI_PATH": f"{self.program.parent}:{DEBIAN_PLUGINS}",
        }
        return Call(self.program, environment, json.dumps(conf).encode())

    def _result(self, container: Container, ended: Ended) -> dict[str, Any]:
        self._check_exit("ADD", ended)
        result: dict[str, Any] = json.loads(ended.output)
        if not result.get("ips"):
            raise CallFailed(f"{self.name} ADD of {container.id}: no address in {result}")
        return result

    def _check_exit(self, verb: str, ended: Ended) -> None:
        if ended.exit_code:
            said = ended.output.decode(errors="replace").strip()
            raise CallFailed(f"{self.name} {verb}: exit status {ended.exit_code}: {said}")


def _has_link(container: Container) -> bool:
    fd = os.open(container.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netns.entered(fd):
            return container.ifname in (name for _, name in socket.if_nameindex())
    finally:
        os.close(fd)


def ours(
    program: Path,
    conflist: Mapping[str, Any],
    containers: Sequence[Container],
    daemons: Mapping[str, int],
) -> Side:
    """Our plugin, with the installed conflist."""
    (plugin,) = conflist["plugins"]
    names = {key: conflist[key] for key in ("name", "cniVersion")}
    return Side("ours", program, {**plugin, **names}, containers, daemons)


def theirs(directory: Path, containers: Sequence[Container]) -> Side:
    """The reference plugins: ``ptp``, which executes ``host-local`` for the address."""
    conf = {
        "cniVersion": "1.0.0",
        "name": "reference",
        "type": "ptp",
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": SUBNET}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(directory),
        },
    }
    return Side("theirs", DEBIAN_PLUGINS / "ptp", conf, containers)
