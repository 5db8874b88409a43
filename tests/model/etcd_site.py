"""The model on a real etcd, in time that jumps over all waiting but that for etcd.

Whoever waits for an answer, or for a watch to tell of what was written, makes the clock go as
others do; whoever only lets time pass does not. So a timeout means here what it means in memory.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace

import grpc

from datastore import etcd_pb2 as pb
from datastore.etcd import EtcdStore
from datastore.etcd_pb2_grpc import KVStub
from datastore.mirror import within
from datastore.store import Change, Committed, Entry, Events, Rejected, Snapshot
from tests.etcd_server import EtcdServer
from tests.virtual_time import VirtualTimeLoop

NEVER_S = 1e9  # a call that etcd has is given up by nobody but the model
LONG_HISTORY = 1000  # revisions; a new etcd is quicker than writing so many anew
_FLAGS = ("--unsafe-no-fsync",)  # nobody cuts its power
_FILLER = b"filler"  # in no range: keys of ours begin with a slash


class EtcdHost:
    """Runs one etcd after the other at the same endpoint, and the loop of all sites.

    gRPC wakes every loop that it has seen once, closed ones too.
    """

    def __init__(self) -> None:
        self.site: InEtcd | None = None
        self.loop = VirtualTimeLoop(lambda: self.site is not None and self.site.is_awaited())
        self.server = EtcdServer(flags=_FLAGS)
        self._start()

    def close(self) -> None:
        self._end()
        self.loop.close()

    def empty(self) -> None:
        """Have no keys, and not much of a history."""
        everything = pb.RequestOp(
            request_delete_range=pb.DeleteRangeRequest(key=b"/", range_end=b"0")
        )
        if self._write(everything) > LONG_HISTORY:
            self._replace()

    def restore(self, revision: int, entries: Mapping[str, Entry]) -> None:
        """Have another etcd with what was there at an earlier revision, and that revision."""
        self._replace()
        by_revision = {
            number: list(group)
            for number, group in itertools.groupby(
                sorted(entries.values(), key=lambda e: e.revision), lambda e: e.revision
            )
        }
        for number in range(2, revision + 1):  # an empty etcd is at 1
            puts = {e.key.encode(): e.value for e in by_revision.get(number, ())}
            written = self._write(
                *(
                    pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))
                    for key, value in (puts or {_FILLER: b""}).items()
                )
            )
            assert written == number

    def _replace(self) -> None:
        port = self.server.client_port
        self._end()
        self.server = EtcdServer(flags=_FLAGS)  # of another cluster id, as its peer port is another
        self.server.client_port = port
        self._start()
        assert self.server.client_port == port, "somebody took the port meanwhile"

    def _end(self) -> None:
        self._channel.close()
        self.server.close()

    def _start(self) -> None:
        self.server.start()
        self._channel = grpc.insecure_channel(self.server.endpoint.partition("://")[2])

    def _write(self, *operations: pb.RequestOp) -> int:
        """Write past all clients; return the revision."""
        answer = KVStub(self._channel).Txn(
            pb.TxnRequest(success=operations), timeout=30, wait_for_ready=True
        )
        revision: int = answer.header.revision
        return revision


class InEtcd:
    """See the module; a ``Site``."""

    def __init__(self, host: EtcdHost) -> None:
        self.calls = 0  # that etcd has
        self._host = host
        host.site = self
        self._written: list[tuple[int, frozenset[str]]] = []
        self._followers: list[_Follower] = []
        self._told = asyncio.Event()  # set, and replaced, when a watch has told of something
        self._leases = _Leases(self)

    @property
    def loop(self) -> VirtualTimeLoop:
        return self._host.loop

    def make_store(self) -> "_Client":
        return _Client(self, self._host.server)

    @property
    def leases(self) -> "_Leases":
        return self._leases

    async def empty(self) -> None:
        self._host.empty()

    async def restore(self, revision: int, entries: Mapping[str, Entry]) -> None:
        # Blocks: nothing of the model happens meanwhile.
        self._host.restore(revision, entries)
        self._written.clear()
        self._leases.begin_again(entries)

    def close(self) -> None:
        self.loop.run_until_complete(self._end())

    async def _end(self) -> None:
        """Wait for what gRPC has to tidy up."""
        with self.call():
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*rest, return_exceptions=True)

    def is_awaited(self) -> bool:
        return self.calls > 0 or any(follower.is_behind for follower in self._followers)

    # ---- of the clients ------------------------------------------------------------------------

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1

    async def written(self, revision: int, change: Change) -> None:
        """Return when all watches have told of it that somebody waits for."""
        # Of other deletions it is not known whether the key was there.
        gone = {key for key in change.delete if change.expect.get(key)}
        self._written.append((revision, frozenset(gone | change.put.keys())))
        for follower in self._followers:
            follower.expect(*self._written[-1])
        while any(follower.is_behind for follower in self._followers):
            await self._told.wait()

    @contextlib.contextmanager
    def following(self, ranges: frozenset[str], after: int) -> Iterator["_Follower"]:
        follower = _Follower(ranges, after)
        for revision, changed in self._written:
            follower.expect(revision, changed)
        self._followers.append(follower)
        try:
            yield follower
        finally:
            self._followers.remove(follower)
            self.wake()

    def wake(self) -> None:
        told, self._told = self._told, asyncio.Event()
        told.set()


class _Leases:
    """Leases in the time of the model: etcd's own would last as long as their seconds do."""

    def __init__(self, site: InEtcd) -> None:
        self._site = site
        self._ttls: list[int] = []
        self._ends: dict[int, asyncio.TimerHandle] = {}
        self._bound: dict[str, int] = {}  # key -> lease
        self._ending: set[asyncio.Task[None]] = set()

    async def grant(self, ttl_s: int) -> int:
        self._ttls.append(ttl_s)
        self._begin(len(self._ttls))
        return len(self._ttls)

    async def keep_alive(self, lease: int) -> bool:
        is_there = lease in self._ends
        if is_there:
            self._begin(lease)
        return is_there

    async def kept_alive_s(self, lease: int) -> float | None:
        if lease not in self._ends:
            return None
        return self._ttls[lease - 1] - (self._ends[lease].when() - self._site.loop.time())

    def bind(self, change: Change) -> None:
        self._bound |= {key: change.lease for key in change.put if change.lease}

    def begin_again(self, entries: Mapping[str, Entry]) -> None:
        """As etcd does after a restore."""
        for lease in {lease for key, lease in self._bound.items() if key in entries}:
            self._begin(lease)

    def _begin(self, lease: int) -> None:
        if lease in self._ends:
            self._ends[lease].cancel()
        self._ends[lease] = self._site.loop.call_later(self._ttls[lease - 1], self._end, lease)

    def _end(self, lease: int) -> None:
        del self._ends[lease]
        bound = frozenset(key for key, of in self._bound.items() if of == lease)
        task = self._site.loop.create_task(self._delete(bound))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _delete(self, bound: frozenset[str]) -> None:
        client = self._site.make_store()
        for key in bound:
            found = (await client.read(key)).entries
            if key in found:
                expect = {key: found[key].revision}
                await client.commit(Change(expect, delete=frozenset({key})))
        await client.close()


class _Follower:
    """What one watch has told, and has to tell yet."""

    def __init__(self, ranges: frozenset[str], after: int) -> None:
        self.is_read = False  # whether somebody waits for its next news
        self._ranges = ranges
        self._after = after
        self._told: set[tuple[int, str]] = set()
        self._missing: set[tuple[int, str]] = set()

    @property
    def is_behind(self) -> bool:
        return self.is_read and bool(self._missing)

    def expect(self, revision: int, changed: frozenset[str]) -> None:
        if revision > self._after:
            news = {(revision, key) for key in changed if within(key, self._ranges)}
            self._missing |= news - self._told

    def tell(self, events: Events) -> None:
        told = {(events.revision, key) for key in events.entries}
        self._told |= told
        self._missing -= told


class _Client:
    """An EtcdStore, of which the site knows what it waits for."""

    def __init__(self, site: InEtcd, server: EtcdServer) -> None:
        self._site = site
        self._store = EtcdStore(server.config, deadline_s=NEVER_S, attempt_s=NEVER_S)
        self._sent: set[asyncio.Task[Committed | Rejected]] = set()

    @property
    def epoch(self) -> int:
        return self._store.epoch

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        with self._site.call():
            return await self._store.read(*ranges, keys_only=keys_only)

    async def commit(self, change: Change) -> Committed | Rejected:
        """What is sent is sent, whatever becomes of its sender."""
        sent = asyncio.get_running_loop().create_task(self._commit(change))
        self._sent.add(sent)
        sent.add_done_callback(self._sent.discard)
        return await asyncio.shield(sent)

    async def _commit(self, change: Change) -> Committed | Rejected:
        with self._site.call():
            answer = await self._store.commit(replace(change, lease=0))
            if isinstance(answer, Committed):
                self._site.leases.bind(change)
                await self._site.written(answer.revision, change)
            return answer

    async def watch(self, ranges: frozenset[str], after: int) -> AsyncGenerator[Events, None]:
        with self._site.following(ranges, after) as follower:
            async with aclosing(self._store.watch(ranges, after)) as watch:
                follower.is_read = True
                async for events in watch:
                    follower.tell(events)
                    follower.is_read = False
                    self._site.wake()
                    yield events
                    follower.is_read = True

    async def close(self) -> None:
        await asyncio.gather(*self._sent, return_exceptions=True)
        with self._site.call():
            await self._store.close()
