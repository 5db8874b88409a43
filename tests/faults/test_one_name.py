"""Two machines under one name, with real processes and a real etcd: freezes, deaths, restarts."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from datastore import keys
from ipam_api import ipam_pb2
from tests.etcd_proxy import LoopThread
from tests.etcd_server import EtcdServer
from tests.faults.node import DirectStore
from tests.ipamd_process import IpamdProcess

TTL_S = 2
SOON_S = 10.0
NODE = "node-1"


@pytest.fixture
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer(flags=["--unsafe-no-fsync"]) as server:
        yield server


@pytest.fixture
def store(etcd: EtcdServer) -> Iterator[DirectStore]:
    with LoopThread() as loop, DirectStore(etcd.config, loop) as store:
        yield store


@contextlib.contextmanager
def on(boot_id: str, etcd: EtcdServer, address: str, **settings: str) -> Iterator[IpamdProcess]:
    """An ipamd on a machine of its own that is not started yet."""
    process = IpamdProcess(
        [etcd.endpoint],
        NODE,
        address=address,
        environment=settings,
        module=("tests.other_machine", boot_id, str(TTL_S)),
    )
    try:
        yield process
    finally:
        process.__exit__()


def wait_until(is_so: Callable[[], bool], what: str = "") -> None:
    end = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def waits_for(ipamd: IpamdProcess) -> str:
    with contextlib.suppress(grpc.RpcError):
        return ipamd.stub.Status(ipam_pb2.StatusRequest(), timeout=1).waits_for
    return ""


def assert_left_out(ipamd: IpamdProcess, store: DirectStore, who: str) -> None:
    """It says who has the name, and does nothing."""
    before = store.content
    wait_until(lambda: "another machine" in waits_for(ipamd), ipamd.log)
    with pytest.raises(grpc.RpcError) as refused:
        ipamd.allocate("refused", timeout_s=0.4)
    with pytest.raises(grpc.RpcError):
        ipamd.release("c1", timeout_s=0.4)

    assert waits_for(ipamd).startswith(f"node {NODE}: another machine (machine id cccc")
    assert f"{who}) runs under this name, heard of " in waits_for(ipamd)
    assert f"{who}) runs under this name" in refused.value.details()
    assert f"{who}) runs under this name" in ipamd.log
    assert not ipamd.is_serving()
    assert store.content == before


def test_of_two_machines_one_has_the_name_whoever_freezes_or_dies(etcd, store):
    with on("boot-1", etcd, "192.0.2.1/24") as first, on("boot-2", etcd, "192.0.2.2/24") as second:
        first.start()
        first.allocate("c1")
        second.spawn()
        assert_left_out(second, store, "boot id boot-1, address 192.0.2.1")

        first.process.send_signal(signal.SIGSTOP)
        second.wait_until_serving()
        second.report()
        second.allocate("c2")
        before = store.content
        first.process.send_signal(signal.SIGCONT)
        assert_left_out(first, store, "boot id boot-2, address 192.0.2.2")
        assert store.content == before

        second.kill()
        first.wait_until_serving()  # without being restarted
        first.report()
        first.allocate("c3")
        wait_until(lambda: b"192.0.2.1/24" in store.content[keys.node(NODE)], "not registered")


def test_a_claim_outlives_an_etcd_that_is_away_for_longer_than_it_lasts(etcd, store):
    with on("boot-1", etcd, "192.0.2.1/24") as ipamd:
        ipamd.start()
        before = store.content[keys.claim(NODE)]
        etcd.kill()
        time.sleep(1.5 * TTL_S)  # what is to be outlived
        etcd.start()
        ipamd.wait_until_serving()
        ipamd.allocate("c1")

        assert store.content[keys.claim(NODE)] == before
        assert "has ended" not in ipamd.log


def test_a_machine_that_starts_a_second_ipamd_fails_no_request(etcd, store):
    with (
        on("boot-1", etcd, "192.0.2.1/24") as old,
        on("boot-1", etcd, "192.0.2.1/24", OCICAT_IPAM_SOCKET=old.socket) as new,
    ):
        new.socket = old.socket
        old.start()
        claim = store.content[keys.claim(NODE)]
        stop = threading.Event()

        def churn(worker: int) -> int:
            n = 0
            while not stop.is_set():
                old.allocate(f"c{worker}-{n}")
                old.release(f"c{worker}-{n}")
                n += 1
            return n

        with ThreadPoolExecutor() as executor:
            try:
                workers = [executor.submit(churn, worker) for worker in range(3)]
                new.spawn()
                wait_until(lambda: "serving socket=" in new.log, new.log)  # it is its own now
                new.wait_until_serving()
                new.report()
                old.process.send_signal(signal.SIGTERM)
                assert old.process.wait(10) == 0
                new.allocate("after")
            finally:
                stop.set()
            assert all(worker.result() for worker in workers)

        assert store.content[keys.claim(NODE)] == claim
        assert "has ended" not in old.log + new.log
