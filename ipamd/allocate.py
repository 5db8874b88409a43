"""Gives an attachment its addresses: those it holds already, or free ones.

Pure: no I/O. This is where an ADD picks its address.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from datamodel.attachment import Attachment
from datamodel.block import Address, Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.errors import Invalid, OcicatError
from datamodel.gotime import go_time
from datamodel.pool import Network
from datastore import codec, keys
from ipamd import delegated
from ipamd.block_choice import block_of, choose_block
from ipamd.draft import Draft
from ipamd.request import Allocate, Grant, Granted, Link


def allocate(draft: Draft, request: Allocate) -> Granted:
    """Add to *draft* what gives the attachment its addresses: those that it holds, or free ones.

    Blocks, handle and endpoint change together or not at all. What is held already is held anew:
    whoever saw before that nobody uses it, and is about to free it, finds another sequence number.

    Raises:
        Exhausted, Invalid, Unavailable, Unknown: as ``choose_block`` and ``block_of``.
    """
    handle_id = request.attachment.handle_id
    holding = holding_blocks(draft, handle_id)
    grants: dict[int, Grant] = {}
    for grant in _grants(draft, holding, handle_id):
        grants.setdefault(grant.address.version, grant)
    _check_requested(request, grants)
    for block in holding:
        draft.change(block.renewed(handle_id, _facts(draft, request)))
    counts = {block.cidr: len(block.held_by(handle_id)) for block in holding}
    for version in request.versions:
        if version not in grants:
            grant = grants[version] = _fresh(draft, request, version)
            counts[grant.block] = counts.get(grant.block, 0) + 1
            _write_handle(draft, handle_id, counts)
    if request.is_delegated:
        for version, grant in grants.items():
            grants[version] = replace(grant, gateway=delegated.gateway(draft, grant.block))
    held = tuple(grants[version] for version in sorted(grants))
    superseded = _record_endpoint(draft, request, request.link, held) if request.link else ""
    return Granted(tuple(grants[version] for version in request.versions), superseded)


def _fresh(draft: Draft, request: Allocate, version: int) -> Grant:
    address = _requested(request, version)
    try:
        if address is not None:
            _check_unused(draft, request, address)
            block = block_of(draft, address, request.is_recovery)
            changed = block.assign_address(address, _attribute(draft, request))
        else:
            names = request.pools.get(version, ())
            block = choose_block(draft, version, names, request.namespace_labels)
            reserved = draft.known.reserved(block.cidr)
            if request.is_delegated:
                inside = reserved | delegated.edges(block.cidr)
                reserved = inside if block.free(inside) is not None else reserved
            changed, address = block.assign(_attribute(draft, request), reserved)
    except OcicatError:
        # Look before refusing: a call without an answer may have succeeded.
        draft.value(keys.handle(request.attachment.handle_id))
        raise
    draft.change(changed)
    return _grant(draft, address, block.cidr)


def _grant(draft: Draft, address: Address, block: Network) -> Grant:
    return Grant(address, block, overhead=draft.known.overhead(block))


def _check_unused(draft: Draft, request: Allocate, address: Address) -> None:
    if address in draft.known.view.in_use and not request.is_recovery:
        raise Invalid(f"address {address}: a link of this node has it; ask for another one")


def _requested(request: Allocate, version: int) -> Address | None:
    return next((a for a in request.addresses if a.version == version), None)


def _check_requested(request: Allocate, held: dict[int, Grant]) -> None:
    for address in request.addresses:
        grant = held.get(address.version)
        if grant and grant.address != address:
            raise Invalid(
                f"address {address}: container {request.attachment.container_id} holds "
                f"{grant.address} already; DEL comes before another ADD"
            )


def _write_handle(draft: Draft, handle_id: str, counts: dict[Network, int]) -> None:
    key = keys.handle(handle_id)
    stored = draft.value(key, assume_absent=True)
    draft.write(key, codec.encode_handle(counts, stored))


# ---- what a handle holds -----------------------------------------------------------------------


def holding_blocks(draft: Draft, handle_id: str) -> list[Block]:
    """The blocks in which the handle holds addresses.

    They are looked for among those that are followed; if not both families are found there, the
    handle's key says where else.

    Raises:
        Unknown: something must be read first.
    """
    followed = [block for block in draft.followed_blocks() if block.held_by(handle_id)]
    if len({block.cidr.version for block in followed}) == 2:
        return followed
    key = keys.handle(handle_id)
    value = draft.value(key, assume_absent=True)
    counts = codec.decode_handle(key, value) if value is not None else {}
    seen = {block.cidr for block in followed}
    others = [draft.block(cidr) for cidr in counts if cidr not in seen]
    return [*followed, *(block for block in others if block and block.held_by(handle_id))]


def _grants(draft: Draft, blocks: Iterable[Block], handle_id: str) -> list[Grant]:
    return [
        _grant(draft, block.address(ordinal), block.cidr)
        for block in blocks
        for ordinal in block.held_by(handle_id)
    ]


def _attribute(draft: Draft, request: Allocate) -> Attribute:
    pod, kind = request.pod, delegated.kind(request.is_delegated)
    who = {"namespace": pod.namespace, "pod": pod.name} if pod else {}
    secondary = {**who, "node": draft.node, **_facts(draft, request), **kind}
    return Attribute(request.attachment.handle_id, secondary)


def _facts(draft: Draft, request: Allocate) -> dict[str, str]:
    """When it was asked for, and in which kernel its link is now."""
    kernel = request.link.kernel if request.link else None
    where = {"boot": kernel.boot_id, "netns": kernel.netns} if kernel else {}
    return {"timestamp": go_time(draft.known.view.now), **where}


# ---- the endpoint ------------------------------------------------------------------------------


def _record_endpoint(draft: Draft, request: Allocate, link: Link, grants: tuple[Grant, ...]) -> str:
    """Write the endpoint; return the container it was of before, if that still holds addresses."""
    where = EndpointId.of(draft.node, request.attachment, request.pod)
    key = keys.endpoint(where.namespace, where.name)
    existing = draft.value(key, assume_absent=True)
    value = codec.encode_endpoint(
        WorkloadEndpoint(
            id=where,
            container_id=request.attachment.container_id,
            networks=tuple(map(_alone, (grant.address for grant in grants))),
            interface_name=link.interface_name,
            mac=link.mac,
            profiles=link.profiles,
            workload=link.workload,
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
        return before if holding_blocks(draft, older.handle_id) else ""
    except Invalid:
        return before  # its block was written wrongly: that must not keep the pod from starting


def _alone(address: Address) -> Network:
    """The network of one address."""
    kind = ipaddress.IPv4Network if address.version == 4 else ipaddress.IPv6Network
    return kind((int(address), address.max_prefixlen))  # from text it takes three times as long


def held_by_another(draft: Draft, endpoint: WorkloadEndpoint, handle_id: str) -> bool:
    """Tell whether an address that *endpoint* lists is held, in blocks we follow, by another."""
    for network in endpoint.networks:
        for block in draft.followed_blocks():
            holder = block.holder_of(network.network_address)
            if holder is not None and holder.released_at is None and holder.handle_id != handle_id:
                return True
    return False
