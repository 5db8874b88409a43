"""A WorkloadEndpoint: one interface of one workload, as the operator sees it.

Pure: no I/O. Names, labels and namespaces follow Calico, so that calicoctl reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from datamodel.pool import Network

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
DEFAULT_NAMESPACE = "default"  # of endpoints outside Kubernetes


@dataclass(frozen=True, slots=True)
class EndpointId:
    """What makes up an endpoint's name: unique per workload and interface, not per container."""

    node: str
    namespace: str
    orchestrator: str  # "k8s" or "cni"
    workload: str  # the pod's name, outside Kubernetes the container id
    ifname: str

    @classmethod
    def of(cls, node: str, attachment: Attachment, pod: Pod | None) -> "EndpointId":
        """The endpoint of *attachment* on *node*."""
        if pod is not None:
            return cls(node, pod.namespace, "k8s", pod.name, attachment.ifname)
        return cls(node, DEFAULT_NAMESPACE, "cni", attachment.container_id, attachment.ifname)

    @property
    def name(self) -> str:
        """Calico's name: the parts joined by "-", every "-" inside a part doubled."""
        parts = (self.node, self.orchestrator, self.workload, self.ifname)
        return "-".join([part.replace("-", "--") for part in parts])


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a pod that policies may name, or that the node has for it."""

    number: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """What Kubernetes says of the pod behind an endpoint."""

    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    generate_name: str = ""  # the beginning of its name, which Kubernetes made unique
    ports: tuple[Port, ...] = ()
    floating_ips: tuple[Address, ...] = ()  # that lead to the pod's address of the same family


@dataclass(frozen=True, slots=True)
class WorkloadEndpoint:
    """Which addresses a workload's interface has, and which link on the node leads to it."""

    id: EndpointId
    container_id: str
    networks: tuple[Network, ...]  # /32 and /128
    interface_name: str
    mac: str
    profiles: tuple[str, ...] = ()
    workload: Workload | None = None  # None: not known
