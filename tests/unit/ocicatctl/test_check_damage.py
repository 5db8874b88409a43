"""Whatever is broken is found; what can be mended is, and nothing that is in use is lost."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from datamodel.affinity import PENDING, PENDING_DELETION, Affinity
from datamodel.block import Block
from datamodel.report import Report
from datastore import codec, keys
from datastore.store import MAX_OPERATIONS, Change, Committed, Rejected
from ocicatctl.check.draft import Action, Run
from ocicatctl.check.findings import Findings
from ocicatctl.check.problem import Kind
from ocicatctl.check.repair import Plan, plan
from tests.consistency import problems
from tests.ipam import LINK, Stored, a_release, an_allocate, revision_of, settled
from tests.unit.ocicatctl.test_check_cluster import (
    HERE,
    a_cluster,
    a_report,
    blocks,
    checked,
    edited,
    endpoint_key,
    handle,
    kinds,
    texts,
    with_block,
)

FREE = ip_network("10.233.127.0/29")
HERE_LINK = replace(LINK, kernel=HERE)


def committed(stored: Stored, change: Change) -> tuple[Stored, Committed | Rejected]:
    """Do what etcd does."""
    assert change.put.keys() | change.delete <= change.expect.keys()
    assert change.operations <= MAX_OPERATIONS
    if any(revision_of(stored, key) != revision for key, revision in change.expect.items()):
        actual = {key: stored.entries.get(key) for key in change.expect}
        return stored, Rejected(stored.revision, actual)
    after = stored.with_change(change)
    return after, Committed(after.revision)


def carried_out(stored: Stored, chosen: Plan) -> Stored:
    run = Run()
    for action in chosen.actions:
        change = run.next(action.change)
        assert change is not None, action.text
        stored, answer = committed(stored, change)
        assert run.answered(change, answer), action.text
    return stored


def mended(stored: Stored, report: Report | None = None) -> tuple[Stored, Findings]:
    """The store after all repairs, and what is found then; there is nothing left to repair."""
    for _ in range(4):
        findings = checked(stored, report)
        chosen = plan(findings)
        assert len(chosen.left) + len(chosen.actions) <= len(findings.problems)
        if not chosen.actions:
            assert {left.problem for left in chosen.left} == set(findings.problems)
            assert all(left.why for left in chosen.left)
            return stored, findings
        stored = carried_out(stored, chosen)
    raise AssertionError(f"repairs without end: {[action.text for action in chosen.actions]}")


def only_action(findings: Findings) -> Action:
    (action,) = plan(findings).actions
    return action


# ---- damage ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """One thing that is broken: what does it, and what is to be found."""

    # Given the store, what it was when it was sound, and a number that chooses among several.
    do: Callable[[Stored, Stored, int], Stored]
    found: Kind
    is_mended: bool = True
    lost_link: bool = False  # the kernel has lost the link of pod n1-0, too


def chosen_block(sound: Stored, n: int) -> Block:
    found = blocks(sound)
    return found[n % len(found)]


def chosen_handle(sound: Stored, n: int) -> str:
    found = sound.below(keys.ALL_HANDLES)
    return found[n % len(found)]


def stored_block(stored: Stored, sound: Stored, n: int) -> tuple[str, dict[str, Any]]:
    """The key of a block, and what is in it; nothing if it is spoilt already."""
    key = keys.block(chosen_block(sound, n).cidr)
    try:
        return key, json.loads(stored.values[key])
    except ValueError:
        return key, {}


def without_handle(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.without(chosen_handle(sound, n))


def with_wrong_count(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.having(**{chosen_handle(sound, n): codec.encode_handle({FREE: n + 1})})


def with_idle_handle(stored: Stored, sound: Stored, n: int) -> Stored:
    counts = {chosen_block(sound, n).cidr: 1, FREE: 2}
    return stored.having(**{keys.handle(f"net.idle{n}"): codec.encode_handle(counts)})


def without_affinity(stored: Stored, sound: Stored, n: int) -> Stored:
    block = chosen_block(sound, n)
    return stored.without(keys.affinity(block.host or "", block.cidr))


def with_foreign_affinity(stored: Stored, sound: Stored, n: int) -> Stored:
    block = chosen_block(sound, n)
    other = "node-1" if block.host == "node-2" else "node-2"
    value = codec.encode_affinity(Affinity(other, block.cidr))
    return stored.having(**{keys.affinity(other, block.cidr): value})


def with_idle_affinity(stored: Stored, sound: Stored, n: int) -> Stored:
    cidr = ip_network(f"10.233.126.{8 * (n % 8)}/29")
    state = ("confirmed", PENDING, PENDING_DELETION)[n % 3]
    value = codec.encode_affinity(Affinity("node-1", cidr, state))
    return stored.having(**{keys.affinity("node-1", cidr): value})


def with_half_affinity(stored: Stored, sound: Stored, n: int) -> Stored:
    block = chosen_block(sound, n)
    affinity = Affinity(block.host or "", block.cidr, (PENDING, PENDING_DELETION)[n % 2])
    key = keys.affinity(affinity.host, block.cidr)
    return stored.having(**{key: codec.encode_affinity(affinity)})


def with_wrong_queue(stored: Stored, sound: Stored, n: int) -> Stored:
    key, document = stored_block(stored, sound, n)
    queue = document.get("unallocated", [])
    wrong = [[*queue, 99], [*queue, *queue[:1], 0], queue[1:] or [0]][n % 3]
    return edited(stored, key, unallocated=wrong) if document else stored


def with_stray_attribute(stored: Stored, sound: Stored, n: int) -> Stored:
    key, document = stored_block(stored, sound, n)
    stray = {"handle_id": "net.stray", "secondary": None}
    attributes = [*document.get("attributes", []), stray]
    return edited(stored, key, attributes=attributes) if document else stored


def with_empty_block(stored: Stored, sound: Stored, n: int) -> Stored:
    cidr = ip_network(f"10.233.125.{8 * (n % 8)}/29")
    return with_block(stored, replace(Block.new(cidr, "x", 1), affinity=None))


def without_node(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.without(keys.node(chosen_block(sound, n).host or ""))


def without_endpoint(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.without(endpoint_key(1, 0))


def with_spoilt_block(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.having(**{keys.block(chosen_block(sound, n).cidr): b"{"})


def with_spoilt_handle(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.having(**{chosen_handle(sound, n): b"[]"})


def with_spoilt_affinity(stored: Stored, sound: Stored, n: int) -> Stored:
    block = chosen_block(sound, n)
    return stored.having(**{keys.affinity(block.host or "", block.cidr): b"[]"})


def with_unknown_holder(stored: Stored, sound: Stored, n: int) -> Stored:
    key, document = stored_block(stored, sound, n)
    if not document:
        return stored
    return edited(stored, key, allocations=[*document["allocations"][:7], 99])


def with_virtual_machine(stored: Stored, sound: Stored, n: int) -> Stored:
    key, document = stored_block(stored, sound, n)
    if not document or not document["unallocated"]:
        return stored
    ordinal, *queue = document["unallocated"]
    holder = {"handle_id": f"net.vm{n}", "secondary": {"node": "nowhere", "vmi-name": "vm"}}
    allocations = [*document["allocations"]]
    allocations[ordinal if ordinal < len(allocations) else 0] = len(document["attributes"])
    attributes = [*document["attributes"], holder]
    counts = codec.encode_handle({chosen_block(sound, n).cidr: 1})
    return edited(
        stored, key, allocations=allocations, unallocated=queue, attributes=attributes
    ).having(**{keys.handle(f"net.vm{n}"): counts})


def without_pool(stored: Stored, sound: Stored, n: int) -> Stored:
    return stored.without(keys.pool("default-ipv4-ippool"))


DAMAGES = {
    damage.do.__name__.replace("_", " "): damage
    for damage in (
        Damage(without_handle, Kind.MISSING_HANDLE),
        Damage(with_wrong_count, Kind.MISCOUNTED_HANDLE),
        Damage(with_idle_handle, Kind.LEAKED_HANDLE),
        Damage(without_affinity, Kind.BLOCK_WITHOUT_AFFINITY),
        Damage(with_foreign_affinity, Kind.STALE_AFFINITY),
        Damage(with_idle_affinity, Kind.AFFINITY_WITHOUT_BLOCK),
        Damage(with_half_affinity, Kind.UNCONFIRMED_AFFINITY),
        Damage(with_wrong_queue, Kind.INVALID_BLOCK),
        Damage(with_stray_attribute, Kind.INVALID_BLOCK),
        Damage(with_empty_block, Kind.EMPTY_BLOCK),
        Damage(without_node, Kind.NO_SUCH_NODE),
        Damage(without_endpoint, Kind.LEAKED_ADDRESS, lost_link=True),
        Damage(with_spoilt_block, Kind.UNREADABLE, is_mended=False),
        Damage(with_spoilt_handle, Kind.UNREADABLE, is_mended=False),
        Damage(with_spoilt_affinity, Kind.UNREADABLE, is_mended=False),
        Damage(with_unknown_holder, Kind.INVALID_BLOCK, is_mended=False),
        Damage(with_virtual_machine, Kind.LEAKED_ADDRESS, is_mended=False),
        Damage(without_pool, Kind.BLOCK_OUTSIDE_POOLS, is_mended=False),
    )
}
MENDED = [name for name, damage in DAMAGES.items() if damage.is_mended]

PODS = st.tuples(st.integers(1, 10), st.integers(1, 10))
NUMBERS = st.integers(0, 20)


def damaged(sound: Stored, damages: list[tuple[str, int]]) -> Stored:
    stored = sound
    for name, n in damages:
        stored = DAMAGES[name].do(stored, sound, n)
    return stored


def in_use(stored: Stored, listing: Stored) -> dict[str, str]:
    """Who holds what the endpoints of *listing* use; read without any code that is tested."""
    listed = {
        network.partition("/")[0]
        for key in listing.below(keys.ENDPOINTS)
        for network in json.loads(listing.values[key])["spec"]["ipNetworks"]
    }
    found = {}
    for key in stored.below(keys.ALL_BLOCKS):
        with suppress(ValueError):
            block = json.loads(stored.values[key])
            holders = [a["handle_id"] for a in block["attributes"] or []]
            for address, index in zip(ip_network(block["cidr"]), block["allocations"], strict=True):
                if index is not None and index < len(holders) and str(address) in listed:
                    found[str(address)] = holders[index]
    return found


@given(name=st.sampled_from(list(DAMAGES)), pods=PODS, n=NUMBERS)
def test_each_damage_is_found(name, pods, n):
    damage, sound = DAMAGES[name], a_cluster(*pods)
    stored = damaged(sound, [(name, n)])
    assume(stored != sound)  # there was no room for it

    report = a_report(sound, without={handle(1, 0)} if damage.lost_link else ())

    assert damage.found in kinds(checked(stored, report))
    assert damage.found in kinds(checked(stored))


@given(st.lists(st.tuples(st.sampled_from(MENDED), NUMBERS), min_size=1, max_size=6), PODS)
def test_after_the_repair_nothing_is_wrong_and_nothing_in_use_is_lost(damages, pods):
    sound = a_cluster(*pods)
    stored = damaged(sound, damages)
    has_lost_link = any(DAMAGES[name].lost_link for name, _ in damages)
    report = a_report(sound, without={handle(1, 0)} if has_lost_link else ())

    after, findings = mended(stored, report)

    assert texts(findings) == []
    assert problems(after.values) == []
    assert in_use(after, stored) == in_use(stored, stored)


@given(
    st.lists(st.tuples(st.sampled_from(list(DAMAGES)), NUMBERS), min_size=1, max_size=6),
    PODS,
    st.booleans(),
)
def test_whatever_is_wrong_nothing_in_use_is_lost(damages, pods, is_asked):
    sound = a_cluster(*pods)
    stored = damaged(sound, damages)

    after, findings = mended(stored, a_report(sound) if is_asked else None)

    assert in_use(after, stored) == in_use(stored, stored)
    assert after.values.keys() >= set(stored.below(keys.ENDPOINTS))
    unreadable = [p.subject.removeprefix("etcd key ") for p in findings.of(Kind.UNREADABLE)]
    assert all(after.entries[key] == stored.entries[key] for key in unreadable)


@given(st.lists(st.tuples(st.sampled_from(MENDED), NUMBERS), min_size=1, max_size=4), PODS)
def test_a_change_of_anybody_elses_stops_what_rests_on_it(damages, pods):
    sound = a_cluster(*pods)
    stored = damaged(sound, damages)
    report = a_report(sound, without={handle(1, 0)})
    for action in plan(checked(stored, report)).actions[:1]:
        for key in action.change.expect:
            changed = stored.having(**{key: stored.values.get(key, b"{}")})

            after, answer = committed(changed, action.change)

            assert isinstance(answer, Rejected)
            assert after == changed


HARMLESS = ["without endpoint", "without handle", "with idle handle", "with idle affinity"]


@given(
    st.lists(st.tuples(st.sampled_from(HARMLESS), NUMBERS), min_size=1, max_size=4),
    PODS,
    st.lists(st.tuples(st.booleans(), st.integers(1, 2), st.integers(0, 10)), max_size=4),
)
def test_requests_between_check_and_repair_lose_nothing(damages, pods, requests):
    sound = a_cluster(*pods)
    stored = damaged(sound, damages)
    chosen = plan(checked(stored, a_report(sound, without={handle(1, 0)})))

    for is_add, n, i in requests:
        names = (f"c{n}-{i}", f"n{n}-{i}")
        request = an_allocate(*names, link=HERE_LINK) if is_add else a_release(*names)
        stored, _ = settled(stored, request, node=f"node-{n}")
    after, run = stored, Run()
    for action in chosen.actions:
        if change := run.next(action.change):
            after, answer = committed(after, change)
            run.answered(change, answer)

    still = in_use(after, after)
    # The kernel has no link of that one: it may go, with its endpoint.
    assert {a: h for a, h in in_use(stored, stored).items() if h != handle(1, 0)}.items() <= (
        still.items()
    )
    lost = () if endpoint_key(1, 0) in after.values else {handle(1, 0)}
    assert texts(mended(after, a_report(after, without=lost))[1]) == []
