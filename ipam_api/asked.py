"""What is asked of ipamd for an ADD, as values, and the message that says it.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address
from datamodel.endpoint import Workload
from ipam_api import ipam_pb2
from ipam_api.messages import attachment_message, kernel_message, pod_message, workload_message


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which addresses are asked for: one of each family."""

    versions: tuple[int, ...] = (4,)
    ipv4_pools: tuple[str, ...] = ()  # names or CIDRs, in order of preference; empty: any
    ipv6_pools: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()  # exactly these, at most one of each family
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    is_delegated: bool = False  # another plugin makes the interface


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the workload endpoint is to say about the attachment's link."""

    interface_name: str
    mac: str
    profiles: tuple[str, ...]
    kernel: Kernel | None = None  # where the link was made; None: reconcile leaves it alone
    workload: Workload | None = None  # None: Kubernetes was not asked


def allocate_request(
    attachment: Attachment, pod: Pod | None, endpoint: Recorded | None, wanted: Wanted
) -> ipam_pb2.AllocateRequest:
    """Say which addresses are asked for, and what is to be recorded."""
    return ipam_pb2.AllocateRequest(
        attachment=attachment_message(attachment),
        pod=pod_message(pod),
        endpoint=_endpoint_message(endpoint) if endpoint else None,
        ipv4=4 in wanted.versions,
        ipv6=6 in wanted.versions,
        ipv4_pools=wanted.ipv4_pools,
        ipv6_pools=wanted.ipv6_pools,
        addresses=map(str, wanted.addresses),
        namespace_labels=wanted.namespace_labels,
        is_delegated=wanted.is_delegated,
    )


def _endpoint_message(endpoint: Recorded) -> ipam_pb2.Endpoint:
    return ipam_pb2.Endpoint(
        interface_name=endpoint.interface_name,
        mac=endpoint.mac,
        profiles=endpoint.profiles,
        kernel=kernel_message(endpoint.kernel),
        workload=workload_message(endpoint.workload),
    )
