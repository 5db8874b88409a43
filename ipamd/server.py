"""gRPC in, gRPC out: checks the request, calls the allocator, maps its errors.

Edge: gRPC. One log line per request, when it ends.
"""

import asyncio
import contextlib
import functools
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import grpc.aio

from datamodel.attachment import Attachment
from datamodel.endpoint import EndpointId
from datamodel.errors import OcicatError, Unavailable
from datastore import codec, keys
from datastore.codec import Stamp
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipam_api.messages import attachment_message, report_message, report_of
from ipam_api.status import OURS_METADATA, details_of, sendable, status_of
from ipam_api.trace import trace_of
from ipamd.daemon import Daemon
from ipamd.history_answer import get_history
from ipamd.messages import address_messages, allocate_of, held_messages, release_of
from ipamd.metrics import OK, outcome_of
from ipamd.reconcile import held_by_node
from ipamd.request import Granted, Released

log = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 10.0
LOGGED_CHARS = 300  # of a handle
ANSWER_MARGIN_S = 0.2  # our own answer must be there before the caller's deadline

Answer = TypeVar("Answer")
Context = grpc.aio.ServicerContext[Any, Any]
Method = Callable[["IpamServicer", Any, Context], Awaitable[Answer]]


def _served(method: Method[Answer]) -> Method[Answer]:
    """Turn our errors into statuses and write the request's log line."""

    verb = method.__name__.lower()

    @functools.wraps(method)
    async def serve(self: "IpamServicer", request: Any, context: Context) -> Answer:
        begun = time.perf_counter()
        count = self._daemon.metrics.observe_request
        try:
            answer = await method(self, request, context)
        except BaseException as error:
            took_s = time.perf_counter() - begun
            count(verb, outcome_of(error), took_s)
            if not isinstance(error, OcicatError):
                raise
            who, took_ms = _who(request), round(took_s * 1000)
            log.warning(
                "%s%s refused=%r took_ms=%d%s", verb, who, str(error), took_ms, _trace(context)
            )
            await context.abort(status_of(error), details_of(error), OURS_METADATA)
        took_s = time.perf_counter() - begun
        trace = _trace(context)

        def note(_: object) -> None:
            count(verb, OK, took_s)
            took_ms = round(took_s * 1000)
            who, what = _who(request), _what(answer)
            log.info("%s%s%s took_ms=%d%s", verb, who, what, took_ms, trace)

        # The answer does not wait for them. (grpcio's stubs take no function here.)
        context.add_done_callback(note)  # type: ignore[arg-type]
        return answer

    return serve


class IpamServicer(ipam_pb2_grpc.IpamServicer):
    """What proto/ocicat/ipam/v1/ipam.proto promises."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    @_served
    async def Allocate(
        self, request: ipam_pb2.AllocateRequest, context: Context
    ) -> ipam_pb2.AllocateResponse:
        """Give the attachment its addresses."""
        wanted = allocate_of(request, Stamp(str(uuid.uuid4()), datetime.now(UTC)))
        granted = await self._daemon.allocator.submit(wanted, _time_left(context))
        assert isinstance(granted, Granted)
        return ipam_pb2.AllocateResponse(
            addresses=address_messages(granted.grants),
            node=self._daemon.node,
            superseded_container_id=granted.superseded,
        )

    @_served
    async def Release(
        self, request: ipam_pb2.ReleaseRequest, context: Context
    ) -> ipam_pb2.ReleaseResponse:
        """Take back what the attachment holds."""
        released = await self._daemon.allocator.submit(release_of(request), _time_left(context))
        assert isinstance(released, Released)
        return ipam_pb2.ReleaseResponse(addresses=address_messages(released.grants))

    @_served
    async def Get(self, request: ipam_pb2.GetRequest, context: Context) -> ipam_pb2.GetResponse:
        """Say what the attachment holds, read from the store."""
        wanted = release_of(request)
        attachment = wanted.attachment
        where = EndpointId.of(self._daemon.node, attachment, wanted.pod)
        handle_key = keys.handle(attachment.handle_id)
        endpoint_key = keys.endpoint(where.namespace, where.name)
        first = await self._daemon.store.read(handle_key, endpoint_key)
        answer = ipam_pb2.GetResponse(node=self._daemon.node)
        if handle := first.entries.get(handle_key):
            block_keys = [keys.block(c) for c in codec.decode_handle(handle_key, handle.value)]
            blocks = await self._daemon.store.read(*block_keys) if block_keys else first
            for key in block_keys:
                if found := blocks.entries.get(key):
                    block = codec.decode_block(key, found.value)
                    answer.addresses.extend(held_messages(block, attachment.handle_id))
        if entry := first.entries.get(endpoint_key):
            endpoint = codec.decode_endpoint(endpoint_key, entry.value)
            if endpoint.container_id == attachment.container_id:
                answer.endpoint.interface_name = endpoint.interface_name
                answer.endpoint.mac = endpoint.mac
                answer.endpoint.profiles.extend(endpoint.profiles)
        return answer

    @_served
    async def ListAttachments(
        self, request: ipam_pb2.ListAttachmentsRequest, context: Context
    ) -> ipam_pb2.ListAttachmentsResponse:
        """Say which attachments to a network hold addresses."""
        if waits_for := self._daemon.allocator.waits_for:
            raise Unavailable(waits_for)  # what we know may not be all
        held = held_by_node(self._daemon.reconciler.blocks(), self._daemon.node)
        attachments = filter(None, map(Attachment.of_handle, held))
        return ipam_pb2.ListAttachmentsResponse(
            attachments=[attachment_message(a) for a in attachments if a.network == request.network]
        )

    @_served
    async def Status(
        self, request: ipam_pb2.StatusRequest, context: Context
    ) -> ipam_pb2.StatusResponse:
        """Say which blocks the node owns."""
        blocks = sorted(self._daemon.reconciler.blocks(), key=lambda b: (b.cidr.version, b.cidr))
        return ipam_pb2.StatusResponse(
            node=self._daemon.node,
            revision=self._daemon.mirror.revision,
            waits_for=sendable(self._daemon.allocator.waits_for),
            findings=map(sendable, self._daemon.reconciler.findings),
            blocks=[
                ipam_pb2.Block(cidr=str(b.cidr), size=len(b.allocations), in_use=b.in_use)
                for b in blocks
                if b.host == self._daemon.node
            ],
        )

    @_served
    async def Report(
        self, request: ipam_pb2.ReportRequest, context: Context
    ) -> ipam_pb2.ReportResponse:
        """Take notice of the kernel's links."""
        async with _deadline(context):
            await self._daemon.reconciler.take(report_of(request))
        return ipam_pb2.ReportResponse()

    async def WatchReports(
        self, request: ipam_pb2.WatchReportsRequest, context: Context
    ) -> AsyncIterator[ipam_pb2.ReportWanted]:
        """Say when a report is wanted."""
        async for _ in self._daemon.reconciler.wanted():
            yield ipam_pb2.ReportWanted()

    @_served
    async def GetReport(
        self, request: ipam_pb2.GetReportRequest, context: Context
    ) -> ipam_pb2.GetReportResponse:
        """Say what the kernel was last reported to have."""
        async with _deadline(context, _NO_REPORT):
            report, age_s = await self._daemon.reconciler.last_report(fresh=request.fresh)
        if report is None:
            return ipam_pb2.GetReportResponse()
        return ipam_pb2.GetReportResponse(report=report_message(report), age_s=age_s)

    @_served
    async def GetHistory(
        self, request: ipam_pb2.GetHistoryRequest, context: Context
    ) -> ipam_pb2.GetHistoryResponse:
        """Say who held what, and when."""
        async with _deadline(context):
            return await get_history(self._daemon.history, request)


def _trace(context: Context) -> str:
    """The caller's trace, for the log; "" if it told none."""
    trace = trace_of(context.invocation_metadata() or ())
    return f" trace={trace}" if trace else ""


def _who(request: Any) -> str:
    """Whose request it is, for the log; what nobody has checked yet included."""
    if isinstance(request, ipam_pb2.ReportRequest):
        return f" links={len(request.links)} complete={request.is_complete}"
    message = getattr(request, "attachment", None)
    if message is None:
        return ""
    attachment = Attachment(message.network, message.container_id, message.ifname)
    handle = attachment.handle_id[:LOGGED_CHARS].replace(" ", "?")
    if not handle.isprintable():
        handle = "".join(c if c.isprintable() else "?" for c in handle)
    return f" handle={handle}"


def _what(answer: Any) -> str:
    addresses = getattr(answer, "addresses", ())
    if not addresses:
        return ""
    blocks = dict.fromkeys(a.block for a in addresses)
    return f" address={','.join(a.address for a in addresses)} block={','.join(blocks)}"


def _time_left(context: Context) -> float:
    left: float | None = context.time_remaining()  # None: the caller set no deadline
    return DEFAULT_TIMEOUT_S if left is None else max(0.0, left - ANSWER_MARGIN_S)


_LATE = "ipamd: not done in time; look into its log"
_NO_REPORT = (
    "ipamd: the CNI server has not told in time which links there are; "
    "check that ocicat-cni-server runs"
)


@contextlib.asynccontextmanager
async def _deadline(context: Context, late: str = _LATE) -> AsyncIterator[None]:
    """End what takes longer than the caller waits; *late* tells it."""
    try:
        async with asyncio.timeout(_time_left(context)):
            yield
    except TimeoutError as error:
        raise Unavailable(late) from error
