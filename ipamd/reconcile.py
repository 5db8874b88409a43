"""Which addresses no link has any more, and which links have addresses that nobody recorded.

Pure: no I/O. Compares what the store says this node's pods hold with the links that the kernel is
reported to have. docs/design/0002-addresses-without-leaks.md says why these rules.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamodel.attachment import Attachment, Kernel
from datamodel.block import Address, Block
from datamodel.gotime import parse_go_time
from datamodel.report import Report, ReportedLink
from ipamd.request import Free


@dataclass(frozen=True, slots=True)
class Held:
    """What one handle holds for this node, each with its sequence number, and what is known."""

    handle_id: str
    addresses: Mapping[Address, int]
    facts: Mapping[str, str]

    @property
    def kernel(self) -> Kernel | None:
        """Where its link was made; ``None``: nobody said, or it has none of ours."""
        if {"boot", "netns"} <= self.facts.keys():
            return Kernel(self.facts["boot"], self.facts["netns"])
        return None


def held_by_node(blocks: Iterable[Block], node: str) -> dict[str, Held]:
    """What the node's pods hold in *blocks*, by handle."""
    found: dict[str, Held] = {}
    for block in blocks:
        for attribute in block.attributes:
            handle_id = attribute.handle_id
            if attribute.node == node and handle_id:
                before = found[handle_id].addresses if handle_id in found else {}
                addresses = {**before, **block.sequences_of(handle_id)}
                found[handle_id] = Held(handle_id, addresses, attribute.secondary or {})
    return found


@dataclass(frozen=True, slots=True)
class Suspect:
    """A handle whose links were missing for the first time at *since_s*, holding *seen*."""

    seen: Mapping[Address, int]
    since_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """When a comparison is made."""

    now: datetime
    clock_s: float  # grows evenly, whatever is done to the time of day
    grace_s: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of comparing: who is under suspicion, what to free, what to tell the operator."""

    suspects: Mapping[str, Suspect] = field(default_factory=dict)
    leaks: tuple[Free, ...] = ()
    findings: tuple[str, ...] = ()


def judge(
    held: Mapping[str, Held],
    report: Report,
    suspects: Mapping[str, Suspect],
    busy: Collection[str],
    moment: Moment,
) -> Judgement:
    """Tell which of *held* has no link.

    Args:
        held: by handle; of this node alone.
        report: what the kernel has.
        suspects: of the last judgement.
        busy: handles for which a request is under way.
        moment: when the report came.
    """
    if not report.is_complete:
        return Judgement(suspects, findings=("the kernel's list of links was cut short",))
    linked = {link.attachment_digest for link in report.links}
    now_suspect: dict[str, Suspect] = {}
    leaks: list[Free] = []
    held_back, elsewhere = [], []
    for handle_id, what in held.items():
        before = suspects.get(handle_id)
        if handle_id in busy or not _may_be_missing(what, linked, moment):
            continue
        assert what.kernel is not None
        is_of_this_boot = what.kernel.boot_id == report.kernel.boot_id
        if is_of_this_boot and what.kernel.netns != report.kernel.netns:
            elsewhere.append(handle_id)
        elif is_of_this_boot and not report.links and before is None:
            held_back.append(handle_id)
        elif before is None or before.seen != what.addresses:
            now_suspect[handle_id] = Suspect(what.addresses, moment.clock_s)
        elif moment.clock_s - before.since_s >= moment.grace_s:
            now_suspect[handle_id] = before
            leaks.append(Free(handle_id, what.addresses))
        else:
            now_suspect[handle_id] = before
    return Judgement(now_suspect, tuple(leaks), tuple(_findings(held_back, elsewhere)))


def _may_be_missing(what: Held, linked: Collection[str], moment: Moment) -> bool:
    """Whether the handle should have a link and has none; never if anything about it is unknown."""
    attachment = Attachment.of_handle(what.handle_id)
    made = parse_go_time(what.facts.get("timestamp", ""))
    if attachment is None or what.kernel is None or made is None:
        return False
    age_s = (moment.now - made).total_seconds()
    return attachment.digest not in linked and age_s >= moment.grace_s


def _findings(held_back: list[str], elsewhere: list[str]) -> Iterator[str]:
    if held_back:
        yield (
            f"the kernel is reported to have no link at all, but {len(held_back)} handles hold "
            f"addresses ({_some(held_back)}); nothing is freed. If the pods are gone, "
            "ocicatctl ipam check --repair frees the addresses"
        )
    if elsewhere:
        yield (
            f"the links of {len(elsewhere)} handles ({_some(elsewhere)}) were made in another "
            "network namespace than the one that is reported; nothing of them is freed. "
            "The CNI server belongs into the host's network namespace"
        )


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")


def unrecorded(
    held: Mapping[str, Held], report: Report, busy: Collection[str]
) -> list[ReportedLink]:
    """The links that have an address which their own handle is not known to hold."""
    found = []
    for link in report.links:
        handle_id = link.attachment.handle_id if link.attachment else ""
        if handle_id in busy:
            continue
        known = held[handle_id].addresses if handle_id in held else {}
        if any(address not in known for address in link.addresses):
            found.append(link)
    return found
