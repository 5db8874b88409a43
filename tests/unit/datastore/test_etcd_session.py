"""How a session judges the members that answer it: small servers say whatever a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest

from datamodel.errors import Unavailable
from datastore import etcd_pb2 as pb
from datastore.config import EtcdConfig
from datastore.etcd import EtcdStore
from datastore.etcd_pb2_grpc import KVServicer, add_KVServicer_to_server
from datastore.store import Doubt


@dataclass
class Member(KVServicer):
    """Answers every transaction with its header."""

    cluster_id: int = 7
    term: int = 3
    revision: int = 100
    calls: int = 0
    endpoint: str = ""

    async def Txn(self, request, context) -> pb.TxnResponse:
        self.calls += 1
        header = pb.ResponseHeader(
            cluster_id=self.cluster_id, raft_term=self.term, revision=self.revision
        )
        return pb.TxnResponse(header=header, succeeded=True)


@asynccontextmanager
async def session(*members: Member) -> AsyncIterator[EtcdStore]:
    servers = []
    for member in members:
        server = grpc.aio.server()
        add_KVServicer_to_server(member, server)
        member.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        servers.append(server)
    store = EtcdStore(EtcdConfig(tuple(m.endpoint for m in members)), deadline_s=1)
    try:
        yield store
    finally:
        await store.close()
        for server in servers:
            await server.stop(None)


def current(store: EtcdStore, members: tuple[Member, ...]) -> Member:
    return next(member for member in members if member.endpoint == store.endpoint)


async def test_a_member_with_an_old_term_is_left_for_one_that_has_the_newest():
    members = Member(), Member()
    async with session(*members) as store:
        await store.read("/a")
        stale = current(store, members)
        stale.term -= 1

        await store.read("/a")

        assert current(store, members) is not stale
        assert store.epoch == 0


@pytest.mark.parametrize("n", [1, 2, 3])
async def test_a_store_whose_members_all_have_an_old_term_is_another_one(n):
    """As after a restore from a backup: it must be taken in the end, or nothing works any more."""
    members = tuple(Member() for _ in range(n))
    async with session(*members) as store:
        await store.read("/a")
        for member in members:
            member.term, member.revision = 2, 40

        assert (await store.read("/a")).revision == 40
        assert store.epoch == 1
        await store.read("/a")
        assert store.epoch == 1


async def test_an_older_revision_begins_an_epoch():
    member = Member()
    async with session(member) as store:
        await store.read("/a")
        member.revision -= 1

        await store.read("/a")

        assert store.epoch == 1


async def test_another_cluster_begins_an_epoch():
    member = Member()
    async with session(member) as store:
        await store.read("/a")
        member.cluster_id, member.revision = 8, 500

        await store.read("/a")

        assert (store.epoch, store.cluster_id) == (1, 8)


async def test_many_calls_that_notice_the_same_change_begin_one_epoch():
    member = Member()
    async with session(member) as store:
        await store.read("/a")
        member.revision = 40

        await asyncio.gather(*(store.read("/a") for _ in range(20)))

        assert store.epoch == 1


async def test_what_speaks_grpc_but_is_no_etcd_ends_a_watch_in_doubt():
    async with session(Member()) as store:
        with pytest.raises(Doubt):
            await anext(aiter(store.watch(frozenset({"/a"}), 100)))


async def test_failures_are_told_for_every_endpoint():
    members = Member(), Member()
    async with session(*members) as store:
        await store.read("/a")
    # The servers are gone, the channels closed: a new client finds nobody.
    late = EtcdStore(EtcdConfig(tuple(m.endpoint for m in members)), deadline_s=0.2)

    with pytest.raises(Unavailable) as raised:
        await late.read("/a")

    await late.close()
    assert all(member.endpoint in str(raised.value) for member in members)
