"""Giving back single addresses: what is written, what is refused, and that no race gets through."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from datamodel.attribute import DELEGATED, GATEWAY
from datamodel.block import WINDOWS_HANDLE, Attribute
from datamodel.errors import Invalid
from datastore import codec, keys
from datastore.known import Known
from datastore.store import Change, Committed, settle
from ocicatctl.ipam.release import release_all
from ocicatctl.ipam.release_plan import Fate, Seen, Target, decide_forget
from tests.consistency import assert_consistent
from tests.unit.ocicatctl.addressing import (
    FIRST,
    HANDLE_0,
    NOW,
    SECOND,
    WEB_0,
    WEB_1,
    a_block,
    a_config,
    a_store,
    an_affinity,
    an_endpoint,
    block_in,
    content,
    endpoint_key,
    facts_of,
    stored_block,
)

LEAKED = Attribute("net.gone", facts_of("gone"))
GONE = ip_address("10.0.0.1")  # of LEAKED, behind web-0


def with_leak(*leaked: Attribute, owner: str | None = "node-1") -> dict[str, bytes]:
    web_0 = Attribute(HANDLE_0, facts_of("web-0"))
    return stored_block(a_block(FIRST, owner, web_0, *(leaked or (LEAKED,))))


async def released(store, *addresses, is_forced=False, seen=None):
    """The fate of each address, and what went wrong."""
    targets = [Target(ip_address(str(address)), seen) for address in addresses]
    verdicts, mistakes = await release_all(store, targets, is_forced=is_forced)
    return [verdict.fate for verdict in verdicts], mistakes


async def test_a_leaked_address_is_given_back_with_its_handle():
    store = await a_store(with_leak())
    before = await block_in(store)

    assert await released(store, GONE) == ([Fate.RELEASED], [])

    after = await block_in(store)
    assert after.holder_of(GONE) is None
    assert after.unallocated == (*before.unallocated, 1)
    assert after.sequence_number == before.sequence_number + 1
    assert keys.handle("net.gone") not in await content(store)
    assert_consistent(await content(store))


async def test_block_and_handle_change_in_one_transaction():
    store = await a_store(with_leak())
    before = store.revision

    await released(store, GONE)

    assert store.revision == before + 1


async def test_a_handle_keeps_its_other_addresses():
    twice = replace(LEAKED, secondary=facts_of("gone", part="b"))
    store = await a_store(with_leak(LEAKED, twice))

    assert await released(store, GONE) == ([Fate.RELEASED], [])

    block = await block_in(store)
    assert block.held_by("net.gone") == (2,)
    handle = codec.decode_handle("k", (await content(store))[keys.handle("net.gone")])
    assert handle == {FIRST: 1}


async def test_a_handle_keeps_what_only_a_newer_calico_knows():
    handle = json.dumps({"block": {str(FIRST): 2}, "deleted": False, "owner": {"kind": "VM"}})
    values = with_leak(LEAKED, LEAKED) | {keys.handle("net.gone"): handle.encode()}
    store = await a_store(values)

    await released(store, GONE)

    left = json.loads((await content(store))[keys.handle("net.gone")])
    assert left == {"block": {str(FIRST): 1}, "deleted": False, "owner": {"kind": "VM"}}


async def test_two_addresses_of_one_attribute_are_told_apart():
    store = await a_store(with_leak(LEAKED, LEAKED))

    await released(store, GONE)

    assert (await block_in(store)).held_by("net.gone") == (2,)


async def test_several_at_once_leave_nothing_behind():
    store = await a_store(with_leak(LEAKED, LEAKED))
    before = store.revision

    assert await released(store, GONE, "10.0.0.2") == ([Fate.RELEASED] * 2, [])

    assert store.revision == before + 1
    assert_consistent(await content(store))


@pytest.mark.parametrize("cooldown_s", [0, 60])
async def test_a_block_of_nobody_goes_with_its_last_address(cooldown_s):
    block = a_block(FIRST, None, LEAKED)
    store = await a_store(
        stored_block(block),
        a_config(ip_cooldown_s=cooldown_s),
        without=(keys.affinity("node-1", FIRST), endpoint_key("web-0"), keys.handle(HANDLE_0)),
    )

    assert await released(store, "10.0.0.0") == ([Fate.RELEASED], [])

    assert keys.block(FIRST) not in await content(store)
    assert_consistent(await content(store))


async def test_the_cooldown_is_kept():
    store = await a_store(with_leak(), a_config(ip_cooldown_s=60))

    assert await released(store, GONE) == ([Fate.RELEASED], [])

    holder = (await block_in(store)).holder_of(GONE)
    assert holder is not None
    assert holder.released_at is not None
    assert_consistent(await content(store))
    assert await released(store, GONE) == ([Fate.NOT_ASSIGNED], [])


async def test_cooldowns_that_are_over_end_with_the_write():
    web_0 = Attribute(HANDLE_0, facts_of("web-0"))
    cooling, _ = a_block(FIRST, "node-1", web_0, LEAKED, replace(LEAKED, handle_id="x")).release(
        "x", now=NOW - timedelta(days=99), cooldown_s=60
    )
    store = await a_store(stored_block(cooling), a_config(ip_cooldown_s=60))

    await released(store, GONE)

    assert 2 in (await block_in(store)).unallocated


@pytest.mark.parametrize("address", ["10.0.0.7", "10.0.0.16", "10.9.9.9", "fd00::1"])
async def test_what_nobody_holds_is_not_assigned_and_nothing_is_written(address):
    store = await a_store()
    before = store.revision

    assert await released(store, address) == ([Fate.NOT_ASSIGNED], [])
    assert store.revision == before


async def test_an_address_in_no_pool_is_found_all_the_same():
    store = await a_store(with_leak(), pools=())

    assert await released(store, GONE) == ([Fate.RELEASED], [])


# ---- what is in use ----------------------------------------------------------------------------


async def test_an_address_that_its_endpoint_lists_is_refused():
    store = await a_store()
    before = await content(store)

    verdicts, _ = await release_all(store, [Target(WEB_0)], is_forced=False)

    assert verdicts[0].fate is Fate.IN_USE
    assert verdicts[0].users == ("workload endpoint default/node--1-k8s-web--0-eth0",)
    assert await content(store) == before


async def test_any_other_endpoint_that_lists_it_protects_it_too():
    store = await a_store(with_leak(), an_endpoint("stranger", "c7", GONE, node="node-2"))

    assert await released(store, GONE) == ([Fate.IN_USE], [])


async def test_an_endpoint_that_cannot_be_read_protects_what_may_be_its():
    spoilt = b'{"spec":{"ipNetworks":["10.0.0.1/32"'
    store = await a_store(with_leak(), {f"{keys.ENDPOINTS}default/x": spoilt})

    assert await released(store, GONE) == ([Fate.IN_USE], [])


@pytest.mark.parametrize("kind", [DELEGATED, GATEWAY])
async def test_what_another_plugin_may_use_is_refused_as_long_as_its_node_is_there(kind):
    delegated = Attribute("net.m1", {"node": "node-1", "type": kind})
    store = await a_store(with_leak(delegated))
    gone = await a_store(with_leak(delegated), without=(keys.node("node-1"),))

    assert await released(store, GONE) == ([Fate.IN_USE], [])
    assert await released(gone, GONE) == ([Fate.RELEASED], [])
    assert await released(store, GONE, is_forced=True) == ([Fate.RELEASED], [])


async def test_the_tunnel_address_of_a_node_is_refused():
    tunnel = Attribute("ipip-tunnel-addr-node-1", {"node": "node-1", "type": "ipipTunnelAddress"})
    node = {"metadata": {"name": "node-1"}, "spec": {"bgp": {"ipv4IPIPTunnelAddr": str(GONE)}}}
    used = {keys.node("node-1"): json.dumps(node).encode()}

    in_use = await a_store(with_leak(tunnel), used)
    leaked = await a_store(with_leak(tunnel))

    assert await released(in_use, GONE) == ([Fate.IN_USE], [])
    assert await released(leaked, GONE) == ([Fate.RELEASED], [])


async def test_what_windows_sets_aside_is_refused():
    store = await a_store(with_leak(Attribute(WINDOWS_HANDLE, {"note": "windows host rsvd"})))

    assert await released(store, GONE) == ([Fate.IN_USE], [])
    assert await released(store, GONE, is_forced=True) == ([Fate.RELEASED], [])


async def test_force_releases_what_is_in_use():
    store = await a_store()

    assert await released(store, WEB_0, is_forced=True) == ([Fate.RELEASED], [])
    assert (await block_in(store)).holder_of(WEB_0) is None


# ---- races -------------------------------------------------------------------------------------


class Meddler:
    """A store in which somebody writes just before the next commit."""

    def __init__(self, store, change: Change) -> None:
        self._store, self._change = store, change

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def commit(self, change: Change):
        if self._change.operations:
            meddling, self._change = self._change, Change()
            assert isinstance(await self._store.commit(meddling), Committed)
        return await self._store.commit(change)


async def test_a_pod_that_takes_its_address_into_use_meanwhile_keeps_it():
    store = await a_store(with_leak())
    comes = Meddler(store, Change(put=an_endpoint("gone", "gone", GONE)))

    assert await released(comes, GONE) == ([Fate.IN_USE], [])


async def test_an_address_that_is_held_anew_meanwhile_is_another_allocation():
    store = await a_store(with_leak())
    seen = Seen("net.gone", (await block_in(store)).sequence_numbers[1])
    web_0 = Attribute(HANDLE_0, facts_of("web-0"))
    anew = a_block(FIRST, "node-1", web_0, replace(LEAKED, secondary={}), LEAKED)
    anew = anew.release("net.gone", now=NOW)[0].assign_address(GONE, LEAKED)
    comes = Meddler(store, Change(put=stored_block(anew)))

    assert await released(comes, GONE, seen=seen) == ([Fate.CHANGED], [])


@pytest.mark.parametrize(
    "seen", [Seen("net.other", 1_001), Seen(None, 1_001), Seen("net.gone", 1_000)]
)
async def test_only_the_allocation_that_was_seen_is_released(seen):
    store = await a_store(with_leak())

    assert (await block_in(store)).sequence_numbers[1] == 1_001
    assert await released(store, GONE, seen=seen) == ([Fate.CHANGED], [])
    assert await released(store, GONE, seen=Seen("net.gone", 1_001)) == ([Fate.RELEASED], [])


@pytest.mark.parametrize("applied", [True, False])
async def test_a_commit_without_an_answer_is_told_and_can_be_repeated(applied):
    store = await a_store(with_leak())
    store.fail_next(1, applied=applied)

    fates, mistakes = await released(store, GONE)

    assert fates == []
    assert len(mistakes) == 1
    again = Fate.NOT_ASSIGNED if applied else Fate.RELEASED
    assert await released(store, GONE) == ([again], [])
    assert_consistent(await content(store))


class Doubled:
    """A store whose client sends a transaction twice, as ours does when no answer came."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def commit(self, change: Change):
        await self._store.commit(change)
        return await self._store.commit(change)


async def test_a_release_that_finds_its_own_work_done_is_one():
    store = await a_store(with_leak())

    assert await released(Doubled(store), GONE) == ([Fate.RELEASED], [])
    assert_consistent(await content(store))


# ---- what was wrong before ---------------------------------------------------------------------


async def test_a_handle_that_is_missing_does_not_keep_the_address():
    store = await a_store(with_leak(), without=(keys.handle("net.gone"),))

    assert await released(store, GONE) == ([Fate.RELEASED], [])
    assert_consistent(await content(store))


async def test_a_handle_that_counts_too_many_goes_down_by_one():
    counts = {keys.handle("net.gone"): codec.encode_handle({FIRST: 3, SECOND: 1})}
    store = await a_store(with_leak(), counts)

    await released(store, GONE)

    handle = (await content(store))[keys.handle("net.gone")]
    assert codec.decode_handle("k", handle) == {FIRST: 2, SECOND: 1}


async def test_rubbish_behind_a_handles_name_is_not_part_of_its_key():
    rubbish = replace(LEAKED, handle_id="net.gone\r\nx")
    store = await a_store(
        with_leak(rubbish),
        {keys.handle("net.gone"): codec.encode_handle({FIRST: 1})},
        without=(keys.handle("net.gone\r\nx"),),
    )

    assert await released(store, GONE, seen=Seen("net.gone", 1_001)) == ([Fate.RELEASED], [])
    assert_consistent(await content(store))


async def test_a_spoilt_block_is_named_and_the_others_are_released():
    store = await a_store(with_leak(), {keys.block(SECOND): b"{}"})

    fates, mistakes = await released(store, WEB_1, GONE)

    assert fates == [Fate.RELEASED]
    assert mistakes == [f"etcd key {keys.block(SECOND)}: field 'cidr' is missing"]


async def test_a_pending_affinity_is_left_as_it_is():
    pending = an_affinity(FIRST, "node-1", "pendingDeletion")
    store = await a_store(with_leak(), pending)

    assert await released(store, GONE) == ([Fate.RELEASED], [])
    assert (await content(store)).items() >= pending.items()


# ---- leaked handles ----------------------------------------------------------------------------


async def test_handles_that_are_as_they_were_seen_are_forgotten():
    stale = {keys.handle(name): codec.encode_handle({FIRST: 1}) for name in ("a", "b")}
    store = await a_store(stale)
    await store.commit(Change(put={keys.handle("b"): codec.encode_handle({SECOND: 1})}))
    known, wanted = Known(), {"a": 2, "b": 2, "c": 2}

    forgotten, skipped = await settle(store, known, lambda: decide_forget(wanted, known))

    assert (forgotten, skipped) == (("a",), ("b", "c"))
    assert keys.handle("a") not in await content(store)
    assert keys.handle("b") in await content(store)


async def test_without_a_readable_config_nothing_is_released():
    store = await a_store(with_leak(), {keys.IPAM_CONFIG: b"["})

    with pytest.raises(Invalid, match="config"):
        await released(store, GONE)
