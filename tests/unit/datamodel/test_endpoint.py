import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.attachment import Attachment, Pod
from datamodel.endpoint import EndpointId


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("node-1", "default", "k8s", "web-0", "eth0"), "node--1-k8s-web--0-eth0"),
        (("node-1", "default", "k8s", "web", "eth0"), "node--1-k8s-web-eth0"),
        (("h1", "default", "cni", "4f0c9a5d2b", "eth0"), "h1-cni-4f0c9a5d2b-eth0"),
        (("h1", "default", "cni", "default-t1", "net1"), "h1-cni-default--t1-net1"),
        (("a--b", "default", "k8s", "c", "eth0"), "a----b-k8s-c-eth0"),
    ],
)
def test_the_name_is_calicos(parts, name):
    assert EndpointId(*parts).name == name


# A segment neither begins nor ends with a dash; Kubernetes allows no other names.
segments = st.from_regex(r"[a-z0-9]+(-{1,3}[a-z0-9]+){0,3}", fullmatch=True)


@given(segments, segments, segments)
def test_the_name_can_be_split_into_its_parts_again(node, workload, ifname):
    name = EndpointId(node, "default", "k8s", workload, ifname).name

    assert split(name) == [node, "k8s", workload, ifname]


def split(name: str) -> list[str]:
    """As Calico does: a dash followed by a dash is one of the segment's."""
    parts, i = [""], 0
    while i < len(name):
        if name[i : i + 2] == "--":
            parts[-1] += "-"
            i += 2
        elif name[i] == "-":
            parts.append("")
            i += 1
        else:
            parts[-1] += name[i]
            i += 1
    return parts


def test_a_pods_endpoint_is_named_after_the_pod():
    where = EndpointId.of("node-1", Attachment("net", "c1", "eth0"), Pod("team", "web-0"))

    assert where == EndpointId("node-1", "team", "k8s", "web-0", "eth0")


def test_outside_kubernetes_the_endpoint_is_named_after_the_container():
    where = EndpointId.of("node-1", Attachment("net", "c1", "net1"), None)

    assert where == EndpointId("node-1", "default", "cni", "c1", "net1")


def test_two_containers_of_one_pod_share_an_endpoint():
    pod = Pod("default", "web")

    old = EndpointId.of("n", Attachment("net", "old", "eth0"), pod)
    new = EndpointId.of("n", Attachment("net", "new", "eth0"), pod)

    assert old == new
