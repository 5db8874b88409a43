"""A cluster with tunnels, as the overlay sees it: three nodes, two of them in one subnet."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from datamodel.node import Node
from datamodel.pool import Pool
from kernel_api.rtnetlink import Network
from route_distributor.overlay.items import Uplink
from route_distributor.overlay.remote import Remote
from route_distributor.snapshot import ClusterSnapshot

UNDERLAY = {"node-1": "10.1.0.11", "node-2": "10.1.0.12", "node-3": "10.2.0.13"}
UNDERLAY_V6 = {"node-1": "fd00:1::11", "node-2": "fd00:1::12", "node-3": "fd00:2::13"}
NODES = {
    name: Node(
        name,
        ipv4=IPv4Interface(f"{address}/24"),
        ipv6=IPv6Interface(f"{UNDERLAY_V6[name]}/64"),
        ipip_address=ip_address(f"10.233.{i}.1"),
        vxlan_ipv4=ip_address(f"10.233.{i}.2"),
        vxlan_ipv6=ip_address(f"fd01::{i}:2"),
    )
    for i, (name, address) in enumerate(UNDERLAY.items(), start=1)
}
BLOCKS: dict[str, Network] = {
    name: ip_network(f"10.233.{i}.0/24") for i, name in enumerate(NODES, 1)
}
BLOCKS_V6: dict[str, Network] = {
    name: ip_network(f"fd01::{i}:0/122") for i, name in enumerate(NODES, 1)
}
REMOTE = Remote(tuple((cidr, name) for name, cidr in (*BLOCKS.items(), *BLOCKS_V6.items())))
UPLINKS = {4: Uplink(3, "eth0", 1500), 6: Uplink(3, "eth0", 1500)}


def a_pool(vxlan: str = "Never", ipip: str = "Never", cidr: str = "10.233.0.0/16") -> Pool:
    network = ip_network(cidr)
    size = 24 if network.version == 4 else 122
    return Pool(f"pool-{network.version}", network, size, vxlan_mode=vxlan, ipip_mode=ipip)


def a_snapshot(
    *pools: Pool, node: str = "node-1", nodes: Iterable[Node] = NODES.values()
) -> ClusterSnapshot:
    nodes = list(nodes)
    return ClusterSnapshot(
        node=node,
        own=next((n for n in nodes if n.name == node), None),
        others=tuple(n for n in nodes if n.name != node),
        blocks=tuple(BLOCKS[name] for name in BLOCKS if name == node),
        pools=pools,
        bgp=None,
        skipped=(),
    )


def nodes_with(name: str, **fields: object) -> list[Node]:
    """The nodes, with other fields of one."""
    return [replace(n, **fields) if n.name == name else n for n in NODES.values()]
