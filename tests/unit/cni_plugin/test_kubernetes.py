"""Against a server of our own; how it is spoken to is tested with ``kube_api``."""

import copy
import time
from collections.abc import Iterator

import pytest

from cni_plugin.kubernetes import KubernetesPods
from cni_plugin.pod_facts import PREFIX
from datamodel.attachment import Pod
from datamodel.errors import Invalid, OcicatError, Unavailable
from kube_api.access import Access
from kube_api.client import ApiClient
from tests.etcd_server import free_ports
from tests.kube_server import NAMESPACES, POD, PODS, Api, refusal, serving

WEB = Pod("shop", "web-0")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def client(api: Api) -> Iterator[ApiClient]:
    with serving(api, None) as port:
        client = ApiClient(Access("127.0.0.1", port, is_tls=False, token=b"secret"))
        yield client
        client.close()


def read(client, timeout_s=5.0, pod=WEB):
    pods = KubernetesPods(client)
    return pods.read(pod, timeout_s, is_first_link=True, has_floating_ips=False)


def failure(client, kind: type[OcicatError] = Unavailable, **more) -> str:
    with pytest.raises(kind) as caught:
        read(client, **more)
    assert str(caught.value).startswith("pod shop/web-0: ")
    return str(caught.value)


def test_a_pod_is_read_with_its_namespace_over_one_connection(api, client):
    found = read(client)

    assert found.workload.service_account == "shopkeeper"
    assert found.namespace_labels["team"] == "blue"
    assert [path for path, _ in api.asked] == [PODS, NAMESPACES]
    assert api.connections == 1


def test_annotations_that_are_wrong_are_the_pods_mistake(api, client):
    pod = copy.deepcopy(POD)
    pod["metadata"]["annotations"] = {f"{PREFIX}hwAddr": "x"}
    api.documents[PODS] = pod

    assert failure(client, Invalid) == (
        f"pod shop/web-0: {PREFIX}hwAddr: 'x' is not six pairs of hex digits"
    )


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "; the CNI server's token or certificate is not valid, or not any more"),
        (403, '; give the CNI server\'s account the right to "get" "pods" and "namespaces"'),
        (500, "answers 500 (why)"),
        (429, "answers 429 (why)"),
    ],
)
def test_a_pod_that_the_api_does_not_show_may_be_shown_later(api, client, status, text):
    api.status, api.body = status, refusal(status, "reason", "why")

    assert failure(client).startswith("pod shop/web-0: cannot be read: Kubernetes API http://")
    assert failure(client).endswith(text)


@pytest.mark.parametrize("missing", [PODS, NAMESPACES])
def test_a_pod_that_is_not_there_is_no_pod_without_wishes(api, client, missing):
    del api.documents[missing]

    assert failure(client).endswith(
        "not found); it was deleted, or has not been made yet, or this is another cluster's API"
    )


@pytest.mark.parametrize("path", [PODS, NAMESPACES])
@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "Status"},
        {"kind": "Pod", "metadata": None},
        {"kind": "Namespace", "metadata": {"name": "other"}},
        [],
    ],
)
def test_another_answer_is_none(api, client, path, document):
    api.documents[path] = document

    assert "its answer is not " in failure(client)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"spec": None},
        {"spec": {"containers": [1]}},
        {"spec": {"containers": [{"ports": [{"name": "a"}]}]}},
        {"spec": {"containers": [{"ports": [{"name": "a", "containerPort": "80"}]}]}},
        {"spec": {"containers": [{"ports": [{"name": "a", "containerPort": -1}]}]}},
        {"spec": {"serviceAccountName": 1}},
        {"metadata": {"name": "web-0", "labels": ["a"]}},
        {"metadata": {"name": "web-0", "labels": {"a": 1}}},
        {"metadata": {"name": "web-0", "annotations": {f"{PREFIX}hwAddr": 1}}},
    ],
)
def test_a_pod_that_is_spoilt_is_none(api, client, spoilt):
    api.documents[PODS] = {**POD, **spoilt}

    assert "its answer is not a Pod and its Namespace: " in failure(client)


def test_a_slow_api_is_not_waited_for_twice(api, client):
    api.pause_s = 0.2  # before each half of each of the two answers
    begun = time.monotonic()

    assert "no answer within" in failure(client, timeout_s=0.6)
    assert time.monotonic() - begun < 2


def test_an_api_that_breaks_off_may_answer_later(api, client):
    api.closes = "middle"

    assert failure(client).endswith("it breaks off in the middle of its answer")


def test_an_api_that_is_not_there_may_come():
    (port,) = free_ports(1)
    client = ApiClient(Access("127.0.0.1", port, is_tls=False))

    assert failure(client).endswith("Connection refused")


def test_a_kubeconfig_that_is_not_there_may_come(tmp_path):
    client = ApiClient(tmp_path / "kubeconfig")

    assert failure(client).endswith("kubeconfig: cannot be read: No such file or directory")
