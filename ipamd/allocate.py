"""Gives an attachment its address: the one it holds already, or a free one.

Pure: no I/O. This is where an ADD picks its address.
"""

import ipaddress
from datetime import UTC, datetime

from datamodel.attachment import Attachment
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.errors import Invalid, OcicatError
from datamodel.pool import Network
from datastore import codec, keys
from ipamd.block_choice import choose_block
from ipamd.draft import Draft
from ipamd.request import Allocate, Grant, Granted, Link, Prepare


def allocate(draft: Draft, request: Allocate) -> Granted:
    """Add to *draft* what gives the attachment its address; nothing if it holds one.

    Block, handle and endpoint change together or not at all. An address that is held already is
    answered only if the transaction finds it held: what we know may be older than an unanswered
    release.

    Raises:
        Exhausted, Invalid, Unknown: as ``choose_block``.
    """
    handle_id = request.attachment.handle_id
    key = keys.handle(handle_id)
    grants = holdings(draft, handle_id, request.version)
    if not grants:
        try:
            block = choose_block(draft, request.pools, request.version)
        except OcicatError:
            draft.value(key)  # look before refusing: a call without an answer may have succeeded
            raise
        changed, address = block.assign(_attribute(draft, request))
        draft.change(changed)
        draft.value(key, assume_absent=True)
        draft.write(key, codec.encode_handle({block.cidr: 1}))
        grants = (Grant(address, block.cidr),)
    for grant in grants:
        draft.block(grant.block)  # the answer holds only as long as the block is as we know it
    superseded = _record_endpoint(draft, request, request.link, grants) if request.link else ""
    return Granted(grants, superseded)


def prepare(draft: Draft, request: Prepare) -> Granted:
    """Add to *draft* the claim of a first block, unless the node owns one."""
    if not draft.own_blocks(request.version):
        choose_block(draft, (), request.version)
    return Granted()


def fence(draft: Draft) -> Granted:
    """Add to *draft* that every block of the node is written anew."""
    for version in (4, 6):
        for block in draft.own_blocks(version):
            draft.change(block)
    return Granted()


def holdings(draft: Draft, handle_id: str, version: int) -> tuple[Grant, ...]:
    """What the handle holds: in this node's blocks, and in others if its key says so."""
    return tuple(
        Grant(block.address(ordinal), block.cidr)
        for block in holding_blocks(draft, handle_id, version)
        for ordinal in block.held_by(handle_id)
    )


def holding_blocks(draft: Draft, handle_id: str, version: int) -> list[Block]:
    """The blocks of one family in which the handle holds addresses."""
    own = [b for b in draft.own_blocks(version) if b.held_by(handle_id)]
    if own:
        return own
    key = keys.handle(handle_id)
    value = draft.value(key, assume_absent=True)
    counts = codec.decode_handle(key, value) if value is not None else {}
    blocks = [draft.block(cidr) for cidr in counts if cidr.version == version]
    return [block for block in blocks if block and block.held_by(handle_id)]


def _attribute(draft: Draft, request: Allocate) -> Attribute:
    pod = request.pod
    who = {"namespace": pod.namespace, "pod": pod.name} if pod else {}
    secondary = {**who, "node": draft.view.node, "timestamp": go_time(draft.view.now)}
    return Attribute(request.attachment.handle_id, secondary)


def go_time(time: datetime) -> str:
    """A time as Go prints it by default, the form of Calico's ``timestamp`` attribute."""
    text = time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    return f"{text} +0000 UTC"


def _record_endpoint(draft: Draft, request: Allocate, link: Link, grants: tuple[Grant, ...]) -> str:
    """Write the endpoint; return the container it was of before, if that still holds addresses."""
    where = EndpointId.of(draft.view.node, request.attachment, request.pod)
    key = keys.endpoint(where.namespace, where.name)
    existing = draft.value(key, assume_absent=True)
    value = codec.encode_endpoint(
        WorkloadEndpoint(
            id=where,
            container_id=request.attachment.container_id,
            networks=tuple(_host_network(grant) for grant in grants),
            interface_name=link.interface_name,
            mac=link.mac,
            profiles=link.profiles,
        ),
        request.stamp,
        existing,
    )
    if value != existing:
        draft.write(key, value)
    if existing is None:
        return ""
    endpoint = codec.decode_endpoint(key, existing)
    before = endpoint.container_id
    if before == request.attachment.container_id:
        if held_by_another(draft, endpoint, request.attachment.handle_id):
            raise Invalid(
                f"endpoint {where.name}: is the container's on another network; "
                "an interface name is on one network at a time"
            )
        return ""
    older = Attachment(request.attachment.network, before, request.attachment.ifname)
    try:
        return before if holdings(draft, older.handle_id, request.version) else ""
    except Invalid:
        return before  # its block was written wrongly: that must not keep the pod from starting


def held_by_another(draft: Draft, endpoint: WorkloadEndpoint, handle_id: str) -> bool:
    """Tell whether an address that *endpoint* lists is held, in our blocks, by another handle."""
    for network in endpoint.networks:
        for block in draft.own_blocks(network.version):
            holder = block.holder_of(network.network_address)
            if holder is not None and holder.handle_id != handle_id:
                return True
    return False


def _host_network(grant: Grant) -> Network:
    return ipaddress.ip_network(grant.address)
