"""What a live run writes into etcd is what a real calicoctl demands of Calico's v3 data model."""

import base64
import json
import re

import pytest

from ocicatctl.lab import etcd
from tests.consistency import assert_consistent
from tests.lab_store import everything


@pytest.fixture
def store(lab):
    """Keys and values below /calico/, read with etcd's own client while pods run on every node."""
    for node in lab.nodes:
        for number in (1, 2):
            lab.add_pod(node, f"web-{node.number}-{number}")
    return everything(lab)


def resource(store, kind, name):
    return json.loads(store[f"/calico/resources/v3/projectcalico.org/{kind}/{name}"])


UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_every_resource_can_be_edited_by_calicoctl(store):
    resources = [json.loads(v) for k, v in store.items() if k.startswith("/calico/resources/")]

    assert {r["kind"] for r in resources} == {
        "ClusterInformation",
        "IPPool",
        "KubeControllersConfiguration",
        "Node",
        "WorkloadEndpoint",
    }
    for r in resources:
        assert list(r)[:4] == ["kind", "apiVersion", "metadata", "spec"]
        assert r["apiVersion"] == "projectcalico.org/v3"
        assert UID.fullmatch(r["metadata"]["uid"])
        assert TIME.fullmatch(r["metadata"]["creationTimestamp"])
        assert not {"resourceVersion", "selfLink"} & r["metadata"].keys()


def test_the_cluster_is_ready_and_of_no_particular_version(store):
    spec = resource(store, "clusterinformations", "default")["spec"]

    assert spec["datastoreReady"] is True
    assert re.fullmatch("[0-9a-f]{32}", spec["clusterGUID"])
    assert not spec.get("calicoVersion")


def test_the_ipam_config_is_strict(store):
    expected = b'{"strict_affinity":true,"auto_allocate_blocks":true}'
    assert store["/calico/ipam/v2/config"] == expected


def test_the_default_pool_spells_out_its_fields(store):
    spec = resource(store, "ippools", "default-ipv4-ippool")["spec"]

    assert spec == {
        "cidr": "10.233.64.0/18",
        "vxlanMode": "Never",
        "ipipMode": "Never",
        "natOutgoing": True,
        "blockSize": 24,
        "nodeSelector": "all()",
        "allowedUses": ["Workload", "Tunnel"],
        "assignmentMode": "Automatic",
    }


def test_every_node_is_there_under_the_name_that_its_blocks_say(lab, store):
    for node in lab.nodes:
        document = resource(store, "nodes", node.name)
        assert document["spec"]["bgp"]["ipv4Address"] == str(node.address)
        assert document["status"] == {}
        owned = [k for k in store if k.startswith(f"/calico/ipam/v2/host/{node.name}/ipv4/")]
        assert owned
        for key in owned:
            assert json.loads(store[key]) == {"state": "confirmed", "deleted": False}
            block_key = f"/calico/ipam/v2/assignment/ipv4/block/{key.rpartition('/')[2]}"
            block = json.loads(store[block_key])
            assert block["affinity"] == f"host:{node.name}"
            assert {a["secondary"]["node"] for a in block["attributes"] or ()} <= {node.name}


def test_a_block_has_the_form_that_every_calico_reads(lab, store):
    pods = {pod.name: pod for pod in lab.pods()}
    key = next(k for k in store if "/assignment/" in k)
    block = json.loads(store[key])

    assert list(block) == [
        "cidr",
        "affinity",
        "allocations",
        "unallocated",
        "attributes",
        "sequenceNumber",
        "sequenceNumberForAllocation",
        "deleted",
    ]
    assert len(block["allocations"]) == 256
    for attribute in block["attributes"]:
        pod = pods[attribute["secondary"]["pod"]]
        assert attribute["handle_id"] == f"k8s-pod-network.{pod.container.id}"
        assert attribute["secondary"]["namespace"] == "default"
        stamp = attribute["secondary"]["timestamp"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,9})? \+0000 UTC", stamp)


def test_an_endpoint_says_which_pod_has_which_link_and_address(lab, store):
    pod = lab.pod("web-1-1")
    name = "node--1-k8s-web--1--1-eth0"
    document = resource(store, "workloadendpoints", f"default/{name}")

    assert document["metadata"]["name"] == name
    assert document["metadata"]["namespace"] == "default"
    assert document["metadata"]["labels"] == {
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "k8s",
    }
    assert document["spec"] == {
        "orchestrator": "k8s",
        "node": "node-1",
        "containerID": pod.container.id,
        "pod": "web-1-1",
        "endpoint": "eth0",
        "ipNetworks": [f"{pod.address}/32"],
        "profiles": ["kns.default"],
        "interfaceName": pod.result["interfaces"][0]["name"],
        "mac": pod.result["interfaces"][1]["mac"],
    }


def test_blocks_handles_and_endpoints_agree_with_each_other(lab, store):
    assert_consistent(store)

    for pod in lab.pods()[::2]:
        lab.delete_pod(pod.name)

    assert_consistent(everything(lab))


def test_no_write_was_seen_half_done(lab):
    """One transaction writes block, handle and endpoint: every revision in between is whole."""
    first = json.loads(etcd.etcdctl(lab.spec, "get", "none", "-w", "json").stdout)["header"][
        "revision"
    ]
    for i in range(5):
        lab.add_pod(lab.nodes[0], f"web-{i}")
        lab.delete_pod(f"web-{i}")
    last = json.loads(etcd.etcdctl(lab.spec, "get", "none", "-w", "json").stdout)["header"][
        "revision"
    ]

    assert last - first == 10
    for revision in range(first, last + 1):
        listing = etcd.etcdctl(
            lab.spec, "get", "--prefix", "/calico/", "-w", "json", f"--rev={revision}"
        )
        decode = base64.b64decode
        assert_consistent(
            {
                decode(kv["key"]).decode(): decode(kv["value"])
                for kv in json.loads(listing.stdout)["kvs"]
            }
        )
