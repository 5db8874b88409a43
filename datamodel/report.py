"""What the kernel of a node has: every link that is ours, and what is routed to it.

Pure: no I/O, no behaviour. Read by ``cni_plugin/report.py``; ipamd compares it with the store.
"""

from dataclasses import dataclass

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address


@dataclass(frozen=True, slots=True)
class ReportedLink:
    """One host end of ours."""

    interface_name: str
    attachment: Attachment | None  # None: too long to be spelled out in the link's alias
    attachment_digest: str
    pod: Pod | None  # None: not a Kubernetes pod, or too long for the alias
    addresses: tuple[Address, ...]  # that the host routes to the link
    mac: str  # pod side, as the host's neighbour entries say; "" if they do not


@dataclass(frozen=True, slots=True)
class Report:
    """All of them at one moment."""

    kernel: Kernel
    is_complete: bool  # False: the kernel's answer was cut short, links may be missing
    links: tuple[ReportedLink, ...]
