"""A store as a large cluster fills it: nodes, their blocks, and the pods that hold the addresses.

Written with our own codec, key by key as ipamd writes it: every node claims in its own order and
takes the first block that nobody has, pods get the addresses in the order of the queue.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Interface, ip_address, ip_network
from uuid import UUID

from bench.ipam_pods import KERNEL, NETWORK, attachment, pod, recorded
from datamodel.affinity import Affinity
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.gotime import go_time
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.codec import Stamp
from datastore.etcd import EtcdStore
from datastore.store import MAX_OPERATIONS, Change

AT_ONCE = 4  # transactions that fill the store
_FIRST_POD = 10_000_000  # pods of the cluster have other numbers than those that are measured
_NOW = datetime(2026, 11, 20, 12, 0, 0, 123450, tzinfo=UTC)
_STAMP = Stamp(str(UUID(int=1)), _NOW)


@dataclass(frozen=True, slots=True)
class Cluster:
    """So many nodes with so many blocks each, and so many pods in every block."""

    pool: Pool
    nodes: int = 0
    blocks_per_node: int = 0
    pods_per_block: int = 0

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.nodes * self.blocks_per_node

    @property
    def pods(self) -> int:
        """Pods in all."""
        return self.blocks * self.pods_per_block

    def owners(self) -> Iterator[tuple[str, list[Network]]]:
        """Every node and its blocks."""
        taken: set[Network] = set()
        for index in range(self.nodes):
            name = node_name(index)
            free = (cidr for cidr in self.pool.blocks_for(name) if cidr not in taken)
            own = list(itertools.islice(free, self.blocks_per_node))
            taken.update(own)
            yield name, own

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Every key and its value."""
        yield keys.IPAM_CONFIG, codec.DEFAULT_IPAM_CONFIG
        yield keys.pool(self.pool.name), codec.encode_pool(self.pool, _STAMP)
        numbers = itertools.count(_FIRST_POD)
        for index, (name, blocks) in enumerate(self.owners()):
            yield keys.node(name), node_value(name, index)
            for cidr in blocks:
                yield from _block(name, cidr, itertools.islice(numbers, self.pods_per_block))


def node_name(index: int) -> str:
    """What the node of that number is called."""
    return f"worker-{index:04}"


def node_value(name: str, index: int) -> bytes:
    """A Node with the labels that a kubelet gives it."""
    address = IPv4Interface((ip_address("172.16.0.0") + index + 1, 12))
    document = json.loads(codec.encode_node(Node(name, ipv4=address), _STAMP))
    document["metadata"]["labels"] = {
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": f"zone-{index % 3}",
    }
    document["spec"]["orchRefs"] = [{"nodeName": name, "orchestrator": "k8s"}]
    return codec.dump(document)


def _block(node: str, cidr: Network, numbers: Iterator[int]) -> Iterator[tuple[str, bytes]]:
    """A block, its affinity, and the handles and endpoints of its pods."""
    block = Block.new(cidr, node, int(_NOW.timestamp() * 1e6) * 1000)
    for number in numbers:
        block, address = block.next_write().assign(_attribute(node, number))
        handle_id = attachment(number).handle_id
        yield keys.handle(handle_id), codec.encode_handle({cidr: 1})
        where = EndpointId.of(node, attachment(number), pod(number))
        link = recorded(number)
        endpoint = WorkloadEndpoint(
            id=where,
            container_id=attachment(number).container_id,
            networks=(ip_network(address),),
            interface_name=link.interface_name,
            mac=link.mac,
            profiles=link.profiles,
        )
        yield keys.endpoint(where.namespace, where.name), codec.encode_endpoint(endpoint, _STAMP)
    yield from claimed(node, block.next_write()).items()


def claimed(node: str, block: Block) -> dict[str, bytes]:
    """What is written of a block that a node claims."""
    return {
        keys.affinity(node, block.cidr): codec.encode_affinity(Affinity(node, block.cidr)),
        keys.block(block.cidr): codec.encode_block(block),
    }


def new_block(node: str, cidr: Network) -> dict[str, bytes]:
    """The same of one in which nobody holds an address."""
    return claimed(node, Block.new(cidr, node, int(_NOW.timestamp() * 1e6) * 1000))


def _attribute(node: str, number: int) -> Attribute:
    who = pod(number)
    facts = {
        "namespace": who.namespace,
        "pod": who.name,
        "node": node,
        "timestamp": go_time(_NOW),
        "boot": KERNEL.boot_id,
        "netns": KERNEL.netns,
    }
    return Attribute(f"{NETWORK}.{attachment(number).container_id}", facts)


async def fill(store: EtcdStore, cluster: Cluster) -> None:
    """Put all of the cluster into the store."""
    entries = cluster.entries()

    async def work() -> None:
        while some := dict(itertools.islice(entries, MAX_OPERATIONS)):
            await store.commit(Change(put=some))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
