"""Calico's own examples, and what must hold for every value."""

import contextlib
import ipaddress
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import (
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    EndpointId,
    WorkloadEndpoint,
)
from datamodel.errors import Exhausted, Invalid
from datamodel.node import Node
from datamodel.pool import BLOCK_SIZES, ENCAPSULATION_MODES, Pool
from datastore import codec, keys

STAMP = codec.Stamp(
    "5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11", datetime(2026, 8, 22, 13, 33, 20, tzinfo=UTC)
)
META = '"uid":"5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11","creationTimestamp":"2026-08-22T13:33:20Z"'

BLOCK_KEY = "/calico/ipam/v2/assignment/ipv4/block/10.65.0.8-29"
FRESH_BLOCK = (
    '{"cidr":"10.65.0.8/29","affinity":"host:node-1",'
    '"allocations":[null,null,null,null,null,null,null,null],"unallocated":[0,1,2,3,4,5,6,7],'
    '"attributes":null,"sequenceNumber":1787405600123456789,"sequenceNumberForAllocation":{},'
    '"deleted":false}'
)
USED_BLOCK = (
    '{"cidr":"10.65.0.8/29","affinity":"host:node-1","affinity_claim_time":"2026-08-22T13:33:20Z",'
    '"allocations":[0,1,null,null,null,null,null,null],"unallocated":[2,3,4,5,6,7],'
    '"attributes":[{"handle_id":"k8s-pod-network.4f0c9a5d2b","secondary":{"namespace":"default",'
    '"node":"node-1","pod":"web-0","timestamp":"2026-08-22 13:33:21.123456789 +0000 UTC"}},'
    '{"handle_id":"ipip-tunnel-addr-node-1","secondary":{"node":"node-1",'
    '"type":"ipipTunnelAddress"}}],"sequenceNumber":1787405600123456791,'
    '"sequenceNumberForAllocation":{"0":1787405600123456789,"1":1787405600123456790},'
    '"deleted":false}'
)
ORPHANED_BLOCK = (
    '{"cidr":"10.65.0.8/29","affinity":null,"allocations":[0,1,null,null,null,null,null,null],'
    '"unallocated":[2,3,4,5,6,7],"attributes":[{"handle_id":"k8s-pod-network.4f0c9a5d2b",'
    '"secondary":{"node":"node-1"}},{"releasedAt":"2026-08-22T13:40:00Z"}],'
    '"sequenceNumber":1787405600123456795,'
    '"sequenceNumberForAllocation":{"0":1787405600123456789,"1":1787405600123456794},'
    '"deleted":false}'
)
POOL_KEY = keys.pool("default-ipv4-ippool")
POOL = (
    '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{'
    f'"name":"default-ipv4-ippool",{META}}},"spec":{{"cidr":"10.65.0.0/16","vxlanMode":"Never",'
    '"ipipMode":"Always","natOutgoing":true,"disabled":true,"disableBGPExport":true,'
    '"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],'
    '"assignmentMode":"Automatic"}}'
)
NODE_KEY = keys.node("node-1")
NODE = (
    f'{{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{{"name":"node-1",{META},'
    '"labels":{"rack":"r1"}},"spec":{"bgp":{"asNumber":64512,"ipv4Address":"172.18.0.2/16",'
    '"ipv6Address":"fc00::2/64","ipv4IPIPTunnelAddr":"10.65.0.9",'
    '"routeReflectorClusterID":"1.0.0.1"},"ipv4VXLANTunnelAddr":"10.65.0.10",'
    '"orchRefs":[{"nodeName":"node-1","orchestrator":"k8s"}]},'
    '"status":{"podCIDRs":["10.244.0.0/24"]}}'
)
ENDPOINT_KEY = keys.endpoint("default", "node--1-k8s-web--0-eth0")
ENDPOINT = (
    '{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{'
    f'"name":"node--1-k8s-web--0-eth0","namespace":"default",{META},"labels":{{"app":"web",'
    '"projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"k8s"}},'
    '"spec":{"orchestrator":"k8s","node":"node-1","containerID":"4f0c9a5d2b","pod":"web-0",'
    '"endpoint":"eth0","ipNetworks":["10.65.0.8/32","fd80:24e2:f998:72d6::1/128"],'
    '"profiles":["kns.default","ksa.default.default"],"interfaceName":"cali0d7763386da",'
    '"mac":"ee:ee:ee:ee:ee:ee"}}'
)


# ---- blocks ------------------------------------------------------------------------------------


def test_a_fresh_block_is_written_as_calico_writes_it():
    block = Block.new(ipaddress.ip_network("10.65.0.8/29"), "node-1", 1787405600123456789)

    assert codec.encode_block(block) == FRESH_BLOCK.encode()


@pytest.mark.parametrize("text", [FRESH_BLOCK, USED_BLOCK])
def test_a_block_that_was_read_is_written_with_every_field(text):
    block = codec.decode_block(BLOCK_KEY, text.encode())

    assert json.loads(codec.encode_block(block)) == json.loads(text)


def test_a_block_is_read_with_its_holders():
    block = codec.decode_block(BLOCK_KEY, USED_BLOCK.encode())

    assert block.host == "node-1"
    assert block.held_by("k8s-pod-network.4f0c9a5d2b") == (0,)
    assert block.in_use == 2
    assert block.sequence_numbers == {0: 1787405600123456789, 1: 1787405600123456790}


def test_a_block_of_nobody_keeps_an_attribute_that_we_do_not_know():
    block = codec.decode_block(BLOCK_KEY, ORPHANED_BLOCK.encode())
    written = json.loads(codec.encode_block(block))

    assert block.host is None
    assert written["affinity"] is None
    assert written["attributes"][1] == {
        "handle_id": None,
        "secondary": None,
        "releasedAt": "2026-08-22T13:40:00Z",
    }


@pytest.mark.parametrize(
    "text",
    [
        FRESH_BLOCK.replace("[0,1,2", "[1,2"),
        FRESH_BLOCK.replace("[null,", "["),
        FRESH_BLOCK.replace("[null,", "[0,"),
        FRESH_BLOCK.replace("[null,", '["x",'),
        FRESH_BLOCK.replace("10.65.0.8/29", "10.65.0.9/29"),
        FRESH_BLOCK.replace('"cidr"', '"CIDR"'),
    ],
)
def test_a_block_whose_parts_do_not_agree_is_refused(text):
    with pytest.raises(Invalid):
        codec.decode_block(BLOCK_KEY, text.encode())


ids = st.text(min_size=1, max_size=12)
prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(28, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(124, 128)),
)
networks = prefixes.map(lambda pair: ipaddress.ip_network(pair, strict=False))
attributes = st.builds(
    Attribute,
    handle_id=st.none() | ids,
    secondary=st.none() | st.dictionaries(ids, ids, max_size=3),
    extra=st.dictionaries(st.just("releasedAt"), ids),
)


@st.composite
def blocks(draw) -> Block:
    block = Block.new(draw(networks), draw(ids), draw(st.integers(0, 2**63)))
    for attribute in draw(st.lists(attributes, max_size=6)):
        try:
            block = block.assign(attribute)[0].next_write()
        except Exhausted:
            break
    for handle_id in draw(st.lists(ids, max_size=2)):
        block = block.release(handle_id)[0].next_write()
    return block


@given(blocks())
def test_every_block_is_read_as_it_was_written(block):
    assert codec.decode_block(keys.block(block.cidr), codec.encode_block(block)) == block


# ---- the rest of IPAM --------------------------------------------------------------------------


def test_an_affinity_is_written_as_calico_writes_it():
    affinity = Affinity("node-1", ipaddress.ip_network("10.65.0.8/29"))

    assert codec.encode_affinity(affinity) == b'{"state":"confirmed","deleted":false}'


def test_an_empty_affinity_of_old_counts_as_confirmed():
    key = keys.affinity("node-1", ipaddress.ip_network("10.65.0.8/29"))

    assert codec.decode_affinity(key, b"").is_confirmed


@given(networks, st.sampled_from(["confirmed", "pending", "pendingDeletion"]))
def test_every_affinity_is_read_as_it_was_written(cidr, state):
    affinity = Affinity("node-1", cidr, state)
    key = keys.affinity("node-1", cidr)

    assert codec.decode_affinity(key, codec.encode_affinity(affinity)) == affinity


def test_a_handle_is_written_as_calico_writes_it():
    counts = {
        ipaddress.ip_network("10.65.0.8/29"): 1,
        ipaddress.ip_network("fd80:24e2:f998:72d6::/122"): 1,
    }

    assert codec.encode_handle(counts) == (
        b'{"block":{"10.65.0.8/29":1,"fd80:24e2:f998:72d6::/122":1},"deleted":false}'
    )


@given(st.dictionaries(networks, st.integers(1, 256), max_size=4))
def test_every_handle_is_read_as_it_was_written(counts):
    assert codec.decode_handle("/h", codec.encode_handle(counts)) == counts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        (b'{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4}', True),
        (b'{"strict_affinity":true}', False),
        (b"{}", False),
        (codec.DEFAULT_IPAM_CONFIG, True),
    ],
)
def test_a_config_that_does_not_allow_new_blocks_forbids_them(value, expected):
    assert codec.auto_allocates_blocks(value) is expected


# ---- resources ---------------------------------------------------------------------------------


def test_a_pool_is_written_as_calico_writes_it():
    pool = codec.decode_pool(POOL_KEY, POOL.encode())

    assert codec.encode_pool(pool, STAMP) == POOL.encode()


def test_a_pool_that_says_little_has_the_defaults_of_calico():
    pool = codec.decode_pool(
        "/p", b'{"metadata":{"name":"p"},"spec":{"cidr":"fd00::/48","someday":1}}'
    )

    assert pool == Pool("p", ipaddress.IPv6Network("fd00::/48"), block_size=122)


@given(
    st.builds(
        lambda cidr, **rest: Pool(cidr=cidr, block_size=max(cidr.prefixlen, 28), **rest),
        cidr=prefixes.filter(lambda p: p[0].version == 4).map(
            lambda p: ipaddress.ip_network(p, strict=False)
        ),
        name=ids,
        disabled=st.booleans(),
        node_selector=ids,
        ipip_mode=st.sampled_from(ENCAPSULATION_MODES),
        nat_outgoing=st.booleans(),
        disable_bgp_export=st.booleans(),
    )
)
def test_every_pool_is_read_as_it_was_written(pool):
    assert pool.block_size in BLOCK_SIZES[4]
    assert codec.decode_pool("/p", codec.encode_pool(pool, STAMP)) == pool


def test_a_node_is_read_with_what_routes_need():
    assert codec.decode_node(NODE_KEY, NODE.encode()) == Node(
        name="node-1",
        ipv4=ipaddress.IPv4Interface("172.18.0.2/16"),
        ipv6=ipaddress.IPv6Interface("fc00::2/64"),
        as_number=64512,
        route_reflector_cluster_id="1.0.0.1",
        labels={"rack": "r1"},
    )


def test_a_node_written_into_an_existing_one_keeps_all_it_had():
    node = Node("node-1", ipv4=ipaddress.IPv4Interface("172.18.0.3/16"))

    written = json.loads(codec.encode_node(node, STAMP, NODE.encode()))

    expected = json.loads(NODE)
    expected["spec"]["bgp"]["ipv4Address"] = "172.18.0.3/16"
    assert written == expected


@given(
    st.builds(
        Node,
        name=ids,
        ipv4=st.none() | st.ip_addresses(v=4).map(ipaddress.IPv4Interface),
        ipv6=st.none() | st.ip_addresses(v=6).map(ipaddress.IPv6Interface),
        as_number=st.none() | st.integers(1, 2**32 - 1),
    )
)
def test_every_node_is_read_as_it_was_written(node):
    assert codec.decode_node("/n", codec.encode_node(node, STAMP)) == node


@pytest.mark.parametrize(
    ("value", "expected"), [(64512, 64512), ("64512", 64512), ("1.10", 65546), (None, None)]
)
def test_an_as_number_has_three_spellings(value, expected):
    assert codec.as_number(value) == expected


def test_an_endpoint_is_written_as_calico_writes_it():
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())

    assert codec.encode_endpoint(endpoint, STAMP) == ENDPOINT.encode()


def test_an_endpoint_that_is_replaced_keeps_its_uid_and_age():
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())
    later = codec.Stamp("another", datetime(2027, 1, 1, tzinfo=UTC))

    assert codec.encode_endpoint(endpoint, later, ENDPOINT.encode()) == ENDPOINT.encode()


@given(
    attachment=st.builds(Attachment, st.just("net"), ids, ids),
    pod=st.none() | st.builds(Pod, ids, ids),
    cidrs=st.lists(networks, max_size=2),
    profiles=st.lists(ids, max_size=2),
)
def test_every_endpoint_is_read_as_it_was_written(attachment, pod, cidrs, profiles):
    where = EndpointId.of("node-1", attachment, pod)
    endpoint = WorkloadEndpoint(
        id=where,
        container_id=attachment.container_id,
        networks=tuple(cidrs),
        interface_name="cali0",
        mac="ee:ee:ee:ee:ee:ee",
        profiles=tuple(profiles),
        labels={NAMESPACE_LABEL: where.namespace, ORCHESTRATOR_LABEL: where.orchestrator},
    )

    assert codec.decode_endpoint("/e", codec.encode_endpoint(endpoint, STAMP)) == endpoint


def test_cluster_information_has_no_version_that_calicoctl_could_refuse():
    value = json.loads(codec.encode_cluster_information("0123456789abcdef", STAMP))

    assert value["metadata"]["name"] == "default"
    assert value["spec"] == {
        "clusterGUID": "0123456789abcdef",
        "clusterType": "bgp",
        "datastoreReady": True,
    }


# ---- what is wrong -----------------------------------------------------------------------------

DECODERS = {
    BLOCK_KEY: codec.decode_block,
    keys.affinity("node-1", ipaddress.ip_network("10.65.0.8/29")): codec.decode_affinity,
    keys.handle("h"): codec.decode_handle,
    POOL_KEY: codec.decode_pool,
    NODE_KEY: codec.decode_node,
    ENDPOINT_KEY: codec.decode_endpoint,
    keys.BGP_CONFIGURATIONS + "default": codec.decode_bgp_configuration,
}


@pytest.mark.parametrize(("key", "decode"), DECODERS.items())
@pytest.mark.parametrize("value", [b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"{}x"])
def test_a_value_that_is_no_object_is_named_by_its_key(key, decode, value):
    with pytest.raises(Invalid) as raised:
        decode(key, value)

    assert str(raised.value).startswith(f"etcd key {key}: value is not ")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
fields = st.sampled_from(
    [
        "cidr",
        "affinity",
        "allocations",
        "unallocated",
        "attributes",
        "sequenceNumber",
        "sequenceNumberForAllocation",
        "state",
        "block",
        "metadata",
        "name",
        "labels",
        "spec",
        "bgp",
        "ipv4Address",
        "asNumber",
        "ipNetworks",
        "blockSize",
        "profiles",
        "allowedUses",
        "listenPort",
    ]
)
documents = st.dictionaries(fields, anything | st.dictionaries(fields, anything, max_size=4))


# A test below passes if the value is taken or refused: anything else is raised as it is.
refused = contextlib.suppress(Invalid)


@pytest.mark.parametrize(("key", "decode"), DECODERS.items())
@given(document=documents)
def test_whatever_somebody_wrote_is_read_or_refused(key, decode, document):
    with refused:
        decode(key, json.dumps(document).encode())


@pytest.mark.parametrize("text", [FRESH_BLOCK, USED_BLOCK])
@given(field=fields, value=anything)
def test_a_block_with_one_wrong_field_is_read_or_refused(text, field, value):
    with refused:
        codec.decode_block(BLOCK_KEY, json.dumps({**json.loads(text), field: value}).encode())


@given(spec=anything, metadata=anything)
def test_whatever_was_there_is_written_into_or_refused(spec, metadata):
    existing = json.dumps({"metadata": metadata, "spec": spec}).encode()
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())

    with refused:
        codec.encode_node(Node("n", as_number=1), STAMP, existing)
    with refused:
        codec.encode_endpoint(endpoint, STAMP, existing)


def test_a_number_that_is_too_large_is_refused_with_its_key():
    with pytest.raises(Invalid, match="etcd key /h: "):
        codec.decode_handle("/h", b'{"block":{"10.65.0.8/29":1e999}}')
