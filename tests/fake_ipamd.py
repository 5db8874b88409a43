"""An ipamd without a store: remembers what it is told, and answers what a test wants."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from datamodel.errors import OcicatError
from datamodel.report import Report
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipam_api.messages import report_of
from ipam_api.status import OURS_METADATA, details_of, status_of
from ipam_api.trace import trace_of

POLL_S = 0.01


class FakeIpamd(ipam_pb2_grpc.IpamServicer):
    """Like ipamd it gives out nothing before it has had a report."""

    def __init__(self, address: str = "10.233.64.5", has_report: bool = False) -> None:
        self.address = address
        self.refusal: OcicatError | None = None  # what every call is answered with, if anything
        self.answers: dict[str, Any] = {}  # by the call's name
        self.requests: dict[str, Any] = {}  # the last of each call
        self.traces: dict[str, str] = {}  # that came along
        self.reports: queue.Queue[Report] = queue.Queue()
        self._wanted: queue.Queue[None] = queue.Queue()
        self._has_report = threading.Event()
        if has_report:
            self._has_report.set()

    def want_report(self) -> None:
        self._wanted.put(None)

    def _answer(self, request: Any, context: grpc.ServicerContext, usual: Any = None) -> Any:
        call = type(request).__name__.removesuffix("Request")
        self.requests[call] = request
        self.traces[call] = trace_of(context.invocation_metadata())
        if self.refusal:
            context.set_trailing_metadata(OURS_METADATA)
            context.abort(status_of(self.refusal), details_of(self.refusal))
        return self.answers.get(call, usual)

    def Allocate(self, request, context):
        while not self._has_report.wait(POLL_S) and context.is_active():
            pass
        address = ipam_pb2.Address(address=self.address, block="10.233.64.0/24")
        usual = ipam_pb2.AllocateResponse(addresses=[address], node="node-1")
        return self._answer(request, context, usual)

    def Release(self, request, context):
        return self._answer(request, context, ipam_pb2.ReleaseResponse())

    def Get(self, request, context):
        return self._answer(request, context, ipam_pb2.GetResponse())

    def ListAttachments(self, request, context):
        return self._answer(request, context, ipam_pb2.ListAttachmentsResponse())

    def Status(self, request, context):
        return self._answer(request, context, ipam_pb2.StatusResponse())

    def GetReport(self, request, context):
        return self._answer(request, context, ipam_pb2.GetReportResponse())

    def GetHistory(self, request, context):
        return self._answer(request, context, ipam_pb2.GetHistoryResponse())

    def Report(self, request, context):
        answer = self._answer(request, context, ipam_pb2.ReportResponse())
        self.reports.put(report_of(request))
        self._has_report.set()
        return answer

    def WatchReports(self, request, context):
        yield ipam_pb2.ReportWanted()
        while context.is_active():
            try:
                self._wanted.get(timeout=POLL_S)
            except queue.Empty:
                continue
            yield ipam_pb2.ReportWanted()


@contextmanager
def serving(ipamd: FakeIpamd, path: Path) -> Iterator[FakeIpamd]:
    """Serve within the block; afterwards it is as if killed."""
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        ipam_pb2_grpc.add_IpamServicer_to_server(ipamd, server)
        server.add_insecure_port(f"unix:{path}")
        server.start()
        try:
            yield ipamd
        finally:
            server.stop(None).wait()
