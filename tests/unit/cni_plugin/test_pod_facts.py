import contextlib
import copy
import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.pod_facts import PREFIX, PodFacts, pod_facts, profiles
from datamodel.endpoint import Port, Workload
from datamodel.errors import Invalid
from tests.kube_server import NAMESPACE, POD


def annotated(document, annotations):
    document = copy.deepcopy(document)
    document["metadata"]["annotations"] = {
        PREFIX + name: text if isinstance(text, str) else json.dumps(text)
        for name, text in annotations.items()
    }
    return document


def facts(pod=None, namespace=None, *, is_first_link=True, has_floating_ips=True) -> PodFacts:
    return pod_facts(
        annotated(POD, pod or {}),
        annotated(NAMESPACE, namespace or {}),
        is_first_link=is_first_link,
        has_floating_ips=has_floating_ips,
    )


def mistakes(pod=None, namespace=None, **more) -> str:
    with pytest.raises(Invalid) as caught:
        facts(pod, namespace, **more)
    return str(caught.value)


# ---- what the endpoint says of the pod ---------------------------------------------------------


def test_a_pod_without_annotations_asks_for_nothing_and_is_described():
    found = facts()

    assert found == PodFacts(
        workload=Workload(
            labels={"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"},
            service_account="shopkeeper",
            generate_name="web-",
            ports=(Port(8080, "http"), Port(53, "", "UDP", 5353)),
        ),
        namespace_labels={"kubernetes.io/metadata.name": "shop", "team": "blue"},
    )


def test_a_pod_needs_neither_labels_nor_ports_nor_an_account():
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "b"}]}}

    found = pod_facts(pod, {"metadata": {}}, is_first_link=True, has_floating_ips=False)

    assert found == PodFacts(Workload())


def test_init_containers_have_ports_too():
    pod = copy.deepcopy(POD)
    pod["spec"]["initContainers"][0]["ports"] = [{"name": "dbg", "containerPort": 9, "hostPort": 7}]

    found = pod_facts(pod, NAMESPACE, is_first_link=True, has_floating_ips=True)

    assert found.workload.ports[-1] == Port(9, "dbg", "TCP", 7)


def test_the_profiles_are_calicos():
    assert profiles("shop", "keeper") == ("kns.shop", "ksa.shop.keeper")
    assert profiles("shop", "") == ("kns.shop",)


# ---- what it asks for --------------------------------------------------------------------------


def test_pools_are_named_by_the_pod_or_by_its_namespace():
    found = facts(
        {"ipv4pools": ["red", "10.0.0.0/16"]}, {"ipv4pools": ["blue"], "ipv6pools": ["b"]}
    )

    assert found.pools == {4: ("red", "10.0.0.0/16"), 6: ("b",)}


def test_an_empty_list_means_any_pool_whatever_the_namespace_and_the_configuration_say():
    assert facts({"ipv4pools": []}, {"ipv4pools": ["blue"]}).pools == {4: ()}


def test_an_empty_annotation_is_none():
    assert facts({"ipv4pools": ""}, {"ipv4pools": ["blue"]}).pools == {4: ("blue",)}


@pytest.mark.parametrize(
    ("families", "versions"), [(["IPv6"], (6,)), (["IPv6", "IPv4"], (4, 6)), (["IPv4"] * 2, (4,))]
)
def test_families_are_named_by_the_pod_or_by_its_namespace(families, versions):
    assert facts({"ipFamilies": families}, {"ipFamilies": ["IPv4"]}).versions == versions
    assert facts({}, {"ipFamilies": families}).versions == versions


def test_a_pod_may_name_its_addresses():
    found = facts({"ipAddrs": ["10.0.0.5", "fd00::5"]}, {"ipAddrs": ["10.0.0.9"]})

    assert found.addresses == (ip_address("10.0.0.5"), ip_address("fd00::5"))


def test_addresses_are_never_inherited():
    found = facts({}, {"ipAddrs": ["10.0.0.9"], "floatingIPs": ["1.1.1.1"], "hwAddr": "x"})

    assert (found.addresses, found.workload.floating_ips, found.mac) == ((), (), "")


def test_floating_ips_lead_to_the_pod():
    found = facts({"floatingIPs": ["172.18.9.9", "172.18.9.8", "fc00::9"]})

    assert list(map(str, found.workload.floating_ips)) == ["172.18.9.9", "172.18.9.8", "fc00::9"]


def test_a_pod_may_name_its_mac():
    assert facts({"hwAddr": "0A:1B:2C:3D:4E:5F"}).mac == "0a:1b:2c:3d:4e:5f"


def test_what_only_one_link_can_have_is_for_the_first():
    annotations = {
        "ipAddrs": ["10.0.0.5"],
        "hwAddr": "0a:1b:2c:3d:4e:5f",
        "floatingIPs": ["172.18.9.9"],
        "ipv4pools": ["red"],
    }

    found = facts(annotations, is_first_link=False)

    assert (found.addresses, found.mac, found.workload.floating_ips) == ((), "", ())
    assert found.pools == {4: ("red",)}


# ---- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        ("ipv4pools", "red", "'red' is not a JSON list of texts"),
        ("ipv4pools", '["red"', "'[\"red\"' is not a JSON list of texts"),
        ("ipv4pools", '{"red":1}', "is not a JSON list of texts"),
        ("ipv4pools", "[1]", "'[1]' is not a JSON list of texts"),
        ("ipv4pools", ["fd00::/64"], "'fd00::/64' is neither a pool's name nor an IPv4 range"),
        ("ipv4pools", ["10.0.0.1/16"], "'10.0.0.1/16' is neither a pool's name nor an IPv4 range"),
        ("ipv6pools", ["10.0.0.0/16"], "'10.0.0.0/16' is neither a pool's name nor an IPv6 range"),
        ("ipv6pools", ["Red"], "'Red' is neither a pool's name nor an IPv6 range"),
        ("ipFamilies", ["ipv4"], "['ipv4'] is not one of IPv4, IPv6"),
        ("ipFamilies", [], "[] is not one of IPv4, IPv6"),
        ("ipAddrs", ["10.0.0.5/32"], "'10.0.0.5/32' is not an address"),
        ("ipAddrs", ["10.0.0.5", "10.0.0.6"], "more than one address of a family"),
        ("ipAddrs", "10.0.0.5", "'10.0.0.5' is not a JSON list of texts"),
        ("floatingIPs", ["here"], "'here' is not an address"),
        ("hwAddr", "here", "'here' is not six pairs of hex digits"),
        ("ipAddrsNoIpam", ["10.0.0.5"], f"is not served; use {PREFIX}ipAddrs"),
    ],
)
def test_a_mistake_is_named_by_its_annotation(annotation, value, text):
    assert mistakes({annotation: value}).startswith(f"{PREFIX}{annotation}: ")
    assert text in mistakes({annotation: value})


def test_a_mistake_of_the_namespace_counts_unless_the_pod_overrides_it():
    assert "ipv4pools" in mistakes({}, {"ipv4pools": "red"})
    assert facts({"ipv4pools": ["red"]}, {"ipv4pools": "red"}).pools == {4: ("red",)}


def test_floating_ips_must_be_enabled_as_in_calico():
    assert mistakes({"floatingIPs": ["172.18.9.9"]}, has_floating_ips=False) == (
        f"{PREFIX}floatingIPs: is not enabled; set feature_control.floating_ips in the network "
        "configuration"
    )


def test_every_mistake_is_named_at_once():
    names = ("ipv4pools", "ipv6pools", "ipFamilies", "ipAddrs", "floatingIPs", "hwAddr")

    text = mistakes(dict.fromkeys(names, "x"), {"ipFamilies": "y"})

    assert [text.count(f"{PREFIX}{name}: ") for name in names] == [1] * len(names)


def test_a_long_value_is_cut():
    assert len(mistakes({"ipv4pools": "x" * 200_000})) < 400


def test_a_deeply_nested_value_is_a_mistake_like_any_other():
    assert "is not a JSON list of texts" in mistakes({"ipv4pools": "[" * 100_000})


# The test below passes if the value is taken or refused: anything else is raised as it is.
refused = contextlib.suppress(Invalid)


@given(st.sampled_from(["ipv4pools", "ipFamilies", "ipAddrs", "floatingIPs", "hwAddr"]), st.text())
def test_any_value_is_read_or_refused(name, text):
    with refused:
        facts({name: text})
