import json
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface

import pytest
import yaml

from datamodel.attachment import Attachment, Pod
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import keys
from datastore.codec import Stamp, dump, encode_endpoint, encode_node, encode_pool
from datastore.store import Entry, Snapshot
from ocicatctl.resources.kinds import ENDPOINT, NODE, POOL, RESERVATION
from ocicatctl.resources.query import CLUSTER_BGP, Query, answer

STAMP = Stamp("5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11", datetime(2026, 11, 20, 18, 0, tzinfo=UTC))


def a_snapshot(values: dict[str, bytes], revision: int = 9) -> Snapshot:
    entries = {key: Entry(key, value, 7) for key, value in values.items()}
    return Snapshot(revision, entries)


def pools(*pools: Pool) -> dict[str, bytes]:
    return {keys.pool(pool.name): encode_pool(pool, STAMP) for pool in pools}


def nodes(*nodes: Node) -> dict[str, bytes]:
    return {keys.node(node.name): encode_node(node, STAMP) for node in nodes}


def an_endpoint(namespace: str = "default", name: str = "web-0") -> dict[str, bytes]:
    attachment = Attachment("ocicat", "4f0c9a5d2b", "eth0")
    where = EndpointId.of("node-1", attachment, Pod(namespace, name))
    endpoint = WorkloadEndpoint(
        id=where,
        container_id=attachment.container_id,
        networks=(IPv4Network("10.65.0.8/32"),),
        interface_name="cali0d7763386da",
        mac="ee:ee:ee:ee:ee:ee",
        profiles=("kns.default", "ksa.default.default"),
    )
    return {keys.endpoint(namespace, where.name): encode_endpoint(endpoint, STAMP)}


DEFAULT_POOL = Pool("default-ipv4-ippool", IPv4Network("10.65.0.0/16"), 26)


def test_pools_are_shown_in_calicoctls_columns():
    text, mistakes = answer(Query(POOL), a_snapshot(pools(DEFAULT_POOL)), "ps")

    assert text == (
        "NAME                  CIDR           SELECTOR   \n"
        "default-ipv4-ippool   10.65.0.0/16   all()      \n"
        "\n"
    )
    assert mistakes == []


def test_wide_pools_show_every_mode():
    pool = Pool("p", IPv4Network("10.65.0.0/16"), 26, ipip_mode="Always", nat_outgoing=True)

    text, _ = answer(Query(POOL), a_snapshot(pools(pool)), "wide")

    assert text == (
        "NAME   CIDR           NAT    IPIPMODE   VXLANMODE   DISABLED   DISABLEBGPEXPORT   "
        "SELECTOR   ASSIGNMENTMODE   \n"
        "p      10.65.0.0/16   true   Always     Never       false      false              "
        "all()      Automatic        \n"
        "\n"
    )


def test_an_inherited_as_number_is_in_parentheses():
    values = nodes(
        Node("node-1", IPv4Interface("10.0.0.11/24"), IPv6Interface("fd99::1/64"), 64513),
        Node("node-2", IPv4Interface("10.0.0.12/24")),
    )
    values[keys.node("silent")] = dump({"metadata": {"name": "silent"}, "spec": {}})

    text, _ = answer(Query(NODE), a_snapshot(values), "wide")

    assert text == (
        "NAME     ASN       IPV4           IPV6         \n"
        "node-1   64513     10.0.0.11/24   fd99::1/64   \n"
        "node-2   (64512)   10.0.0.12/24                \n"
        "silent                                         \n"
        "\n"
    )


def test_the_inherited_as_number_is_the_clusters():
    values = nodes(Node("node-1", IPv4Interface("10.0.0.11/24")))
    values[CLUSTER_BGP] = dump({"spec": {"asNumber": 65000}})

    text, _ = answer(Query(NODE), a_snapshot(values), "wide")

    assert "(65000)" in text


def test_wrong_bgp_settings_are_told_beside_the_nodes():
    values = nodes(Node("node-1", IPv4Interface("10.0.0.11/24")))
    values[CLUSTER_BGP] = dump({"spec": {"asNumber": "many"}})

    text, mistakes = answer(Query(NODE), a_snapshot(values), "wide")

    assert "node-1" in text
    assert CLUSTER_BGP in mistakes[0]


def test_endpoints_of_one_namespace_are_shown():
    values = an_endpoint() | an_endpoint("other") | an_endpoint("default-2")

    text, _ = answer(Query(ENDPOINT, namespace="default"), a_snapshot(values), "ps")

    assert text == (
        "WORKLOAD   NODE     NETWORKS       INTERFACE         \n"
        "web-0      node-1   10.65.0.8/32   cali0d7763386da   \n"
        "\n"
    )


def test_endpoints_of_all_namespaces_name_theirs():
    values = an_endpoint() | an_endpoint("kube-system", "dns")

    text, _ = answer(Query(ENDPOINT), a_snapshot(values), "ps")

    assert text == (
        "NAMESPACE     WORKLOAD   NODE     NETWORKS       INTERFACE         \n"
        "default       web-0      node-1   10.65.0.8/32   cali0d7763386da   \n"
        "kube-system   dns        node-1   10.65.0.8/32   cali0d7763386da   \n"
        "\n"
    )


def test_wide_endpoints_show_name_profiles_and_nats():
    ((key, value),) = an_endpoint().items()
    document = json.loads(value)
    document["spec"]["ipNATs"] = [{"internalIP": "10.65.0.8", "externalIP": "172.18.9.9"}]

    text, _ = answer(
        Query(ENDPOINT, namespace="default"), a_snapshot({key: dump(document)}), "wide"
    )

    assert text.splitlines()[1].split("   ")[0] == "node--1-k8s-web--0-eth0"
    assert "   kns.default,ksa.default.default   {10.65.0.8 172.18.9.9}   \n" in text


@pytest.mark.parametrize("nats", ["x", 7, ["x"], {"internalIP": "10.65.0.8"}])
def test_nats_that_are_none_are_told_and_hide_no_other_endpoint(nats):
    ((key, value),) = an_endpoint("default", "spoilt").items()
    document = json.loads(value)
    document["spec"]["ipNATs"] = nats

    text, mistakes = answer(
        Query(ENDPOINT), a_snapshot({key: dump(document), **an_endpoint()}), "wide"
    )

    assert [line.partition(": ")[0] for line in mistakes] == [f"etcd key {key}"]
    assert "node--1-k8s-web--0-eth0" in text


@pytest.mark.parametrize("listed", [7, "10.0.0.0/8", [7], {"a": "b"}])
def test_reserved_cidrs_that_are_none_are_told(listed):
    key = f"{keys.RESERVATIONS}r"

    _, mistakes = answer(
        Query(RESERVATION), a_snapshot({key: dump({"spec": {"reservedCIDRs": listed}})}), "wide"
    )

    assert [line.partition(": ")[0] for line in mistakes] == [f"etcd key {key}"]


def test_one_name_gives_the_bare_object_with_its_revision():
    text, _ = answer(Query(POOL, (DEFAULT_POOL.name,)), a_snapshot(pools(DEFAULT_POOL)), "json")

    stored = json.loads(encode_pool(DEFAULT_POOL, STAMP))
    stored["metadata"]["resourceVersion"] = "7"
    assert json.loads(text) == stored


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_none_or_several_names_give_a_list_with_the_stores_revision(names):
    values = pools(*(Pool(name, DEFAULT_POOL.cidr, 26) for name in "ab"))

    text, _ = answer(Query(POOL, names), a_snapshot(values, revision=12), "yaml")

    document = yaml.safe_load(text)
    assert document["kind"] == "IPPoolList"
    assert document["apiVersion"] == "projectcalico.org/v3"
    assert document["metadata"] == {"resourceVersion": "12"}
    assert [item["metadata"]["name"] for item in document["items"]] == ["a", "b"]


def test_every_name_that_does_not_exist_is_named():
    with pytest.raises(Invalid) as raised:
        answer(Query(POOL, ("a", "b")), a_snapshot({}), "ps")

    assert str(raised.value) == (
        "resource does not exist: IPPool(a)\nresource does not exist: IPPool(b)"
    )


def test_a_missing_endpoint_is_named_with_its_namespace():
    with pytest.raises(Invalid, match=r"WorkloadEndpoint\(default/x\)"):
        answer(Query(ENDPOINT, ("x",), "default"), a_snapshot({}), "ps")


@pytest.mark.parametrize("output", ["ps", "wide", "json", "yaml"])
def test_a_spoilt_value_does_not_hide_the_others(output):
    values = pools(DEFAULT_POOL) | {keys.pool("broken"): b"{"}

    text, mistakes = answer(Query(POOL), a_snapshot(values), output)

    assert DEFAULT_POOL.name in text
    assert len(mistakes) == 1
    assert "ippools/broken" in mistakes[0]


def test_an_unreadable_object_is_no_empty_list():
    with pytest.raises(Invalid, match="ippools/broken"):
        answer(Query(POOL, ("broken",)), a_snapshot({keys.pool("broken"): b"{"}), "json")


def test_a_container_outside_kubernetes_has_no_workload_as_in_calicoctl():
    where = EndpointId.of("node-1", Attachment("ocicat", "4f0c9a5d2b", "eth0"), None)
    endpoint = WorkloadEndpoint(where, "4f0c9a5d2b", (), "cali4f0c9a5d2b1", "ee:ee:ee:ee:ee:ee")
    key = keys.endpoint("default", where.name)

    text, _ = answer(Query(ENDPOINT), a_snapshot({key: encode_endpoint(endpoint, STAMP)}), "ps")

    assert text.splitlines()[1].split() == ["default", "node-1", "cali4f0c9a5d2b1"]
