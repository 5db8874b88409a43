"""gRPC in, gRPC out: checks the request, calls the allocator, maps its errors.

Edge: gRPC. One log line per request, when it ends.
"""

import functools
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc.aio

from datamodel.attachment import Attachment, Pod
from datamodel.block import Block
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid, OcicatError, Unsupported
from datastore import codec, keys
from datastore.codec import Stamp
from datastore.mirror import Mirror
from datastore.store import Store
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipam_api.status import OURS_METADATA, status_of
from ipamd.allocator import Allocator
from ipamd.request import Allocate, Grant, Granted, Link, Release, Released

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 10.0
ANSWER_MARGIN_S = 0.2  # our own answer must be there before the caller's deadline

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[["IpamServicer", Any, Context], Awaitable[Answer]]


def _served(method: Method[Answer]) -> Method[Answer]:
    """Turn our errors into statuses and write the request's log line."""

    @functools.wraps(method)
    async def serve(self: "IpamServicer", request: Any, context: Context) -> Answer:
        begun = time.monotonic()
        verb, who = method.__name__.lower(), _who(request)
        try:
            answer = await method(self, request, context)
        except OcicatError as error:
            log.warning("%s %s refused=%r took_ms=%d", verb, who, str(error), _ms(begun))
            await context.abort(status_of(error), str(error), OURS_METADATA)
        addresses = ",".join(a.address for a in getattr(answer, "addresses", ()))
        log.info("%s %s addresses=%s took_ms=%d", verb, who, addresses, _ms(begun))
        return answer

    return serve


class IpamServicer(ipam_pb2_grpc.IpamServicer):
    """What proto/ocicat/ipam/v1/ipam.proto promises."""

    def __init__(self, node: str, allocator: Allocator, mirror: Mirror, store: Store) -> None:
        self._node = node
        self._allocator = allocator
        self._mirror = mirror
        self._store = store

    @_served
    async def Allocate(
        self, request: ipam_pb2.AllocateRequest, context: Context
    ) -> ipam_pb2.AllocateResponse:
        """Give the attachment its addresses."""
        if request.ipv6 or not request.ipv4:
            raise Unsupported("assign_ipv6: only IPv4 is served yet; set assign_ipv4 alone")
        wanted = Allocate(
            attachment=_attachment(request.attachment),
            pod=_pod(request),
            link=_link(request),
            pools=tuple(request.ipv4_pools),
            stamp=Stamp(str(uuid.uuid4()), datetime.now(UTC)),
        )
        granted = await self._allocator.submit(wanted, _time_left(context))
        assert isinstance(granted, Granted)
        return ipam_pb2.AllocateResponse(
            addresses=_addresses(granted.grants),
            node=self._node,
            superseded_container_id=granted.superseded,
        )

    @_served
    async def Release(
        self, request: ipam_pb2.ReleaseRequest, context: Context
    ) -> ipam_pb2.ReleaseResponse:
        """Take back what the attachment holds."""
        wanted = Release(_attachment(request.attachment), _pod(request))
        released = await self._allocator.submit(wanted, _time_left(context))
        assert isinstance(released, Released)
        return ipam_pb2.ReleaseResponse(addresses=_addresses(released.grants))

    @_served
    async def Get(self, request: ipam_pb2.GetRequest, context: Context) -> ipam_pb2.GetResponse:
        """Say what the attachment holds, read from the store."""
        attachment = _attachment(request.attachment)
        where = EndpointId.of(self._node, attachment, _pod(request))
        handle_key = keys.handle(attachment.handle_id)
        endpoint_key = keys.endpoint(where.namespace, where.name)
        first = await self._store.read(handle_key, endpoint_key)
        answer = ipam_pb2.GetResponse(node=self._node)
        if handle := first.entries.get(handle_key):
            block_keys = [keys.block(c) for c in codec.decode_handle(handle_key, handle.value)]
            blocks = await self._store.read(*block_keys) if block_keys else first
            for key in block_keys:
                if found := blocks.entries.get(key):
                    block = codec.decode_block(key, found.value)
                    answer.addresses.extend(_held(block, attachment.handle_id))
        if entry := first.entries.get(endpoint_key):
            endpoint = codec.decode_endpoint(endpoint_key, entry.value)
            if endpoint.container_id == attachment.container_id:
                answer.endpoint.interface_name = endpoint.interface_name
                answer.endpoint.mac = endpoint.mac
                answer.endpoint.profiles.extend(endpoint.profiles)
        return answer

    @_served
    async def Status(
        self, request: ipam_pb2.StatusRequest, context: Context
    ) -> ipam_pb2.StatusResponse:
        """Say which blocks the node owns."""
        blocks = [
            codec.decode_block(key, entry.value)
            for key, entry in sorted(self._mirror.entries.items())
            if key.startswith(keys.ALL_BLOCKS)
        ]
        return ipam_pb2.StatusResponse(
            node=self._node,
            revision=self._mirror.revision,
            blocks=[
                ipam_pb2.Block(cidr=str(b.cidr), size=len(b.allocations), in_use=b.in_use)
                for b in blocks
                if b.host == self._node
            ],
        )


def _ms(begun: float) -> int:
    return round((time.monotonic() - begun) * 1000)


def _who(request: Any) -> str:
    attachment = getattr(request, "attachment", None)
    if attachment is None:
        return ""
    return (
        f"network={attachment.network} container={attachment.container_id} "
        f"ifname={attachment.ifname}"
    )


def _time_left(context: Context) -> float:
    left: float | None = context.time_remaining()  # None: the caller set no deadline
    return DEFAULT_TIMEOUT_S if left is None else max(0.0, left - ANSWER_MARGIN_S)


# The CNI specification's rules; they also keep keys in etcd well-formed.
IFNAME_MAX_BYTES = 15
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_IFNAME = re.compile(r"[^/:\s]+")


def _attachment(message: ipam_pb2.Attachment) -> Attachment:
    wrong = [
        f"{field} {value!r} is not valid"
        for field, value, rule in (
            ("network", message.network, _NAME),
            ("container_id", message.container_id, _NAME),
            ("ifname", message.ifname, _IFNAME),
        )
        if not rule.fullmatch(value)
    ]
    if len(message.ifname.encode()) > IFNAME_MAX_BYTES:
        wrong.append(f"ifname {message.ifname!r} is too long")
    if wrong:
        raise Invalid(f"attachment: {'; '.join(wrong)}")
    return Attachment(message.network, message.container_id, message.ifname)


def _pod(request: Any) -> Pod | None:
    if not request.HasField("pod"):
        return None
    pod = Pod(request.pod.namespace, request.pod.name)
    if not (_NAME.fullmatch(pod.namespace) and _NAME.fullmatch(pod.name)):
        raise Invalid(f"pod: {pod.namespace}/{pod.name} is not a valid name")
    return pod


def _link(request: ipam_pb2.AllocateRequest) -> Link | None:
    if not request.HasField("endpoint"):
        return None
    endpoint = request.endpoint
    return Link(endpoint.interface_name, endpoint.mac, tuple(endpoint.profiles))


def _addresses(grants: tuple[Grant, ...]) -> list[ipam_pb2.Address]:
    return [ipam_pb2.Address(address=str(g.address), block=str(g.block)) for g in grants]


def _held(block: Block, handle_id: str) -> list[ipam_pb2.Address]:
    return [
        ipam_pb2.Address(address=str(block.address(ordinal)), block=str(block.cidr))
        for ordinal in block.held_by(handle_id)
    ]
