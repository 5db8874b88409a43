"""What ipamd answers, as values.

Pure: no I/O.
"""

from dataclasses import dataclass
from ipaddress import ip_network

from datamodel.attachment import Pod
from datamodel.block import Address
from datamodel.pool import Network
from datamodel.report import Report
from ipam_api import ipam_pb2
from ipam_api.messages import address_of, report_of


@dataclass(frozen=True, slots=True)
class Allocation:
    """What ipamd answers to Allocate."""

    addresses: tuple[Address, ...]
    blocks: tuple[Network, ...]  # that they are from, one for each
    gateways: tuple[Address | None, ...]  # in the blocks, if another plugin makes the interface
    node: str
    superseded_container_id: str  # the pod's previous sandbox; "" if there is none
    overhead: int  # bytes of a packet that headers of a tunnel may take; of both families the most


@dataclass(frozen=True, slots=True)
class Held:
    """What ipamd answers to Get."""

    addresses: tuple[Address, ...]
    interface_name: str  # of the recorded endpoint; "" if none is recorded


@dataclass(frozen=True, slots=True)
class LastReport:
    """What ipamd answers to GetReport."""

    report: Report
    age_s: float


@dataclass(frozen=True, slots=True)
class OwnBlock:
    """One of the node's blocks."""

    cidr: Network
    size: int
    in_use: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What ipamd answers to Status."""

    node: str
    blocks: tuple[OwnBlock, ...]
    revision: int  # etcd revision up to which the blocks are known
    waits_for: str  # why no address is given out at the moment; "": they are
    findings: tuple[str, ...]  # what reconciling found and did not mend


@dataclass(frozen=True, slots=True)
class Holding:
    """An address that was held for a time."""

    address: Address
    handle_id: str
    pod: Pod | None
    node: str
    from_s: float  # Unix time; 0: before the history begins
    to_s: float  # Unix time; 0: still held


@dataclass(frozen=True, slots=True)
class History:
    """What ipamd answers to GetHistory."""

    holdings: tuple[Holding, ...]  # oldest first
    begins_s: float  # Unix time of the oldest event that is kept


def allocation_of(message: ipam_pb2.AllocateResponse) -> Allocation:
    """Read the answer to Allocate."""
    return Allocation(
        addresses=tuple(address_of(a.address) for a in message.addresses),
        blocks=tuple(ip_network(a.block) for a in message.addresses),
        gateways=tuple(address_of(a.gateway) if a.gateway else None for a in message.addresses),
        node=message.node,
        superseded_container_id=message.superseded_container_id,
        overhead=max((a.overhead for a in message.addresses), default=0),
    )


def held_of(message: ipam_pb2.GetResponse) -> Held:
    """Read the answer to Get."""
    addresses = tuple(address_of(a.address) for a in message.addresses)
    return Held(addresses, message.endpoint.interface_name)


def last_report_of(message: ipam_pb2.GetReportResponse) -> LastReport | None:
    """Read the answer to GetReport; ``None``: nothing was reported yet."""
    if not message.HasField("report"):
        return None
    return LastReport(report_of(message.report), message.age_s)


def node_status_of(message: ipam_pb2.StatusResponse) -> NodeStatus:
    """Read the answer to Status."""
    return NodeStatus(
        node=message.node,
        blocks=tuple(OwnBlock(ip_network(b.cidr), b.size, b.in_use) for b in message.blocks),
        revision=message.revision,
        waits_for=message.waits_for,
        findings=tuple(message.findings),
    )


def history_of(message: ipam_pb2.GetHistoryResponse) -> History:
    """Read the answer to GetHistory."""
    return History(tuple(map(_holding_of, message.holdings)), message.begins_s)


def _holding_of(message: ipam_pb2.Holding) -> Holding:
    pod = Pod(message.pod.namespace, message.pod.name) if message.HasField("pod") else None
    return Holding(
        address=address_of(message.address),
        handle_id=message.handle_id,
        pod=pod,
        node=message.node,
        from_s=message.from_s,
        to_s=message.to_s,
    )
