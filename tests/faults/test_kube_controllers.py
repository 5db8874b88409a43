"""A real controller, a real etcd, and an API over HTTP that does what APIs do."""

import time
from collections.abc import Iterator

import pytest

from datastore import codec, keys
from tests.consistency import Excuse, assert_consistent
from tests.controlled import SECOND, delete_node, populate, two_nodes
from tests.controllers_process import ControllersProcess
from tests.etcd_proxy import AFTER, EtcdProxy, LoopThread, Strike
from tests.etcd_server import EtcdServer
from tests.faults.node import DirectStore
from tests.kube_cluster import KubeCluster
from tests.kube_server import serving
from tests.leftovers import Cluster, mentions

STRIKE_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as loop:
        yield loop


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer(flags=["--unsafe-no-fsync"]) as etcd:
        yield etcd


@pytest.fixture
def store(etcd, loop) -> Iterator[DirectStore]:
    with DirectStore(etcd.config, loop) as store:
        store.empty()
        yield store


@pytest.fixture
def kube() -> KubeCluster:
    kube = KubeCluster()
    populate(kube)
    return kube


@pytest.fixture
def api(kube: KubeCluster) -> Iterator[int]:
    with serving(kube, None) as port:
        yield port
        kube.end_watches()


def held(store: DirectStore, node: str) -> list[str]:
    """The pods for which a node holds addresses."""
    found = []
    for key, value in store.content.items():
        if key.startswith(keys.ALL_BLOCKS):
            attributes = codec.decode_block(key, value).attributes
            found += [a.pod.name for a in attributes if a.node == node and a.pod]
    return sorted(found)


def with_a_moved_pod() -> Cluster:
    """moved was on node-1, and is on node-2."""
    stored = two_nodes()
    stored.pod("node-1", "moved", SECOND)
    facts = {"namespace": "default", "pod": "moved", "node": "node-2"}
    address = stored.hold(SECOND, "k8s-pod-network.moved-2", **facts)
    stored.endpoint("node-2", "moved", address)
    return stored


def test_what_is_gone_is_freed_and_nothing_else(etcd, store, kube, api):
    store.put(with_a_moved_pod().entries)
    kube.put_pod("moved", "kube-2", uid="u2")
    with ControllersProcess(etcd.endpoint, api) as process:
        process.until_ready()
        kube.delete("pods", "web-2")
        process.until(lambda: held(store, "node-2") == ["db-2", "moved"])
        process.until(lambda: held(store, "node-1") == ["db-1", "web-1"])
        assert_consistent(store.content)
        delete_node(kube)
        process.until(lambda: mentions(store.content) == [])
        process.until(lambda: "node is taken back node=node-1" in process.log)

        assert_consistent(store.content)
        assert held(store, "node-2") == ["db-2", "moved"]
        assert held(store, "plain") == ["lone"]
        for line in (
            "handle=k8s-pod-network.web-2 pod=default/web-2 why='its pod is gone'",
            "handle=k8s-pod-network.moved pod=default/moved why='its pod is on node kube-2'",
            "handle=k8s-pod-network.web-1 pod=default/web-1 why='node node-1 is gone'",
            "freed block=10.233.77.0/28 why='node node-1 is gone'",
        ):
            assert line in process.log
        metrics = process.page("/metrics")[1]
        assert 'ocicat_controllers_freed_addresses_total{gone="node"} 2.0' in metrics
        assert 'ocicat_controllers_freed_addresses_total{gone="pod"} 2.0' in metrics
        assert "ocicat_controllers_removed_nodes_total 1.0" in metrics
        assert process.page("/liveness") == (200, "ok\n")
        assert process.end() == 0
        assert process.log.endswith("ended\n")


def test_whatever_the_api_does_who_lives_keeps_his_address(etcd, store, kube, api):
    store.put(two_nodes().entries)
    before = store.content
    with ControllersProcess(etcd.endpoint, api) as process:
        process.until_ready()
        old = kube.version
        kube.put_pod("web-1", "kube-1", uid="u2")  # made anew on its node
        kube.go_down()
        time.sleep(1.5)
        kube.lists_at = old - 3  # a replica that is behind: before the second node's pods
        kube.come_up()
        process.until(lambda: "but it had told of" in process.log)
        time.sleep(1.5)
        kube.lists_at = None
        process.until_ready()
        kube.forgotten = kube.version  # 410, as a status and as an event
        kube.end_watches()
        process.until(lambda: "pods are listed again" in process.log)
        kube.forgotten, kube.tells_expiry_by_event = kube.version, True
        kube.end_watches()
        time.sleep(0.5)
        kube.forgotten, kube.empty = 0, {"nodes", "pods"}
        kube.tear_watches()
        process.until(lambda: "nothing is freed" in process.log.partition("listed again")[2])
        time.sleep(1.5)

        assert store.content == before


def test_it_ends_while_the_api_does_not_answer(etcd, store, kube, api):
    store.put(two_nodes().entries)
    kube.go_down()
    with ControllersProcess(etcd.endpoint, api) as process:
        process.until(lambda: process.page("/readiness")[0] == 503)
        process.until(lambda: "are not followed" in process.log)
        assert "Kubernetes API http://127.0.0.1" in process.page("/readiness")[1]
        assert process.end() == 0


def test_settings_that_are_wrong_end_it(etcd, api):
    with ControllersProcess(etcd.endpoint, api, ENABLED_CONTROLLERS="node,policy") as process:
        assert process.process.wait(timeout=20) == 1
        assert "ENABLED_CONTROLLERS: 'policy' is not served" in process.log


@pytest.mark.parametrize(("number", "side"), [(1, AFTER), (2, AFTER)])
def test_killed_at_a_write_it_is_finished_by_the_next_one(
    etcd, store, kube, api, loop, number, side
):
    """Every call in turn: tests/unit/kube_controllers/test_killed.py."""
    store.put(two_nodes().entries)
    delete_node(kube)
    survivors = [held(store, "node-2"), held(store, "plain")]
    with (
        EtcdProxy(etcd.endpoint, loop) as proxy,
        ControllersProcess(proxy.endpoint, api) as process,
    ):
        strike = Strike(number, side, lambda: process.process.kill(), kind="write")
        proxy.mark(strike)
        assert strike.has_struck.wait(STRIKE_TIMEOUT_S), process.log
        process.process.wait()
    content = store.content
    assert_consistent(content, excuse=Excuse(leaving={"node-1"}))
    assert keys.departed("node-1") in content

    with ControllersProcess(etcd.endpoint, api) as process:
        process.until(lambda: mentions(store.content) == [])

    assert_consistent(store.content)
    assert [held(store, "node-2"), held(store, "plain")] == survivors
