"""The cluster that the tests of ``ipam check`` damage, and that nothing is wrong with it."""

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address, Block
from datamodel.node import Node
from datamodel.report import Report, ReportedLink
from datastore import codec, keys
from datastore.store import Entry
from ocicatctl.check.cluster import read_cluster
from ocicatctl.check.findings import Findings, check_store
from ocicatctl.check.problem import Kind
from tests.consistency import problems
from tests.ipam import LINK, NOW, STAMP, Stored, a_pool, a_store, an_allocate, settled

HERE = Kernel("boot-1", "4026531840")
LATER = NOW + timedelta(hours=1)
NODES = ("node-1", "node-2")


def a_cluster(*pods_of: int, prefix: int = 29) -> Stored:
    """Nodes with so many pods each: ``node-1`` has ``n1-0``, … of containers ``c1-0``, …"""
    names = [f"node-{n}" for n in range(1, max(len(pods_of), 2) + 1)]
    stored = a_store(
        a_pool(block_size=prefix),
        nodes=(),
        **{keys.CLUSTER_INFORMATION: codec.encode_cluster_information("0" * 32, STAMP)},
        **{
            keys.node(name): codec.encode_node(Node(name, IPv4Interface(f"172.18.0.{n}/16")), STAMP)
            for n, name in enumerate(names, 1)
        },
    )
    link = replace(LINK, kernel=HERE)
    for n, count in enumerate(pods_of, 1):
        for i in range(count):
            request = an_allocate(f"c{n}-{i}", f"n{n}-{i}", link=link)
            stored, _ = settled(stored, request, node=f"node-{n}")
    return stored


def handle(n: int, i: int) -> str:
    return Attachment("k8s-pod-network", f"c{n}-{i}", "eth0").handle_id


def endpoint_key(n: int, i: int) -> str:
    return keys.endpoint("default", f"node--{n}-k8s-n{n}--{i}-eth0")


def blocks(stored: Stored, node: str | None = None) -> list[Block]:
    found = [codec.decode_block(k, stored.values[k]) for k in stored.below(keys.ALL_BLOCKS)]
    return [block for block in found if node is None or block.host == node]


def address_of(stored: Stored, handle_id: str) -> Address:
    return next(
        block.address(ordinal) for block in blocks(stored) for ordinal in block.held_by(handle_id)
    )


def edited(stored: Stored, key: str, **fields: object) -> Stored:
    """With fields of one value overwritten."""
    document = {**json.loads(stored.values[key]), **fields}
    return stored.having(**{key: json.dumps(document).encode()})


def with_block(stored: Stored, block: Block) -> Stored:
    return stored.having(**{keys.block(block.cidr): codec.encode_block(block)})


def a_link(handle_id: str, *addresses: Address, alias: bool = True) -> ReportedLink:
    attachment = Attachment.of_handle(handle_id)
    assert attachment
    return ReportedLink(
        interface_name=f"cali{attachment.container_id}",
        attachment=attachment if alias else None,
        attachment_digest=attachment.digest,
        pod=Pod("default", "web"),
        addresses=addresses,
        mac="",
    )


def a_report(
    stored: Stored, node: str = "node-1", *, without: Collection[str] = (), kernel: Kernel = HERE
) -> Report:
    """What the kernel of *node* has if etcd is right, but for the links of some handles."""
    links = [
        a_link(attribute.handle_id, *block.sequences_of(attribute.handle_id))
        for block in blocks(stored)
        for attribute in block.attributes
        if attribute.node == node and attribute.handle_id and attribute.handle_id not in without
    ]
    return Report(kernel, True, tuple(links))


def checked(stored: Stored, report: Report | None = None, node: str = "node-1") -> Findings:
    return check_store(stored.entries, report, node, LATER)


def kinds(findings: Findings) -> list[Kind]:
    return [problem.kind for problem in findings.problems]


def texts(findings: Findings) -> list[str]:
    return [str(problem) for problem in findings.problems]


def entries(values: dict[str, bytes] | Iterable[tuple[str, bytes]]) -> dict[str, Entry]:
    return {key: Entry(key, value, 1) for key, value in dict(values).items()}


@given(st.lists(st.integers(0, 10), min_size=1, max_size=3))
def test_nothing_is_wrong_with_what_ipamd_writes(pods):
    stored = a_cluster(*pods)

    assert problems(stored.values) == []
    for n in range(1, len(pods) + 1):
        assert texts(checked(stored, a_report(stored, f"node-{n}"), f"node-{n}")) == []
    assert texts(checked(stored)) == []


def test_nothing_is_wrong_with_two_families_on_one_pod():
    pools = (a_pool(block_size=29), a_pool("six", "fd00:10::/64", block_size=122))
    stored = a_cluster(0).having(**{keys.pool(p.name): codec.encode_pool(p, STAMP) for p in pools})
    request = an_allocate("c1-0", "n1-0", link=replace(LINK, kernel=HERE), versions=(4, 6))

    stored, _ = settled(stored, request)

    assert {block.cidr.version for block in blocks(stored)} == {4, 6}
    assert texts(checked(stored, a_report(stored))) == []
    lost = checked(stored.without(endpoint_key(1, 0)), a_report(stored, without={handle(1, 0)}))
    assert kinds(lost) == [Kind.LEAKED_ADDRESS] * 2


def test_an_empty_store_lacks_only_what_ipamd_writes_at_its_start():
    assert kinds(check_store({}, None, "", LATER)) == [Kind.NO_CLUSTER_INFORMATION]


def test_every_address_in_use_is_known_with_its_user():
    stored = a_cluster(1)
    tunnels = {
        "bgp": {"ipv4IPIPTunnelAddr": "10.9.0.1", "ipv4Address": "172.18.0.1/16"},
        "ipv4VXLANTunnelAddr": "10.9.0.2",
        "ipv6VXLANTunnelAddr": "fd00::2",
        "wireguard": {"interfaceIPv4Address": "10.9.0.3", "interfaceIPv6Address": "fd00::3"},
    }
    stored = edited(stored, keys.node("node-1"), spec=tunnels)

    cluster = read_cluster(stored.entries, LATER)

    pod = str(address_of(stored, handle(1, 0)))
    assert {str(address): users for address, users in cluster.users.items()} == {
        "10.9.0.1": ["Node(node-1)"],
        "10.9.0.2": ["Node(node-1)"],
        "10.9.0.3": ["Node(node-1)"],
        "fd00::2": ["Node(node-1)"],
        "fd00::3": ["Node(node-1)"],
        pod: ["Workload(default/node--1-k8s-n1--0-eth0)"],
    }
    assert (cluster.tunnels, cluster.workloads) == (5, 1)


def test_what_a_very_old_calico_left_for_a_host_is_no_affinity():
    stored = a_cluster(1).having(**{f"{keys.ALL_AFFINITIES}node-1": b""})

    assert texts(checked(stored)) == []


def test_a_load_balancers_block_is_not_a_nodes():
    block = replace(
        Block.new(ip_network("10.233.64.0/29"), "x", 1), affinity="virtual:load-balancer"
    )

    assert texts(checked(with_block(a_cluster(1), block))) == []
