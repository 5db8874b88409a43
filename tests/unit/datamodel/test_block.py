from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.block import Attribute, Block
from datamodel.errors import Exhausted, Invalid

CIDR = ip_network("10.65.0.8/29")
BORN = 1787405600123456789
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def a_block(cidr=CIDR) -> Block:
    return Block.new(cidr, "node-1", BORN)


def held(handle_id: str, **secondary: str) -> Attribute:
    return Attribute(handle_id, {"node": "node-1", **secondary})


def with_all_held() -> Block:
    block = a_block()
    for i in range(8):
        block, _ = block.assign(held(f"net.c{i}"))
    return block


# ---- examples ----------------------------------------------------------------------------------


def test_a_new_block_is_free_and_its_nodes():
    block = a_block()

    assert block.affinity == "host:node-1"
    assert block.host == "node-1"
    assert block.allocations == (None,) * 8
    assert block.unallocated == (0, 1, 2, 3, 4, 5, 6, 7)
    assert block.attributes == ()
    assert block.in_use == 0
    assert block.sequence_number == BORN


def test_the_first_address_is_the_network_address():
    block, address = a_block().assign(held("net.c1"))

    assert address == ip_address("10.65.0.8")
    assert block.allocations[0] == 0
    assert block.held_by("net.c1") == (0,)
    assert block.in_use == 1


def test_an_allocation_keeps_the_sequence_number_from_before_its_write():
    block, _ = a_block().assign(held("net.c1"))

    stored = block.next_write()

    assert stored.sequence_numbers == {0: BORN}
    assert stored.sequence_number == BORN + 1


def test_two_addresses_of_one_handle_share_an_attribute():
    block, _ = a_block().assign(held("net.c1"))
    block, _ = block.assign(held("net.c1"))

    assert block.attributes == (held("net.c1"),)
    assert block.allocations[:2] == (0, 0)


def test_the_same_handle_with_other_facts_has_an_attribute_of_its_own():
    block, _ = a_block().assign(held("net.c1", timestamp="1"))
    block, _ = block.assign(held("net.c1", timestamp="2"))

    assert len(block.attributes) == 2
    assert block.held_by("net.c1") == (0, 1)


def test_release_frees_everything_of_the_handle_and_nothing_else():
    block, _ = a_block().assign(held("net.c1", n="1"))
    block, _ = block.assign(held("net.c2"))
    block, _ = block.assign(held("net.c1", n="2"))

    block, freed = block.release("net.c1", now=NOW)

    assert freed == (ip_address("10.65.0.8"), ip_address("10.65.0.10"))
    assert block.attributes == (held("net.c2"),)
    assert block.allocations == (None, 0, None, None, None, None, None, None)
    assert block.sequence_numbers.keys() == {1}


def test_freed_addresses_go_to_the_end_of_the_queue():
    block, _ = a_block().assign(held("net.c1"))
    block, _ = block.assign(held("net.c2"))

    block, _ = block.release("net.c2", now=NOW)
    block, _ = block.release("net.c1", now=NOW)

    assert block.unallocated == (2, 3, 4, 5, 6, 7, 1, 0)


def test_the_address_that_was_free_longest_is_next():
    block = with_all_held()
    block, _ = block.release("net.c5", now=NOW)
    block, _ = block.release("net.c2", now=NOW)

    block, first = block.assign(held("net.new"))
    block, second = block.assign(held("net.newer"))

    assert (first, second) == (ip_address("10.65.0.13"), ip_address("10.65.0.10"))


def test_releasing_nothing_changes_nothing():
    block = with_all_held()

    same, freed = block.release("net.unknown", now=NOW)

    assert same is block
    assert freed == ()


def test_a_full_block_says_so():
    with pytest.raises(Exhausted, match=r"block 10\.65\.0\.8/29: all 8 addresses are held"):
        with_all_held().assign(held("net.more"))


@pytest.mark.parametrize(
    ("affinity", "host"),
    [("host:a", "a"), ("host:a:b", "a:b"), (None, None), ("virtual:load-balancer", None)],
)
def test_a_block_belongs_to_the_node_of_its_affinity(affinity, host):
    assert replace(a_block(), affinity=affinity).host == host


def test_ordinals_count_from_the_first_address_in_ipv6_too():
    block = a_block(ip_network("fd80::40/122"))

    assert block.address(63) == ip_address("fd80::7f")


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"allocations": (None,) * 7, "unallocated": tuple(range(7))}, "7 allocations for 8"),
        ({"unallocated": tuple(range(7))}, "queue of free addresses"),
        ({"unallocated": (0, 1, 2, 3, 4, 5, 6, 7, 7)}, "queue of free addresses"),
        ({"allocations": (0,) + (None,) * 7, "unallocated": tuple(range(1, 8))}, "attributes"),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(wrong, mistake):
    with pytest.raises(Invalid, match=mistake):
        replace(a_block(), **wrong).checked()


def test_an_attribute_that_nothing_names_is_tolerated_and_goes_with_the_next_release():
    block, _ = replace(a_block(), attributes=(held("net.old"),)).assign(held("net.c1"))

    block, _ = block.checked().release("net.c1", now=NOW)

    assert block.attributes == ()


def test_all_contradictions_are_told():
    with pytest.raises(Invalid) as caught:
        replace(a_block(), allocations=(3,), attributes=()).checked()

    assert str(caught.value).count(";") == 3
    assert "see ocicatctl ipam check" in str(caught.value)


# ---- reservations and certain addresses --------------------------------------------------------


def test_a_reserved_address_is_passed_over_and_keeps_its_place():
    block, address = a_block().assign(held("net.c1"), reserved={0, 1})

    assert address == ip_address("10.65.0.10")
    assert block.unallocated == (0, 1, 3, 4, 5, 6, 7)


def test_a_block_of_which_the_rest_is_reserved_is_full():
    with pytest.raises(Exhausted):
        a_block().assign(held("net.c1"), reserved=range(8))


def test_a_certain_address_is_given_if_nobody_holds_it():
    block = a_block().assign_address(ip_address("10.65.0.11"), held("net.c1"))

    assert block.held_by("net.c1") == (3,)
    assert block.unallocated == (0, 1, 2, 4, 5, 6, 7)
    assert block.checked() is block


def test_a_certain_address_that_is_held_is_refused_and_the_holder_named():
    block, _ = a_block().assign(held("net.c1", namespace="default", pod="web-0"))

    with pytest.raises(Invalid, match=r"10\.65\.0\.8: is held by net\.c1 \(pod default/web-0\)"):
        block.assign_address(ip_address("10.65.0.8"), held("net.c2"))


def test_an_address_of_another_block_is_refused():
    with pytest.raises(Invalid, match="is not in block"):
        a_block().assign_address(ip_address("10.65.0.16"), held("net.c1"))


# ---- cooldown ----------------------------------------------------------------------------------


def test_a_released_address_rests_if_it_shall():
    block, _ = a_block().assign(held("net.c1"))

    resting, freed = block.release("net.c1", now=NOW, cooldown_s=30)

    assert freed == (ip_address("10.65.0.8"),)
    assert 0 not in resting.unallocated
    assert resting.held_by("net.c1") == ()
    assert resting.attributes == (Attribute(None, None, released_at=NOW),)
    assert not resting.is_empty
    assert resting.checked() is resting
    with pytest.raises(Invalid, match="cooling down since 2026-11-21T00:00:00Z"):
        resting.assign_address(ip_address("10.65.0.8"), held("net.c2"))


def test_a_rest_gives_the_address_a_new_sequence_number():
    block, _ = a_block().assign(held("net.c1"))
    block = block.next_write()

    resting, _ = block.release("net.c1", now=NOW, cooldown_s=30)

    assert resting.sequence_numbers == {0: block.sequence_number}


@pytest.mark.parametrize(("after_s", "is_over"), [(30, False), (31, True)])
def test_a_rest_is_over_when_it_has_lasted_longer_than_the_cooldown(after_s, is_over):
    block, _ = a_block().assign(held("net.c1"))
    resting, _ = block.release("net.c1", now=NOW, cooldown_s=30)

    collected = resting.collected(NOW + timedelta(seconds=after_s), 30)

    assert (collected.unallocated[-1] == 0) is is_over
    assert collected.is_empty is is_over
    assert (collected is resting) is not is_over


def test_without_a_cooldown_every_rest_is_over():
    block, _ = a_block().assign(held("net.c1"))
    resting, _ = block.release("net.c1", now=NOW, cooldown_s=30)

    assert resting.collected(NOW, 0).is_empty


def test_what_is_held_anew_has_new_facts_and_another_sequence_number():
    block, address = a_block().assign(held("net.c1"))
    block, _ = block.next_write().assign(held("net.c2"))
    block = block.next_write()

    again = block.renewed("net.c1", {"boot": "b"})

    assert again.checked().held_by("net.c1") == block.held_by("net.c1")
    assert [a.secondary.get("boot") for a in again.attributes] == ["b", None]
    assert again.sequences_of("net.c1") == {address: block.sequence_number}
    assert again.sequences_of("net.c2") == block.sequences_of("net.c2")
    assert block.sequence_number not in block.sequence_numbers.values()


# ---- invariants --------------------------------------------------------------------------------

# ("assign", handle, secondary) or ("release", handle) or ("write",)
handles = st.sampled_from(["net.a", "net.b", "net.c"])
steps = st.lists(
    st.tuples(st.just("assign"), handles, st.sampled_from(["1", "2"]))
    | st.tuples(st.just("release"), handles)
    | st.tuples(st.just("write")),
    max_size=40,
)


def after(block: Block, step: tuple[str, ...]) -> Block:
    match step:
        case ("assign", handle, n):
            return block.assign(held(handle, n=n))[0] if block.unallocated else block
        case ("release", handle):
            return block.release(handle, now=NOW)[0]
        case _:
            return block.next_write()


@given(steps)
def test_any_sequence_leaves_a_block_that_agrees_with_itself(sequence):
    block = a_block()

    for step in sequence:
        block = after(block, step).checked()
        assert all(block.attributes.count(a) == 1 for a in block.attributes)
        assert {i for i in block.allocations if i is not None} == set(range(len(block.attributes)))
        assert block.sequence_numbers.keys() == {
            o for o, i in enumerate(block.allocations) if i is not None
        }


@given(steps)
def test_no_address_has_two_holders_and_none_is_lost(sequence):
    block = a_block()
    model: dict[int, str] = {}

    for step in sequence:
        before, block = block, after(block, step)
        match step:
            case ("assign", handle, _) if before.unallocated:
                ordinal = before.unallocated[0]
                assert ordinal not in model
                model[ordinal] = handle
            case ("release", handle):
                model = {o: h for o, h in model.items() if h != handle}
        for handle in ("net.a", "net.b", "net.c"):
            assert block.held_by(handle) == tuple(sorted(o for o in model if model[o] == handle))
        assert block.in_use == len(model)


@given(steps, handles)
def test_release_after_assign_restores_what_was_held(sequence, handle):
    block = a_block()
    for step in sequence:
        block = after(block, step)
    block, _ = block.release("net.new", now=NOW)
    if not block.unallocated:
        block, _ = block.release(handle, now=NOW)
    if not block.unallocated:
        return

    changed, _ = block.assign(held("net.new"))
    restored, freed = changed.release("net.new", now=NOW)

    assert len(freed) == 1
    assert restored.allocations == block.allocations
    assert restored.attributes == block.attributes
    assert restored.sequence_numbers == block.sequence_numbers
    # The same free addresses; the one that was in use has gone to the end.
    assert restored.unallocated == (*block.unallocated[1:], block.unallocated[0])


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), st.data(), st.booleans())
def test_exactly_the_ordinals_that_are_named_are_released(names, data, cools):
    block = a_block()
    for name in names:
        block, _ = block.assign(held(f"net.{name}"))
    gone = data.draw(st.sets(st.integers(0, len(names) - 1)))

    after = block.release_ordinals(gone, now=NOW, cooldown_s=60 if cools else 0).checked()

    for ordinal in range(8):
        address = block.address(ordinal)
        holder = after.holder_of(address)
        if ordinal not in gone:
            assert holder == block.holder_of(address)
        else:
            assert (holder == Attribute(None, None, released_at=NOW)) if cools else holder is None
    named = {index for index in after.allocations if index is not None}
    assert named == set(range(len(after.attributes)))


@pytest.mark.parametrize(
    ("affinity", "age_s", "may"),
    [
        ("host:node-2", 61, True),
        ("host:node-2", 59, False),  # its owner is about to use it
        ("host:node-1", 0, True),
        (None, 0, True),
        ("virtual:load-balancer", 3600, False),
    ],
)
def test_an_empty_block_may_be_taken_over_unless_it_is_about_to_be_used(affinity, age_s, may):
    block = replace(a_block(), affinity=affinity)
    now = datetime.fromtimestamp(BORN / 1e9 + age_s, UTC)

    assert block.may_be_reclaimed("node-1", now) is may
    assert not block.assign(held("net.c1"))[0].may_be_reclaimed("node-1", now)


def test_a_block_is_unused_while_its_addresses_only_cool_down():
    block, _ = a_block().assign(held("net.c1"))
    cooling, _ = block.release("net.c1", now=NOW, cooldown_s=60)

    assert (block.is_unused, cooling.is_unused, cooling.is_empty) == (False, True, False)
    assert a_block().is_unused


@given(steps)
def test_the_queue_is_first_in_first_out(sequence):
    block = a_block()
    queue = list(block.unallocated)

    for step in sequence:
        match step:
            case ("assign", _, _) if queue:
                queue.pop(0)
            case ("release", handle):
                queue += block.held_by(handle)
        block = after(block, step)
        assert list(block.unallocated) == queue


@given(steps)
def test_two_holders_of_one_address_have_different_sequence_numbers(sequence):
    """As long as a write lies between them: within one write only the last is ever seen."""
    block = a_block()
    stored: dict[int, list[tuple[str, int]]] = {}

    for step in sequence:
        block = after(block, step).next_write()
        for ordinal, number in block.sequence_numbers.items():
            assert number < block.sequence_number
            seen = stored.setdefault(ordinal, [])
            if not seen or seen[-1][1] != number:
                seen.append((step[0], number))

    for seen in stored.values():
        numbers = [number for _, number in seen]
        assert numbers == sorted(set(numbers))


@given(steps)
def test_a_change_never_touches_the_value_it_was_made_from(sequence):
    block = a_block()
    for step in sequence:
        copy = replace(block, sequence_numbers=dict(block.sequence_numbers))
        changed = after(block, step)
        assert block == copy
        block = changed
