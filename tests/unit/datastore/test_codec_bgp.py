"""BGP resources as Calico stores them, and as somebody could."""

import contextlib
import json
import re
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.bgp import BgpConfiguration, PrefixAdvertisement, SecretRef
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.bgp_peer import BgpPeer
from datamodel.errors import Invalid
from datastore import codec_bgp
from tests.cluster import a_bgp_configuration, a_bgp_filter, a_bgp_peer

ROUTER = {"peerIP": "172.18.0.254", "asNumber": 64513}


def test_every_field_of_a_configuration_is_read():
    pair = a_bgp_configuration(
        bfd="true",
        logSeverityScreen="debug",
        nodeToNodeMeshEnabled=True,
        asNumber="1.10",
        serviceLoadBalancerIPs=[{"cidr": "10.97.0.0/24"}, {}],
        serviceExternalIPs=[{"cidr": "10.98.0.0/24"}],
        serviceClusterIPs=[{"cidr": "10.96.0.0/12"}, {"cidr": "fd00:96::/112"}],
        communities=[{"name": "blue", "value": "64512:100:1"}],
        prefixAdvertisements=[{"cidr": "10.66.0.0/16", "communities": ["blue", "64512:200"]}],
        listenPort=1179,
        bindMode="NodeIP",
        nodeMeshPassword={"secretKeyRef": {"name": "bgp", "key": "pw"}},
        nodeMeshMaxRestartTime="1m30s",
        ignoredInterfaces=["docker0", "virbr*"],
    )

    assert codec_bgp.decode_bgp_configuration(*pair) == BgpConfiguration(
        as_number=65546,
        is_mesh_enabled=True,
        listen_port=1179,
        bind_mode="NodeIP",
        mesh_password=SecretRef("bgp", "pw"),
        mesh_restart_time_s=90,
        is_mesh_bfd=True,
        communities={"blue": "64512:100:1"},
        prefix_advertisements=(
            PrefixAdvertisement(ip_network("10.66.0.0/16"), ("blue", "64512:200")),
        ),
        service_cluster_ips=(ip_network("10.96.0.0/12"), ip_network("fd00:96::/112")),
        service_external_ips=(ip_network("10.98.0.0/24"),),
        service_load_balancer_ips=(ip_network("10.97.0.0/24"),),
        ignored_interfaces=("docker0", "virbr*"),
        log_severity="Debug",
    )


@pytest.mark.parametrize("text", [b"{}", b'{"spec":null}', b'{"spec":{},"metadata":null}'])
def test_an_empty_configuration_is_calicos_defaults(text):
    key = a_bgp_configuration()[0]

    assert codec_bgp.decode_bgp_configuration(key, text) == BgpConfiguration()


CLUSTER = BgpConfiguration(
    as_number=64513,
    is_mesh_enabled=False,
    listen_port=1179,
    bind_mode="NodeIP",
    communities={"blue": "64512:100", "red": "64512:101"},
    prefix_advertisements=(PrefixAdvertisement(ip_network("10.66.0.0/16"), ("blue",)),),
    service_cluster_ips=(ip_network("10.96.0.0/12"),),
    ignored_interfaces=("docker0",),
    log_severity="Error",
)


def test_what_a_node_does_not_say_is_the_clusters():
    pair = a_bgp_configuration("node.node-1")

    assert codec_bgp.decode_node_bgp_configuration(*pair, CLUSTER) == CLUSTER


def test_a_node_has_its_say_over_what_concerns_it():
    pair = a_bgp_configuration(
        "node.node-1",
        bindMode="None",
        listenPort=1180,
        communities=[{"name": "red", "value": "64512:7"}],
        prefixAdvertisements=[{"cidr": "10.67.0.0/16", "communities": ["red", "blue"]}],
        ignoredInterfaces=["eth1"],
        logSeverityScreen="Fatal",
    )

    found = codec_bgp.decode_node_bgp_configuration(*pair, CLUSTER)

    assert found == BgpConfiguration(
        as_number=64513,
        is_mesh_enabled=False,
        listen_port=1180,
        bind_mode="None",
        communities={"blue": "64512:100", "red": "64512:7"},
        prefix_advertisements=(PrefixAdvertisement(ip_network("10.67.0.0/16"), ("red", "blue")),),
        service_cluster_ips=(ip_network("10.96.0.0/12"),),
        ignored_interfaces=("eth1",),
        log_severity="Fatal",
    )


def test_a_node_has_no_say_over_what_concerns_all():
    pair = a_bgp_configuration(
        "node.node-1", nodeToNodeMeshEnabled=True, asNumber=1, serviceClusterIPs=[], bfd="true"
    )

    assert codec_bgp.decode_node_bgp_configuration(*pair, CLUSTER) == CLUSTER


@pytest.mark.parametrize(("spec", "port"), [({"listenPort": 1180}, 1180), ({}, None)])
def test_the_port_of_a_node_is_read_whatever_else_is_there(spec, port):
    pair = a_bgp_configuration("node.node-2", **spec, bindMode=7, ignoredInterfaces="all")

    assert codec_bgp.decode_listen_port(*pair) == port


def test_every_field_of_a_peer_is_read():
    pair = a_bgp_peer(
        "tor-r1",
        bfd="true",
        nodeSelector='rack == "r1"',
        peerIP="172.18.0.254:1179",
        asNumber="64513",
        keepOriginalNextHop=True,
        password={"secretKeyRef": {"name": "bgp", "key": "pw"}},
        sourceAddress="None",
        maxRestartTime="2m0s",
        keepaliveTime="20s",
        numAllowedLocalASNumbers=0,
        localASNumber=64999,
        ttlSecurity=1,
        reachableBy="172.18.0.1",
        filters=["f2", "f1"],
        reversePeering="Manual",
    )

    assert codec_bgp.decode_bgp_peer(*pair) == BgpPeer(
        name="tor-r1",
        node_selector='rack == "r1"',
        peer_ip=IPv4Address("172.18.0.254"),
        peer_port=1179,
        as_number=64513,
        keeps_original_next_hop=True,
        password=SecretRef("bgp", "pw"),
        source_address="None",
        restart_time_s=120,
        keepalive_s=20,
        allowed_local_as=0,
        local_as_number=64999,
        ttl_security=1,
        reachable_by=IPv4Address("172.18.0.1"),
        filters=("f2", "f1"),
        reverse_peering="Manual",
        is_bfd=True,
    )


def test_a_peer_may_be_other_nodes():
    pair = a_bgp_peer("rr", node="node-1", peerSelector="has(rr)", nextHopMode="Self", bfd="false")

    assert codec_bgp.decode_bgp_peer(*pair) == BgpPeer(
        "rr", node="node-1", peer_selector="has(rr)", next_hop_mode="Self"
    )


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("172.18.0.254", IPv4Address("172.18.0.254"), None),
        ("172.18.0.254:1179", IPv4Address("172.18.0.254"), 1179),
        ("fc00::9", IPv6Address("fc00::9"), None),
        ("[fc00::9]:1179", IPv6Address("fc00::9"), 1179),
    ],
)
def test_a_peer_listens_at_an_address_and_perhaps_a_port(text, address, port):
    peer = codec_bgp.decode_bgp_peer(*a_bgp_peer("tor", peerIP=text, asNumber=1))

    assert (peer.peer_ip, peer.peer_port) == (address, port)


def test_every_field_of_a_filter_is_read():
    everything = {
        "action": "Accept",
        "cidr": "10.0.0.0/8",
        "matchOperator": "In",
        "prefixLength": {"min": 16, "max": 24},
        "source": "RemotePeers",
        "interface": "*.calico",
        "peerType": "eBGP",
        "communities": {"values": ["65000:100"]},
        "asPathPrefix": [65000, "1.10"],
        "priority": 512,
        "operations": [
            {"addCommunity": {"value": "65000:100:200"}},
            {"prependASPath": {"prefix": [65000, "65001"]}},
            {"setPriority": {"value": 700}},
        ],
    }
    pair = a_bgp_filter(
        "f1",
        exportV4=[everything, {"action": "Reject"}],
        importV6=[{"action": "Reject", "cidr": "fd00::/8", "matchOperator": "NotEqual"}],
    )

    assert codec_bgp.decode_bgp_filter(*pair) == BgpFilter(
        "f1",
        export_v4=(
            FilterRule(
                is_accept=True,
                cidr=ip_network("10.0.0.0/8"),
                match_operator="In",
                prefix_length_min=16,
                prefix_length_max=24,
                source="RemotePeers",
                interface="*.calico",
                peer_type="eBGP",
                communities=("65000:100",),
                as_path_prefix=(65000, 65546),
                priority=512,
                operations=(
                    Operation(add_community="65000:100:200"),
                    Operation(prepend_as_path=(65000, 65001)),
                    Operation(set_priority=700),
                ),
            ),
            FilterRule(is_accept=False),
        ),
        import_v6=(
            FilterRule(is_accept=False, cidr=ip_network("fd00::/8"), match_operator="NotEqual"),
        ),
    )


def a_rule(**fields: object) -> dict[str, object]:
    return {"action": "Accept", **fields}


WRONG = [
    *(
        (codec_bgp.decode_bgp_configuration, a_bgp_configuration(**spec), said)
        for spec, said in [
            ({"asNumber": 0}, "asNumber: 0 is not in 1..4294967295"),
            ({"asNumber": "1.65536"}, "part beyond 65535"),
            ({"listenPort": 65536}, "listenPort: 65536 is not in 1..65535"),
            ({"listenPort": "179"}, "listenPort '179' is not a whole number"),
            ({"nodeToNodeMeshEnabled": "no"}, "neither true nor false"),
            ({"bindMode": "All"}, "bindMode: 'All' is not one of None, NodeIP"),
            ({"logSeverityScreen": "Loud"}, "logSeverityScreen: 'Loud' is not one of Trace"),
            ({"nodeMeshMaxRestartTime": "4096s"}, "4096s is not in 0..4095"),
            ({"nodeMeshMaxRestartTime": "2 minutes"}, "'2 minutes' is not a duration"),
            ({"nodeMeshMaxRestartTime": 120}, "120 is not text"),
            ({"nodeMeshPassword": {"secretKeyRef": {"name": "bgp"}}}, "'key' is missing"),
            (
                {"nodeMeshPassword": {"secretKeyRef": {"name": "../../etc", "key": ".."}}},
                "secretKeyRef.name: '../../etc' is not a name of a secret; nodeMeshPassword",
            ),
            ({"serviceClusterIPs": [{"cidr": "10.96.0.1/12"}]}, "10.96.0.1/12 has host bits set"),
            ({"serviceExternalIPs": ["10.96.0.0/12"]}, "'10.96.0.0/12' is not an object"),
            ({"serviceExternalIPs": [{"cidr": 'fe80::%";x/64'}]}, "has a zone"),
            ({"communities": [{"name": "b", "value": "65536:1"}]}, "'65536:1' of 'b' is not one"),
            (
                {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["blue"]}]},
                "prefixAdvertisements[0].communities[0]: 'blue' is neither a community",
            ),
            ({"ignoredInterfaces": ["*"]}, "ignoredInterfaces: '*' is not a name"),
            ({"ignoredInterfaces": ['eth0"; }']}, "is not a name"),
            ({"bfd": "yes"}, "annotation ocicat.io/bfd 'yes' is neither"),
        ]
    ),
    *(
        (codec_bgp.decode_bgp_peer, a_bgp_peer("tor", **(ROUTER | spec)), said)
        for spec, said in [
            ({"node": "n", "nodeSelector": "all()"}, "node: excludes nodeSelector"),
            ({"peerSelector": "all()"}, "peerIP: excludes peerSelector"),
            ({"peerIP": None}, "peerIP: is missing"),
            ({"asNumber": None}, "asNumber: is missing"),
            ({"asNumber": 2**32}, "asNumber: 4294967296 is not in"),
            ({"peerIP": None, "peerSelector": "all()"}, "asNumber: must not be set beside"),
            ({"peerIP": "172.18.0.254:0"}, "peerIP: 0 is not in 1..65535"),
            ({"peerIP": "172.18.0.256"}, "'172.18.0.256' does not appear to be"),
            ({"peerIP": "[172.18.0.254]:179"}, "is not an address, <IPv4>:<port>"),
            ({"peerIP": 'fe80::1%";'}, "is not an address"),
            ({"peerIP": "224.0.0.5"}, "peerIP: 224.0.0.5 is no host's address"),
            ({"peerIP": "fe80::1"}, "peerIP: fe80::1 is no host's address"),
            ({"nodeSelector": "rack =="}, "nodeSelector: "),
            ({"reachableBy": "fd00::1"}, "reachableBy: is of another address family"),
            ({"localASNumber": 0}, "localASNumber: 0 is not in"),
            ({"numAllowedLocalASNumbers": -1}, "numAllowedLocalASNumbers: -1 is not in"),
            ({"keepaliveTime": "100ms"}, "keepaliveTime: 0s is not in 1..65535"),
            ({"maxRestartTime": "2h"}, "maxRestartTime: 7200s is not in 0..4095"),
            ({"ttlSecurity": 0}, "ttlSecurity: 0 is not in 1..255"),
            ({"ttlSecurity": 256}, "ttlSecurity: 256 is not in 1..255"),
            ({"nextHopMode": "Other"}, "nextHopMode: 'Other' is not one of Auto, Self, Keep"),
            ({"nextHopMode": "Self", "keepOriginalNextHop": True}, "keepOriginalNextHop: must"),
            ({"sourceAddress": "Any"}, "sourceAddress: 'Any' is not one of"),
            ({"reversePeering": "Never"}, "reversePeering: 'Never' is not one of"),
            ({"filters": "f1"}, "'f1' is not a list"),
            ({"bfd": ""}, "annotation ocicat.io/bfd '' is neither"),
            (
                {"password": {"secretKeyRef": {"name": "a/b", "key": "k"}}},
                "password.secretKeyRef.name: 'a/b' is not a name of a secret",
            ),
        ]
    ),
    (
        codec_bgp.decode_bgp_peer,
        a_bgp_peer("tor", peerSelector="all()", reachableBy="10.0.0.1"),
        "reachableBy: needs peerIP",
    ),
    *(
        (codec_bgp.decode_bgp_filter, a_bgp_filter("f", **{where: [rule]}), said)
        for where, rule, said in [
            ("exportV4", {}, "field 'action' is missing"),
            ("exportV4", {"action": "Drop"}, "'Drop' is neither Accept nor Reject"),
            ("exportV4", a_rule(cidr="10.0.0.0/8"), "exportV4[0].cidr: needs matchOperator"),
            ("exportV6", a_rule(matchOperator="In"), "exportV6[0].matchOperator: needs cidr"),
            ("importV4", a_rule(prefixLength={"min": 1}), "prefixLength: needs cidr"),
            ("importV4", a_rule(cidr="fd00::/8", matchOperator="In"), "fd00::/8 is not IPv4"),
            ("importV6", a_rule(cidr="10.0.0.0/8", matchOperator="In"), "10.0.0.0/8 is not IPv6"),
            ("importV4", a_rule(cidr="10.0.0.0/8", matchOperator="~"), "'~' is not one of Equal"),
            (
                "importV4",
                a_rule(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"max": 33}),
                "prefixLength.max: 33 is not in 0..32",
            ),
            (
                "importV6",
                a_rule(cidr="fd00::/8", matchOperator="In", prefixLength={"min": 129}),
                "prefixLength.min: 129 is not in 0..128",
            ),
            (
                "importV4",
                a_rule(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"min": 9, "max": 8}),
                "prefixLength: no length is in 9..8",
            ),
            (
                "importV4",
                a_rule(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"max": 7}),
                "prefixLength: no length is in 8..7",
            ),
            ("importV4", a_rule(source="Here"), "source: 'Here' is not one of RemotePeers"),
            ("importV4", a_rule(interface='"'), "interface: '\"' is not an interface's name"),
            ("importV4", a_rule(peerType="ebgp"), "peerType: 'ebgp' is not one of eBGP, iBGP"),
            ("importV4", a_rule(communities={"values": ["x"]}), "'x' is not a community"),
            ("importV4", a_rule(communities={"values": ["1:1", "1:2"]}), "one value only"),
            ("importV4", a_rule(asPathPrefix=[0]), "asPathPrefix: 0 is not in"),
            ("importV4", a_rule(priority=0), "priority: 0 is not in 1..2147483646"),
            (
                "importV4",
                {"action": "Reject", "operations": [{"setPriority": {"value": 1}}]},
                "operations: need the action Accept",
            ),
            ("importV4", a_rule(operations=[{}]), "operations[0]: give one of addCommunity"),
            (
                "importV4",
                a_rule(operations=[{"setPriority": {"value": 1}}] * 11),
                "operations: there can be 10 at most",
            ),
            (
                "importV4",
                a_rule(operations=[{"prependASPath": {"prefix": [1] * 11}}]),
                "operations[0].prependASPath: has more than 10",
            ),
            (
                "importV4",
                a_rule(operations=[{"addCommunity": {"value": "1"}}]),
                "operations[0].addCommunity: '1' is not a community",
            ),
            (
                "importV4",
                a_rule(operations=[{"setPriority": {"value": 0}}]),
                "operations[0].setPriority: 0 is not in",
            ),
        ]
    ),
]


@pytest.mark.parametrize(("decode", "pair", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_what_calico_or_bird_would_refuse_is_refused_and_named(decode, pair, said):
    with pytest.raises(Invalid) as raised:
        decode(*pair)

    name = pair[0].rpartition("/")[2]
    assert said in str(raised.value)
    assert str(raised.value).startswith((f"etcd key {pair[0]}: ", "BGP"))
    assert name in str(raised.value)


def test_every_mistake_is_named_at_once():
    pair = a_bgp_peer("tor", peerIP="10.0.0.1", node="n", nodeSelector="all()", ttlSecurity=0)

    with pytest.raises(Invalid) as raised:
        codec_bgp.decode_bgp_peer(*pair)

    assert str(raised.value) == (
        "BGPPeer tor: node: excludes nodeSelector; give one; "
        "asNumber: is missing; a session needs the peer's AS number; "
        "ttlSecurity: 0 is not in 1..255"
    )


# ---- hostile texts -----------------------------------------------------------------------------

PLAIN = re.compile(r"[A-Za-z0-9_.:*\[\]-]*")
RULE = {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In"}
# What is given a text where it may come out in BIRD's file as it is, or in the path of one.
PLACES = {
    "ignoredInterfaces": lambda text: (
        codec_bgp.decode_bgp_configuration,
        a_bgp_configuration(ignoredInterfaces=[text]),
    ),
    "bindMode": lambda text: (
        codec_bgp.decode_bgp_configuration,
        a_bgp_configuration(bindMode=text),
    ),
    "logSeverityScreen": lambda text: (
        codec_bgp.decode_bgp_configuration,
        a_bgp_configuration(logSeverityScreen=text),
    ),
    "communities": lambda text: (
        codec_bgp.decode_bgp_configuration,
        a_bgp_configuration(communities=[{"name": "blue", "value": text}]),
    ),
    "prefixAdvertisements": lambda text: (
        codec_bgp.decode_bgp_configuration,
        a_bgp_configuration(
            prefixAdvertisements=[{"cidr": "10.0.0.0/8", "communities": [text]}],
        ),
    ),
    "secret name": lambda text: (
        codec_bgp.decode_bgp_peer,
        a_bgp_peer("p", **ROUTER, password={"secretKeyRef": {"name": text, "key": "k"}}),
    ),
    "secret key": lambda text: (
        codec_bgp.decode_bgp_peer,
        a_bgp_peer("p", **ROUTER, password={"secretKeyRef": {"name": "n", "key": text}}),
    ),
    **{
        field: lambda text, field=field: (
            codec_bgp.decode_bgp_peer,
            a_bgp_peer("p", **{**ROUTER, field: text}),
        )
        for field in ("peerIP", "reachableBy", "nextHopMode", "sourceAddress", "reversePeering")
    },
    **{
        field: lambda text, field=field: (
            codec_bgp.decode_bgp_filter,
            a_bgp_filter("f", exportV4=[{**RULE, field: text}]),
        )
        for field in ("interface", "matchOperator", "source", "peerType", "action")
    },
    "community of a rule": lambda text: (
        codec_bgp.decode_bgp_filter,
        a_bgp_filter("f", exportV4=[{**RULE, "communities": {"values": [text]}}]),
    ),
    "added community": lambda text: (
        codec_bgp.decode_bgp_filter,
        a_bgp_filter("f", exportV4=[{**RULE, "operations": [{"addCommunity": {"value": text}}]}]),
    ),
}
RIGHT = ["eth0", "eth*", "65000:1", "NodeIP", "Info", "bgp", "10.0.0.1", "[fd00::1]:179", "In"]
TEXTS = st.builds(
    lambda right, place, wrong: right[:place] + wrong + right[place:],
    st.sampled_from(RIGHT),
    st.integers(0, 13),
    st.sampled_from(["", '"', "'", "\n", "}", ";", " ", "\\", "/", "%", "\0", "é", "１"])
    | st.text(max_size=3),
)


@pytest.mark.parametrize("place", PLACES)
@given(text=TEXTS)
def test_what_is_not_plain_goes_nowhere(place, text):
    decode, pair = PLACES[place](text)

    try:
        decode(*pair)
    except Invalid:
        return
    assert PLAIN.fullmatch(text)


# ---- whatever somebody wrote -------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *("spec", "metadata", "annotations", "ocicat.io/bfd", "cidr", "name", "key", "value"),
        *("values", "min", "max", "prefix", "secretKeyRef", "action", "communities"),
        *("logSeverityScreen", "nodeToNodeMeshEnabled", "asNumber", "listenPort", "bindMode"),
        *("nodeMeshPassword", "nodeMeshMaxRestartTime", "prefixAdvertisements"),
        *("serviceClusterIPs", "ignoredInterfaces", "node", "nodeSelector", "peerIP"),
        *("peerSelector", "password", "maxRestartTime", "keepaliveTime", "ttlSecurity"),
        *("reachableBy", "filters", "nextHopMode", "exportV4", "importV6", "matchOperator"),
        *("prefixLength", "interface", "asPathPrefix", "priority", "operations"),
        *("addCommunity", "prependASPath", "setPriority"),
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.0/8", "fd00::/8", "10.0.0.1", "1.10", "1:1", "2m0s", "Accept"])
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.fixed_dictionaries({}, optional={"spec": ANYTHING, "metadata": ANYTHING})
DECODERS = {
    a_bgp_configuration()[0]: codec_bgp.decode_bgp_configuration,
    a_bgp_configuration("node.n")[0]: lambda key, value: (
        codec_bgp.decode_node_bgp_configuration(key, value, CLUSTER),
        codec_bgp.decode_listen_port(key, value),
    ),
    a_bgp_peer("p")[0]: codec_bgp.decode_bgp_peer,
    a_bgp_filter("f")[0]: codec_bgp.decode_bgp_filter,
}


@pytest.mark.parametrize(("key", "decode"), DECODERS.items())
@given(document=DOCUMENTS)
def test_whatever_somebody_wrote_is_read_or_refused(key, decode, document):
    with contextlib.suppress(Invalid):
        decode(key, json.dumps(document).encode())
