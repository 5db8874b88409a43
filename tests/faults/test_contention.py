"""20 ipamds take a whole pool at once, to the last address, and give everything back: ten times.

On a real etcd, and everything of ipamd between the socket and etcd: each node has an allocator, a
mirror with its watches and a connection of its own. They share one process and its event loop: 20
processes would only wait for the few processors of a test machine, and conflict the less for it.
etcd does not sync to disk here, which makes conflicts more frequent.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from datamodel.block import Block
from datamodel.errors import Exhausted
from datamodel.ipam_config import IpamConfig
from datastore import codec, keys
from datastore.etcd import EtcdStore
from datastore.store import Change
from ipamd.facts import FOREIGN_FACTS_S
from ipamd.request import Granted
from tests.consistency import assert_consistent
from tests.etcd_server import EtcdServer
from tests.ipam import NOW, Serving, a_pool, a_release, a_store, an_allocate, content, serving

NODES = [f"node-{i}" for i in range(20)]
POOL = a_pool(cidr="10.233.64.0/24", block_size=28)
BLOCK_SIZE = 16
ADDRESSES = 256
LIVES, ROUNDS_PER_LIFE = 5, 2  # ten rounds; in between all nodes are killed and start anew
AT_ONCE = 4  # requests of each node
AGED = timedelta(minutes=10)  # between two lives: empty blocks of other nodes may be reclaimed


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    with EtcdServer(flags=["--unsafe-no-fsync"]) as server:
        yield server


@dataclass
class Cluster:
    """The nodes of one life, and what their pods hold."""

    nodes: Mapping[str, Serving]
    etcd: EtcdStore
    is_strict: bool
    now: datetime

    async def fill(self, round_: int) -> dict[str, tuple[str, str]]:
        """Every node takes addresses until it gets no more: container -> its node and address."""
        held: dict[str, tuple[str, str]] = {}

        async def worker(name: str, index: int) -> None:
            for count in range(ADDRESSES + 1):
                container = f"{name}-{index}-{round_}-{count}"
                try:
                    outcome = await self.nodes[name].submit(an_allocate(container, container))
                except Exhausted:  # "no addresses"; any other error fails the test
                    await self.check_refusal(name)
                    return
                assert isinstance(outcome, Granted)
                (grant,) = outcome.grants
                held[container] = name, str(grant.address)

        async with asyncio.TaskGroup() as workers:
            for name in self.nodes:
                for index in range(AT_ONCE):
                    workers.create_task(worker(name, index))
        return held

    async def check_refusal(self, name: str) -> None:
        """It was right: meanwhile nothing becomes free, so what is free now has been so."""
        blocks = await self.blocks()
        assert len(blocks) == ADDRESSES / BLOCK_SIZE, "there was a block to claim"
        for block in blocks:
            if not self.is_strict or block.host == name:
                assert not block.unallocated, f"{name}: there was room in {block.cidr}"
            is_settled = self.now.timestamp() - block.sequence_number / 1e9 > 60
            assert not (block.is_empty and is_settled), f"{block.cidr} was there to be reclaimed"

    async def empty(self, held: Mapping[str, tuple[str, str]]) -> None:
        """Everything is released, on all nodes at once."""
        async with asyncio.TaskGroup() as tasks:
            for container, (name, _) in held.items():
                tasks.create_task(self.nodes[name].submit(a_release(container, container)))

    async def blocks(self) -> list[Block]:
        snapshot = await self.etcd.read(keys.ALL_BLOCKS)
        return [codec.decode_block(key, e.value) for key, e in snapshot.entries.items()]


@contextlib.asynccontextmanager
async def living(etcd: EtcdServer, now: datetime, is_strict: bool) -> AsyncIterator[Cluster]:
    """All nodes from start to kill."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = {}
        for name in [*NODES, "observer"]:
            store = EtcdStore(etcd.config, deadline_s=30, attempt_s=20)
            stack.push_async_callback(store.close)
            if name != "observer":
                nodes[name] = await stack.enter_async_context(serving(store, name, now=now))
        yield Cluster(nodes, store, is_strict, now)


@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "borrowing"])
async def test_twenty_nodes_empty_a_pool_at_once_and_give_it_back(
    empty_etcd_store: EtcdStore, etcd: EtcdServer, is_strict: bool
):
    config = IpamConfig(strict_affinity=is_strict)
    stored = a_store(POOL, nodes=tuple(NODES)).having(
        **{keys.IPAM_CONFIG: codec.encode_ipam_config(config, None)}
    )
    await empty_etcd_store.commit(Change(put=stored.values))

    for life in range(LIVES):
        async with living(etcd, NOW + life * AGED, is_strict) as cluster:
            for turn in range(ROUNDS_PER_LIFE):
                # So long blocks that were found full are not looked at again.
                await asyncio.sleep((FOREIGN_FACTS_S + 0.1) * turn)
                held = await cluster.fill(life * ROUNDS_PER_LIFE + turn)
                await check_full(cluster, held)
                await cluster.empty(held)
                await check_empty(cluster)


async def check_full(cluster: Cluster, held: Mapping[str, tuple[str, str]]) -> None:
    entries = await content(cluster.etcd)
    assert_consistent(entries)
    addresses = Counter(address for _, address in held.values())
    assert addresses.most_common(1)[0][1] == 1, "an address was given out twice"
    assert len(addresses) == ADDRESSES
    blocks = await cluster.blocks()
    in_store = {
        str(block.address(ordinal)): block.attributes[index].node
        for block in blocks
        for ordinal, index in enumerate(block.allocations)
        if index is not None
    }
    assert in_store == {address: name for name, address in held.values()}


async def check_empty(cluster: Cluster) -> None:
    entries = await content(cluster.etcd)
    assert_consistent(entries)
    assert [key for key in entries if key.startswith((keys.ALL_HANDLES, keys.ENDPOINTS))] == []
    blocks = await cluster.blocks()
    assert sum(block.in_use for block in blocks) == 0
    affinities = [key for key in entries if key.startswith(keys.ALL_AFFINITIES)]
    assert len(affinities) == len(blocks) == ADDRESSES / BLOCK_SIZE, "a block was lost"
