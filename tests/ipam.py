"""Builders for IPAM: stores as plain values, requests, and the loop between them.

``Stored`` is what a store holds; ``decided`` and ``settled`` do with it what the allocator does
with etcd, so that a decision can be looked at without any I/O.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_network
from typing import Any
from uuid import UUID

from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.mirror import Mirror, within
from datastore.store import Change, Decision, Entry, Store
from ipamd.allocator import Allocator
from ipamd.decision import decide
from ipamd.facts import ranges_of
from ipamd.request import Allocate, Link, Outcome, Release, Request, View

NODE = "node-1"
NETWORK = "k8s-pod-network"
NOW = datetime(2026, 11, 20, 12, 0, 0, 123450, tzinfo=UTC)
STAMP = codec.Stamp(str(UUID(int=1)), NOW)
LINK = Link("cali0123456789a", "02:00:00:00:00:01", ("kns.default",))


def a_pool(name: str = "default-ipv4-ippool", cidr: str = "10.233.64.0/18", **rest: Any) -> Pool:
    return Pool(name, ip_network(cidr), **{"block_size": 24, **rest})


def an_attachment(container_id: str = "c1", ifname: str = "eth0") -> Attachment:
    return Attachment(NETWORK, container_id, ifname)


def an_allocate(
    container_id: str = "c1", pod: str | None = "web-0", ifname: str = "eth0", **rest: Any
) -> Allocate:
    if "pools" in rest and not isinstance(rest["pools"], dict):
        rest["pools"] = {4: rest["pools"], 6: ()}
    fields = {"link": LINK, "stamp": STAMP, **rest}
    return Allocate(
        attachment=an_attachment(container_id, ifname),
        pod=Pod("default", pod) if pod else None,
        **fields,
    )


def a_release(container_id: str = "c1", pod: str | None = "web-0", ifname: str = "eth0") -> Release:
    return Release(an_attachment(container_id, ifname), Pod("default", pod) if pod else None)


# ---- keys of what the builders make ------------------------------------------------------------


def handle_key(container_id: str, ifname: str = "eth0") -> str:
    return keys.handle(an_attachment(container_id, ifname).handle_id)


def endpoint_key(pod: str, node: str = NODE) -> str:
    where = EndpointId(node, "default", "k8s", pod, "eth0")
    return keys.endpoint(where.namespace, where.name)


# ---- a store as a value ------------------------------------------------------------------------


@dataclass(frozen=True)
class Stored:
    """What a store holds at one revision."""

    revision: int
    entries: Mapping[str, Entry]

    def with_change(self, change: Change) -> "Stored":
        revision = self.revision + 1
        left = {k: e for k, e in self.entries.items() if k not in change.delete}
        put = {k: Entry(k, v, revision) for k, v in change.put.items()}
        return Stored(revision, {**left, **put})

    def having(self, **values: bytes) -> "Stored":
        return self.with_change(Change(put=values))

    def without(self, *gone: str) -> "Stored":
        return self.with_change(Change(delete=frozenset(gone)))

    @property
    def values(self) -> dict[str, bytes]:
        return {key: entry.value for key, entry in self.entries.items()}

    def block(self, cidr: Network) -> Block:
        key = keys.block(cidr)
        return codec.decode_block(key, self.entries[key].value)

    def endpoint(self, pod: str) -> WorkloadEndpoint:
        key = endpoint_key(pod)
        return codec.decode_endpoint(key, self.entries[key].value)

    def below(self, prefix: str) -> list[str]:
        return sorted(key for key in self.entries if key.startswith(prefix))


def a_store(*pools: Pool, nodes: tuple[str, ...] = (NODE,), **more: bytes) -> Stored:
    """A store that knows some nodes and pools, and holds no address."""
    return Stored(1, {}).having(
        **{
            keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG,
            **{keys.node(name): codec.encode_node(Node(name), STAMP) for name in nodes},
            **{keys.pool(p.name): codec.encode_pool(p, STAMP) for p in pools or (a_pool(),)},
            **more,
        }
    )


def a_foreign_block(cidr: IPv4Network, host: str = "node-2", taken: int = 0) -> dict[str, bytes]:
    """Another node's block and affinity, *taken* addresses of it held."""
    block = Block.new(cidr, host, 1)
    for i in range(taken):
        block, _ = block.assign(Attribute(f"net.{host}-{i}", {}))
    return {
        keys.block(cidr): codec.encode_block(block.next_write()),
        keys.affinity(host, cidr): b'{"state":"confirmed","deleted":false}',
    }


def a_view(stored: Stored, node: str = NODE, **rest: Any) -> View:
    """What the node's mirror knows of the store, and nothing else."""
    ranges = ranges_of(node)(stored.entries)
    mirrored = {key: entry for key, entry in stored.entries.items() if within(key, ranges)}
    return View(
        **{"node": node, "now": NOW, "mirrored": mirrored, "facts": {}, "claimed": {}, **rest}
    )


def decided(
    stored: Stored, *requests: Request, node: str = NODE, **rest: Any
) -> Decision[list[Outcome]]:
    """Decide, and again with what was missing or guessed wrongly, until it would be committed."""
    facts: dict[str, Entry | None] = {}
    claimed: dict[str, frozenset[str]] = {}
    on_needs = rest.pop("on_needs", lambda needs: None)
    while True:
        decision = decide(a_view(stored, node, facts=facts, claimed=claimed, **rest), requests)
        on_needs(decision.needs)
        for need in decision.needs:
            if need.endswith("/"):
                claimed[need] = frozenset(stored.below(need))
            else:
                facts[need] = stored.entries.get(need)
        wrong = [k for k, r in decision.change.expect.items() if r != revision_of(stored, k)]
        facts |= {key: stored.entries.get(key) for key in wrong}
        if not decision.needs and not wrong:
            return decision


def settled(
    stored: Stored, *requests: Request, node: str = NODE, **rest: Any
) -> tuple[Stored, list[Outcome]]:
    """The store after the requests, and their outcomes."""
    decision = decided(stored, *requests, node=node, **rest)
    if not (decision.change.put or decision.change.delete):
        return stored, decision.outcome
    return stored.with_change(decision.change), decision.outcome


def revision_of(stored: Stored, key: str) -> int:
    entry = stored.entries.get(key)
    return entry.revision if entry else 0


# ---- a running ipamd ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Serving:
    """The parts of one node's ipamd that matter for addresses."""

    store: Store
    allocator: Allocator
    mirror: Mirror

    async def submit(self, request: Request) -> Outcome:
        return await self.allocator.submit(request, timeout_s=600)


@asynccontextmanager
async def serving(
    store: Store, node: str = NODE, *, is_open: bool = True, now: datetime = NOW
) -> AsyncIterator[Serving]:
    """Run a node's mirror and allocator within the block; afterwards they are as if killed.

    *is_open*: as if the kernel had been reported to have no link.
    """
    mirror = Mirror(store, ranges_of(node))
    allocator = Allocator(store, mirror, node, lambda: now)
    if is_open:
        allocator.open(0)
    tasks = [asyncio.create_task(work) for work in (mirror.run(), allocator.run())]
    try:
        yield Serving(store, allocator, mirror)
        assert not any(task.done() for task in tasks), "ipamd ended by itself"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def filled(store: MemoryStore, stored: Stored) -> MemoryStore:
    """Put all of *stored* into the store."""
    await store.commit(Change(put=stored.values))
    return store


async def content(store: Store) -> dict[str, bytes]:
    """Every key and its value."""
    snapshot = await store.read("/")
    return {key: entry.value for key, entry in snapshot.entries.items()}
