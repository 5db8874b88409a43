"""A small cluster with addresses, consistent in every respect, and a store in memory that has it.

node-1 owns 10.0.0.0/29 with pod default/web-0 in it, node-2 owns 10.0.0.8/29 with default/web-1.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.ipam_config import IpamConfig
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change, Store

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
STAMP = codec.Stamp(str(UUID(int=1)), NOW)
POOL = Pool("main", ip_network("10.0.0.0/24"), 29)
FIRST, SECOND = ip_network("10.0.0.0/29"), ip_network("10.0.0.8/29")
WEB_0, WEB_1 = ip_address("10.0.0.0"), ip_address("10.0.0.8")
HANDLE_0, HANDLE_1 = "net.c0", "net.c1"
GUID = "0123456789abcdef"

Values = dict[str, bytes]


def facts_of(pod: str, node: str = "node-1", **more: str) -> Mapping[str, str]:
    when = "2026-11-20 11:00:00.5 +0000 UTC"
    return {"namespace": "default", "pod": pod, "node": node, "timestamp": when, **more}


def a_block(
    cidr: Network = FIRST, owner: str | None = "node-1", *holders: Attribute, **rest: Any
) -> Block:
    """A block whose first addresses have these holders."""
    block = Block.new(cidr, owner or "", now_ns=1_000)
    for holder in holders:
        block = block.assign(holder)[0].next_write()
    return replace(block, **{"affinity": owner and f"host:{owner}", **rest})


def stored_block(block: Block) -> Values:
    """The block, its affinity and its handles, but no endpoints."""
    values = {keys.block(block.cidr): codec.encode_block(block)}
    if block.host:
        values |= an_affinity(block.cidr, block.host)
    for handle_id in {a.handle_id for a in block.attributes if a.handle_id}:
        counts = {block.cidr: len(block.held_by(handle_id))}
        values[keys.handle(handle_id)] = codec.encode_handle(counts)
    return values


def an_affinity(cidr: Network, node: str, state: str = "confirmed") -> Values:
    return {keys.affinity(node, cidr): codec.encode_affinity(Affinity(node, cidr, state))}


def an_endpoint(pod: str, container_id: str, *addresses: Any, node: str = "node-1") -> Values:
    where = EndpointId.of(node, Attachment("net", container_id, "eth0"), Pod("default", pod))
    endpoint = WorkloadEndpoint(
        id=where,
        container_id=container_id,
        networks=tuple(ip_network(address) for address in addresses),
        interface_name=f"cali{container_id}",
        mac="ee:ee:ee:ee:ee:ee",
    )
    return {keys.endpoint(where.namespace, where.name): codec.encode_endpoint(endpoint, STAMP)}


def endpoint_key(pod: str, node: str = "node-1") -> str:
    return next(iter(an_endpoint(pod, "c", node=node)))


def a_config(**fields: Any) -> Values:
    config = IpamConfig(**{"strict_affinity": True, **fields})
    return {keys.IPAM_CONFIG: codec.encode_ipam_config(config, None)}


def a_reservation(*cidrs: str) -> Values:
    document = {
        "kind": "IPReservation",
        "metadata": {"name": "r", "uid": STAMP.uid, "creationTimestamp": STAMP.text},
        "spec": {"reservedCIDRs": list(cidrs)},
    }
    return {f"{keys.RESERVATIONS}r": json.dumps(document).encode()}


def a_cluster(*more: Values, pools: Iterable[Pool] = (POOL,)) -> Values:
    """The cluster, with *more* written over it."""
    web_0 = Attribute(HANDLE_0, facts_of("web-0"))
    web_1 = Attribute(HANDLE_1, facts_of("web-1", "node-2"))
    values = {
        **a_config(),
        **{keys.pool(pool.name): codec.encode_pool(pool, STAMP) for pool in pools},
        **{keys.node(n): codec.encode_node(Node(n), STAMP) for n in ("node-1", "node-2")},
        keys.CLUSTER_INFORMATION: codec.encode_cluster_information(GUID, STAMP),
        **stored_block(a_block(FIRST, "node-1", web_0)),
        **stored_block(a_block(SECOND, "node-2", web_1)),
        **an_endpoint("web-0", "c0", WEB_0),
        **an_endpoint("web-1", "c1", WEB_1, node="node-2"),
    }
    for some in more:
        values |= some
    return values


async def a_store(*more: Values, without: Iterable[str] = (), **rest: Any) -> MemoryStore:
    """A store that has the cluster, but for the keys *without*."""
    store = MemoryStore()
    values = a_cluster(*more, **rest)
    await store.commit(Change(put={k: v for k, v in values.items() if k not in set(without)}))
    return store


async def content(store: Store) -> Values:
    """Every key and its value."""
    return {key: entry.value for key, entry in (await store.read("/")).entries.items()}


async def block_in(store: Store, cidr: Network = FIRST) -> Block:
    key = keys.block(cidr)
    return codec.decode_block(key, (await store.read(key)).entries[key].value)
