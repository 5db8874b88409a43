"""The Store on etcd v3.

Edge: gRPC, by way of ``etcd_session.py``. Translates ranges, changes and events, decides nothing.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import groupby

from datastore import etcd_pb2 as pb
from datastore.config import EtcdConfig
from datastore.etcd_session import Session
from datastore.store import (
    MAX_OPERATIONS,
    Change,
    Committed,
    Doubt,
    Entry,
    Events,
    Rejected,
    Snapshot,
    disjoint,
)

# Of one range. A full block of 256 addresses has 60 kB; one answer may have 64 MiB.
KEYS_PER_PAGE = 50_000
VALUES_PER_PAGE = 500


class EtcdStore:
    """A cluster, reached over any of its endpoints. Must be made and used in one event loop.

    A call that fails is tried again at the next endpoint until *deadline_s* is over; an attempt
    that has no answer after *attempt_s* counts as failed, so that a member that froze is left.
    """

    def __init__(
        self,
        config: EtcdConfig,
        *,
        deadline_s: float = 5.0,
        attempt_s: float = 1.5,
        keepalive_s: float = 10.0,
    ) -> None:
        self._session = Session(
            config, deadline_s=deadline_s, attempt_s=attempt_s, keepalive_s=keepalive_s
        )

    @property
    def endpoint(self) -> str:
        """The endpoint that the next call goes to first."""
        return self._session.endpoint

    @property
    def cluster_id(self) -> int:
        """The cluster that answered last; 0 before the first answer."""
        return self._session.lineage.cluster_id

    @property
    def epoch(self) -> int:
        """Grows when the store turns out to be another one (restored from a backup, made anew).

        Whatever was remembered from an earlier epoch, revisions above all, is of another store.
        It is counted when an answer shows it, so look after the call.
        """
        return self._session.lineage.epoch

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Return what the ranges hold, all at one revision, with every earlier write in it.

        A range that holds much comes in pages, as one answer has a limit.
        """
        revision = 0  # the newest
        limit = KEYS_PER_PAGE if keys_only else VALUES_PER_PAGE
        entries: dict[str, Entry] = {}
        intervals = [_interval(text) for text in ranges]
        while True:
            some, intervals = intervals[:MAX_OPERATIONS], intervals[MAX_OPERATIONS:]
            operations = [_range_op(i, keys_only, revision, limit) for i in some]
            response = await self._transact(pb.TxnRequest(success=operations))
            entries |= {entry.key: entry for entry in _entries(response)}
            revision = revision or response.header.revision
            for (_, end), part in zip(some, response.responses, strict=False):
                if part.response_range.more:
                    intervals.append((part.response_range.kvs[-1].key + b"\0", end))
            if not intervals:
                return Snapshot(revision, entries)

    async def commit(self, change: Change) -> Committed | Rejected:
        """Make the change if nobody changed an expected key.

        An attempt without an answer may have been carried out; trying again is safe because the
        expectations guard it. It is then **rejected**, and the actual entries are those of our
        own first attempt: the caller decides again and finds its work done. A change that expects
        nothing puts and deletes the same once more.
        """
        response = await self._transact(_txn(change))
        revision = response.header.revision
        if response.succeeded:
            return Committed(revision)
        actual = change.expected_keys
        actual |= {entry.key: entry for entry in _entries(response)}
        return Rejected(revision, actual)

    async def watch(self, ranges: frozenset[str], after: int) -> AsyncGenerator[Events, None]:
        """Yield what changes after revision *after*: each range in order, in whole revisions.

        Raises:
            Doubt: list again.
        """
        requests = [_watch(text, after + 1) for text in sorted(disjoint(ranges))]
        delivered: dict[int, int] = {}
        async with aclosing(self._session.watch(requests, after)) as responses:
            async for response in responses:
                last = delivered.get(response.watch_id, after)
                # etcd never splits a revision unless asked to (fragment).
                for revision, events in groupby(response.events, lambda e: e.kv.mod_revision):
                    if revision <= last:
                        raise Doubt(f"etcd: watch went back from revision {last} to {revision}")
                    delivered[response.watch_id] = last = revision
                    yield Events(revision, dict(_change(event) for event in events))

    async def grant(self, ttl_s: int) -> int:
        """Make a lease; a call that had no answer at first may leave another one behind."""
        request = pb.LeaseGrantRequest(TTL=ttl_s)
        return (await self._session.call(lambda c: c.grant, request)).ID

    async def keep_alive(self, lease: int) -> bool:
        """Have the lease begin anew; tell whether it was still there."""
        request = pb.LeaseKeepAliveRequest(ID=lease)
        return (await self._session.call(lambda c: c.keep_alive, request, is_ordered=False)).TTL > 0

    async def kept_alive_s(self, lease: int) -> float | None:
        """How many seconds ago the lease began or was kept alive; None: it is no more."""
        request = pb.LeaseTimeToLiveRequest(ID=lease)
        answer = await self._session.call(lambda c: c.time_to_live, request, is_ordered=False)
        return None if answer.TTL < 0 else max(0, answer.grantedTTL - answer.TTL)

    async def _transact(self, request: pb.TxnRequest) -> pb.TxnResponse:
        return await self._session.call(lambda c: c.txn, request)

    async def close(self) -> None:
        """Close every channel; whatever is in flight is cancelled."""
        await self._session.close()


def _txn(change: Change) -> pb.TxnRequest:
    # Filled in place: a message that is made first and then put into another one is copied.
    txn = pb.TxnRequest()
    for text, revision in change.expect.items():
        key, end = _interval(text)
        txn.compare.add(
            target=pb.Compare.MOD,
            result=pb.Compare.LESS if end else pb.Compare.EQUAL,
            key=key,
            range_end=end,
            mod_revision=revision + 1 if end else revision,
        )
        actual = txn.failure.add().request_range
        actual.key, actual.range_end = key, end
    for text, value in change.put.items():
        put = txn.success.add().request_put
        put.key, put.value = _bytes(text), value
        if change.lease:
            put.lease = change.lease
    for text in sorted(change.delete):
        txn.success.add().request_delete_range.key = _bytes(text)
    return txn


def _range_op(
    interval: tuple[bytes, bytes], keys_only: bool = False, revision: int = 0, limit: int = 0
) -> pb.RequestOp:
    key, end = interval
    return pb.RequestOp(
        request_range=pb.RangeRequest(
            key=key, range_end=end, keys_only=keys_only, revision=revision, limit=limit
        )
    )


def _watch(text: str, start_revision: int) -> pb.WatchCreateRequest:
    key, end = _interval(text)
    return pb.WatchCreateRequest(key=key, range_end=end, start_revision=start_revision)


def _entries(response: pb.TxnResponse) -> list[Entry]:
    return [
        Entry(_text(kv.key), kv.value, kv.mod_revision)
        for part in response.responses
        for kv in part.response_range.kvs
    ]


def _change(event: pb.Event) -> tuple[str, Entry | None]:
    key = _text(event.kv.key)
    if event.type == pb.Event.DELETE:
        return key, None
    return key, Entry(key, event.kv.value, event.kv.mod_revision)


def _interval(text: str) -> tuple[bytes, bytes]:
    """The first key of a range and the first one after it; b"" if it is the one key."""
    key = _bytes(text)
    return key, (key[:-1] + b"0" if key.endswith(b"/") else b"")  # "0" comes right after "/"


# Somebody else's key may be anything; it must survive the way there and back.
def _bytes(key: str) -> bytes:
    return key.encode(errors="surrogateescape")


def _text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")
