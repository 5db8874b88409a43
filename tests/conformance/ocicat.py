"""Our plugin on the first node of a lab: etcd and every daemon are real, and may be stopped."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_network
from typing import Any

from datastore import keys
from ocicatctl.lab import daemons, etcd, health, show, system
from ocicatctl.lab.lab import Lab
from tests.conformance.node import Node
from tests.conformance.plugin import Plugin, Pod
from tests.lab_store import held

CONF = {
    "cniVersion": "1.0.0",
    "name": "k8s-pod-network",
    "type": "ocicat",
    "ipam": {"type": "ocicat-ipam"},
    "policy": {"type": "k8s"},
    "capabilities": {"ips": True, "mac": True},
}
BOTH = {"type": "ocicat-ipam", "assign_ipv4": "true", "assign_ipv6": "true"}
POOLS = "/calico/resources/v3/projectcalico.org/ippools/"
TINY = {4: "10.77.1.0/32", 6: "fd00:10:77::1/128"}


class OcicatNode(Node):
    """The node of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.dual_stack = {"ipam": BOTH}
        self.further = {}
        lab.up(1)
        (self.spec,) = lab.nodes
        # It follows pools, at its own time, and would change the node between two looks at it;
        # its rules would go with those that plugins leave behind.
        daemons.kill(self.spec, "route-distributor")
        nft = ("nft", "delete", "table", "inet", "ocicat")
        system.run(*nft, namespace=self.spec.namespace)
        self.lab = lab
        self.address = str(self.spec.address.ip)
        self.records = self.spec.directory / "releases"
        plugin = Plugin(
            executable=self.spec.bin / "ocicat",
            namespace=system.NETNS / self.spec.namespace,
            conf=CONF,
            path=f"{self.spec.bin}:/usr/lib/cni",
            is_ours=True,
        )
        super().__init__(plugin, lab.spec.prefix, [self.spec.directory])
        self._put_pool("default-ipv6-ippool", "fd00:10:233::/112", 120)
        self.warm_up()

    def store(self) -> Mapping[str, object]:
        found = {}
        for key, value in held(self.lab).items():
            if "/assignment/" in key:  # a line for each address, so that differences read well
                cidr, affinity, allocations, attributes = value
                found[key] = affinity
                for address, index in zip(ip_network(cidr), allocations, strict=True):
                    if index is not None:
                        found[f"{key}/{address}"] = attributes[index]
            else:
                found[key] = value
        return found

    def reset(self) -> None:
        for name in self.links():
            if not self.baseline.about(f"node: link {name} "):
                self.ip("link", "del", name)
        for network in (CONF["name"], "another-network"):
            nothing = {"cniVersion": "1.1.0", "name": network, "cni.dev/valid-attachments": []}
            self.call("GC", conf=nothing)
        with suppress(AssertionError):
            self.assert_as_before()
        self.baseline = self.snapshot()

    def with_one_address(self, family: int = 4) -> Mapping[str, Any]:
        self._put_pool("tiny", TINY[family], 32 if family == 4 else 128)
        if family == 4:
            return {"ipam": {"type": "ocicat-ipam", "ipv4_pools": ["tiny"]}}
        return {"ipam": {**BOTH, "ipv6_pools": ["tiny"]}}

    def tidy(self) -> None:
        super().tidy()
        if etcd.keys(self.lab.spec, f"{POOLS}tiny"):
            self._remove_tiny_pool()

    def _remove_tiny_pool(self) -> None:
        """Take the pool of a single address away, with its block."""
        doomed = [f"{POOLS}tiny"]
        for cidr in map(ip_network, TINY.values()):
            doomed += [keys.block(cidr), keys.affinity(self.spec.name, cidr)]
        for key in doomed:
            etcd.etcdctl(self.lab.spec, "del", key)

    def release_behind_its_back(self, pod: Pod) -> None:
        (address,) = self.addresses_in(pod)
        show.ctl(self.spec, "ipam", "release", f"--ip={address}", "--force")

    def _put_pool(self, name: str, cidr: str, block_size: int) -> None:
        pool = {
            "kind": "IPPool",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": name},
            "spec": {"cidr": cidr, "blockSize": block_size, "nodeSelector": "all()"},
        }
        etcd.etcdctl(self.lab.spec, "put", POOLS + name, json.dumps(pool))

    # ---- daemons ---------------------------------------------------------------------------

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Within the block these daemons, or etcd, do not run."""
        with ExitStack() as starting:
            for name in names:
                if name == "etcd":
                    etcd.kill(self.lab.spec)
                    starting.callback(self.wait_until_it_serves)
                    starting.callback(etcd.start, self.lab.spec)
                else:
                    daemons.kill(self.spec, name)
                    starting.callback(daemons.start, self.spec, name)
            yield

    def wait_until_it_serves(self) -> None:
        """ipamd has found etcd again."""
        socket = self.spec.environment["OCICAT_IPAM_SOCKET"]
        system.wait_until(lambda: health.is_serving(socket), "ipamd", 30)
