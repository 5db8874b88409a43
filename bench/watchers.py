"""The watches of a whole cluster, without its nodes: as many streams to etcd as it has daemons.

Edge: gRPC. Each stream has a connection of its own, as each daemon has.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc.aio

from datastore import etcd_pb2 as pb
from datastore.etcd_pb2_grpc import WatchStub

AT_ONCE = 100  # streams that are being made


@dataclass
class Watchers:
    """``async with Watchers(...) as watchers:`` holds the streams open."""

    endpoint: str
    streams: Sequence[Collection[str]]  # the ranges of each, as ``datastore.store.Store`` has them
    _channels: list[grpc.aio.Channel] = field(default_factory=list)
    _readers: list[asyncio.Task[None]] = field(default_factory=list)
    _missing: int = 0
    _all_told: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        limit = asyncio.Semaphore(AT_ONCE)

        async def add(ranges: Collection[str]) -> None:
            async with limit:
                await self._add(ranges)

        await asyncio.gather(*map(add, self.streams))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await asyncio.gather(*(channel.close() for channel in self._channels))

    def expect(self, streams: int) -> None:
        """Begin to count: so many of them are going to be told of something, each once."""
        self._missing = streams
        self._all_told.clear()

    async def all_told(self) -> None:
        """Wait until they were."""
        await self._all_told.wait()

    async def _add(self, ranges: Collection[str]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # else all would share one connection
        channel = grpc.aio.insecure_channel(self.endpoint.partition("://")[2], options)
        self._channels.append(channel)
        call = WatchStub(channel).Watch()
        for text in ranges:
            key = text.encode()
            end = key[:-1] + b"0" if text.endswith("/") else b""
            create = pb.WatchCreateRequest(key=key, range_end=end)
            await call.write(pb.WatchRequest(create_request=create))
        for _ in ranges:
            await call.read()
        self._readers.append(asyncio.create_task(self._read(call)))

    async def _read(
        self, call: "grpc.aio.StreamStreamCall[pb.WatchRequest, pb.WatchResponse]"
    ) -> None:
        while isinstance(await call.read(), pb.WatchResponse):
            self._missing -= 1
            if not self._missing:
                self._all_told.set()
