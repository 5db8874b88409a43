"""Deleting a node on the store in memory: everything of it, nothing else, from any half-way."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from click.testing import CliRunner

from datamodel.attachment import Kernel, Pod
from datamodel.block import Address, Attribute, Block
from datamodel.claim import Claim, Machine
from datamodel.errors import Invalid, Unavailable
from datamodel.ipam_config import IpamConfig
from datastore import codec, keys
from datastore.codec_claim import encode_claim
from datastore.departed import Alive, Departed
from datastore.known import Known
from datastore.memory import MemoryStore
from datastore.node_removal import BLOCKS_AT_ONCE, delete_node, take_back
from datastore.store import MAX_OPERATIONS, Change
from datastore.taken import Deleted, Freed, Taken
from ocicatctl.__main__ import ocicatctl
from tests.consistency import assert_consistent, problems
from tests.leftovers import (
    EMPTY,
    FOREIGN,
    HALF,
    NOBODYS,
    NODE,
    OTHER,
    OWN,
    OWN6,
    SHARED,
    Cluster,
    a_cluster,
    mentions,
    neighbours,
    spoil,
)
from tests.virtual_time import in_virtual_time, run

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def a_store(cluster: Cluster) -> MemoryStore:
    store = MemoryStore()
    await store.commit(Change(put=cluster.entries))
    return store


async def content(store: MemoryStore) -> dict[str, bytes]:
    return {key: entry.value for key, entry in (await store.read("/")).entries.items()}


def say_nothing(text: str) -> None:
    raise AssertionError(f"there is nothing to say: {text}")


async def delete(store: MemoryStore, name: str = NODE, **rest) -> Deleted:
    return await delete_node(store, name, say_nothing, now=lambda: NOW, **rest)


def block_in(entries: dict[str, bytes], cidr) -> Block:
    return codec.decode_block(keys.block(cidr), entries[keys.block(cidr)])


def without_sequence(entries: dict[str, bytes]) -> dict[str, object]:
    """The entries, but for what every write of a block changes: numbers, and order in queues."""
    documents = {key: json.loads(value or b"{}") for key, value in entries.items()}
    for document in documents.values():
        document.pop("sequenceNumber", None)
        document.pop("sequenceNumberForAllocation", None)
        document["unallocated"] = sorted(document.get("unallocated", ()))
    return documents


@in_virtual_time
async def test_everything_of_the_node_goes_and_nothing_else():
    store = await a_store(a_cluster())
    expected = neighbours()
    expected.block(SHARED, None)
    expected.pod(OTHER, "guest-0", SHARED)

    await delete(store)

    entries = await content(store)
    assert without_sequence(entries) == without_sequence(expected.entries)
    assert_consistent(entries)
    assert mentions(entries) == []


@in_virtual_time
async def test_what_was_deleted_is_counted():
    deleted = await delete(await a_store(a_cluster()))

    assert deleted.text == (
        "node node-1: deleted\n"
        "  addresses released: 7, 1 of them borrowed\n"
        "  blocks deleted: 4, left to those who use them: 1\n"
        "  workload endpoints deleted: 5\n"
        "  deleted: BGPPeer(tor)\n"
        "  deleted: HostEndpoint(one-eth0)\n"
        "  deleted: BGPConfiguration(node.node-1)\n"
        "  deleted: FelixConfiguration(node.node-1)\n"
    )


@in_virtual_time
async def test_what_interrupted_calicos_left_goes_too():
    store = await a_store(spoil(a_cluster()))

    await delete(store)

    entries = await content(store)
    assert_consistent(entries)
    assert mentions(entries) == []


@in_virtual_time
async def test_the_node_is_the_first_to_go():
    """Its peers then stop using its routes before anybody else gets its addresses."""
    store = await a_store(a_cluster())
    before = store.revision

    await delete(store)

    watch = store.watch(frozenset({"/calico/"}), after=before)
    assert (await anext(watch)).entries == {keys.node(NODE): None}
    await watch.aclose()


@in_virtual_time
async def test_a_block_that_others_use_goes_on_without_a_node():
    cluster = a_cluster()
    cluster.blocks[SHARED] = replace(
        cluster.blocks[SHARED], extra={"affinity_claim_time": "2026-11-20T12:00:00Z"}
    )
    store = await a_store(cluster)
    (guest,) = cluster.blocks[SHARED].held_by("k8s-pod-network.guest-0")

    await delete(store)

    entries = await content(store)
    block = block_in(entries, SHARED)
    assert block.affinity is None
    assert block.extra == {}
    assert block.held_by("k8s-pod-network.guest-0") == (guest,)
    assert block.sequence_number == cluster.blocks[SHARED].sequence_number + 1
    assert keys.affinity(NODE, SHARED) not in entries


@in_virtual_time
async def test_a_borrowed_address_rests_as_the_config_says():
    cluster = a_cluster()
    cluster.values[keys.IPAM_CONFIG] = codec.encode_ipam_config(
        IpamConfig(strict_affinity=False, ip_cooldown_s=30), None
    )
    store = await a_store(cluster)

    await delete(store)

    block = block_in(await content(store), FOREIGN)
    assert [a.released_at for a in block.attributes if a.released_at] == [NOW]
    assert len(block.unallocated) == FOREIGN.num_addresses - 2


@in_virtual_time
async def test_a_node_whose_ipamd_runs_is_warned_of():
    store = await a_store(a_cluster())
    machine = Machine(Kernel("boot-1", "1"), "a" * 32)
    claim = encode_claim(Claim(machine, NOW, await store.grant(20)))
    await store.commit(Change(put={keys.claim(NODE): claim}))
    said: list[str] = []

    deleted = await delete_node(store, NODE, said.append, now=lambda: NOW)

    assert deleted.had_node
    assert f"node {NODE}: its ipamd runs, or did a moment ago (machine id aaaa" in said[0]


@in_virtual_time
async def test_a_name_of_which_there_is_nothing_is_told():
    store = await a_store(neighbours())
    before = await content(store)

    with pytest.raises(Invalid, match=r"^resource does not exist: Node\(node-1\)$"):
        await delete(store)

    assert await content(store) == before


@in_virtual_time
async def test_a_node_that_holds_nothing_is_deleted():
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    store = await a_store(cluster)

    deleted = await delete(store)

    assert deleted.had_node
    assert without_sequence(await content(store)) == without_sequence(neighbours().entries)


@in_virtual_time
async def test_a_virtual_machine_that_is_moving_elsewhere_keeps_its_address():
    cluster = neighbours()
    cluster.block(EMPTY, NODE)
    moving = Attribute("net.vm", {"node": NODE}, {"alternateOwnerAttrs": {"node": OTHER}})
    cluster.blocks[EMPTY], _ = cluster.blocks[EMPTY].assign(moving)
    cluster.handles["net.vm"] = {EMPTY: 1}
    store = await a_store(cluster)

    await delete(store)

    entries = await content(store)
    assert block_in(entries, EMPTY).attributes == (moving,)
    assert keys.handle("net.vm") in entries


async def take_back_what_was_seen(store: MemoryStore, seen: dict[Address, int]) -> list[Taken]:
    taken: list[Taken] = []
    await store.commit(Change(delete=frozenset({keys.node(NODE)})))
    gone = Departed(NODE, {}, NOW, seen=seen)
    await take_back(store, Known(), gone, taken.append, say_nothing)
    return taken


@in_virtual_time
async def test_who_has_looked_before_takes_just_what_he_has_seen():
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    cluster.block(EMPTY, NODE)
    cluster.pod(NODE, "web-0", EMPTY)
    block = cluster.blocks[EMPTY]
    seen = block.sequences_of("k8s-pod-network.web-0")

    (first, *_) = await take_back_what_was_seen(await a_store(cluster), seen)

    freed = Freed(EMPTY[0], "k8s-pod-network.web-0", Pod("default", "web-0"))
    assert first.addresses == (freed,)


@in_virtual_time
async def test_an_address_that_was_given_out_since_shows_that_the_node_lives():
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    cluster.block(EMPTY, NODE)
    cluster.pod(NODE, "web-0", EMPTY)
    seen = cluster.blocks[EMPTY].sequences_of("k8s-pod-network.web-0")
    cluster.pod(NODE, "web-1", EMPTY)
    store = await a_store(cluster)

    with pytest.raises(Alive, match="given out after the node had gone"):
        await take_back_what_was_seen(store, seen)

    assert block_in(await content(store), EMPTY) == cluster.blocks[EMPTY]


@in_virtual_time
async def test_an_address_of_which_no_node_is_noted_is_left_by_who_has_looked_before():
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    cluster.block(EMPTY, NODE)
    cluster.endpoint(NODE, "lost-1", cluster.hold(EMPTY, "old-network.lost-1"))
    store = await a_store(cluster)

    await take_back_what_was_seen(store, {})

    block = block_in(await content(store), EMPTY)
    assert (block.affinity, block.in_use) == (None, 1)


@in_virtual_time
async def test_a_handle_that_holds_more_elsewhere_keeps_that():
    cluster = a_cluster()
    cluster.hold(FOREIGN, "k8s-pod-network.web-1", node=OTHER)
    store = await a_store(cluster)

    await delete(store)

    entries = await content(store)
    key = keys.handle("k8s-pod-network.web-1")
    assert codec.decode_handle(key, entries[key]) == {FOREIGN: 1}


@in_virtual_time
async def test_a_block_with_more_pods_than_fit_in_a_transaction():
    cluster = neighbours()
    wide = ip_network("10.233.100.0/24")
    cluster.block(wide, NODE)
    for i in range(256):
        cluster.pod(NODE, f"web-{i}", wide)
    store = await a_store_in_parts(cluster)

    deleted = await delete(store)

    assert len(deleted.addresses) == 256
    assert without_sequence(await content(store)) == without_sequence(neighbours().entries)


async def a_store_in_parts(cluster: Cluster) -> MemoryStore:
    store = MemoryStore()
    entries = list(cluster.entries.items())
    for i in range(0, len(entries), MAX_OPERATIONS):
        await store.commit(Change(put=dict(entries[i : i + MAX_OPERATIONS])))
    return store


@in_virtual_time
async def test_of_many_blocks_it_is_told_how_far_it_has_come():
    cluster = neighbours()
    cluster.node(NODE, "10.0.0.11/24")
    for i in range(999):
        cluster.block(ip_network(f"10.{i // 256}.{i % 256}.0/32"), OTHER)
    store = await a_store_in_parts(cluster)
    read, said = store.read, []

    async def counted(*ranges: str, keys_only: bool = False):
        assert len([r for r in ranges if r.startswith(keys.ALL_BLOCKS)]) <= BLOCKS_AT_ONCE
        return await read(*ranges, keys_only=keys_only)

    store.read = counted  # type: ignore[method-assign]
    await delete_node(store, NODE, said.append)

    assert said == ["node node-1: 1000 of 1001 blocks looked at"]


# ---- interruption and contention ---------------------------------------------------------------


async def commits_of(cluster: Cluster) -> int:
    store = await a_store(cluster)
    before = store.revision
    await delete(store)
    return store.revision - before


@pytest.mark.parametrize("is_spoilt", [False, True])
@pytest.mark.parametrize("applied", [False, True])
def test_interrupted_at_any_commit_it_finishes_the_next_time(applied, is_spoilt):
    def cluster() -> Cluster:
        return spoil(a_cluster()) if is_spoilt else a_cluster()

    @in_virtual_time
    async def story(step: int) -> None:
        store = await a_store(cluster())
        expected = await a_store(cluster())
        await delete(expected)
        fail_at(store, step, applied=applied)

        with pytest.raises(Unavailable):
            await delete(store)
        between = problems(await content(store))
        is_done = applied and step == number - 1
        if is_done:
            with pytest.raises(Invalid, match="does not exist"):
                await delete(store)
        else:
            await delete(store)

        if not is_spoilt:
            # The node is the first to go, and with it what says that it has a tunnel.
            expected_words = ("there is no node node-1", "held by ipip-tunnel-addr-node-1")
            assert [p for p in between if not any(word in p for word in expected_words)] == []
        entries = await content(store)
        assert without_sequence(entries) == without_sequence(await content(expected))
        assert_consistent(entries)

    number = run(commits_of(cluster()))
    assert number > 5
    for step in range(number):
        story(step)


def fail_at(store: MemoryStore, step: int, *, applied: bool) -> None:
    """Let the commit after *step* others go unanswered."""
    commit, count = store.commit, 0

    async def counted(change: Change):
        nonlocal count
        if count == step:
            store.fail_next(1, applied=applied)
        count += 1
        return await commit(change)

    store.commit = counted  # type: ignore[method-assign]


@pytest.mark.parametrize("step", range(8))
def test_whoever_writes_first_is_not_overwritten(step):
    """Before every commit in turn a pod of another node takes an address of each block it can."""

    @in_virtual_time
    async def story() -> None:
        store = await a_store(a_cluster())
        commit, count = store.commit, 0

        async def contended(change: Change):
            nonlocal count
            if count == step:
                await write_first(store, commit)
            count += 1
            return await commit(change)

        store.commit = contended  # type: ignore[method-assign]
        await delete(store)

        entries = await content(store)
        assert_consistent(entries, unwired=[f"net.guest-{i}" for i in range(9)])
        for i, cidr in enumerate((SHARED, FOREIGN)):
            assert block_in(entries, cidr).held_by(f"net.guest-{i}")

    story()


async def write_first(store: MemoryStore, commit) -> None:
    entries = await content(store)
    for i, cidr in enumerate((SHARED, FOREIGN)):
        block, _ = block_in(entries, cidr).assign(Attribute(f"net.guest-{i}", {"node": OTHER}))
        await commit(
            Change(
                put={
                    keys.block(cidr): codec.encode_block(block.next_write()),
                    keys.handle(f"net.guest-{i}"): codec.encode_handle({cidr: 1}),
                }
            )
        )


@in_virtual_time
async def test_a_pod_that_starts_on_the_node_meanwhile_is_taken_back_too():
    """Its ipamd has not heard yet that the node is gone."""
    store = await a_store(a_cluster())
    commit, count = store.commit, 0

    async def contended(change: Change):
        nonlocal count
        count += 1
        if count == 2:
            block = block_in(await content(store), OWN)
            block, _ = block.assign(Attribute("net.late", {"node": NODE}))
            late = {
                keys.block(OWN): codec.encode_block(block.next_write()),
                keys.handle("net.late"): codec.encode_handle({OWN: 1}),
            }
            await commit(Change(put=late))
        return await commit(change)

    store.commit = contended  # type: ignore[method-assign]
    await delete(store)

    entries = await content(store)
    assert_consistent(entries)
    assert mentions(entries) == []


@in_virtual_time
async def test_a_block_that_another_node_has_taken_over_stays_with_it():
    cluster = neighbours()
    cluster.block(EMPTY, NODE)
    store = await a_store(cluster)
    commit, count = store.commit, 0

    async def contended(change: Change):
        nonlocal count
        count += 1
        if count == 1:
            theirs = neighbours()
            theirs.block(EMPTY, OTHER)
            theirs.pod(OTHER, "new-0", EMPTY)
            gone = frozenset({keys.affinity(NODE, EMPTY)})
            await commit(Change(put=theirs.entries, delete=gone))
        return await commit(change)

    store.commit = contended  # type: ignore[method-assign]
    await asyncio.gather(delete(store), return_exceptions=True)

    entries = await content(store)
    assert_consistent(entries)
    assert block_in(entries, EMPTY).host == OTHER


@pytest.mark.parametrize("step", range(1, 8))
def test_a_node_that_registers_again_meanwhile_loses_nothing_more(step):
    @in_virtual_time
    async def story() -> None:
        store = await a_store(a_cluster())
        commit, count = store.commit, 0
        at_registration: dict[str, bytes] = {}

        async def contended(change: Change):
            nonlocal count
            if count == step:
                await commit(Change(put={keys.node(NODE): a_cluster().values[keys.node(NODE)]}))
                at_registration.update(await content(store))
            count += 1
            return await commit(change)

        store.commit = contended  # type: ignore[method-assign]

        with pytest.raises(Invalid, match="node node-1: has registered again"):
            await delete(store)

        assert await content(store) == at_registration

    story()


# ---- values that nobody can read ---------------------------------------------------------------


@in_virtual_time
async def test_a_block_that_cannot_be_read_is_named_and_the_rest_is_done():
    cluster = a_cluster()
    store = await a_store(cluster)
    spoilt = cluster.entries[keys.block(EMPTY)].replace(b'"allocations":[null,', b'"allocations":[')
    await store.commit(Change(put={keys.block(EMPTY): spoilt}))

    deleted = await delete(store)

    entries = await content(store)
    assert len(deleted.mistakes) == 1
    assert deleted.mistakes[0].startswith("block 10.233.77.32/28: 15 allocations")
    assert sorted(mentions(entries)) == sorted([keys.block(EMPTY), keys.affinity(NODE, EMPTY)])


@in_virtual_time
async def test_an_affinity_of_which_nobody_knows_the_block_is_named_and_the_rest_is_done():
    store = await a_store(a_cluster())
    odd = f"{keys.affinities(NODE, 4)}zzz"
    await store.commit(Change(put={odd: b"{}"}))

    deleted = await delete(store)

    assert deleted.mistakes == [f"etcd key {odd}: 'zzz' is not a block's CIDR; delete it"]
    assert mentions(await content(store)) == [odd]


@in_virtual_time
async def test_a_handle_or_an_endpoint_that_cannot_be_read_goes():
    cluster = a_cluster()
    store = await a_store(cluster)
    endpoint = keys.endpoint("default", "node--1-k8s-web--1-eth0")
    spoilt = {keys.handle("k8s-pod-network.web-1"): b"{", endpoint: b"["}
    await store.commit(Change(put=spoilt))

    await delete(store)

    entries = await content(store)
    assert_consistent(entries)
    assert mentions(entries) == []


@in_virtual_time
async def test_other_values_that_cannot_be_read_stay():
    store = await a_store(a_cluster())
    spoilt = {
        keys.block(FOREIGN): b'"node-1"',
        f"{keys.BGP_PEERS}spoilt": b'"node-1"',
        keys.endpoint("default", "node--1--b-k8s-web-eth0"): b"spoilt",
        keys.node("node-3"): b"spoilt",
    }
    await store.commit(Change(put=spoilt))

    deleted = await delete(store)

    assert (await content(store)).items() >= spoilt.items()
    assert len(deleted.mistakes) == 1


# ---- the command -------------------------------------------------------------------------------


@in_virtual_time
async def test_a_trial_writes_nothing_and_tells_everything():
    store = await a_store(spoil(a_cluster()))
    before = await content(store)

    trial = await delete(store, is_trial=True)

    assert await content(store) == before
    assert trial.text.splitlines()[0] == "would delete Node(node-1)"
    lines = set(trial.text.splitlines())
    assert lines >= {
        "would release 10.233.77.0 (default/web-0)",
        "would release fd00:10:233::10 (default/web-0)",
        "would release 10.233.77.2 (ipip-tunnel-addr-node-1)",
        f"would delete block {OWN}",
        f"would delete block {OWN6}",
        f"would delete block {NOBODYS}",
        f"would leave to those who use it block {SHARED}",
        "would delete WorkloadEndpoint(default/node--1-k8s-lost--0-eth0)",
        "would delete BGPPeer(tor)",
        "would delete /calico/ipam/v2/handle/vxlan-tunnel-addr-node-1",
    }
    assert len(lines) == len(trial.text.splitlines())  # nothing is told twice


@in_virtual_time
async def test_a_trial_tells_what_is_then_done():
    store = await a_store(spoil(a_cluster()))

    trial, done = await delete(store, is_trial=True), await delete(store)

    assert replace(trial, is_trial=False) == done
    assert keys.affinity(NODE, HALF) not in await content(store)


def test_the_command_explains_itself_with_examples():
    result = CliRunner().invoke(ocicatctl, ["node", "delete", "--help"])

    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert "  ocicatctl node delete node-9 --dry-run\n" in result.stdout


@pytest.mark.parametrize("arguments", [[], ["a/b"], ["a", "b"], [""]])
def test_wrong_usage_has_status_2(arguments):
    assert CliRunner().invoke(ocicatctl, ["node", "delete", *arguments]).exit_code == 2
