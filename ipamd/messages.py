"""Messages of ipam.proto into requests, and grants into messages.

Pure: no I/O. Every mistake of a message is named at once.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from datamodel.attachment import ifname_mistakes
from datamodel.block import Address, Block
from datamodel.errors import Invalid
from datastore.codec import Stamp
from ipam_api import ipam_pb2
from ipam_api.messages import address_of, attachment_of, kernel_of, pod_of, workload_of
from ipamd.request import Allocate, Grant, Link, Release

_MAC = re.compile(r"([0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5})?")  # a runtime may not have noted it

M = TypeVar("M")
T = TypeVar("T")


class _Reader:
    """Reads parts of a message and collects what is wrong with them."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def read(self, read_part: Callable[[M], T], part: M) -> T | None:
        try:
            return read_part(part)
        except Invalid as error:
            self.mistakes.append(str(error))
            return None

    def finish(self) -> None:
        if self.mistakes:
            raise Invalid("; ".join(self.mistakes))


def allocate_of(message: ipam_pb2.AllocateRequest, stamp: Stamp) -> Allocate:
    """Read a request for addresses.

    Raises:
        Invalid: with every mistake.
    """
    reader = _Reader()
    versions = tuple(v for v, is_wanted in ((4, message.ipv4), (6, message.ipv6)) if is_wanted)
    addresses = tuple(
        address
        for text in message.addresses
        if (address := reader.read(address_of, text)) is not None
    )
    attachment = reader.read(attachment_of, message.attachment)
    pod = reader.read(pod_of, message)
    link = reader.read(_link_of, message)
    if not versions:
        reader.mistakes.append("neither an IPv4 nor an IPv6 address is wanted")
    if message.is_delegated and message.HasField("endpoint"):
        reader.mistakes.append("an endpoint is not another plugin's")
    reader.mistakes += _requested_mistakes(addresses, versions)
    reader.finish()
    assert attachment is not None
    return Allocate(
        attachment=attachment,
        pod=pod,
        link=link,
        stamp=stamp,
        versions=versions,
        pools={4: tuple(message.ipv4_pools), 6: tuple(message.ipv6_pools)},
        addresses=addresses,
        namespace_labels=dict(message.namespace_labels),
        is_delegated=message.is_delegated,
    )


def release_of(message: ipam_pb2.ReleaseRequest | ipam_pb2.GetRequest) -> Release:
    """Read whose addresses are to be released, or shown.

    Raises:
        Invalid: with every mistake.
    """
    reader = _Reader()
    attachment = reader.read(attachment_of, message.attachment)
    pod = reader.read(pod_of, message)
    reader.finish()
    assert attachment is not None
    return Release(attachment, pod)


def _requested_mistakes(addresses: tuple[Address, ...], versions: tuple[int, ...]) -> Iterator[str]:
    for version in (4, 6) if addresses else ():
        asked = [str(a) for a in addresses if a.version == version]
        if asked and version not in versions:
            yield f"address {', '.join(asked)}: no IPv{version} address is wanted"
        if len(asked) > 1:
            yield f"addresses {', '.join(asked)}: one of each family is possible"


def _link_of(message: ipam_pb2.AllocateRequest) -> Link | None:
    if not message.HasField("endpoint"):
        return None
    endpoint = message.endpoint
    # Without a name: another plugin made the link, as those of host-local's containers.
    mistakes = ifname_mistakes(interface_name=name) if (name := endpoint.interface_name) else []
    if not _MAC.fullmatch(endpoint.mac):
        mistakes.append(f"mac {endpoint.mac!r} is not valid; write it like 02:00:5e:10:00:01")
    if mistakes:
        raise Invalid(f"endpoint: {'; '.join(mistakes)}")
    profiles = tuple(endpoint.profiles)
    return Link(
        endpoint.interface_name, endpoint.mac, profiles, kernel_of(endpoint), workload_of(endpoint)
    )


def address_messages(grants: Iterable[Grant]) -> list[ipam_pb2.Address]:
    """Write granted addresses."""
    return [
        ipam_pb2.Address(
            address=str(g.address),
            block=str(g.block),
            gateway=str(g.gateway or ""),
            overhead=g.overhead,
        )
        for g in grants
    ]


def held_messages(block: Block, handle_id: str) -> list[ipam_pb2.Address]:
    """Write what a handle holds in a block."""
    return [
        ipam_pb2.Address(address=str(block.address(ordinal)), block=str(block.cidr))
        for ordinal in block.held_by(handle_id)
    ]
