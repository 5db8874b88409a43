"""What the kernel of each node has: the truth about who uses an address."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cni_plugin.podnet import host_names
from datamodel.attachment import Attachment, Kernel, Pod, parse_alias
from datamodel.block import Address
from datamodel.report import Report, ReportedLink

MAC = "02:00:00:00:00:01"


@dataclass(eq=False)
class Link:
    """The host end of one attachment, or what another plugin has made of one."""

    name: str
    attachment: Attachment
    pod: Pod | None
    addresses: tuple[Address, ...] = ()
    is_ours: bool = True  # False: another plugin's, which no report shows


@dataclass
class Machine:
    """One node's kernel."""

    node: str
    boots: int = 1
    links: dict[str, Link] = field(default_factory=dict)  # by name

    @property
    def kernel(self) -> Kernel:
        return Kernel(f"boot-{self.node}-{self.boots}", "4026531840")

    def reboot(self) -> None:
        self.boots += 1
        self.links.clear()

    def link_of(self, attachment: Attachment) -> Link | None:
        return next((link for link in self.links.values() if link.attachment == attachment), None)

    def make(self, attachment: Attachment, pod: Pod | None, *, is_ours: bool = True) -> Link:
        """Make a link, in the place of whatever has its name."""
        name = host_names(attachment, pod)[0] if is_ours else attachment.handle_id
        self.links[name] = Link(name, attachment, pod, is_ours=is_ours)
        return self.links[name]

    def has(self, link: Link) -> bool:
        return self.links.get(link.name) is link

    def remove(self, attachment: Attachment) -> None:
        if link := self.link_of(attachment):
            del self.links[link.name]

    def report(self) -> Report:
        """What the CNI server reads."""
        links = tuple(_reported(link) for link in self.links.values() if link.is_ours)
        return Report(self.kernel, True, links)


def _reported(link: Link) -> ReportedLink:
    owner = parse_alias(link.attachment.alias(link.pod))
    assert owner is not None
    return ReportedLink(
        interface_name=link.name,
        attachment=owner.attachment,
        attachment_digest=owner.attachment_digest,
        pod=owner.pod,
        addresses=link.addresses,
        mac=MAC,
    )


def in_use(machines: list[Machine]) -> Iterator[tuple[Address, Machine, Link]]:
    """Every address that a link has."""
    for machine in machines:
        for link in machine.links.values():
            for address in link.addresses:
                yield address, machine, link
