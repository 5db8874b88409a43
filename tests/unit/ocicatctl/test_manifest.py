import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datastore.codec import dump
from ocicatctl.resources.kinds import CLUSTER, ENDPOINT, PEER, POOL
from ocicatctl.resources.manifest import Verb, named
from tests.unit.ocicatctl.manifests import SPECS, a_document, read


def mistakes(document, **options):
    _, wrong = read(document, **options)
    return wrong


@pytest.mark.parametrize("kind", SPECS)
def test_every_kind_is_read(kind):
    (resource,), wrong = read(a_document(kind))

    assert wrong == []
    assert resource.kind.name == kind


def test_a_pool_gets_calicos_defaults_in_calicos_order():
    (resource,), _ = read(a_document("IPPool", natOutgoing=True, disabled=False))

    assert list(resource.spec.items()) == [
        ("cidr", "10.65.0.0/16"),
        ("vxlanMode", "Never"),
        ("ipipMode", "Never"),
        ("natOutgoing", True),
        ("blockSize", 26),
        ("nodeSelector", "all()"),
        ("allowedUses", ["Workload", "Tunnel"]),
        ("assignmentMode", "Automatic"),
    ]


def test_a_pool_of_ipv6_gets_small_blocks():
    (resource,), _ = read(a_document("IPPool", cidr="fd80::/48"))

    assert resource.spec["blockSize"] == 122


def test_an_as_number_is_stored_as_a_number():
    (resource,), _ = read(a_document("BGPPeer", asNumber="1.10"))

    assert resource.spec["asNumber"] == 65546


def test_a_mesh_that_is_off_is_stored():
    (resource,), _ = read(a_document("BGPConfiguration", nodeToNodeMeshEnabled=False))

    assert resource.spec["nodeToNodeMeshEnabled"] is False


def test_an_endpoint_without_a_name_gets_the_one_by_its_spec():
    document = a_document("WorkloadEndpoint")
    del document["metadata"]

    (resource,), wrong = read(document)

    assert wrong == []
    assert resource.title == "WorkloadEndpoint(default/node--1-k8s-web--0-eth0)"


@pytest.mark.parametrize(
    ("orchestrator", "field", "value", "name"),
    [
        ("cni", "containerID", "4f0c-1", "n-cni-4f0c--1-eth0"),
        ("openstack", "workload", "w-1", "n-openstack-w--1-eth0"),
        ("libnetwork", "workload", "w", "n-libnetwork-libnetwork-eth0"),
    ],
)
def test_what_an_endpoint_is_named_after_depends_on_its_orchestrator(
    orchestrator, field, value, name
):
    spec = {"orchestrator": orchestrator, "node": "n", "pod": None, field: value}

    assert mistakes(a_document("WorkloadEndpoint", name, **spec)) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"kind": None}, "kind: is missing"),
        ({"kind": "NetworkPolicy"}, "kind: 'NetworkPolicy' is unknown; there are IPPool, "),
        ({"kind": ["IPPool"]}, "kind: ['IPPool'] is unknown"),
        ({"apiVersion": None}, "apiVersion: is missing; it is projectcalico.org/v3"),
        ({"apiVersion": "v1"}, "apiVersion: 'v1' is not projectcalico.org/v3"),
        ({"spce": {}}, 'unknown field "spce"; did you mean "spec"?'),
        ({"metadata": {"name": "Pool"}}, "metadata.name: 'Pool' is not a name"),
        ({"metadata": {"name": 5}}, "metadata.name: 5 is not text"),
        ({"metadata": {}}, "metadata.name: is missing"),
        ({"metadata": None}, "metadata.name: is missing"),
        ({"metadata": 5}, "metadata: 5 is not an object with fields"),
        ({"metadata": {"name": "x", "label": {}}}, 'unknown field "label"; did you mean "labels"?'),
        ({"metadata": {"name": "x", "namespace": "y"}}, "IPPool is not namespaced"),
        ({"spec": None}, "spec.cidr: is missing"),
        ({"spec": []}, "spec: [] is not an object with fields"),
    ],
)
def test_an_envelope_that_is_wrong_is_told(change, what):
    assert what in "\n".join(mistakes(a_document("IPPool") | change))


POOL_MISTAKES = [
    ({"cidr": None}, "spec.cidr: is missing"),
    ({"cidr": "10.65.0.1/16"}, "spec.cidr: '10.65.0.1/16' has bits beyond its prefix"),
    ({"cidr": "169.254.0.0/20"}, "cidr overlaps with 169.254.0.0/16"),
    ({"blockSize": 40}, "blockSize 40 is not in 20..32"),
    ({"cidr": "10.0.0.0/28"}, "blockSize 26 is larger than the pool"),
    ({"blocksize": 26}, 'unknown field "blocksize"; did you mean "blockSize"?'),
    ({"ipipMode": "Always", "vxlanMode": "Always"}, "ipipMode and vxlanMode are both on"),
    ({"cidr": "fd80::/48", "ipipMode": "Always"}, "IPIP does not carry IPv6"),
    ({"ipipMode": "On"}, "spec.ipipMode: 'On' is not one of Never, Always, CrossSubnet"),
    ({"natOutgoing": "true"}, "spec.natOutgoing: 'true' is neither true nor false"),
    ({"allowedUses": ["Pods"]}, "spec.allowedUses[0]: 'Pods' is not one of Workload"),
    ({"allowedUses": ["LoadBalancer", "Workload"]}, "a LoadBalancer pool cannot have"),
    ({"nodeSelector": "rack =="}, "spec.nodeSelector: 'rack ==' is not a selector; expected"),
    ({"nodeSelector": "global()"}, "uses global()"),
]
PEER_MISTAKES = [
    ({"node": "a", "nodeSelector": "all()"}, "node: excludes nodeSelector; give one"),
    ({"peerSelector": "all()"}, "peerIP: excludes peerSelector; give one"),
    ({"peerIP": None, "peerSelector": "all()"}, "asNumber: must not be set beside peerSelector"),
    ({"peerIP": None, "asNumber": None}, "peerIP: is missing; give it and asNumber, or p"),
    ({"asNumber": None}, "spec.asNumber: is missing"),
    ({"asNumber": 0}, "spec.asNumber: 0 is not an AS number"),
    ({"asNumber": 2**32}, "spec.asNumber: 4294967296 is not an AS number"),
    ({"peerIP": None, "localWorkloadSelector": "all()", "asNumber": None}, "asNumber: is missing"),
    ({"peerIP": "172.18.0.254:0"}, "has port 0; use 1..65535"),
    ({"maxRestartTime": "2 minutes"}, "is not a duration"),
    ({"reachableBy": "fd80::1"}, "reachableBy: is of another address family than peerIP"),
    (
        {"peerIP": None, "asNumber": None, "peerSelector": "all()", "reachableBy": "10.0.0.1"},
        "reachableBy: needs peerIP",
    ),
    ({"keepOriginalNextHop": True, "nextHopMode": "Self"}, "must not be set beside nextHopMode"),
    ({"password": {"secretKeyRef": {"name": "bgp"}}}, "password.secretKeyRef.key: is missing"),
    ({"ttlSecurity": 256}, "is not in 1..255"),
    ({"keepaliveTime": "0s"}, "spec.keepaliveTime: 0s is not in 1..65535"),
    ({"peerIP": "224.0.0.5"}, "spec.peerIP: 224.0.0.5 is no host's address"),
    ({"password": {"secretKeyRef": {"name": "..", "key": "k"}}}, "is not a name of a secret"),
]
RULE = {"cidr": "10.0.0.0/8", "matchOperator": "In", "action": "Accept"}
FILTER_MISTAKES = [
    ({"exportV4": [{}]}, "spec.exportV4[0].action: is missing"),
    ({"exportV4": [{"action": "Drop"}]}, "exportV4[0].action: 'Drop' is not one of Accept, Reject"),
    ({"exportV4": [RULE | {"matchOperator": None}]}, "exportV4[0].cidr: needs matchOperator"),
    ({"importV6": [RULE]}, "spec.importV6[0].cidr: 10.0.0.0/8 is not IPv6"),
    (
        {"exportV4": [RULE | {"prefixLength": {"max": 33}}]},
        "exportV4[0].prefixLength.max: 33 is not in 0..32",
    ),
    ({"exportV4": [RULE | {"prefixLength": {"max": 0}}]}, "prefixLength: no length is in 8..0"),
    ({"exportV4": [RULE | {"interface": "a b"}]}, "interface: 'a b' is not an interface's name"),
    ({"exportV4": [RULE | {"communities": {"values": [7]}}]}, "values[0]: 7 is not a community"),
    ({"exportV4": [RULE | {"operations": [{}]}]}, "operations[0]: give one of addCommunity"),
    (
        {"exportV4": [RULE | {"operations": [{"setPriority": {"value": 0}}]}]},
        "operations[0].setPriority.value: 0 is not in 1..2147483646",
    ),
    (
        {"exportV4": [RULE | {"operations": [{"addCommunity": {"value": "1:1"}}] * 11}]},
        "exportV4[0].operations: there can be 10 at most",
    ),
    ({"export": []}, 'unknown field "export"; did you mean "exportV'),
]
BGP_MISTAKES = [
    ({"asNumber": 0}, "spec.asNumber: 0 is not an AS number"),
    ({"listenPort": 70000}, "spec.listenPort: 70000 is not in 1..65535"),
    (
        {"nodeToNodeMeshEnabled": False, "nodeMeshMaxRestartTime": "2m"},
        "nodeMeshMaxRestartTime: must not be set where nodeToNodeMeshEnabled is false",
    ),
    (
        {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["gold"]}]},
        "spec.prefixAdvertisements[0].communities[0]: 'gold' is neither a community",
    ),
    (
        {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": []}]},
        "spec.prefixAdvertisements[0].communities: is missing",
    ),
    ({"communities": [{"name": "gold", "value": 5}]}, "spec.communities[0].value: 5 is not a comm"),
    ({"serviceClusterIPs": [{"cidr": "x"}]}, "spec.serviceClusterIPs[0].cidr: 'x' is not a CIDR"),
    ({"logSeverityScreen": "Loud"}, "is not one of Trace, Debug, Info"),
    ({"ignoredInterfaces": ["a b"]}, "ignoredInterfaces[0]: 'a b' is not an interface's name"),
    ({"ignoredInterfaces": ["*"]}, "spec.ignoredInterfaces: '*' is not a name"),
    ({"nodeMeshMaxRestartTime": "2h"}, "nodeMeshMaxRestartTime: 7200s is not in 0..4095"),
]
ENDPOINT_MISTAKES = [
    ({"node": "node-2"}, "is not its name; that is node--2-k8s-web--0-eth0"),
    ({"pod": None}, "spec.pod: is missing"),
    ({"node": None}, "spec.node: is missing"),
    ({"pod": "web-"}, "spec.pod: 'web-' begins or ends with '-'"),
    ({"pod": "web/0"}, "spec.pod: 'web/0' is no part of a name; leave '/', blanks"),
    ({"node": "node 1"}, "spec.node: 'node 1' is no part of a name"),
    ({"endpoint": "eth0\n"}, "spec.endpoint: 'eth0\\n' is no part of a name"),
    ({"ipNetworks": ["10.65.0.0/24"]}, "spec.ipNetworks[0]: '10.65.0.0/24' is more than one"),
    ({"ipNATs": [{"internalIP": "1.1.1.1", "externalIP": "2.2.2.2"}]}, "is not in ipNetworks"),
    ({"interfaceName": None}, "spec.interfaceName: is missing"),
    ({"mac": "ee"}, "spec.mac: 'ee' is not a MAC address"),
    ({"ports": [{"name": "http", "protocol": "TCP", "port": 0}]}, "spec.ports[0].port: 0 is not"),
]
NODE_MISTAKES = [
    ({"bgp": {"ipv4Address": "10.0.0.11"}}, "bgp.ipv4Address: '10.0.0.11' is not an IPv4 address"),
    ({"bgp": {"ipv6Address": "10.0.0.11/24"}}, "is not an IPv6 address with a prefix length"),
    ({"bgp": {"asNumber": "AS1"}}, "bgp.asNumber: 'AS1' is not an AS number"),
    ({"bgp": {"routeReflectorClusterID": "1"}}, "routeReflectorClusterID: '1' is not an IPv4"),
    ({"orchRef": []}, 'unknown field "orchRef"; did you mean "orchRefs"?'),
]
MISTAKES = [
    *(("IPPool", change, what) for change, what in POOL_MISTAKES),
    *(("BGPPeer", change, what) for change, what in PEER_MISTAKES),
    *(("BGPFilter", change, what) for change, what in FILTER_MISTAKES),
    *(("BGPConfiguration", change, what) for change, what in BGP_MISTAKES),
    *(("WorkloadEndpoint", change, what) for change, what in ENDPOINT_MISTAKES),
    *(("Node", change, what) for change, what in NODE_MISTAKES),
    ("IPReservation", {"reservedCIDRs": ["10.0.0.0/8", "here"]}, "reservedCIDRs[1]: 'here' is"),
]


@pytest.mark.parametrize(("kind", "change", "what"), MISTAKES)
def test_a_spec_that_is_wrong_is_told_once(kind, change, what):
    wrong = mistakes(a_document(kind, **change))

    assert len(wrong) == 1
    assert what in wrong[0]
    assert wrong[0].startswith(f"f.yaml: {kind}(")


def test_every_mistake_of_every_document_is_told():
    wrong = mistakes(a_document("IPPool", cidr="x", blockSize="26"))
    wrong += mistakes(a_document("BGPPeer", "Tor"))

    assert len(wrong) == 3


@pytest.mark.parametrize(
    "field",
    [
        {"nodeToNodeMeshEnabled": False},
        {"asNumber": 64512},
        {"serviceClusterIPs": [{"cidr": "10.96.0.0/12"}]},
        {"nodeMeshMaxRestartTime": "2m"},
    ],
)
def test_some_bgp_settings_are_for_the_cluster_only(field):
    document = a_document("BGPConfiguration", "node.node-1", **{"asNumber": None, **field})

    assert mistakes(document) == [
        f"f.yaml: BGPConfiguration(node.node-1): spec.{next(iter(field))}: "
        'can only be set on the BGPConfiguration "default"'
    ]


@pytest.mark.parametrize("kind", ["BGPPeer", "BGPConfiguration"])
def test_bfd_is_on_or_off(kind):
    document = a_document(kind)
    for said, wrong in (("true", 0), ("false", 0), ("yes", 1)):
        document["metadata"]["annotations"] = {"ocicat.io/bfd": said}

        assert len(mistakes(document)) == wrong


@pytest.mark.parametrize("name", ["other", "node-1", "defaults"])
def test_a_bgp_configuration_is_the_clusters_or_a_nodes(name):
    (wrong,) = mistakes(a_document("BGPConfiguration", name))

    assert f"metadata.name: '{name}' is neither default nor node.<node>" in wrong


def test_settings_of_one_node_are_right():
    document = a_document("BGPConfiguration", "node.n1", asNumber=None, listenPort=1790)

    assert mistakes(document) == []


def test_a_community_may_be_named():
    spec = {
        "communities": [{"name": "gold", "value": "65000:100"}],
        "prefixAdvertisements": [
            {"cidr": "10.0.0.0/8", "communities": ["gold", "65000:200", "1:2:3"]}
        ],
    }

    assert mistakes(a_document("BGPConfiguration", **spec)) == []


@pytest.mark.parametrize("namespace", [None, "kube-system"])
def test_an_endpoints_namespace_is_that_of_the_file_of_the_option_or_default(namespace):
    (resource,), wrong = read(a_document("WorkloadEndpoint"), namespace=namespace)

    assert wrong == []
    assert resource.namespace == (namespace or "default")


def test_two_namespaces_contradict_each_other():
    document = a_document("WorkloadEndpoint")
    document["metadata"]["namespace"] = "a"

    (wrong,) = mistakes(document, namespace="b")

    assert wrong.endswith("metadata.namespace: 'a' is not --namespace b")


def test_a_namespace_is_nothing_for_a_pool():
    (wrong,) = mistakes(a_document("IPPool"), namespace="b")

    assert "IPPool is not namespaced; leave --namespace out" in wrong


def test_the_same_object_twice_is_a_mistake():
    found, wrong = read(a_document("IPPool"), a_document("IPPool"), a_document("BGPPeer"))

    assert [resource.title for resource in found] == ["IPPool(x)", "BGPPeer(x)"]
    assert wrong == ["f.yaml: IPPool(x): is there twice, first in f.yaml"]


def test_a_version_is_not_to_be_created():
    document = a_document("IPPool")
    document["metadata"]["resourceVersion"] = "7"

    assert mistakes(document) == []
    assert "metadata.resourceVersion: must not be set" in mistakes(document, verb=Verb.CREATE)[0]


@pytest.mark.parametrize("verb", Verb)
def test_the_cluster_information_is_only_read(verb):
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "ClusterInformation",
        "metadata": {"name": "default"},
        "spec": {"clusterGUID": "x"},
    }

    (wrong,) = mistakes(document, verb=verb)

    assert f"operation {verb.word} is not supported on ClusterInformation" in wrong


def test_a_deletion_asks_for_no_more_than_the_name():
    document = {"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "P_1"}}

    (resource,), wrong = read({**document, "spec": {"cidr": 5}}, verb=Verb.DELETE)

    assert wrong == []
    assert resource.title == "IPPool(P_1)"


def test_a_deletion_of_nothing_is_told():
    document = a_document("WorkloadEndpoint")
    document["metadata"] = {}

    assert "metadata.name: is missing" in mistakes(document, verb=Verb.DELETE)[0]


def test_names_of_the_command_line_are_meant_once():
    assert [r.title for r in named(ENDPOINT, ("a", "b", "a"), "kube-system")] == [
        "WorkloadEndpoint(kube-system/a)",
        "WorkloadEndpoint(kube-system/b)",
    ]


@pytest.mark.parametrize(
    ("kind", "names", "namespace", "what"),
    [
        (POOL, ("",), None, "IPPool(): is not a name"),
        (POOL, ("a/b",), None, "IPPool(a/b): is not a name"),
        (PEER, ("a",), "default", "BGPPeer is not namespaced"),
        (CLUSTER, ("default",), None, "operation delete is not supported on ClusterInformation"),
    ],
)
def test_a_name_that_cannot_be_is_told(kind, names, namespace, what):
    with pytest.raises(Invalid) as raised:
        named(kind, names, namespace)

    assert what in str(raised.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["a-", "::"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "cidr", "communities", "internalIP", "bgp"])
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", SPECS)
@given(data=st.data())
def test_whatever_somebody_types_is_right_or_told(kind, data):
    document = a_document(kind)
    fields = [*_names(kind), "other"]
    for field in data.draw(st.lists(st.sampled_from(fields), max_size=3)):
        document["spec"][field] = data.draw(ANYTHING)
    if data.draw(st.booleans()):
        document[data.draw(st.sampled_from([*document, "status"]))] = data.draw(ANYTHING)

    found, wrong = read(document)

    assert found or wrong
    for resource in found if not wrong else ():
        assert json.loads(dump(resource.spec)) == resource.spec


def _names(kind: str) -> list[str]:
    (wrong,) = mistakes(a_document(kind, qqqqqqqq=1))
    return wrong.rpartition("there are ")[2].split(", ")
