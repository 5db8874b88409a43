"""A proxy between ipamd and a real etcd: counts calls, strikes at the n-th, cuts the line.

Messages pass through as the bytes that they are. A call is a unary one (etcd's Txn, Authenticate);
watches are streams and are not counted.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from datastore import etcd_pb2 as pb

T = TypeVar("T")

BEFORE, AFTER, LATE = "before", "after", "late"

_STREAMS = ("/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive")
_PASSED_ON = ("hasleader", "token")
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 100),
    # As etcd in these tests: a client may ping often.
    ("grpc.http2.min_ping_interval_without_data_ms", 200),
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call that came by."""

    method: str
    request: bytes

    @property
    def kind(self) -> str:
        """What it is for: "read", "check" (compares only), "write", or the name of the method."""
        if self.method != "/etcdserverpb.KV/Txn":
            return self.method.rpartition("/")[2]
        txn = pb.TxnRequest.FromString(self.request)
        if any(not op.HasField("request_range") for op in txn.success):
            return "write"
        return "check" if txn.compare else "read"


@dataclass(slots=True)
class Strike:
    """What is to happen at one call, and whether it has.

    BEFORE: *act* runs and the call never gets to etcd. AFTER: etcd answers, *act* runs, nobody
    hears the answer. LATE: as BEFORE, but ``EtcdProxy.deliver`` still sends the call to etcd.
    """

    number: int  # counted from the mark, from 1
    side: str
    act: Callable[[], object]
    kind: str = ""  # only calls of this kind are counted; "": all
    held_back: Call | None = None
    has_struck: threading.Event = field(default_factory=threading.Event)

    def is_at(self, calls: list[Call]) -> bool:
        """Whether the last of these calls is the one."""
        if not self.kind:
            return len(calls) == self.number
        is_one = calls[-1].kind == self.kind
        return is_one and sum(call.kind == self.kind for call in calls) == self.number

    def strike(self) -> None:
        self.act()
        self.has_struck.set()


class LoopThread:
    """An event loop in a thread of its own; one serves all proxies of a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="etcd-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 30) -> T:
        """Run *work* in the loop and wait for what it comes to."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)


class EtcdProxy:
    """``with EtcdProxy(etcd.endpoint, loop) as proxy:`` serves at ``proxy.endpoint``."""

    def __init__(self, endpoint: str, loop: LoopThread) -> None:
        self._target = endpoint.partition("://")[2]
        self._loop = loop
        self._calls: list[Call] = []
        self._strike: Strike | None = None
        self._cut = False
        self._may_watch = asyncio.Event()
        self._may_watch.set()
        self._streams: set[asyncio.Task[Any]] = set()
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._loop.run(self._serve())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._close())

    # ---- what tests do -------------------------------------------------------------------------

    def mark(self, strike: Strike | None = None) -> None:
        """Count from here, and strike where *strike* says."""

        def begin() -> None:
            self._calls, self._strike = [], strike

        self._loop.run(_call(begin))

    @property
    def calls(self) -> list[Call]:
        """What came since the mark, the call that was struck included."""
        return list(self._calls)

    def deliver(self, call: Call) -> bytes:
        """Send a call that was held back to etcd after all, and return what etcd answers."""
        return self._loop.run(self._send(call))

    def cut(self) -> None:
        """Break off every watch and refuse every call, as a broken line does, until ``mend``."""

        def cut() -> None:
            self._cut = True
            for stream in self._streams:
                stream.cancel()

        self._loop.run(_call(cut))

    def mend(self) -> None:
        """Let calls and watches through again."""
        self._cut = False

    def hold_watches(self) -> None:
        """Let new watches wait until ``let_watches_go``."""
        self._loop.run(_call(self._may_watch.clear))

    def let_watches_go(self) -> None:
        """Pass on the watches that wait, and all later ones."""
        self._loop.run(_call(self._may_watch.set))

    # ---- serving -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._target, _OPTIONS)
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Handlers(self._unary, self._stream),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self.endpoint = f"http://127.0.0.1:{port}"

    async def _close(self) -> None:
        await self._server.stop(0)
        await self._channel.close()

    async def _unary(self, method: str, request: bytes, context: Any) -> bytes:
        await self._check(context)
        call, strike = Call(method, request), self._strike
        self._calls.append(call)
        if strike is None or not strike.is_at(self._calls):
            return await self._forward(call, context)
        if strike.side == AFTER:
            await self._forward(call, context)
        elif strike.side == LATE:
            strike.held_back = call
        # In one piece: the death of the caller cancels what we do for it.
        await asyncio.to_thread(strike.strike)
        return await context.abort(grpc.StatusCode.UNAVAILABLE, "struck by the test")

    async def _forward(self, call: Call, context: Any) -> bytes:
        metadata = _passed_on(context)
        try:
            return await self._send(call, metadata=metadata, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            return await context.abort(error.code(), error.details() or "")

    async def _send(self, call: Call, **how: Any) -> bytes:
        return await self._channel.unary_unary(call.method)(call.request, **how)

    async def _stream(
        self, method: str, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        await self._check(context)
        await self._may_watch.wait()
        call = self._channel.stream_stream(method)(metadata=_passed_on(context))
        answers: asyncio.Queue[bytes | None] = asyncio.Queue()
        work = asyncio.create_task(_pass(requests, call, answers))
        self._streams.add(work)
        try:
            while (answer := await answers.get()) is not None:
                yield answer
        finally:
            self._streams.discard(work)
            work.cancel()
            call.cancel()
        if call.done() and (code := await call.code()) is not grpc.StatusCode.CANCELLED:
            if code is grpc.StatusCode.OK:
                return
            await context.abort(code, await call.details() or "")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")

    async def _check(self, context: Any) -> None:
        if self._cut:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut by the test")


async def _call(work: Callable[[], object]) -> None:
    work()


async def _pass(
    requests: AsyncIterator[bytes], call: Any, answers: "asyncio.Queue[bytes | None]"
) -> None:
    """Pass requests to etcd and its answers back until one side ends; ``None`` says so."""

    async def upwards() -> None:
        async for request in requests:
            await call.write(request)
        await call.done_writing()

    async def downwards() -> None:
        while (answer := await call.read()) is not grpc.aio.EOF:
            answers.put_nowait(answer)

    try:
        pumping = asyncio.create_task(upwards())
        try:
            await downwards()
        finally:
            pumping.cancel()
            await asyncio.gather(pumping, return_exceptions=True)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass  # the call's own status says it
    finally:
        answers.put_nowait(None)


def _passed_on(context: Any) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in context.invocation_metadata() if k in _PASSED_ON)


class _Handlers(grpc.GenericRpcHandler):
    """Any method of any service, without knowing its messages."""

    def __init__(self, unary: Callable[..., Any], stream: Callable[..., Any]) -> None:
        self._unary = unary
        self._stream = stream

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method in _STREAMS:

            async def stream(requests: Any, context: Any) -> AsyncIterator[bytes]:
                async for answer in self._stream(method, requests, context):
                    yield answer

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(request: bytes, context: Any) -> bytes:
            return await self._unary(method, request, context)

        return grpc.unary_unary_rpc_method_handler(unary)
