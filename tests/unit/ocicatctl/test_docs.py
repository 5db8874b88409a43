"""The examples of docs/datastore.md are what they say; docs/routing.md has one of each kind.

Those of docs/routing.md are applied by tests/docs, as all YAML on pages.
"""

import json
import re
from datetime import datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest
import yaml

from datastore import codec, keys
from datastore.codec_claim import decode_claim, encode_claim
from tests.unit.ocicatctl.manifests import read

PAGE = Path(__file__).parents[3] / "docs" / "datastore.md"
EXAMPLES = {
    key: value.encode()
    for key, value in re.findall(r"^`(/\S+)`\n```json\n(.+)\n```$", PAGE.read_text(), re.MULTILINE)
}
RESOURCES = [
    json.loads(value)
    for value in re.findall(r'^\{"kind":"BGP.+\}$', PAGE.read_text(), re.MULTILINE)
]
ROUTING = [
    document
    for example in re.findall(
        r"^```yaml\n(.+?)^```$", (PAGE.parent / "routing.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for document in yaml.safe_load_all(example)
]
CIDR = IPv4Network("10.233.77.0/29")
ENDPOINT = keys.endpoint("default", "node--1-k8s-web--0-eth0")


def test_every_kind_of_key_is_shown_once():
    assert EXAMPLES.keys() == {
        keys.IPAM_CONFIG,
        keys.block(CIDR),
        keys.affinity("node-1", CIDR),
        keys.handle("ocicat.4f0c9a5d2b"),
        keys.pool("default-ipv4-ippool"),
        keys.node("node-1"),
        ENDPOINT,
        keys.CLUSTER_INFORMATION,
        keys.claim("node-1"),
        keys.borrowed("node-1", IPv4Network("10.233.88.0/29")),
    }


@pytest.mark.parametrize(
    ("key", "decode", "encode"),
    [
        (keys.block(CIDR), codec.decode_block, codec.encode_block),
        (keys.affinity("node-1", CIDR), codec.decode_affinity, codec.encode_affinity),
        (keys.handle("ocicat.4f0c9a5d2b"), codec.decode_handle, codec.encode_handle),
        (keys.claim("node-1"), decode_claim, encode_claim),
    ],
)
def test_an_ipam_value_is_written_as_shown(key, decode, encode):
    assert encode(decode(key, EXAMPLES[key])) == EXAMPLES[key]


def test_a_resource_is_written_as_shown():
    def stamp(key: str) -> codec.Stamp:
        metadata = codec.load(key, EXAMPLES[key])["metadata"]
        return codec.Stamp(metadata["uid"], datetime.fromisoformat(metadata["creationTimestamp"]))

    pool, node = keys.pool("default-ipv4-ippool"), keys.node("node-1")
    cluster = codec.load(keys.CLUSTER_INFORMATION, EXAMPLES[keys.CLUSTER_INFORMATION])
    written = {
        keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG,
        pool: codec.encode_pool(codec.decode_pool(pool, EXAMPLES[pool]), stamp(pool)),
        node: codec.encode_node(codec.decode_node(node, EXAMPLES[node]), stamp(node)),
        ENDPOINT: codec.encode_endpoint(
            codec.decode_endpoint(ENDPOINT, EXAMPLES[ENDPOINT]), stamp(ENDPOINT)
        ),
        keys.CLUSTER_INFORMATION: codec.encode_cluster_information(
            cluster["spec"]["clusterGUID"], stamp(keys.CLUSTER_INFORMATION)
        ),
    }

    assert written == {key: EXAMPLES[key] for key in written}


@pytest.mark.parametrize("document", RESOURCES, ids=lambda document: document["kind"])
def test_a_resource_of_bgp_may_be_applied_as_shown(document):
    (resource,), wrong = read(document)

    assert wrong == []
    assert resource.spec == document["spec"]


def test_every_resource_of_bgp_is_shown():
    assert [document["kind"] for document in RESOURCES] == (
        ["BGPConfiguration", "BGPPeer", "BGPFilter"]
    )


def test_the_page_of_routing_shows_how_each_kind_of_topology_is_made():
    kinds = {document["kind"] for document in ROUTING}

    assert kinds == {"BGPConfiguration", "BGPPeer", "BGPFilter", "IPPool"}
