"""Asks ipamd over its Unix socket, with a deadline on every call.

Edge: gRPC. Used by the CNI plugin and ocicatctl. Blocking: call it from a thread.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import grpc

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from datamodel.errors import OcicatError, Unavailable
from datamodel.report import Report
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipam_api.answers import (
    Allocation,
    Held,
    History,
    LastReport,
    NodeStatus,
    allocation_of,
    held_of,
    history_of,
    last_report_of,
    node_status_of,
)
from ipam_api.asked import Recorded as Recorded
from ipam_api.asked import Wanted as Wanted
from ipam_api.asked import allocate_request
from ipam_api.messages import attachment_message, attachment_of, pod_message, report_message
from ipam_api.status import OURS_METADATA, error_of
from ipam_api.trace import Metadata, metadata_of

T = TypeVar("T")

# ipamd may be restarting: look for it again soon, not after gRPC's usual 1 s, 1.6 s, 2.6 s, …
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Also how long a connection may take to be made; one that is refused is not held back by it.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]

RETRY_PAUSE_S = 0.1
PATIENCE_S = 5.0  # so long whoever only asks waits for a daemon that is not there: it may restart
GLANCE_S = 0.2  # between two looks at whether an answer is still wanted
TIMEOUT_S = 10.0  # of what only looks


class NotReached(Unavailable):
    """ipamd was not there: it has not seen the request and will not."""


class IpamClient:
    """The daemon of this node. Every call raises ``Unavailable`` if no answer comes in time.

    Args:
        socket_path: where it listens.
        trace_id: asked at each call for the trace that it is part of; "": none.
    """

    def __init__(self, socket_path: str, trace_id: Callable[[], str] = lambda: "") -> None:
        self._where = socket_path
        self._trace_id = trace_id
        self._channel = grpc.insecure_channel(f"unix:{socket_path}", options=_CHANNEL_OPTIONS)
        self._stub = ipam_pb2_grpc.IpamStub(self._channel)

    def close(self) -> None:
        """Let go of the connection; what is under way is broken off."""
        self._channel.close()

    def allocate(
        self,
        attachment: Attachment,
        pod: Pod | None,
        endpoint: Recorded | None,
        wanted: Wanted,
        timeout_s: float,
    ) -> "PendingAllocation":
        """Ask for the attachment's addresses and return at once; ``wait`` for the answer.

        Get-or-create: asking again gives the same addresses. Without *endpoint* none is recorded.
        """
        request = allocate_request(attachment, pod, endpoint, wanted)
        deadline, trace = time.monotonic() + timeout_s, self._trace()
        return PendingAllocation(
            lambda: self._stub.Allocate.future(
                request, timeout=max(0.01, deadline - time.monotonic()), metadata=trace
            ),
            deadline,
            self._where,
        )

    def release(self, attachment: Attachment, pod: Pod | None, timeout_s: float) -> None:
        """Give back everything the attachment holds; nothing held is success.

        Raises:
            Unavailable: no answer in *timeout_s*, at once if there is no daemon: spool it.
        """
        request = ipam_pb2.ReleaseRequest(
            attachment=attachment_message(attachment), pod=pod_message(pod)
        )
        trace = self._trace()
        self._checked(lambda: self._stub.Release(request, timeout=timeout_s, metadata=trace))

    def get(
        self,
        attachment: Attachment,
        pod: Pod | None,
        timeout_s: float,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Held:
        """Say what the attachment holds. An absent daemon is waited for, while *is_wanted*."""
        request = ipam_pb2.GetRequest(
            attachment=attachment_message(attachment), pod=pod_message(pod)
        )

        def ask(left_s: float) -> Any:
            return self._stub.Get(request, timeout=left_s, metadata=self._trace())

        return held_of(self._patiently(ask, timeout_s, is_wanted))

    def list_attachments(self, network: str, timeout_s: float) -> tuple[Attachment, ...]:
        """List the attachments to *network* that hold addresses for this node."""
        request = ipam_pb2.ListAttachmentsRequest(network=network)
        trace = self._trace()
        answer = self._checked(
            lambda: self._stub.ListAttachments(request, timeout=timeout_s, metadata=trace)
        )
        return tuple(map(attachment_of, answer.attachments))

    def report(self, report: Report, timeout_s: float = TIMEOUT_S) -> None:
        """Tell what the kernel of this node has."""
        request = report_message(report)
        self._checked(lambda: self._stub.Report(request, timeout=timeout_s))

    def watch_reports(self) -> "ReportWatch":
        """Iterate over the moments at which ipamd wants a report; the first is at once."""
        return ReportWatch(self._stub.WatchReports(ipam_pb2.WatchReportsRequest()), self._where)

    def get_report(self, fresh: bool = False, timeout_s: float = TIMEOUT_S) -> LastReport | None:
        """Say what the kernel was last reported to have; ``None``: nothing was reported yet.

        Args:
            fresh: have a new report made first.
        """
        request = ipam_pb2.GetReportRequest(fresh=fresh)
        answer = self._checked(lambda: self._stub.GetReport(request, timeout=timeout_s))
        return last_report_of(answer)

    def get_history(
        self,
        *,
        address: Address | None = None,
        pod: Pod | None = None,
        container_id: str = "",
        handle_id: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> History:
        """Say who held an address, or what a pod, a container or a handle held: one of the four."""
        request = ipam_pb2.GetHistoryRequest(
            address=str(address or ""),
            pod=pod_message(pod),
            container_id=container_id,
            handle_id=handle_id,
        )
        answer = self._checked(lambda: self._stub.GetHistory(request, timeout=timeout_s))
        return history_of(answer)

    def status(self, timeout_s: float = TIMEOUT_S, *, is_patient: bool = False) -> NodeStatus:
        """Say how ipamd is and which blocks the node owns.

        Args:
            timeout_s: for the answer.
            is_patient: wait for a daemon that is not there, too.
        """
        request = ipam_pb2.StatusRequest()

        def ask(left_s: float) -> Any:
            return self._stub.Status(request, timeout=left_s, metadata=self._trace())

        if is_patient:
            return node_status_of(self._patiently(ask, timeout_s))
        return node_status_of(self._checked(lambda: ask(timeout_s)))

    def _patiently(
        self,
        call: Callable[[float], T],
        timeout_s: float,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> T:
        """Make a call that only asks, given the seconds left; again while there is no daemon."""
        begun = time.monotonic()
        gives_up = begun + min(timeout_s, PATIENCE_S) - RETRY_PAUSE_S
        while True:
            left_s = max(0.01, begun + timeout_s - time.monotonic())
            try:
                return self._checked(partial(call, left_s))
            except NotReached:
                if time.monotonic() >= gives_up or not is_wanted():
                    raise
                time.sleep(RETRY_PAUSE_S)

    def _trace(self) -> Metadata:
        return metadata_of(self._trace_id())

    def _checked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except grpc.RpcError as error:
            raise _error(error, self._where) from error


class PendingAllocation:
    """An Allocate that is under way."""

    def __init__(self, start: Callable[[], Any], deadline: float, where: str) -> None:
        self._start = start
        self._deadline = deadline
        self._where = where
        self._call = start()
        self._failure: OcicatError | None = None

    def wait(self, is_wanted: Callable[[], bool] = lambda: True) -> Allocation:
        """Wait for the answer; again, for the same answer. An absent daemon is waited for.

        Args:
            is_wanted: whether the answer still is, asked now and then while there is none. If not,
                the request is broken off as at its deadline.

        Raises:
            Exhausted, Invalid: as ipamd says; nothing is held.
            NotReached: ipamd was not there until the deadline; nothing is held.
            Unavailable: no answer until the deadline; the addresses may be held all the same.
        """
        while self._failure is None:
            try:
                return allocation_of(self._call.result(timeout=GLANCE_S))
            except grpc.FutureTimeoutError:
                if not is_wanted():
                    self._call.cancel()
                    self._failure = Unavailable("the answer of ipamd is not wanted any more")
            except grpc.RpcError as error:
                failure = _error(error, self._where)
                may_retry = time.monotonic() < self._deadline and is_wanted()
                if isinstance(failure, NotReached) and may_retry:
                    time.sleep(RETRY_PAUSE_S)
                    self._call = self._start()
                    continue
                self._failure = failure
        raise self._failure


class ReportWatch:
    """A stream of the moments at which ipamd wants a report."""

    def __init__(self, call: Any, where: str) -> None:
        self._call = call
        self._where = where

    def __iter__(self) -> Iterator[None]:
        """Return at each moment.

        Raises:
            Unavailable: the stream broke; there is another one when ipamd is back.
        """
        try:
            for _ in self._call:
                yield
        except grpc.RpcError as error:
            raise _error(error, self._where) from error

    def cancel(self) -> None:
        """Break the stream off, from any thread."""
        self._call.cancel()


def _error(error: grpc.RpcError, where: str) -> OcicatError:
    details = error.details() or ""
    metadata: Any = error.trailing_metadata() or ()
    if OURS_METADATA[0][0] in {key for key, _ in metadata}:
        return error_of(error.code(), details)
    # gRPC's words for a connection that was never made. Any other text: the request may have gone.
    kind = NotReached if details.startswith("failed to connect") else Unavailable
    return kind(
        f"ipamd {where}: does not answer ({error.code().name.lower()}: {details}); "
        "check that it runs and reaches etcd"
    )
