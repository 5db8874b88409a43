"""What only a real etcd can do to us: die, freeze, compact, refuse, come back as another."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from datamodel.errors import Invalid, Unavailable
from datastore.config import EtcdConfig
from datastore.etcd import EtcdStore
from datastore.store import Change, Committed, Doubt
from tests.etcd_server import Certificates, EtcdServer, free_ports, make_certificates, members


@asynccontextmanager
async def client(config: EtcdConfig, **settings: float) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(config, **settings)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def own_etcd() -> Iterator[EtcdServer]:
    """An etcd that the test may ill-treat."""
    with EtcdServer() as server:
        yield server


async def follow(store: EtcdStore, after: int) -> asyncio.Task[Doubt]:
    """Watch "/a/" in a task that returns why it ended; wait until it is under way."""
    began = asyncio.Event()

    async def run() -> Doubt:
        try:
            async with aclosing(store.watch(frozenset({"/a/"}), after)) as events:
                async for _ in events:
                    began.set()
        except Doubt as doubt:
            return doubt
        raise AssertionError("a watch came to an end without doubt")

    task = asyncio.create_task(run())
    await store.commit(Change(put={"/a/begin": b""}))
    await asyncio.wait_for(began.wait(), 5)
    return task


# ---- failover ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[EtcdServer]]:
    with members(3) as servers:
        yield servers


def connected(store: EtcdStore, cluster: list[EtcdServer]) -> EtcdServer:
    return next(server for server in cluster if server.endpoint == store.endpoint)


def all_of(cluster: list[EtcdServer]) -> EtcdConfig:
    return EtcdConfig(tuple(server.endpoint for server in cluster))


async def test_calls_go_on_when_the_connected_member_is_killed(cluster):
    async with client(all_of(cluster)) as store:
        before = await store.commit(Change(put={"/a/x": b"1"}))
        victim = connected(store, cluster)

        victim.kill()
        try:
            after = await store.commit(Change(expect={"/a/x": before.revision}, put={"/a/x": b"2"}))

            assert isinstance(after, Committed)
            assert store.endpoint != victim.endpoint
            assert store.epoch == 0
        finally:
            victim.start()


async def test_calls_go_on_when_the_connected_member_freezes(cluster):
    async with client(all_of(cluster)) as store:
        await store.commit(Change(put={"/a/x": b"1"}))
        victim = connected(store, cluster)

        victim.freeze()
        try:
            started = time.monotonic()
            await store.commit(Change(put={"/a/x": b"2"}))
            took_s = time.monotonic() - started

            assert store.endpoint != victim.endpoint
            assert took_s < 5
        finally:
            victim.thaw()


async def test_a_watch_on_a_member_that_freezes_is_in_doubt_and_goes_on_elsewhere(cluster):
    async with client(all_of(cluster), keepalive_s=0.5) as store:
        start = (await store.read()).revision
        task = await follow(store, start)
        victim = connected(store, cluster)

        victim.freeze()
        try:
            await asyncio.wait_for(task, 5)
            again = await follow(store, (await store.read("/a/")).revision)

            assert store.endpoint != victim.endpoint
            again.cancel()
        finally:
            victim.thaw()


async def test_a_minority_does_not_answer_for_the_store(cluster):
    """A member that has lost its leader refuses calls and ends watches instead of waiting."""
    lonely, *others = cluster
    async with client(lonely.config, deadline_s=1) as store:
        task = await follow(store, (await store.read()).revision)

        for other in others:
            other.freeze()
        try:
            await asyncio.wait_for(task, 10)
            with pytest.raises(Unavailable):
                await store.read("/a/")
        finally:
            for other in others:
                other.thaw()


# ---- down --------------------------------------------------------------------------------------


async def test_no_etcd_is_unavailable_within_the_deadline():
    endpoints = tuple(f"http://127.0.0.1:{port}" for port in free_ports(2))
    async with client(EtcdConfig(endpoints), deadline_s=0.5) as store:
        started = time.monotonic()

        with pytest.raises(Unavailable) as raised:
            await store.read("/a/")

        assert time.monotonic() - started < 1
    for endpoint in endpoints:
        assert f"{endpoint}: does not answer (connection refused)" in str(raised.value)
    assert "check that it runs and that ETCD_ENDPOINTS is right" in str(raised.value)


async def test_a_frozen_etcd_is_unavailable_within_the_deadline(own_etcd):
    async with client(own_etcd.config, deadline_s=0.5, attempt_s=0.2) as store:
        await store.read("/a/")
        own_etcd.freeze()
        started = time.monotonic()

        with pytest.raises(Unavailable, match="no answer in time"):
            await store.commit(Change(put={"/a/x": b"1"}))

        assert time.monotonic() - started < 1


async def test_a_call_waits_for_an_etcd_that_comes_back(own_etcd):
    async with client(own_etcd.config) as store:
        await store.commit(Change(put={"/a/x": b"1"}))
        own_etcd.kill()

        reading = asyncio.create_task(store.read("/a/"))
        await asyncio.to_thread(own_etcd.start)

        assert set((await reading).entries) == {"/a/x"}


# ---- doubt -------------------------------------------------------------------------------------


async def test_a_watch_is_in_doubt_when_etcd_is_killed(own_etcd):
    async with client(own_etcd.config) as store:
        task = await follow(store, (await store.read()).revision)

        own_etcd.kill()

        assert "watch ended" in str(await asyncio.wait_for(task, 2))


async def test_a_watch_is_in_doubt_when_etcd_is_stopped(own_etcd):
    async with client(own_etcd.config) as store:
        task = await follow(store, (await store.read()).revision)

        own_etcd.stop()

        assert "watch ended" in str(await asyncio.wait_for(task, 2))


async def test_a_watch_cannot_begin_in_compacted_history(etcd, empty_etcd_store):
    start = (await empty_etcd_store.read()).revision
    for i in range(3):
        last = await empty_etcd_store.commit(Change(put={"/a/x": b"%d" % i}))
    etcd.ctl("compaction", str(last.revision))

    with pytest.raises(Doubt, match="compacted"):
        await anext(aiter(empty_etcd_store.watch(frozenset({"/a/"}), start)))


async def test_an_etcd_made_anew_begins_an_epoch(own_etcd):
    """Same ports, so the same cluster id: only the revision gives it away."""
    async with client(own_etcd.config) as store:
        for i in range(3):
            await store.commit(Change(put={"/a/x": b"%d" % i}))
        assert store.epoch == 0
        cluster_id = store.cluster_id

        own_etcd.kill()
        own_etcd.wipe()
        own_etcd.start()
        snapshot = await store.read("/a/")

        assert snapshot.entries == {}
        assert (store.epoch, store.cluster_id) == (1, cluster_id)


async def test_an_ordinary_restart_begins_no_epoch(own_etcd):
    async with client(own_etcd.config) as store:
        await store.commit(Change(put={"/a/x": b"1"}))

        own_etcd.kill()
        own_etcd.start()

        assert (await store.read("/a/x")).entries["/a/x"].value == b"1"
        assert store.epoch == 0


async def test_another_cluster_at_the_next_endpoint_begins_an_epoch(etcd, own_etcd):
    servers = {server.endpoint: server for server in (etcd, own_etcd)}
    async with client(EtcdConfig(tuple(servers)), attempt_s=1.0) as store:
        await store.read("/a/")
        first, cluster_id = servers[store.endpoint], store.cluster_id

        first.freeze()
        try:
            await store.read("/a/")
        finally:
            first.thaw()

        assert store.epoch == 1
        assert store.cluster_id != cluster_id


# ---- who we are --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_etcd(certificates: Certificates) -> Iterator[EtcdServer]:
    with EtcdServer(certificates=certificates) as server:
        yield server


async def test_mutual_tls_works_for_calls_and_watches(tls_etcd):
    async with client(tls_etcd.config) as store:
        task = await follow(store, (await store.read()).revision)
        task.cancel()


async def test_without_a_client_certificate_nothing_is_answered(tls_etcd):
    config = replace(tls_etcd.config, cert_file=None, key_file=None)
    async with client(config, deadline_s=0.5) as store:
        with pytest.raises(Unavailable):
            await store.read("/a/")


async def test_a_server_of_another_authority_is_not_trusted(tls_etcd, tmp_path):
    stranger = make_certificates(tmp_path)
    async with client(replace(tls_etcd.config, ca_cert_file=stranger.ca), deadline_s=0.5) as store:
        with pytest.raises(Unavailable, match="not one that ETCD_CA_CERT_FILE vouches for"):
            await store.read("/a/")


async def test_a_certificate_file_that_is_missing_is_named(tls_etcd):
    config = replace(tls_etcd.config, key_file=Path("/nowhere/key.pem"))
    async with client(config) as store:
        with pytest.raises(Invalid, match=r"ETCD_KEY_FILE: /nowhere/key\.pem cannot be read"):
            await store.read("/a/")


@pytest.fixture(scope="module")
def auth_etcd() -> Iterator[EtcdServer]:
    """An etcd with the users root and ocicat; the latter may not go beyond /a/."""
    with EtcdServer(flags=["--bcrypt-cost=4"]) as server:
        server.ctl("user", "add", "root:root")
        server.ctl("user", "add", "ocicat:secret")
        server.ctl("role", "add", "network")
        server.ctl("role", "grant-permission", "network", "--prefix=true", "readwrite", "/a/")
        server.ctl("user", "grant-role", "ocicat", "network")
        server.ctl("user", "grant-role", "root", "root")
        server.ctl("auth", "enable")
        yield server


def as_user(server: EtcdServer, password: str = "secret") -> EtcdConfig:
    return replace(server.config, username="ocicat", password=password)


async def test_a_new_token_is_fetched_when_etcd_has_forgotten_ours(auth_etcd):
    async with client(as_user(auth_etcd)) as store:
        await store.commit(Change(put={"/a/x": b"1"}))

        auth_etcd.kill()
        auth_etcd.start()

        assert set((await store.read("/a/")).entries) == {"/a/x"}
        task = await follow(store, (await store.read("/a/")).revision)
        task.cancel()


async def test_a_new_token_is_fetched_when_users_were_changed(auth_etcd):
    async with client(as_user(auth_etcd)) as store:
        await store.read("/a/")

        auth_etcd.ctl("--user=root:root", "user", "add", "somebody:else")

        assert (await store.read("/a/")).revision >= 1


async def test_a_wrong_password_is_said_so(auth_etcd):
    async with client(as_user(auth_etcd, "wrong")) as store:
        with pytest.raises(Invalid) as raised:
            await store.read("/a/")

    assert "invalid user ID or password" in str(raised.value)
    assert "check ETCD_USERNAME and ETCD_PASSWORD" in str(raised.value)
    assert auth_etcd.endpoint in str(raised.value)


async def test_no_user_where_one_is_wanted_is_said_so(auth_etcd):
    async with client(auth_etcd.config) as store:
        with pytest.raises(Invalid, match="set ETCD_USERNAME and ETCD_PASSWORD"):
            await store.read("/a/")


async def test_a_missing_permission_is_said_so(auth_etcd):
    async with client(as_user(auth_etcd)) as store:
        with pytest.raises(Invalid, match=r"permission denied.*; grant the user"):
            await store.read("/b/")


async def test_a_watch_without_permission_is_in_doubt(auth_etcd):
    async with client(as_user(auth_etcd)) as store:
        revision = (await store.read("/a/")).revision

        with pytest.raises(Doubt, match="refused"):
            await anext(aiter(store.watch(frozenset({"/b/"}), revision)))


async def test_a_user_where_none_is_wanted_does_no_harm(etcd):
    async with client(as_user(etcd)) as store:
        assert (await store.read("/a/")).revision >= 1


async def test_a_change_that_is_too_large_is_refused(empty_etcd_store):
    for size in (1_600_000, 5_000_000):  # etcd's own limit, and its gRPC server's
        with pytest.raises(Invalid, match="max-request-bytes"):
            await empty_etcd_store.commit(Change(put={"/a/x": b"x" * size}))


async def test_a_large_answer_is_taken(empty_etcd_store):
    for i in range(6):
        await empty_etcd_store.commit(Change(put={f"/a/{i}": b"x" * 1_000_000}))

    assert len((await empty_etcd_store.read("/a/")).entries) == 6
