"""Snapshots of clusters, built without etcd: nodes by number, everything else by keyword."""

from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_network

from datamodel.bgp import BgpConfiguration
from datamodel.node import Node
from datamodel.pool import Pool
from route_distributor.bird.desired import BirdConfig, Settings, desired
from route_distributor.bird.render import render
from route_distributor.snapshot import ClusterSnapshot


def node(number: int, **fields: object) -> Node:
    """Give node-1, node-2, …, in one subnet unless told otherwise."""
    usual: dict[str, object] = {"ipv4": IPv4Interface(f"10.0.0.{10 + number}/24")}
    return Node(f"node-{number}", **{**usual, **fields})


def dual(number: int, **fields: object) -> Node:
    """Give a node with an address of each family."""
    return node(number, ipv6=IPv6Interface(f"fd00::{10 + number}/64"), **fields)


def pool(name: str, cidr: str, **fields: object) -> Pool:
    network = ip_network(cidr)
    size = 24 if network.version == 4 else 122
    return Pool(name, network, size, **fields)


def snapshot(*nodes: Node, blocks: tuple[str, ...] = (), **fields: object) -> ClusterSnapshot:
    """See the cluster with the eyes of the first node."""
    usual: dict[str, object] = {"pools": (), "bgp": BgpConfiguration(), "skipped": ()}
    return ClusterSnapshot(
        node=nodes[0].name,
        own=nodes[0],
        others=nodes[1:],
        blocks=tuple(ip_network(block) for block in blocks),
        **{**usual, **fields},
    )


def config_of(given: ClusterSnapshot, settings: Settings | None = None) -> BirdConfig:
    decision = desired(given, settings)
    assert isinstance(decision, BirdConfig), decision
    return decision


def text_of(given: ClusterSnapshot, settings: Settings | None = None) -> str:
    return render(config_of(given, settings))


def sessions_of(config: BirdConfig) -> Mapping[str, object]:
    """Give the sessions by address."""
    return {str(peer.address): peer for peer in config.peers}
