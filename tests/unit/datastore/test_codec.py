"""Calico's own examples, and what must hold for every value."""

import contextlib
import ipaddress
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, Port, Workload, WorkloadEndpoint
from datamodel.errors import Exhausted, Invalid
from datamodel.ipam_config import IpamConfig
from datamodel.node import Node
from datamodel.pool import BLOCK_SIZES, ENCAPSULATION_MODES, Pool
from datamodel.tunnel import IPIP, VXLAN, VXLAN_V6
from datastore import codec, keys, reading

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


# ---- nodes of Kubernetes -------------------------------------------------------------------------


def test_the_names_by_which_kubernetes_knows_a_node_are_read():
    assert codec.decode_kubernetes_names(NODE_KEY, NODE.encode()) == ("node-1",)


@pytest.mark.parametrize(
    "refs",
    ["[]", "null", '[{"nodeName":"a","orchestrator":"openstack"}]', '[{"orchestrator":"k8s"}]'],
)
def test_a_node_of_something_else_is_none_of_kubernetes(refs):
    text = NODE.replace('[{"nodeName":"node-1","orchestrator":"k8s"}]', refs)

    assert codec.decode_kubernetes_names(NODE_KEY, text.encode()) == ()


@pytest.mark.parametrize("refs", ["1", "[1]", '[{"nodeName":1,"orchestrator":"k8s"}]'])
def test_names_that_cannot_be_read_are_no_names(refs):
    text = NODE.replace('[{"nodeName":"node-1","orchestrator":"k8s"}]', refs)

    with pytest.raises(Invalid):
        codec.decode_kubernetes_names(NODE_KEY, text.encode())


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


def test_what_follows_a_carriage_return_is_not_part_of_a_handle():
    text = USED_BLOCK.replace("k8s-pod-network.4f0c9a5d2b", "k8s-pod-network.4f0c9a5d2b\\r\\neth0")

    block = codec.decode_block(BLOCK_KEY, text.encode())

    assert block.held_by("k8s-pod-network.4f0c9a5d2b") == (0,)


ids = st.text(st.characters(exclude_characters="\r", codec="utf-8"), min_size=1, max_size=12)
prefixes = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(28, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(124, 128)),
)
networks = prefixes.map(lambda pair: ipaddress.ip_network(pair, strict=False))
attributes = st.builds(
    Attribute,
    handle_id=st.none() | ids,
    secondary=st.none() | st.dictionaries(ids, ids, max_size=3),
    extra=st.dictionaries(st.just("alternateOwnerAttrs"), ids),
)
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@st.composite
def blocks(draw) -> Block:
    block = Block.new(draw(networks), draw(ids), draw(st.integers(0, 2**63)))
    for attribute in draw(st.lists(attributes, max_size=6)):
        try:
            block = block.assign(attribute)[0].next_write()
        except Exhausted:
            break
    for handle_id in draw(st.lists(ids, max_size=2)):
        cooldown_s = draw(st.sampled_from([0, 30]))
        block = block.release(handle_id, now=NOW, cooldown_s=cooldown_s)[0].next_write()
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
    assert codec.decode_ipam_config(value).auto_allocate_blocks is expected


IPAM_CONFIG = (
    '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4,'
    '"kubeVirtVMAddressPersistence":"Enabled","ipCooldownSeconds":30}'
)


def test_a_config_is_written_as_calico_writes_it():
    config = codec.decode_ipam_config(IPAM_CONFIG.encode())

    assert config == IpamConfig(True, True, 4, 30, {"kubeVirtVMAddressPersistence": "Enabled"})
    assert codec.encode_ipam_config(config, None) == IPAM_CONFIG.encode()


def test_without_a_config_calicos_default_holds():
    assert codec.decode_ipam_config(None) == IpamConfig(
        strict_affinity=False, auto_allocate_blocks=True
    )


def test_our_default_config_is_strict():
    assert codec.DEFAULT_IPAM_CONFIG == b'{"strict_affinity":true,"auto_allocate_blocks":true}'


def test_a_config_that_says_nothing_forbids_everything():
    nothing = IpamConfig(strict_affinity=False, auto_allocate_blocks=False)

    for value in (b"{}", b"", b'{"strict_affinity":null,"maxBlocksPerHost":null}'):
        assert codec.decode_ipam_config(value) == nothing
    assert codec.encode_ipam_config(nothing, None) == b"{}"


def test_a_config_that_calico_would_refuse_to_set_is_obeyed():
    config = codec.decode_ipam_config(b'{"maxBlocksPerHost":4,"ipCooldownSeconds":9999}')

    assert (config.block_limit, config.ip_cooldown_s) == (4, 9999)


def test_fields_of_a_newer_config_survive_a_change():
    existing = b'{"strict_affinity":true,"maxBlocksPerHost":4,"new":{"a":[1]},"newer":false}'
    config = IpamConfig(strict_affinity=False, auto_allocate_blocks=True)

    written = codec.encode_ipam_config(config, existing)

    assert written == b'{"auto_allocate_blocks":true,"new":{"a":[1]},"newer":false}'


@pytest.mark.parametrize(
    ("value", "mistake"),
    [
        (b'{"strict_affinity":"true"}', "strict_affinity 'true' is neither true nor false"),
        (b'{"auto_allocate_blocks":1}', "auto_allocate_blocks 1 is neither true nor false"),
        (b'{"maxBlocksPerHost":4.0}', "maxBlocksPerHost 4.0 is not a whole number"),
        (b'{"ipCooldownSeconds":true}', "ipCooldownSeconds True is not a whole number"),
        (
            b'{"ipCooldownSeconds":10000000000}',
            "ipCooldownSeconds 10000000000 is longer than a duration can be",
        ),
        (
            b'{"ipCooldownSeconds":-1000000000000}',
            "ipCooldownSeconds -1000000000000 is longer than a duration can be",
        ),
        (b"[]", "value is not a JSON object"),
    ],
)
def test_a_config_that_is_none_is_refused(value, mistake):
    with pytest.raises(Invalid) as raised:
        codec.decode_ipam_config(value)

    assert str(raised.value) == (
        f"etcd key {keys.IPAM_CONFIG}: {mistake}; "
        "delete the key, then call ocicatctl ipam configure"
    )


@given(
    st.builds(
        IpamConfig,
        st.booleans(),
        st.booleans(),
        st.integers(),
        st.integers(-(10**9), 10**9),
        st.dictionaries(ids, ids, max_size=2),
    )
)
def test_every_config_is_read_as_it_was_written(config):
    assert codec.decode_ipam_config(codec.encode_ipam_config(config, None)) == config


# ---- resources ---------------------------------------------------------------------------------


def test_a_pool_is_written_as_calico_writes_it():
    pool = codec.decode_pool(POOL_KEY, POOL.encode())

    assert codec.encode_pool(pool, STAMP) == POOL.encode()


def test_a_pool_that_says_little_has_the_defaults_of_calico():
    pool = codec.decode_pool(
        "/p", b'{"metadata":{"name":"p"},"spec":{"cidr":"fd00::/48","someday":1}}'
    )

    assert pool == Pool("p", ipaddress.IPv6Network("fd00::/48"), block_size=122)


def test_a_pool_with_a_namespace_selector_is_written_as_calico_writes_it():
    selector = r'"nodeSelector":"all()","namespaceSelector":"team == \"red\"",'
    text = POOL.replace('"nodeSelector":"all()",', selector)

    pool = codec.decode_pool(POOL_KEY, text.encode())

    assert pool.namespace_selector == 'team == "red"'
    assert codec.encode_pool(pool, STAMP) == text.encode()


def pool_with(**fields) -> bytes:
    document = json.loads(POOL)
    for name, value in fields.items():
        document[name] = {**document.get(name, {}), **value}
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("conditions", "is_allocatable"),
    [
        (None, True),
        ([], True),
        ([{"type": "Allocatable", "status": "True"}], True),
        ([{"type": "Allocatable", "status": "Unknown"}], True),
        ([{"type": "Other", "status": "False"}], True),
        ([{"type": "Other"}, {"type": "Allocatable", "status": "False"}], False),
    ],
)
def test_a_pool_may_be_withdrawn_by_its_status(conditions, is_allocatable):
    value = pool_with(status={"conditions": conditions})

    assert codec.decode_pool(POOL_KEY, value).is_allocatable is is_allocatable


def test_a_pool_that_is_being_deleted_says_so():
    value = pool_with(metadata={"deletionTimestamp": "2026-08-22T13:33:20Z"})

    assert codec.decode_pool(POOL_KEY, value).is_deleting
    assert not codec.decode_pool(POOL_KEY, POOL.encode()).is_deleting


@pytest.mark.parametrize(
    "spec",
    [
        {"cidr": "169.254.0.0/16"},
        {"nodeSelector": "?", "namespaceSelector": "global()"},
        {"ipipMode": "sometimes", "allowedUses": ["New"], "assignmentMode": "New"},
        {"blockSize": None, "allowedUses": None, "disabled": None},
    ],
)
def test_a_stored_pool_is_read_whatever_would_be_refused_today(spec):
    codec.decode_pool(POOL_KEY, pool_with(spec=spec))


@pytest.mark.parametrize(
    ("spec", "mistake"),
    [
        ({"blockSize": 8}, "blockSize 8 is not in 20..32"),
        ({"blockSize": "26"}, "blockSize '26' is not a whole number"),
        ({"blockSize": 24, "cidr": "10.0.0.0/25", "disabled": False}, "larger than the pool"),
        ({"cidr": "10.0.0.1/16"}, "host bits set"),
        ({"disabled": "false"}, "disabled 'false' is neither true nor false"),
        ({"allowedUses": "Workload"}, "'Workload' is not a list"),
        ({"nodeSelector": ["all()"]}, r"\['all\(\)'\] is not text"),
    ],
)
def test_a_pool_from_which_no_block_can_be_cut_is_refused(spec, mistake):
    with pytest.raises(Invalid, match=mistake):
        codec.decode_pool(POOL_KEY, pool_with(spec=spec))


@given(
    st.builds(
        lambda cidr, **rest: Pool(cidr=cidr, block_size=max(cidr.prefixlen, 28), **rest),
        cidr=prefixes.filter(lambda p: p[0].version == 4).map(
            lambda p: ipaddress.ip_network(p, strict=False)
        ),
        name=ids,
        disabled=st.booleans(),
        node_selector=ids,
        namespace_selector=st.just("") | ids,
        ipip_mode=st.sampled_from(ENCAPSULATION_MODES),
        nat_outgoing=st.booleans(),
        disable_bgp_export=st.booleans(),
    )
)
def test_every_pool_is_read_as_it_was_written(pool):
    assert pool.block_size in BLOCK_SIZES[4]
    assert codec.decode_pool("/p", codec.encode_pool(pool, STAMP)) == pool


RESERVATION_KEY = f"{keys.RESERVATIONS}rsvd"
RESERVATION = (
    f'{{"kind":"IPReservation","apiVersion":"projectcalico.org/v3","metadata":{{"name":"rsvd",'
    f'{META}}},"spec":{{"reservedCIDRs":["10.65.0.8/32","10.65.1.0/24"," 10.65.0.9"]}}}}'
)


def test_a_reservation_is_read_as_it_was_written():
    found = codec.decode_reservation(RESERVATION_KEY, RESERVATION.encode())

    assert found == ("10.65.0.8/32", "10.65.1.0/24", " 10.65.0.9")
    for nothing in (b"{}", b'{"spec":null}', b'{"spec":{"reservedCIDRs":null}}'):
        assert codec.decode_reservation(RESERVATION_KEY, nothing) == ()


def test_reservations_are_read_as_one_and_what_is_wrong_is_told():
    found, mistakes = codec.decode_reservations(
        [
            (RESERVATION_KEY, RESERVATION.encode()),
            (f"{keys.RESERVATIONS}typo", b'{"spec":{"reservedCIDRs":["10.65.0.1O","10.65.0.2"]}}'),
            (f"{keys.RESERVATIONS}spoilt", b'{"spec":{"reservedCIDRs":"10.65.0.3"}}'),
        ]
    )

    assert found.ordinals(ipaddress.ip_network("10.65.0.0/28")) == {2, 8, 9}
    assert found.covers(ipaddress.ip_network("10.65.1.0/26"))
    assert mistakes == (
        f"etcd key {keys.RESERVATIONS}typo: '10.65.0.1O' in reservedCIDRs: neither a CIDR nor an "
        "address; put a right one there with ocicatctl apply",
        f"etcd key {keys.RESERVATIONS}spoilt: '10.65.0.3' is not a list; "
        "put a right one there with ocicatctl apply",
    )


DOCS = (Path(__file__).parents[3] / "docs" / "datastore.md").read_text()


def test_the_examples_of_the_docs_that_stand_without_a_key_are_right():
    [spec] = re.findall(r'^{"cidr":.*"namespaceSelector":.*}$', DOCS, re.MULTILINE)
    [reservation] = re.findall(r'^{"kind":"IPReservation".*}$', DOCS, re.MULTILINE)

    value = json.dumps({**json.loads(POOL), "spec": json.loads(spec)}).encode()
    pool = codec.decode_pool("/p", value)
    found, mistakes = codec.decode_reservations([("/r", reservation.encode())])

    assert pool.mistakes() == []
    assert mistakes == ()
    assert found.ordinals(ipaddress.ip_network("10.233.77.0/29")) == {0, 1, 2, 3}


@pytest.mark.parametrize("labels", ['{"rack":1}', '{"rack":null}', '["rack"]', '"rack"'])
def test_labels_of_a_node_are_texts(labels):
    value = NODE.replace('{"rack":"r1"}', labels)

    with pytest.raises(Invalid, match=f"etcd key {NODE_KEY}: .* is not "):
        codec.decode_node(NODE_KEY, value.encode())


def test_a_node_needs_no_labels():
    value = NODE.replace('{"rack":"r1"}', "null")

    assert codec.decode_node(NODE_KEY, value.encode()).labels == {}


def test_a_node_is_read_with_what_routes_need():
    assert codec.decode_node(NODE_KEY, NODE.encode()) == Node(
        name="node-1",
        ipv4=ipaddress.IPv4Interface("172.18.0.2/16"),
        ipv6=ipaddress.IPv6Interface("fc00::2/64"),
        as_number=64512,
        ipip_address=ipaddress.IPv4Address("10.65.0.9"),
        vxlan_ipv4=ipaddress.IPv4Address("10.65.0.10"),
        route_reflector_cluster_id="1.0.0.1",
        labels={"rack": "r1"},
    )


def test_a_node_written_into_an_existing_one_keeps_all_it_had():
    node = Node("node-1", ipv4=ipaddress.IPv4Interface("172.18.0.3/16"))

    written = json.loads(codec.encode_node(node, STAMP, NODE.encode()))

    expected = json.loads(NODE)
    expected["spec"]["bgp"]["ipv4Address"] = "172.18.0.3/16"
    assert written == expected


@pytest.mark.parametrize(
    ("tunnel", "before", "after"),
    [
        (
            IPIP,
            '"ipv4IPIPTunnelAddr":"10.65.0.9",',
            '"ipv4IPIPTunnelAddr":"10.65.0.77",',
        ),
        (VXLAN, '"ipv4VXLANTunnelAddr":"10.65.0.10",', '"ipv4VXLANTunnelAddr":"10.65.0.77",'),
    ],
    ids=str,
)
def test_a_tunnels_address_is_changed_in_its_place_and_taken_out_again(tunnel, before, after):
    def written(address):
        return codec.with_tunnel_address(NODE_KEY, NODE.encode(), tunnel, address)

    assert written(ipaddress.ip_address("10.65.0.77")) == NODE.replace(before, after).encode()
    assert written(None) == NODE.replace(before, "").encode()


def test_a_tunnels_address_is_added_to_a_node_that_has_none():
    plain = codec.encode_node(Node("node-1"), STAMP)
    six = ipaddress.ip_address("fd00::1")

    value = codec.with_tunnel_address(NODE_KEY, plain, VXLAN_V6, six)

    assert codec.decode_node(NODE_KEY, value) == Node("node-1", vxlan_ipv6=six)


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
    assert reading.as_number(value) == expected


def test_an_endpoint_is_written_as_calico_writes_it():
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())

    written = codec.encode_endpoint(
        replace(endpoint, workload=Workload(labels={"app": "web"})), STAMP
    )

    assert written == ENDPOINT.encode()


WORKLOAD = Workload(
    labels={"app": "shop"},
    service_account="shopkeeper",
    generate_name="web-",
    ports=(Port(8080, "http"), Port(53, "", "UDP", 5353, "10.0.0.11")),
    floating_ips=(ipaddress.ip_address("172.18.9.9"), ipaddress.ip_address("fc00::9")),
)


def with_workload(workload, existing=None):
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())
    written = codec.encode_endpoint(replace(endpoint, workload=workload), STAMP, existing)
    return json.loads(written)


def test_what_kubernetes_says_of_a_pod_is_written_as_calico_writes_it():
    written = with_workload(WORKLOAD)

    assert written["metadata"]["generateName"] == "web-"
    assert written["metadata"]["labels"] == {
        "app": "shop",
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "shopkeeper",
    }
    assert {**json.loads(ENDPOINT)["spec"], **written["spec"]} == written["spec"]
    assert written["spec"]["serviceAccountName"] == "shopkeeper"
    assert written["spec"]["ports"] == [
        {"name": "http", "protocol": "TCP", "port": 8080, "hostPort": 0, "hostIP": ""},
        {"name": "", "protocol": "UDP", "port": 53, "hostPort": 5353, "hostIP": "10.0.0.11"},
    ]
    assert written["spec"]["ipNATs"] == [
        {"internalIP": "10.65.0.8", "externalIP": "172.18.9.9"},
        {"internalIP": "fd80:24e2:f998:72d6::1", "externalIP": "fc00::9"},
    ]


def test_a_pod_cannot_say_whose_it_is():
    labels = {"projectcalico.org/namespace": "kube-system", "projectcalico.org/orchestrator": "x"}

    written = with_workload(Workload(labels=labels))

    assert set(written["metadata"]["labels"].values()) == {"default", "k8s"}


@pytest.mark.parametrize(("length", "is_label"), [(0, False), (62, True), (63, False)])
def test_only_a_short_service_account_becomes_a_label_as_in_calico(length, is_label):
    written = with_workload(Workload(service_account="a" * length))

    assert ("projectcalico.org/serviceaccount" in written["metadata"]["labels"]) is is_label
    assert written["spec"].get("serviceAccountName", "") == "a" * length


def test_what_kubernetes_said_before_goes_and_what_others_wrote_stays():
    earlier = with_workload(WORKLOAD)
    earlier["spec"]["qosControls"] = {"ingressBandwidth": 1}

    written = with_workload(Workload(labels={"tier": "1"}), json.dumps(earlier).encode())

    assert "app" not in written["metadata"]["labels"]
    assert written["metadata"]["labels"]["tier"] == "1"
    assert "generateName" not in written["metadata"]
    assert written["spec"].keys() & {"serviceAccountName", "ports", "ipNATs"} == set()
    assert written["spec"]["qosControls"] == {"ingressBandwidth": 1}


def test_where_kubernetes_is_not_asked_all_that_it_said_stays():
    earlier = with_workload(WORKLOAD)

    assert with_workload(None, json.dumps(earlier).encode()) == earlier


def test_a_floating_ip_without_an_address_of_its_family_leads_nowhere():
    endpoint = codec.decode_endpoint(ENDPOINT_KEY, ENDPOINT.encode())
    only_ipv4 = replace(endpoint, networks=endpoint.networks[:1], workload=WORKLOAD)

    written = json.loads(codec.encode_endpoint(only_ipv4, STAMP))

    assert [nat["externalIP"] for nat in written["spec"]["ipNATs"]] == ["172.18.9.9"]


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
    RESERVATION_KEY: codec.decode_reservation,
    keys.IPAM_CONFIG: lambda _, value: codec.decode_ipam_config(value),
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
        "nodeSelector",
        "disabled",
        "status",
        "conditions",
        "reservedCIDRs",
        "strict_affinity",
        "maxBlocksPerHost",
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


@pytest.mark.parametrize(
    ("decode", "key", "value"),
    [
        (codec.decode_pool, POOL_KEY, '{"metadata":{"name":"p"},"spec":{"cidr":"ZONE"}}'),
        (codec.decode_handle, "/h", '{"block":{"ZONE":1}}'),
        (codec.decode_endpoint, ENDPOINT_KEY, '{"metadata":{},"spec":{"ipNetworks":["ZONE"]}}'),
        (
            codec.decode_node,
            NODE_KEY,
            '{"metadata":{"name":"n"},"spec":{"bgp":{"ipv6Address":"ZONE"}}}',
        ),
        (codec.decode_affinity, f"{keys.affinities('n', 6)}ZONE-128", "{}"),
    ],
)
def test_an_address_with_a_zone_is_refused(decode, key, value):
    zone = "fd00::1%x }"  # Python takes for a zone whatever stands there

    with pytest.raises(Invalid, match="fd00::1%x }"):
        decode(key.replace("ZONE", zone), value.replace("ZONE", zone).encode())


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ipv4VXLANTunnelAddr", "10.65.0.256", "'10.65.0.256'"),
        ("ipv4VXLANTunnelAddr", "fd00::1", "'fd00::1'"),
        ("ipv6VXLANTunnelAddr", "fd00::1%eth0", "'fd00::1%eth0'"),
        ("vxlanTunnelMACAddr", "66:f9", "'66:f9'"),
        ("vxlanTunnelMACAddrV6", 7, "7"),
    ],
)
def test_what_is_wrong_with_a_tunnel_does_not_cost_the_node(field, value, said):
    document = json.loads(NODE)
    document["spec"] = {"bgp": {"ipv4Address": "172.18.0.2/16"}, field: value}

    node = codec.decode_node(NODE_KEY, json.dumps(document).encode())

    assert node.ipv4 == ipaddress.IPv4Interface("172.18.0.2/16")
    assert node.unreadable == (f"{field} {said} cannot be read",)
    assert (node.vxlan_ipv4, node.vxlan_ipv6, node.vxlan_mac, node.vxlan_mac_ipv6) == (
        (None, None, "", "")
    )


def test_a_number_that_is_too_large_is_refused_with_its_key():
    with pytest.raises(Invalid, match="etcd key /h: "):
        codec.decode_handle("/h", b'{"block":{"10.65.0.8/29":1e999}}')
