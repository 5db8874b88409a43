"""The pods that the IPAM benchmark asks addresses for: names as long as a kubelet's.

Pure: no I/O. A pod is a number; no two have a name in common.
"""

import hashlib

from datamodel.attachment import Attachment, Kernel, Pod
from ipam_api import ipam_pb2
from ipam_api.client import Recorded
from ipam_api.messages import attachment_message, kernel_message, pod_message

KERNEL = Kernel("8c1d3ab2-6a5e-4f5c-9f0e-3b6a5d7c9e10", "4026531840")
NETWORK = "k8s-pod-network"
_PROFILES = ("kns.default", "ksa.default.default")
_MAC = "ee:63:48:bf:b8:c1"


def container_id(number: int) -> str:
    """64 hexadecimal digits, as containerd makes them."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def attachment(number: int) -> Attachment:
    """The attachment of the pod's container."""
    return Attachment(NETWORK, container_id(number), "eth0")


def pod(number: int) -> Pod:
    """A pod of a deployment."""
    digits = container_id(number)
    return Pod("default", f"web-{digits[:10]}-{number:05x}")


def recorded(number: int) -> Recorded:
    """What is to be recorded about the pod's link."""
    return Recorded(f"cali{pod(number).digest[:11]}", _MAC, _PROFILES, KERNEL)


def allocate_request(number: int) -> bytes:
    """An AllocateRequest as the plugin sends it, encoded."""
    link = recorded(number)
    return ipam_pb2.AllocateRequest(
        attachment=attachment_message(attachment(number)),
        pod=pod_message(pod(number)),
        endpoint=ipam_pb2.Endpoint(
            interface_name=link.interface_name,
            mac=link.mac,
            profiles=link.profiles,
            kernel=kernel_message(link.kernel),
        ),
        ipv4=True,
    ).SerializeToString()


def release_request(number: int) -> bytes:
    """A ReleaseRequest as the plugin sends it, encoded."""
    return ipam_pb2.ReleaseRequest(
        attachment=attachment_message(attachment(number)), pod=pod_message(pod(number))
    ).SerializeToString()
