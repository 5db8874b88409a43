"""What a lab is made of: names, addresses and files, derived from its name and size.

Pure: no I/O. A lab is a cluster in network namespaces: ``fabric`` holds the bridge that all nodes
hang on, and etcd; each node is a namespace with one uplink and its default route into the fabric.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from datamodel.errors import Invalid

BASE = Path("/run/ocicat-lab")
DEFAULT_NAME = "default"
MAX_NODES = 200  # 10.0.0.11 … 10.0.0.210
ETCD_PORT = 2379
GATEWAY = IPv4Interface("10.0.0.1/24")

# Socket paths end at 107 bytes; the name is part of namespace names as well.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class LabSpec:
    """One lab. Labs of different names do not touch each other."""

    name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Invalid(
                f"lab name {self.name!r}: use up to 24 lower-case letters, digits and dashes"
            )

    @property
    def directory(self) -> Path:
        """Every file of the lab is below."""
        return BASE / self.name

    @property
    def prefix(self) -> str:
        """In front of the names of namespaces; the default lab's are plain ``node-1``, …"""
        return "" if self.name == DEFAULT_NAME else f"{self.name}-"

    @property
    def fabric(self) -> str:
        """The namespace of bridge and etcd."""
        return f"{self.prefix}fabric"

    @property
    def etcd_endpoint(self) -> str:
        """etcd, as the nodes reach it."""
        return f"http://{GATEWAY.ip}:{ETCD_PORT}"

    def node(self, number: int) -> "NodeSpec":
        """The node of that number, from 1."""
        if not 1 <= number <= MAX_NODES:
            raise Invalid(f"a lab has 1 to {MAX_NODES} nodes, not {number}")
        return NodeSpec(self, number)

    def pod_namespace(self, pod: str) -> str:
        """The namespace of a pod's container."""
        return f"{self.prefix}pod-{pod}"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node of a lab."""

    lab: LabSpec
    number: int

    @property
    def name(self) -> str:
        """The Calico node name."""
        return f"node-{self.number}"

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"{self.lab.prefix}{self.name}"

    @property
    def uplink(self) -> str:
        """The bridge port in the fabric that leads to the node; inside it is ``eth0``."""
        return f"port{self.number}"

    @property
    def address(self) -> IPv4Interface:
        """Its underlay address."""
        first = int(GATEWAY.network.network_address) + 10
        return IPv4Interface((first + self.number, GATEWAY.network.prefixlen))

    @property
    def directory(self) -> Path:
        """Its sockets, configuration and logs."""
        return self.lab.directory / self.name

    @property
    def bin(self) -> Path:
        """Its CNI bin directory."""
        return self.directory / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of all its daemons."""
        return {
            "NODENAME": self.name,
            "IP": "autodetect",
            "ETCD_ENDPOINTS": self.lab.etcd_endpoint,
            "OCICAT_IPAM_SOCKET": str(self.directory / "ipamd.sock"),
            "OCICAT_CNI_SOCKET": str(self.directory / "cni.sock"),
            "OCICAT_SPOOL_DIR": str(self.directory / "releases"),
            "OCICAT_BIRD_CONFIG": str(self.directory / "bird.conf"),
            "OCICAT_BIRD_SOCKET": str(self.directory / "bird.ctl"),
            "OCICAT_ROUTES_STATUS": str(self.directory / "routes.json"),
            "OCICAT_SECRETS_DIR": str(self.directory / "secrets"),
            "OCICAT_HISTORY_DIR": str(self.lab.directory / "history" / self.name),
            # What somebody breaks while playing is mended while he looks.
            "OCICAT_RECONCILE_PERIOD_S": "2",
            "OCICAT_LEAK_GRACE_S": "4",
        }
