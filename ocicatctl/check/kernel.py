"""What the store says of a node's links ⇔ the links that the node's kernel has.

Pure: no I/O.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from datamodel.attachment import Attachment, Kernel
from datamodel.block import Address
from datamodel.gotime import parse_go_time
from datamodel.report import Report, ReportedLink
from ocicatctl.check.cluster import Cluster, Holding
from ocicatctl.check.problem import Kind, Problem

# What is younger may not have come together yet.
GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Links:
    """The links of one node, as its kernel was just reported to have them."""

    node: str
    report: Report
    by_digest: Mapping[str, ReportedLink]  # of the attachment
    by_address: Mapping[Address, ReportedLink]

    @classmethod
    def of(cls, node: str, report: Report) -> "Links":
        """Index the report."""
        return cls(
            node,
            report,
            {link.attachment_digest: link for link in report.links},
            {address: link for link in report.links for address in link.addresses},
        )


def kernel_problems(cluster: Cluster, links: Links, now: datetime) -> Iterator[Problem]:
    """Every difference between the links and what the store says of them."""
    if links.report.is_complete:
        for holdings in cluster.held_by.values():
            yield from _without_link(cluster, holdings[0], links, now)
    for link in links.report.links:
        yield from _unrecorded(cluster, link, links.node)


def made_in(holding: Holding) -> Kernel | None:
    """Where the holder's link was made; ``None``: nobody noted it."""
    boot, netns = holding.fact("boot"), holding.fact("netns")
    return Kernel(boot, netns) if boot and netns else None


def made_at(holding: Holding) -> datetime | None:
    """When the address was allocated; ``None``: nobody noted it, or not as Calico does."""
    return parse_go_time(holding.fact("timestamp"))


def _without_link(
    cluster: Cluster, holding: Holding, links: Links, now: datetime
) -> Iterator[Problem]:
    """An address that an endpoint lists, but that no link has; without endpoint it is leaked."""
    kernel, made = made_in(holding), made_at(holding)
    here = links.report.kernel
    if holding.fact("node") != links.node or holding.address not in cluster.users:
        return
    if kernel is None or made is None or now - made < GRACE:
        return
    attachment = Attachment.of_handle(holding.handle_id or "")
    if attachment is None or attachment.digest in links.by_digest:
        return
    if kernel.boot_id == here.boot_id and kernel.netns != here.netns:
        return  # the report says nothing about that namespace
    yield Problem(
        Kind.NO_LINK,
        f"address {holding.address}",
        f"is held by {holding.handle_id} and used by {cluster.users[holding.address][0]}, but the "
        f"kernel of {links.node} has no such link; ipamd frees it if two reports agree",
        name=holding.handle_id or "",
        cidr=holding.cidr,
        address=holding.address,
        mark=holding.sequence,
    )


def _unrecorded(cluster: Cluster, link: ReportedLink, node: str) -> Iterator[Problem]:
    for address in link.addresses:
        holders = [h for h in cluster.held.get(address, ()) if not h.is_cooling]
        if any(_is_of(holder, link) for holder in holders):
            continue
        subject = f"link {link.interface_name} on {node}"
        who = link.attachment.handle_id if link.attachment else "whose alias is too long to say"
        if holders:
            other = holders[0].handle_id or "somebody without a handle"
            yield Problem(
                Kind.STOLEN_ADDRESS,
                subject,
                f"is of {who} and has {address}, which is held by {other}; delete one of the pods",
                address=address,
                mark=holders[0].sequence,
            )
        else:
            yield Problem(
                Kind.UNRECORDED_LINK,
                subject,
                f"is of {who} and has {address}, which nobody holds; "
                "ipamd records it if two reports agree",
                address=address,
            )


def _is_of(holding: Holding, link: ReportedLink) -> bool:
    attachment = Attachment.of_handle(holding.handle_id or "")
    return attachment is not None and attachment.digest == link.attachment_digest
