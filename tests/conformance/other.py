"""Another plugin, with host-local, in a bare namespace with an uplink."""

import json
import os
import shutil
from collections.abc import Mapping
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from ocicatctl.lab import system
from tests.conformance.node import Node
from tests.conformance.plugin import Plugin, Pod

ADDRESS = ip_interface("192.0.2.1/24")
UPLINK = (
    "link add eth0 type veth peer name uplink",
    f"addr add {ADDRESS} dev eth0",
    "link set eth0 up",
    "link set uplink up",
)


class OtherNode(Node):
    """A namespace of its own; ``ipam.dataDir`` of the configuration gets a name of its own."""

    address = str(ADDRESS.ip)

    def __init__(self, executable: Path, conf: Path) -> None:
        document = json.loads(conf.read_text())
        self._ipam = document["ipam"]
        self._ipam["dataDir"] += f"-{os.getpid()}"
        self.records = Path(self._ipam["dataDir"])
        self._ipv4 = self._ipam["ranges"]
        self._routes = [*self._ipam.get("routes", ()), {"dst": "::/0"}]
        self.dual_stack = self._with_ranges([*self._ipv4, [{"subnet": "fd00:10:99::/112"}]])
        ranges = [[{"subnet": "10.97.0.0/24"}]]
        self.further = {"ipam": {**self._ipam, "ranges": ranges, "routes": []}}
        self.name = f"conformance-{os.getpid()}"
        system.add_namespace(self.name)
        for command in UPLINK:
            system.run("ip", *command.split(), namespace=self.name)
        plugin = Plugin(
            executable=executable,
            namespace=system.NETNS / self.name,
            conf=document,
            path=str(executable.parent),
            is_ours=False,
        )
        super().__init__(plugin, f"{self.name}-", [self.records])
        self.warm_up()

    def down(self) -> None:
        """Remove all of it."""
        system.remove_namespaces([self.name])
        shutil.rmtree(self.records, ignore_errors=True)

    def store(self) -> Mapping[str, object]:
        return {}

    def reset(self) -> None:
        for name in self.links():
            if not self.baseline.about(f"node: link {name} "):
                self.ip("link", "del", name)
        system.run("nft", "flush", "ruleset", namespace=self.name)
        shutil.rmtree(self.records, ignore_errors=True)
        self.warm_up()

    def with_one_address(self, family: int = 4) -> Mapping[str, Any]:
        if family == 4:
            only = {"rangeStart": "10.98.0.2", "rangeEnd": "10.98.0.2"}
            return self._with_ranges([[{"subnet": "10.98.0.0/24", **only}]])
        only = {"rangeStart": "fd00:10:98::2", "rangeEnd": "fd00:10:98::2"}
        return self._with_ranges([*self._ipv4, [{"subnet": "fd00:10:98::/112", **only}]])

    def release_behind_its_back(self, pod: Pod) -> None:
        for path in self.records.rglob("*"):
            if path.is_file() and pod.id in path.read_text():
                path.unlink()

    def _with_ranges(self, ranges: list[Any]) -> dict[str, Any]:
        return {"ipam": {**self._ipam, "ranges": ranges, "routes": self._routes}}
