"""A cluster in which ``node-1`` holds something of every kind, built by hand.

``node-2`` and ``node-10`` are neighbours that nothing must be taken from.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Interface, ip_interface, ip_network

from datamodel.affinity import CONFIRMED, PENDING, Affinity
from datamodel.block import WINDOWS_HANDLE, Address, Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from tests.cluster import STAMP

NODE, OTHER, LATER = "node-1", "node-2", "node-10"
POOLS = (
    Pool("ipv4", ip_network("10.233.64.0/18"), 28),
    Pool("ipv6", ip_network("fd00:10:233::/64"), 124),
)
OWN, OWN6 = ip_network("10.233.77.0/28"), ip_network("fd00:10:233::10/124")
SHARED = ip_network("10.233.77.16/28")  # node-1's, node-2 has borrowed from it
EMPTY = ip_network("10.233.77.32/28")
FOREIGN = ip_network("10.233.88.0/28")  # node-2's, node-1 has borrowed from it
NOBODYS = ip_network("10.233.99.0/28")
LATERS = ip_network("10.233.66.0/28")
HALF = ip_network("10.233.77.48/28")  # an affinity without a block
STALE = FOREIGN  # node-1 has an affinity for it, too


class Cluster:
    """Keys and values, put together piece by piece."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.blocks: dict[Network, Block] = {}
        self.handles: dict[str, dict[Network, int]] = {}

    def resource(self, plural: str, name: str, **spec: object) -> None:
        metadata = {"name": name, "uid": STAMP.uid, "creationTimestamp": STAMP.text}
        document = {"kind": "?", "metadata": metadata, "spec": spec}
        self.values[f"{keys.RESOURCES}{plural}/{name}"] = json.dumps(document).encode()

    def node(self, name: str, address: str, kubernetes_name: str = "") -> None:
        node = Node(name, IPv4Interface(address))
        self.values[keys.node(name)] = codec.encode_node(
            node, STAMP, kubernetes_name=kubernetes_name
        )

    def affinity(self, host: str, cidr: Network, state: str = CONFIRMED) -> None:
        value = codec.encode_affinity(Affinity(host, cidr, state))
        self.values[keys.affinity(host, cidr)] = value

    def block(self, cidr: Network, host: str | None) -> None:
        self.blocks[cidr] = replace(
            Block.new(cidr, host or "", 1000), affinity=f"host:{host}" if host else None
        )
        if host:
            self.affinity(host, cidr)

    def hold(self, cidr: Network, handle: str | None, **secondary: str) -> Address:
        block, address = self.blocks[cidr].assign(Attribute(handle, secondary or None))
        self.blocks[cidr] = block.next_write()
        if handle not in (None, WINDOWS_HANDLE):
            counts = self.handles.setdefault(handle, {})
            counts[cidr] = counts.get(cidr, 0) + 1
        return address

    def pod(self, node: str, name: str, *cidrs: Network) -> None:
        """A pod with an address of each block, its handle and its endpoint."""
        handle = f"k8s-pod-network.{name}"
        facts = {"namespace": "default", "pod": name, "node": node}
        addresses = [self.hold(cidr, handle, **facts) for cidr in cidrs]
        self.endpoint(node, name, *addresses)

    def endpoint(self, node: str, name: str, *addresses: Address) -> None:
        where = EndpointId(node, "default", "k8s", name, "eth0")
        endpoint = WorkloadEndpoint(
            id=where,
            container_id=name,
            networks=tuple(ip_network(address) for address in addresses),
            interface_name="cali0123456789a",
            mac="ee:ee:ee:ee:ee:ee",
        )
        self.values[keys.endpoint("default", where.name)] = codec.encode_endpoint(endpoint, STAMP)

    @property
    def entries(self) -> dict[str, bytes]:
        return {
            **self.values,
            **{keys.block(c): codec.encode_block(b) for c, b in self.blocks.items()},
            **{keys.handle(h): codec.encode_handle(n) for h, n in self.handles.items()},
        }


def neighbours() -> Cluster:
    """What is to be left when all of node-1 is gone, but for what it shares."""
    cluster = Cluster()
    for pool in POOLS:
        cluster.values[keys.pool(pool.name)] = codec.encode_pool(pool, STAMP)
    cluster.node(OTHER, "10.0.0.12/24")
    cluster.node(LATER, "10.0.0.20/24")
    cluster.resource("bgppeers", "other", node=OTHER, peerIP="10.0.0.254")
    cluster.resource("bgppeers", "rack", nodeSelector='name == "node-1"', peerIP="10.0.0.254")
    cluster.resource("hostendpoints", "other-eth0", node=OTHER, interfaceName="eth0")
    cluster.resource("bgpconfigurations", "default", asNumber=64512)
    cluster.resource("bgpconfigurations", f"node.{OTHER}", logSeverityScreen="Info")
    cluster.resource("felixconfigurations", f"node.{LATER}")
    cluster.block(FOREIGN, OTHER)
    cluster.pod(OTHER, "db-0", FOREIGN)
    cluster.block(LATERS, LATER)
    cluster.pod(LATER, "db-1", LATERS)
    return cluster


def a_cluster() -> Cluster:
    """The neighbours, and node-1 with something of every kind."""
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    for cidr in (OWN, OWN6, SHARED, EMPTY):
        cluster.block(cidr, NODE)
    cluster.pod(NODE, "web-0", OWN, OWN6)
    cluster.pod(NODE, "web-1", OWN)
    cluster.pod(OTHER, "guest-0", SHARED)
    cluster.pod(NODE, "web-2", SHARED)
    cluster.pod(NODE, "web-3", FOREIGN)
    cluster.block(NOBODYS, None)
    cluster.pod(NODE, "web-4", NOBODYS)
    tunnel = cluster.hold(OWN, f"ipip-tunnel-addr-{NODE}", node=NODE, type="ipipTunnelAddress")
    document = json.loads(cluster.values[keys.node(NODE)])
    document["spec"]["bgp"]["ipv4IPIPTunnelAddr"] = str(tunnel)
    cluster.values[keys.node(NODE)] = json.dumps(document).encode()
    cluster.resource("bgppeers", "tor", node=NODE, peerIP="10.0.0.254")
    cluster.resource("hostendpoints", "one-eth0", node=NODE, interfaceName="eth0")
    cluster.resource("bgpconfigurations", f"node.{NODE}", logSeverityScreen="Info")
    cluster.resource("felixconfigurations", f"node.{NODE}")
    return cluster


def spoil(cluster: Cluster) -> Cluster:
    """Add what interrupted Calicos leave: none of it is consistent, all of it must go."""
    cluster.affinity(NODE, HALF, PENDING)
    cluster.affinity(NODE, STALE)
    cluster.endpoint(NODE, "lost-0", ip_interface("10.233.77.40/32").ip)
    cluster.handles["k8s-pod-network.web-1"][ip_network("10.233.111.0/28")] = 1
    cluster.handles[f"vxlan-tunnel-addr-{NODE}"] = {}
    cluster.values[f"{keys.ALL_AFFINITIES}{NODE}"] = b""
    nameless = cluster.hold(EMPTY, "old-network.lost-1")
    cluster.endpoint(NODE, "lost-1", nameless)
    cluster.hold(EMPTY, None, node=NODE)
    cluster.hold(EMPTY, WINDOWS_HANDLE, note="windows host rsvd")
    return cluster


def mentions(entries: Mapping[str, bytes], name: str = NODE) -> Iterable[str]:
    """What is there that the node's name is a whole word of, the selector of a peer apart."""
    word = f'"{name}"'.encode()
    return [
        key
        for key, value in entries.items()
        if f"/{name}/" in f"{key}/"
        or key.endswith(f"-{name}")
        or key.rpartition("/")[2].startswith(f"{name.replace('-', '--')}-k8s")
        or word in value
        or f'host:{name}"'.encode() in value
    ]
