"""A session with etcd: channels, failover, tokens, and the doubt whether it is the same store.

Edge: gRPC. Only ``etcd.py`` calls it; that one knows what is asked, this one how to get through.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc
import grpc.aio

from datamodel.errors import Invalid, Unavailable
from datastore import etcd_pb2 as pb
from datastore.config import EtcdConfig
from datastore.etcd_channel import (
    Connection,
    WatchCall,
    certificate_files,
    connect,
    is_old_token,
    is_refusal,
    metadata,
    reason,
    refusal,
)
from datastore.lineage import Header, Lineage
from datastore.store import Doubt

T = TypeVar("T")
Method = Callable[[Connection], grpc.aio.UnaryUnaryMultiCallable[Any, T]]

# A pause before the next attempt, so that a cluster that elects a leader is not run down.
_FIRST_PAUSE_S = 0.03
_LONGEST_PAUSE_S = 0.4


class Session:
    """One conversation with a cluster, over whichever of its endpoints answers.

    There is a channel per endpoint, made when it is first needed. One endpoint is the current
    one; a failed attempt moves on to the next, for all later calls too.
    """

    def __init__(
        self, config: EtcdConfig, *, deadline_s: float, attempt_s: float, keepalive_s: float
    ) -> None:
        self.lineage = Lineage()
        self._config = config
        self._deadline_s = deadline_s
        self._attempt_s = attempt_s
        self._keepalive_s = keepalive_s
        self._connections: dict[str, Connection] = {}
        # Any will do; that not all nodes begin with the same one spreads their watches.
        self._current = random.randrange(len(config.endpoints))
        self._token: str | None = None
        self._answered = asyncio.Event()  # a moment after a request is
        self._answered.set()

    @property
    def endpoint(self) -> str:
        """The endpoint that the next attempt goes to."""
        return self._config.endpoints[self._current]

    async def call(self, method: Method[T], request: object, *, is_ordered: bool = True) -> T:
        """Send *request* until an endpoint answers it; it may have been carried out twice.

        Args:
            method: the call to make, of a connection.
            request: what it takes.
            is_ordered: whether the answer is as new as every answer before it, and so tells
                whether the store is the same. A member answers some calls by itself, however far
                it lags behind.

        Raises:
            Unavailable: no endpoint answered before the deadline.
            Invalid: one refused, and would refuse again.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        failures: dict[str, str] = {}
        cause: Exception | None = None
        stale: set[str] = set()
        while (left_s := end - clock()) > 0:
            connection = self._connection()
            sent = self.lineage
            try:
                self._answered.clear()
                response = await self._send(
                    connection, method(connection), request, min(left_s, self._attempt_s)
                )
            except grpc.aio.AioRpcError as error:
                if is_refusal(error, has_user=self._config.username is not None):
                    raise Invalid(refusal(connection.endpoint, error)) from error
                failures[connection.endpoint], cause = reason(error), error
            else:
                header = _header(response.header)  # type: ignore[attr-defined]
                # When the rotation comes round to a member with an old term, nobody has a newer
                # one: it is the store that is older. Else a restored one would be shunned for ever.
                if not is_ordered or not sent.is_stale(header) or connection.endpoint in stale:
                    self._learn(header, sent if is_ordered else None)
                    return response
                stale.add(connection.endpoint)
                failures[connection.endpoint] = f"raft term {header.term} is older than {sent.term}"
            finally:
                asyncio.get_running_loop().call_soon(self._answered.set)
            self._leave(connection)
            await asyncio.sleep(min(pause_s * random.uniform(0.5, 1), max(0, end - clock())))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise Unavailable(_silence(failures)) from cause

    async def watch(
        self, requests: Sequence[pb.WatchCreateRequest], after: int
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """Yield the answers to several watches on one stream, once all of them are created.

        Raises:
            Doubt: whenever one of them ends, and as soon as it is not sure that nothing was missed.
        """
        connection = self._connection()
        call = None
        try:
            token = await self._authenticated(connection, self._attempt_s)
            call = connection.watch(metadata=metadata(token))
            followed = _Followed(self.lineage, after)
            async with asyncio.timeout(self._attempt_s):
                first = await self._create(call, requests)
            for response in first:
                self._check(connection, response, followed)
                yield response
            while isinstance(more := await call.read(), pb.WatchResponse):
                # etcd tells of a write before it answers it; somebody waits for the answer.
                await self._answered.wait()
                self._check(connection, more, followed)
                yield more
        # InvalidStateError is what grpc.aio says of a call that failed between two awaits.
        except (grpc.aio.AioRpcError, TimeoutError, asyncio.InvalidStateError) as error:
            self._leave(connection)
            raise Doubt(f"etcd {connection.endpoint}: watch ended ({reason(error)})") from error
        finally:
            if call is not None:
                call.cancel()
        self._leave(connection)
        raise Doubt(f"etcd {connection.endpoint}: watch ended")

    async def close(self) -> None:
        """Close every channel; whatever is in flight is cancelled."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    def _connection(self) -> Connection:
        endpoint = self.endpoint
        if endpoint not in self._connections:
            self._connections[endpoint] = connect(self._config, endpoint, self._keepalive_s)
        return self._connections[endpoint]

    def _leave(self, connection: Connection) -> None:
        # Of many calls that fail at one endpoint, only the first moves on.
        if connection.endpoint == self.endpoint:
            self._current = (self._current + 1) % len(self._config.endpoints)
        self._drop_if_renewed(connection)

    def _drop_if_renewed(self, connection: Connection) -> None:
        """Have the next attempt use the certificate files as they are now.

        Whoever still uses the channel goes on with it; it is closed when nobody does any more.
        """
        try:
            files = certificate_files(self._config)
        except Invalid:
            return  # they are just being written
        if files == connection.files:
            return
        if self._connections.get(connection.endpoint) is connection:
            del self._connections[connection.endpoint]

    async def _send(
        self,
        connection: Connection,
        method: grpc.aio.UnaryUnaryMultiCallable[Any, T],
        request: object,
        timeout_s: float,
    ) -> T:
        clock = asyncio.get_running_loop().time
        end = clock() + timeout_s  # for all calls of this attempt together
        token = await self._authenticated(connection, timeout_s)
        try:
            return await method(request, timeout=end - clock(), metadata=metadata(token))
        except grpc.aio.AioRpcError as error:
            if self._config.username is None or not is_old_token(error):
                raise
        # Tokens do not survive a restart of their member, nor a change of users and roles.
        if self._token == token:
            self._token = None
        token = await self._authenticated(connection, end - clock())
        return await method(request, timeout=end - clock(), metadata=metadata(token))

    async def _authenticated(self, connection: Connection, timeout_s: float) -> str | None:
        """Return a token, if we are to be somebody.

        Calls that need a new one at the same time each ask for their own: all of them are good,
        and none waits for another one's deadline.
        """
        if self._config.username is None or self._token is not None:
            return self._token
        request = pb.AuthenticateRequest(
            name=self._config.username, password=self._config.password or ""
        )
        try:
            response = await connection.authenticate(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            self._token = ""  # authentication is not enabled: nobody needs one
        else:
            self._token = response.token
        return self._token

    def _learn(self, header: Header, sent: Lineage | None) -> None:
        if sent is None or sent.epoch != self.lineage.epoch:
            return  # the change was noticed meanwhile; the answer may be of either store
        # The first calls set out before any cluster was known; one of them may be back already.
        if not sent.cluster_id:
            sent = replace(sent, cluster_id=self.lineage.cluster_id)
        if sent.is_stale(header) or sent.is_other(header):
            self.lineage = self.lineage.replaced(header)
        else:
            self.lineage = self.lineage.joined(header)

    async def _create(
        self, call: WatchCall, requests: Sequence[pb.WatchCreateRequest]
    ) -> list[pb.WatchResponse]:
        """Create the watches; return all that came until the last one was, events included."""
        for request in requests:
            await call.write(pb.WatchRequest(create_request=request))
        responses = []
        missing = len(requests)
        while missing and isinstance(response := await call.read(), pb.WatchResponse):
            responses.append(response)
            missing -= response.created
        return responses

    def _check(
        self, connection: Connection, response: pb.WatchResponse, followed: "_Followed"
    ) -> None:
        where = f"etcd {connection.endpoint}"
        if response.compact_revision:
            raise Doubt(f"{where}: history before {response.compact_revision} was compacted")
        if response.canceled or response.watch_id < 0:
            self._token = None  # a watch does not tell an old token from a missing permission
            raise Doubt(f"{where}: watch was refused ({response.cancel_reason or 'no reason'})")
        header = _header(response.header)
        if followed.lineage.epoch != self.lineage.epoch or not followed.takes(
            response.watch_id, header
        ):
            self._leave(connection)
            raise Doubt(f"{where}: not the store it was: {header} after {followed}")
        self.lineage = self.lineage.joined(header)


@dataclass(slots=True)
class _Followed:
    """What one stream has shown of its store; revisions by watch, for each goes its own pace."""

    lineage: Lineage
    after: int
    revisions: dict[int, int] = field(default_factory=dict)

    def takes(self, watch_id: int, header: Header) -> bool:
        """Go on with the answer, unless it is of a member or store that is older or another."""
        seen = self.lineage
        last_revision = self.revisions.get(watch_id, self.after)
        last = Lineage(seen.cluster_id, seen.term, last_revision, seen.epoch)
        if last.is_stale(header) or last.is_other(header):
            return False
        self.lineage = last.joined(header)
        self.revisions[watch_id] = header.revision
        return True


def _header(header: pb.ResponseHeader) -> Header:
    return Header(header.cluster_id, header.raft_term, header.revision)


def _silence(failures: dict[str, str]) -> str:
    each = ", ".join(f"{endpoint}: does not answer ({why})" for endpoint, why in failures.items())
    return f"etcd {each}; check that it runs and that ETCD_ENDPOINTS is right"
