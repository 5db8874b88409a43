"""What ``ipam explain`` foretells is what ipamd then does, in whatever state the store is."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodel.affinity import Affinity
from datamodel.block import Attribute, Block
from datamodel.errors import Exhausted, Invalid
from datamodel.ipam_config import IpamConfig
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.memory import MemoryStore
from ipamd.request import Granted
from ocicatctl.ipam.explaining import Explainer
from tests.ipam import NODE, NOW, STAMP, Stored, a_pool, an_allocate, decided, filled

NOW_NS = int(NOW.timestamp() * 1e9)
SMALL = a_pool("small", "10.0.0.0/28", block_size=30)
OTHER = a_pool("other", "10.0.1.0/29", block_size=30)
BLOCKS = {pool.name: sorted(pool.blocks_for("")) for pool in (SMALL, OTHER)}


def a_store(pools: list[Pool], config: IpamConfig, values: dict[str, bytes]) -> Stored:
    return Stored(1, {}).having(
        **{
            keys.IPAM_CONFIG: codec.encode_ipam_config(config, None),
            keys.node(NODE): codec.encode_node(Node(NODE), STAMP),
            **{keys.pool(pool.name): codec.encode_pool(pool, STAMP) for pool in pools},
            **values,
        }
    )


def a_block(
    cidr: IPv4Network, owner: str | None, taken: int, *, age_s: int = 3600, spoilt: bool = False
) -> dict[str, bytes]:
    """A block, and its affinity if it is a node's; the first *taken* addresses are held."""
    block = Block.new(cidr, owner or "", NOW_NS - age_s * 10**9)
    for i in range(taken):
        block, _ = block.assign(Attribute(f"net.{cidr}-{i}".replace("/", "-"), {"node": "n"}))
    if owner is None:
        block = replace(block, affinity=None)
    value = b"{}" if spoilt else codec.encode_block(block.next_write())
    values = {keys.block(cidr): value}
    return values | (an_affinity(cidr, owner) if owner else {})


def an_affinity(cidr: IPv4Network, owner: str = NODE) -> dict[str, bytes]:
    return {keys.affinity(owner, cidr): codec.encode_affinity(Affinity(owner, cidr))}


def a_reservation(*cidrs: str) -> dict[str, bytes]:
    document = {"metadata": {"name": "r"}, "spec": {"reservedCIDRs": list(cidrs)}}
    return {f"{keys.RESERVATIONS}r": json.dumps(document).encode()}


async def foretold(stored: Stored, version: int = 4) -> dict:
    explainer = Explainer(await filled(MemoryStore(), stored), NOW)
    (document,) = await explainer.node(NODE, versions=(version,))
    return document["next"]


async def assert_agreement(stored: Stored) -> str:
    """Let both decide; return the step."""
    told = await foretold(stored)
    (outcome,) = decided(stored, an_allocate()).outcome
    if isinstance(outcome, Granted):
        assert str(outcome.grants[0].block) in told["blocks"], told
        assert told["step"] in ("reclaim", "borrow") or len(told["blocks"]) == 1
    else:
        assert isinstance(outcome, Exhausted), outcome
        assert (told["step"], told["error"]) == ("none", str(outcome))
    return told["step"]


FULL = 4
FIRST, *REST = BLOCKS["small"]
STRICT, LOOSE = IpamConfig(strict_affinity=True), IpamConfig()
ALL_FULL = {k: v for cidr in REST for k, v in a_block(cidr, "node-2", FULL).items()}
CASES = {
    "own": (STRICT, a_block(FIRST, NODE, 2)),
    "resume": (STRICT, an_affinity(FIRST)),
    "claim": (STRICT, a_block(FIRST, "node-2", 0)),
    "reclaim": (STRICT, ALL_FULL | a_block(FIRST, "node-2", 0)),
    "borrow": (LOOSE, ALL_FULL | a_block(FIRST, "node-2", 2)),
    "none": (STRICT, ALL_FULL | a_block(FIRST, "node-2", 2)),
}


@pytest.mark.parametrize("step", CASES)
async def test_each_step_is_foretold(step):
    config, values = CASES[step]

    assert await assert_agreement(a_store([SMALL], config, values)) == step


REFUSALS = {
    "no pool": ([], STRICT, {}, "there is no IPv4 pool"),
    "all full": ([SMALL], STRICT, CASES["none"][1], "all 4 blocks are claimed and the 0 of node"),
    "nothing to borrow": ([SMALL], LOOSE, ALL_FULL | a_block(FIRST, NODE, 4), "no other block has"),
    "the limit": (
        [SMALL],
        IpamConfig(strict_affinity=True, max_blocks_per_host=1),
        a_block(FIRST, NODE, FULL),
        "has reached the limit of 1 blocks",
    ),
    "no claims": (
        [SMALL],
        IpamConfig(strict_affinity=True, auto_allocate_blocks=False),
        {},
        "auto_allocate_blocks is off",
    ),
    "a selector": ([a_pool(node_selector="has(gpu)")], STRICT, {}, "nodeSelector 'has(gpu)'"),
    "a disabled pool": ([a_pool(disabled=True)], STRICT, {}, "is disabled"),
    "an unreadable pool": ([], STRICT, {keys.pool("bad"): b"{"}, f"etcd key {keys.pool('bad')}"),
    "a reserved pool": ([SMALL], STRICT, a_reservation("10.0.0.0/28"), "is reserved as a whole"),
    "a spoilt own block": (
        [SMALL],
        STRICT,
        ALL_FULL | a_block(FIRST, NODE, 0, spoilt=True),
        "the 0 of node",
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
async def test_a_refusal_is_told_in_the_words_of_the_error(why):
    pools, config, values, words = REFUSALS[why]
    stored = a_store(pools, config, values)

    assert await assert_agreement(stored) == "none"
    assert words in (await foretold(stored))["error"]


async def test_a_config_that_cannot_be_read_stops_what_needs_it_and_nothing_else():
    spoilt = {keys.IPAM_CONFIG: b"[]"}
    own = a_store([SMALL], STRICT, a_block(FIRST, NODE, 2)).having(**spoilt)
    full = a_store([SMALL], STRICT, a_block(FIRST, NODE, FULL)).having(**spoilt)

    assert await assert_agreement(own) == "own"
    told = await foretold(full)
    (outcome,) = decided(full, an_allocate()).outcome
    assert isinstance(outcome, Invalid)
    assert told["reasons"] == [str(outcome)]


async def test_a_block_that_was_claimed_a_moment_ago_is_not_taken_over():
    fresh = a_block(FIRST, "node-2", 0, age_s=59)

    assert await assert_agreement(a_store([SMALL], STRICT, ALL_FULL | fresh)) == "none"


async def test_cooldowns_that_are_over_are_free_and_others_are_not():
    config = IpamConfig(strict_affinity=True, max_blocks_per_host=1, ip_cooldown_s=60)
    block = Block.new(FIRST, NODE, NOW_NS - 10**12)
    for i in range(4):
        block, _ = block.assign(Attribute(f"net.c{i}", {}))
    for age_s, step in ((61, "own"), (59, "none")):
        released, _ = block.release("net.c0", now=NOW - timedelta(seconds=age_s), cooldown_s=60)
        values = {keys.block(FIRST): codec.encode_block(released), **an_affinity(FIRST)}

        assert await assert_agreement(a_store([SMALL], config, values)) == step


OWNERS = st.sampled_from([NODE, "node-2", "node-3", None])
SHAPES = st.one_of(
    st.none(),
    st.just("half"),
    st.tuples(OWNERS, st.integers(0, FULL), st.sampled_from([3600, 5]), st.booleans()),
)
CONFIGS = st.builds(
    IpamConfig,
    strict_affinity=st.booleans(),
    auto_allocate_blocks=st.sampled_from([True, True, False]),
    max_blocks_per_host=st.sampled_from([0, 1, 2]),
)
RESERVED = st.lists(
    st.sampled_from(["10.0.0.0/30", "10.0.0.4/31", "10.0.0.8/29", "10.0.1.1", "10.0.1.0/29"]),
    max_size=3,
)


@settings(max_examples=300)
@given(
    shapes=st.lists(SHAPES, min_size=6, max_size=6),
    config=CONFIGS,
    reserved=RESERVED,
    selector=st.sampled_from(["all()", "all()", "has(gpu)"]),
)
async def test_whatever_the_store_holds_both_agree(shapes, config, reserved, selector):
    values = a_reservation(*reserved)
    for cidr, shape in zip(BLOCKS["small"] + BLOCKS["other"], shapes, strict=True):
        if shape == "half":
            values |= an_affinity(cidr)
        elif shape is not None:
            owner, taken, age_s, spoilt = shape
            is_spoilt = spoilt and taken == FULL
            values |= a_block(cidr, owner, taken, age_s=age_s, spoilt=is_spoilt)
    other = a_pool("other", "10.0.1.0/29", block_size=30, node_selector=selector)

    await assert_agreement(a_store([SMALL, other], config, values))


async def test_a_node_that_is_not_registered_gets_nothing():
    explainer = Explainer(MemoryStore(), NOW)

    (document,) = await explainer.node("node-9")

    assert document["mistake"].startswith("node node-9: has no Node resource")


async def test_a_node_that_cannot_be_read_is_told_from_one_that_is_not_there():
    stored = a_store([SMALL], STRICT, {}).having(**{keys.node(NODE): b"{"})
    explainer = Explainer(await filled(MemoryStore(), stored), NOW)

    (document,) = await explainer.node(NODE)

    assert document["mistake"].endswith("its Node resource cannot be read, so it gets no address")
    assert explainer.mistakes[0].startswith(f"etcd key {keys.node(NODE)}: value is not JSON")


async def test_ipv6_is_explained_beside_ipv4():
    six = a_pool("six", "fd00:1::/64", block_size=122)
    store = await filled(MemoryStore(), a_store([SMALL, six], STRICT, {}))

    documents = await Explainer(store, NOW).node(NODE)

    assert [d["family"] for d in documents] == ["IPv4", "IPv6"]
    (block,) = documents[1]["next"]["blocks"]
    assert ip_network(block).subnet_of(six.cidr)


async def test_pools_asked_for_by_name_serve_whatever_they_select():
    shy = a_pool("shy", "10.0.1.0/29", block_size=30, node_selector="has(gpu)")
    six = a_pool("six", "fd00:1::/64", block_size=122)
    store = await filled(MemoryStore(), a_store([SMALL, shy, six], STRICT, {}))

    four, six_too = await Explainer(store, NOW).node(NODE, pools=("10.0.1.0/29", "six"))

    assert [pool["name"] for pool in four["pools"]] == ["shy"]
    assert four["poolsNotAskedFor"] == ["small"]
    assert ip_network(four["next"]["blocks"][0]).subnet_of(shy.cidr)
    assert six_too["next"]["step"] == "claim"


async def test_a_pool_that_does_not_exist_is_named():
    store = await filled(MemoryStore(), a_store([SMALL], STRICT, {}))

    with pytest.raises(Invalid, match="pool nope: does not exist"):
        await Explainer(store, NOW).node(NODE, pools=("nope",))


async def test_labels_of_the_namespace_decide_over_the_pool():
    red = a_pool("red", "10.0.1.0/29", block_size=30, namespace_selector="team == 'red'")
    store = await filled(MemoryStore(), a_store([red], STRICT, {}))

    (without,) = await Explainer(store, NOW).node(NODE)
    (with_them,) = await Explainer(store, NOW).node(NODE, namespace_labels={"team": "red"})

    assert (without["next"]["step"], with_them["next"]["step"]) == ("none", "claim")
