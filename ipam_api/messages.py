"""Our values ⇄ the messages of ipam.proto, for both ends of the socket.

Pure: no I/O. ``*_message`` writes one, ``*_of`` reads one and checks it. What a message may lack is
read from the message that has it as a field.
"""

from ipaddress import ip_address

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address
from datamodel.endpoint import Port, Workload
from datamodel.errors import Invalid
from datamodel.report import Report, ReportedLink
from ipam_api import ipam_pb2

HasPod = (
    ipam_pb2.AllocateRequest
    | ipam_pb2.ReleaseRequest
    | ipam_pb2.GetRequest
    | ipam_pb2.ReportedLink
    | ipam_pb2.GetHistoryRequest
    | ipam_pb2.Holding
)
HasKernel = ipam_pb2.Endpoint | ipam_pb2.ReportRequest


def attachment_message(attachment: Attachment) -> ipam_pb2.Attachment:
    """Write an attachment."""
    return ipam_pb2.Attachment(
        network=attachment.network,
        container_id=attachment.container_id,
        ifname=attachment.ifname,
    )


def attachment_of(message: ipam_pb2.Attachment) -> Attachment:
    """Read an attachment.

    Raises:
        Invalid: with every name that is none.
    """
    attachment = Attachment(message.network, message.container_id, message.ifname)
    if attachment.mistakes:
        raise Invalid(f"attachment: {'; '.join(attachment.mistakes)}")
    return attachment


def pod_message(pod: Pod | None) -> ipam_pb2.Pod | None:
    """Write a pod."""
    return None if pod is None else ipam_pb2.Pod(namespace=pod.namespace, name=pod.name)


def pod_of(message: HasPod) -> Pod | None:
    """Read the pod of *message*, if it has one.

    Raises:
        Invalid: with every name that is none.
    """
    if not message.HasField("pod"):
        return None
    pod = Pod(message.pod.namespace, message.pod.name)
    if pod.mistakes:
        raise Invalid(f"pod: {'; '.join(pod.mistakes)}")
    return pod


def kernel_message(kernel: Kernel | None) -> ipam_pb2.Kernel | None:
    """Write a kernel."""
    return None if kernel is None else ipam_pb2.Kernel(boot_id=kernel.boot_id, netns=kernel.netns)


def kernel_of(message: HasKernel) -> Kernel | None:
    """Read the kernel of *message*, if it has one.

    Raises:
        Invalid: it does not say which.
    """
    if not message.HasField("kernel"):
        return None
    kernel = Kernel(message.kernel.boot_id, message.kernel.netns)
    if not (kernel.boot_id and kernel.netns):
        raise Invalid(f"kernel: boot_id {kernel.boot_id!r}, netns {kernel.netns!r}: one is missing")
    return kernel


def workload_message(workload: Workload | None) -> ipam_pb2.Workload | None:
    """Write what Kubernetes says of a pod."""
    if workload is None:
        return None
    return ipam_pb2.Workload(
        labels=workload.labels,
        service_account=workload.service_account,
        generate_name=workload.generate_name,
        ports=[
            ipam_pb2.Port(
                number=port.number,
                name=port.name,
                protocol=port.protocol,
                host_port=port.host_port,
                host_ip=port.host_ip,
            )
            for port in workload.ports
        ],
        floating_ips=map(str, workload.floating_ips),
    )


def workload_of(message: ipam_pb2.Endpoint) -> Workload | None:
    """Read what Kubernetes says of the pod of *message*, if it says that.

    Raises:
        Invalid: a floating IP is no address.
    """
    if not message.HasField("workload"):
        return None
    workload = message.workload
    return Workload(
        labels=dict(workload.labels),
        service_account=workload.service_account,
        generate_name=workload.generate_name,
        ports=tuple(
            Port(port.number, port.name, port.protocol, port.host_port, port.host_ip)
            for port in workload.ports
        ),
        floating_ips=tuple(map(address_of, workload.floating_ips)),
    )


def address_of(text: str) -> Address:
    """Read an address.

    Raises:
        Invalid: it is none.
    """
    try:
        return ip_address(text)
    except ValueError as error:
        raise Invalid(f"address {text!r}: is neither IPv4 nor IPv6") from error


def report_message(report: Report) -> ipam_pb2.ReportRequest:
    """Write a report."""
    return ipam_pb2.ReportRequest(
        kernel=kernel_message(report.kernel),
        is_complete=report.is_complete,
        links=[
            ipam_pb2.ReportedLink(
                interface_name=link.interface_name,
                attachment=attachment_message(link.attachment) if link.attachment else None,
                attachment_digest=link.attachment_digest,
                pod=pod_message(link.pod),
                addresses=map(str, link.addresses),
                mac=link.mac,
            )
            for link in report.links
        ],
    )


def report_of(message: ipam_pb2.ReportRequest) -> Report:
    """Read a report.

    Raises:
        Invalid: a part of it is wrong.
    """
    kernel = kernel_of(message)
    if kernel is None:
        raise Invalid("report: does not say of which kernel it is")
    return Report(kernel, message.is_complete, tuple(map(_link_of, message.links)))


def _link_of(message: ipam_pb2.ReportedLink) -> ReportedLink:
    attachment = attachment_of(message.attachment) if message.HasField("attachment") else None
    return ReportedLink(
        interface_name=message.interface_name,
        attachment=attachment,
        attachment_digest=attachment.digest if attachment else message.attachment_digest,
        pod=pod_of(message),
        addresses=tuple(map(address_of, message.addresses)),
        mac=message.mac,
    )
