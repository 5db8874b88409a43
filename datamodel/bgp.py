"""What the cluster wants of BGP, besides its nodes and peers: Calico's BGPConfiguration.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datamodel.errors import Invalid
from datamodel.node import DEFAULT_AS
from datamodel.pool import Network

AS_NUMBERS = range(1, 2**32)  # 0 is reserved (RFC 7607); BIRD refuses it
PORTS = range(1, 2**16)
BGP_PORT = 179


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a password is: a key of a Kubernetes secret, or a file in the secret's directory."""

    name: str
    key: str


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

    def checked(self) -> "BgpConfiguration":
        """Return the configuration itself if it is right.

        Raises:
            Invalid: with every mistake.
        """
        found = []
        if self.as_number not in AS_NUMBERS:
            found.append(f"asNumber {self.as_number} is not in 1..{AS_NUMBERS[-1]}")
        if self.listen_port not in PORTS:
            found.append(f"listenPort {self.listen_port} is not in 1..{PORTS[-1]}")
        if found:
            raise Invalid(f"BGPConfiguration: {'; '.join(found)}")
        return self
