import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from datamodel.affinity import PENDING
from datamodel.attribute import Attribute
from datamodel.block import Block
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.mirror import within
from datastore.store import Change, Entry
from route_distributor.overlay.follower import RemoteFollower
from route_distributor.overlay.remote import Remote, RemoteReader, ranges_of
from tests.cluster import STAMP, Pair, a_node, an_affinity, stored
from tests.overlay import a_pool

POOL = a_pool(vxlan="Always")
CIDR = ip_network("10.233.2.0/24")
SOON_S = 5


def a_stored_pool(vxlan: str = "Always", cidr: str = "10.233.0.0/16") -> Pair:
    pool = a_pool(vxlan, cidr=cidr)
    return keys.pool(pool.name), codec.encode_pool(pool, STAMP)


def a_block(*nodes: str, owner: str | None = "node-2") -> Pair:
    """A block of *owner*'s or nobody's with one address of a pod on each of *nodes*."""
    block = Block.new(CIDR, owner or "nobody", 0)
    for i, node in enumerate(nodes):
        block, _ = block.assign(Attribute(f"net.{i}", {"node": node}))
    if owner is None:
        block = replace(block, affinity=None)
    return keys.block(CIDR), codec.encode_block(block)


def read(entries: Mapping[str, Entry]) -> Remote:
    reader = RemoteReader()
    for key, entry in entries.items():
        reader.observe(key, None, entry)
    return reader.remote


def test_without_vxlan_nothing_but_pools_is_followed():
    entries = stored(a_stored_pool("Never"), (keys.pool("bad"), b"{"), a_node("node-2"))

    assert ranges_of(entries) == {keys.POOLS}


def test_with_vxlan_the_blocks_of_all_nodes_are_followed_of_that_version():
    ranges = ranges_of(stored(a_stored_pool("CrossSubnet")))

    assert within(keys.block(CIDR), ranges)
    assert within(keys.affinity("node-9", CIDR), ranges)
    assert not within(keys.block(ip_network("fd00::/122")), ranges)
    assert not within(keys.node("node-2"), ranges)


def test_confirmed_blocks_are_of_their_nodes_in_order_of_addresses():
    found = read(
        stored(
            an_affinity("10.233.10.0/24", host="node-3"),
            an_affinity("10.233.9.0/24", host="node-2"),
            an_affinity("10.233.8.0/24", PENDING, host="node-2"),
        )
    )

    assert [(str(cidr), node) for cidr, node in found.blocks] == [
        ("10.233.9.0/24", "node-2"),
        ("10.233.10.0/24", "node-3"),
    ]


def test_what_another_node_holds_of_a_block_is_borrowed():
    found = read(stored(a_block("node-2", "node-3", "node-2", "node-1")))

    assert found.borrowed == (
        (ip_address("10.233.2.1"), "node-3"),
        (ip_address("10.233.2.3"), "node-1"),
    )


NAMES = st.sampled_from(["node-1", "node-10", "node", 'no"de', "no\\de", "nœud", "<node>"])


@given(owner=st.none() | NAMES, nodes=st.lists(NAMES, max_size=4), in_words=st.booleans())
def test_whatever_nodes_are_called_exactly_what_is_another_ones_is_borrowed(owner, nodes, in_words):
    key, value = a_block(*nodes, owner=owner)
    if in_words:  # as somebody's editor may write it
        value = json.dumps(json.loads(value), indent=1).encode()

    found = read({key: Entry(key, value, 1)})

    assert [node for _, node in found.borrowed] == [node for node in nodes if node != owner]


def test_what_is_held_of_nobodys_block_is_borrowed():
    found = read(stored(a_block("node-2", owner=None)))

    assert found.borrowed == ((ip_address("10.233.2.0"), "node-2"),)


def test_what_cannot_be_read_is_left_out_and_named_until_it_can():
    reader = RemoteReader()
    key, value = a_block("node-3")
    reader.observe(key, None, Entry(key, b"{", 1))
    assert [key in text for text in reader.remote.skipped] == [True]

    reader.observe(key, None, Entry(key, value, 2))

    assert reader.remote.skipped == ()
    assert len(reader.remote.borrowed) == 1


def test_a_pod_that_comes_or_goes_changes_nothing_and_builds_nothing():
    reader = RemoteReader()
    for pair in (a_block("node-3"), an_affinity(str(CIDR), host="node-2")):
        reader.observe(pair[0], None, Entry(*pair, 1))
    before = reader.remote

    key, value = a_block("node-3", "node-2")
    reader.observe(key, None, Entry(key, value, 2))

    assert reader.remote is before


def test_what_is_deleted_is_forgotten():
    reader = RemoteReader()
    pairs = (a_block("node-3"), an_affinity(str(CIDR), host="node-2"), (keys.pool("p"), b"{"))
    for key, value in pairs:
        reader.observe(key, None, Entry(key, value, 1))

    for key, _ in pairs:
        reader.observe(key, None, None)

    assert reader.remote == Remote()


async def put(store: MemoryStore, *pairs: Pair) -> None:
    await store.commit(Change(put=dict(pairs)))


async def test_the_follower_tells_of_what_concerns_routes_and_of_nothing_else():
    store = MemoryStore()
    follower = RemoteFollower(store)
    await put(store, a_block("node-3"), an_affinity(str(CIDR), host="node-2"))
    assert follower.remote is None
    running = asyncio.create_task(follower.run())
    try:
        async with asyncio.timeout(SOON_S):
            await follower.changed()
            assert follower.remote == Remote()  # nobody uses VXLAN

            await put(store, a_stored_pool())
            while not follower.remote.blocks:
                await follower.changed()
        assert follower.remote.blocks == ((CIDR, "node-2"),)
        assert follower.remote.borrowed == ((ip_address("10.233.2.0"), "node-3"),)

        told = asyncio.create_task(follower.changed())
        await put(store, a_block("node-3", "node-2"))  # a pod comes
        await put(store, an_affinity("10.233.9.0/24", host="node-3"))
        async with asyncio.timeout(SOON_S):
            await told
        assert len(follower.remote.blocks) == 2
    finally:
        running.cancel()
