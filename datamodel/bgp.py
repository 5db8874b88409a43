"""What the cluster wants of BGP, besides its nodes and peers: Calico's BGPConfiguration.

Pure: no I/O.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from datamodel.errors import Invalid
from datamodel.node import DEFAULT_AS
from datamodel.pool import Network

AS_NUMBERS = range(1, 2**32)  # 0 is reserved (RFC 7607); BIRD refuses it
PORTS = range(1, 2**16)
BGP_PORT = 179
RESTART_TIMES_S = range(2**12)  # it has 12 bits in the message (RFC 4724)
BIND_MODES = ("None", "NodeIP")
LOG_SEVERITIES = ("Trace", "Debug", "Info", "Warning", "Error", "Fatal")
BFD_ANNOTATION = "ocicat.io/bfd"

_COMMUNITY = re.compile(r"[0-9]{1,10}:[0-9]{1,10}(:[0-9]{1,10})?")
_SECRET = re.compile(r"[A-Za-z0-9._-]{1,253}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.*-]{1,15}")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a password is: a key of a Kubernetes secret, or a file in the secret's directory."""

    name: str
    key: str

    def mistakes(self, path: str) -> list[str]:
        """Name what Kubernetes would refuse; both become parts of a file's path."""
        return [
            f"{path}.secretKeyRef.{part}: {text!r} is not a {part} of a secret"
            for part, text in (("name", self.name), ("key", self.key))
            if not _SECRET.fullmatch(text) or text.startswith("..") or text == "."
        ]


@dataclass(frozen=True, slots=True)
class PrefixAdvertisement:
    """Communities that routes in a range are announced with."""

    cidr: Network
    communities: tuple[str, ...]  # "65000:100", "65000:100:1", or a name of ``communities``


@dataclass(frozen=True, slots=True)
class BgpConfiguration:
    """Settings for all nodes, or for one of them; absent fields have Calico's defaults."""

    as_number: int = DEFAULT_AS  # of nodes that have none of their own
    is_mesh_enabled: bool = True  # every node has a session with every other
    listen_port: int = BGP_PORT
    bind_mode: str = "None"  # "NodeIP": BIRD listens at the node's address only
    mesh_password: SecretRef | None = None
    mesh_restart_time_s: int | None = None  # of a graceful restart; None: BIRD's default
    is_mesh_bfd: bool = False  # annotation ocicat.io/bfd: "true"
    communities: Mapping[str, str] = field(default_factory=dict)  # value by name
    prefix_advertisements: tuple[PrefixAdvertisement, ...] = ()
    service_cluster_ips: tuple[Network, ...] = ()
    service_external_ips: tuple[Network, ...] = ()
    service_load_balancer_ips: tuple[Network, ...] = ()
    ignored_interfaces: tuple[str, ...] = ()  # besides cali* and kube-ipvs*; may end in "*"
    log_severity: str = "Info"

    def mistakes(self) -> list[str]:
        """Name everything that Calico or BIRD would refuse, each with its field; empty if right."""
        found = [
            *beyond("asNumber", self.as_number, AS_NUMBERS),
            *beyond("listenPort", self.listen_port, PORTS),
            *beyond("nodeMeshMaxRestartTime", self.mesh_restart_time_s, RESTART_TIMES_S, "s"),
            *not_one_of("bindMode", self.bind_mode, BIND_MODES),
            *not_one_of("logSeverityScreen", self.log_severity, LOG_SEVERITIES),
        ]
        found += [
            f"ignoredInterfaces: {name!r} is not a name, or the beginning of one and '*'"
            for name in self.ignored_interfaces
            if name == "*" or not is_interface_pattern(name)
        ]
        found += [
            f"communities: {value!r} of {name!r} is not one like 65000:100 or 65000:100:200"
            for name, value in self.communities.items()
            if not is_community(value)
        ]
        if self.mesh_password is not None:
            found += self.mesh_password.mistakes("nodeMeshPassword")
        return [*found, *self._unknown_communities()]

    def checked(self, name: str = "default") -> "BgpConfiguration":
        """Return the configuration itself, stored under *name*, if it is right.

        Raises:
            Invalid: with every mistake.
        """
        if found := self.mistakes():
            raise Invalid(f"BGPConfiguration {name}: {'; '.join(found)}")
        return self

    def _unknown_communities(self) -> list[str]:
        return [
            f"prefixAdvertisements[{i}].communities[{j}]: {community!r} is neither a community "
            "like 65000:100 nor the name of one of communities"
            for i, advertisement in enumerate(self.prefix_advertisements)
            for j, community in enumerate(advertisement.communities)
            if community not in self.communities and not is_community(community)
        ]


def is_community(text: str) -> bool:
    """Whether it is a BGP community, 16:16 bits or 32:32:32, and not the name of one."""
    if not _COMMUNITY.fullmatch(text):
        return False
    parts = [int(part) for part in text.split(":")]
    return all(part < (2**16 if len(parts) == 2 else 2**32) for part in parts)


def is_interface_pattern(text: str) -> bool:
    """Whether it can stand for Linux interfaces: a name, in which "*" is any characters."""
    return _INTERFACE.fullmatch(text) is not None


def beyond(name: str, value: int | None, allowed: range, unit: str = "") -> list[str]:
    """Say that a number is not in its range; ``None`` is no number."""
    if value is None or value in allowed:
        return []
    return [f"{name}: {value}{unit} is not in {allowed[0]}..{allowed[-1]}"]


def not_one_of(name: str, value: str | None, choices: Collection[str]) -> list[str]:
    """Say that a word is none of those that there are; ``None`` is no word."""
    if value is None or value in choices:
        return []
    return [f"{name}: {value!r} is not one of {', '.join(choices)}"]
