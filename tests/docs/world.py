"""The cluster that the pages tell of, as a lab, and their commands run on its first node.

The pages have the pods default/web-0 and kube-system/dns on node-1 and default/web-1 on node-2, in
blocks 10.233.77.0/24 and 10.233.88.0/24; a lab's nodes have others, which are put in their place.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datastore import keys
from ocicatctl.lab import etcd, system
from ocicatctl.lab.lab import Lab
from tests.installation import TEMPLATE, a_disk, put
from tests.lab_store import everything

TIMEOUT_S = 60

# Not of the pods and nodes: what a page changes of these is put back after each block.
_SETTINGS = (
    keys.POOLS,
    keys.RESERVATIONS,
    keys.BGP_CONFIGURATIONS,
    keys.BGP_PEERS,
    keys.BGP_FILTERS,
    keys.IPAM_CONFIG,
)

NETWORK = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: racks}
spec: {cidr: 10.99.0.0/16, natOutgoing: true}
"""

# There from the beginning, for get.
SETTINGS = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: true}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor-r1}
spec: {nodeSelector: rack == "r1", peerIP: 10.0.0.254, asNumber: 64513}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: no-defaults}
spec:
  importV4: [{cidr: 0.0.0.0/0, matchOperator: Equal, action: Reject}]
  importV6: [{cidr: "::/0", matchOperator: Equal, action: Reject}]
---
apiVersion: projectcalico.org/v3
kind: IPReservation
metadata: {name: gateways}
spec: {reservedCIDRs: [10.233.127.0/32]}
"""

PEER = (
    '{"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer", "metadata": {"name": "p"}, "spec": '
)
FILES = {
    "pools.yaml": NETWORK,
    "pools/racks.yaml": NETWORK,
    "peers.yaml": SETTINGS,
    "peer.json": PEER + '{"nodeSelector": "has(x)", "peerIP": "10.0.0.9", "asNumber": 1}}',
    "network.yaml": f"{NETWORK}---\n{SETTINGS.split('---')[1]}",
    "sessions/node-2.json": "[]",
    "my.conflist.template": TEMPLATE,
}

# The name that stands for any, in the examples of ``get KIND``.
NAMES = {
    "bgpconfiguration": "default",
    "bgpfilter": "no-defaults",
    "bgppeer": "tor-r1",
    "clusterinformation": "default",
    "ippool": "default-ipv4-ippool",
    "ipreservation": "gateways",
    "node": "node-1",
    "workloadendpoint": "node--1-k8s-web--0-eth0",
}


class World:
    """A lab that is as the pages say."""

    def __init__(self, lab: Lab, directory: Path, programs: Path) -> None:
        self.lab = lab
        self.programs = programs  # before those of the system
        self.directory = directory
        self.node = lab.nodes[0]
        first = lab.add_pod(self.node, "web-0")
        second = lab.add_pod(lab.nodes[1], "web-1")
        self.dns = lab.add_pod(self.node, "dns", "kube-system").container
        self._words = {
            r"10\.233\.77\.": first.address.rpartition(".")[0] + ".",
            r"10\.233\.88\.": second.address.rpartition(".")[0] + ".",
            "4f0c9a5d2b": first.container.id,
            r"/run/bird/bird\.ctl": self.node.environment["OCICAT_BIRD_SOCKET"],
            "/tmp/sessions": str(directory / "sessions"),
            r"\bvi \S+": "true",
            r"--root /host": "--root node",
            r"\bocicatctl (un)?install\b(?!.*--root)": r"ocicatctl \1install --root node",
            r"--nodes \d+": f"--nodes {len(lab.nodes)}",
            r" --name two\b": "",
            r"\bocicatctl lab ([a-z-]+)": rf"ocicatctl lab \1 --name {lab.spec.name}",
            **{rf"\bget {kind} NAME\b": f"get {kind} {name}" for kind, name in NAMES.items()},
        }
        self.apply(SETTINGS)
        self._settings = self._all_settings()

    # ---- running a command -----------------------------------------------------------------

    def translated(self, text: str) -> str:
        """The command with this lab's names in the place of the page's."""
        for pattern, word in self._words.items():
            text = re.sub(pattern, word, text)
        return text

    def knows(self, pattern: str, word: str) -> None:
        """From now on say *word* where the page says what *pattern* matches."""
        self._words = {pattern: word, **self._words}

    def call(
        self, command: str, directory: Path, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the node, with its settings."""
        path = f"{self.programs}:{system.BASE_ENVIRONMENT['PATH']}"
        environment = {**system.BASE_ENVIRONMENT, **self.node.environment, **settings}
        return self._run(
            ("bash", "-ec", self.translated(command)),
            directory,
            {**environment, "PATH": path, "ETCDCTL_API": "3"},
        )

    def _run(
        self, command: Sequence[str], directory: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--net={system.NETNS / self.node.namespace}", "--", *command],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def apply(self, manifest: str) -> None:
        """Apply resources, as an operator does."""
        file = self.directory / "staged.yaml"
        file.write_text(manifest)
        done = self.call(f"ocicatctl apply -f {file}", self.directory)
        assert done.returncode == 0, done.stderr

    # ---- what a page changes ---------------------------------------------------------------

    def put(self, key: str, value: bytes) -> Callable[[], None]:
        """Write a key; the result takes it back."""
        before = everything(self.lab).get(key)
        etcd.etcdctl(self.lab.spec, "put", "--", key, value.decode())
        return lambda: self._set(key, before)

    def take(self, key: str) -> Callable[[], None]:
        """Delete a key; the result puts it back."""
        back = self.keep(key)
        self._set(key, None)
        return back

    def keep(self, key: str) -> Callable[[], None]:
        """The result writes a key as it is now."""
        before = everything(self.lab)[key]
        return lambda: self._set(key, before)

    def _set(self, key: str, value: bytes | None) -> None:
        words = ("del", "--", key) if value is None else ("put", "--", key, value.decode())
        etcd.etcdctl(self.lab.spec, *words)

    def restore(self) -> None:
        """Put the cluster's settings back."""
        now = self._all_settings()
        for key in now.keys() | self._settings.keys():
            if now.get(key) != self._settings.get(key):
                self._set(key, self._settings.get(key))

    def _all_settings(self) -> dict[str, bytes]:
        return {k: v for k, v in everything(self.lab).items() if k.startswith(_SETTINGS)}


def lay_out(directory: Path) -> None:
    """Write the files that examples name and no page shows, and a node's file system."""
    root = directory / "node"
    a_disk(root)
    put(root, "/opt/cni/bin/portmap", "", 0o755)
    for path in (os.path.realpath(sys.executable), sys.executable):
        put(root, path, "#!/bin/sh\n", 0o755)
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
