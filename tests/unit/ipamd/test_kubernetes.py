"""Against a server of our own; how it is spoken to is tested with ``kube_api``."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from datamodel.errors import Invalid, Unavailable
from ipamd.config import NodeInKubernetes
from ipamd.kubernetes import internal_addresses, voucher
from kube_api.access import Access
from tests.kube_server import NODE, NODES, Api, refusal, serving


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def node(api: Api) -> Iterator[NodeInKubernetes]:
    with serving(api, None) as port:
        yield NodeInKubernetes(Access("127.0.0.1", port, is_tls=False, token=b"secret"), "node-1")


def refused(node: NodeInKubernetes) -> str:
    with pytest.raises(Invalid) as caught:
        internal_addresses(node)
    about = f"{node.where}: nodes node-1: "
    assert str(caught.value).startswith(about)
    return str(caught.value).removeprefix(about)


def test_the_internal_addresses_of_the_node_are_those_of_its_kubelet(api, node):
    found = internal_addresses(node)

    assert found == (ip_address("10.0.0.11"), ip_address("fd00::11"))
    assert api.asked == [(NODES, "Bearer secret")]


def test_a_long_answer_is_read_to_its_end(api, node):
    images = [{"names": [f"registry/image-{i}"]} for i in range(20_000)]
    api.documents[NODES] = {**NODE, "images": images}

    assert len(internal_addresses(node)) == 2


def test_a_node_without_addresses_has_none(api, node):
    api.documents[NODES] = {"kind": "Node", "status": {}}

    assert internal_addresses(node) == ()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "answers 401 (why); ipamd's token is not valid"),
        (403, "answers 403 (why); give ipamd's account the right to"),
        (404, "answers 404 (why); there is no such node; set CALICO_K8S_NODE_REF"),
        (302, "answers 302 (why)"),
    ],
)
def test_a_refusal_says_what_to_do(api, node, status, text):
    api.status, api.body = status, refusal(status, "reason", "why")

    assert refused(node).startswith(text)


def test_a_server_in_trouble_may_answer_later(api, node):
    api.status = 503

    with pytest.raises(Unavailable, match="nodes node-1: answers 503"):
        internal_addresses(node)


def test_a_server_that_is_slow_is_not_waited_for(api, node):
    api.pause_s = 0.1

    with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
        internal_addresses(node, timeout_s=0.05)


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Status"},
        {"status": {"addresses": [{"type": "InternalIP", "address": "here"}]}},
        {"status": {"addresses": [1]}},
        {"status": 1},
    ],
)
def test_an_answer_that_is_no_node_is_told(api, node, document):
    api.documents[NODES] = document

    assert refused(node).startswith("its answer is not a Node: ")


# ---- whether it knows the node -----------------------------------------------------------------


async def vouch(node: NodeInKubernetes) -> None:
    vouch = voucher(node)
    assert vouch is not None
    await vouch()


async def test_of_a_node_that_it_knows_nothing_is_wrong(api, node):
    await vouch(node)

    assert api.asked == [(NODES, "Bearer secret")]


async def test_a_name_that_no_node_has_is_refused_with_what_to_do(api, node):
    with pytest.raises(Invalid, match="node node-7: Kubernetes knows no node of this name ") as why:
        await vouch(replace(node, name="node-7"))

    assert "set NODENAME" in str(why.value)
    assert "CALICO_K8S_NODE_REF" in str(why.value)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
async def test_an_api_that_does_not_tell_stands_in_nobody_s_way(api, node, status):
    # A 404 that is not the API's own: a proxy's, or of another path.
    api.status, api.body = status, refusal(status, "reason", "why")

    await vouch(node)


async def test_an_api_that_is_not_there_stands_in_nobody_s_way(tmp_path):
    await vouch(NodeInKubernetes(tmp_path / "kubeconfig", "node-1"))


def test_without_an_api_nobody_is_asked():
    assert voucher(None) is None
