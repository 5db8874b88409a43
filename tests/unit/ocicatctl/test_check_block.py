"""A block whose parts contradict each other is read as its allocations say that it is."""

import json
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.block import Attribute, Block
from datamodel.errors import Invalid
from datastore import codec, keys
from ocicatctl.check.block import read_block

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CIDR = ip_network("10.65.0.8/29")
KEY = keys.block(CIDR)


def a_document(**fields):
    block = Block.new(CIDR, "node-1", 7)
    for name in "ab":
        block, _ = block.assign(Attribute(f"net.{name}", {"node": "node-1"}))
    return {**json.loads(codec.encode_block(block.next_write())), **fields}


def read(document):
    return read_block(KEY, json.dumps(document).encode(), NOW)


def test_a_right_block_is_read_as_by_the_codec():
    document = a_document()

    found = read(document)

    assert found.block == codec.decode_block(KEY, json.dumps(document).encode())
    assert (found.mistakes, found.is_sound) == ((), True)


@pytest.mark.parametrize(
    ("queue", "mended", "mistakes"),
    [
        ([7, 3, 2, 4], (7, 3, 2, 4, 5, 6), ("ordinal 5, 6 is neither allocated nor in the queue",)),
        ([7, 6, 7, 5, 4, 3, 2], (7, 6, 5, 4, 3, 2), ("the queue has ordinal 7 more than once",)),
        ([0, 2, 3, 4, 5, 6, 7], (2, 3, 4, 5, 6, 7), ("ordinal 0 is allocated but in the queue",)),
        ([9, 2, 3, 4, 5, 6, 7], (2, 3, 4, 5, 6, 7), ("the queue has ordinal 9, out of the block",)),
        (
            [-1, "2", True, None, 3, 4, 5, 6, 7],
            (3, 4, 5, 6, 7, 2),
            (
                "the queue has ordinal -1, 2, True, None, out of the block",
                "ordinal 2 is neither allocated nor in the queue",
            ),
        ),
        (
            None,
            (2, 3, 4, 5, 6, 7),
            ("ordinal 2, 3, 4, 5, 6 and 1 more is neither allocated nor in the queue",),
        ),
    ],
)
def test_a_queue_keeps_its_order_and_gets_what_is_missing(queue, mended, mistakes):
    found = read(a_document(unallocated=queue))

    assert found.block.unallocated == mended
    assert found.mistakes == mistakes
    assert found.is_sound
    assert found.block.allocations == (0, 1, *[None] * 6)


def test_attributes_that_nobody_names_are_left_out_and_the_others_move_up():
    attributes = [{"handle_id": f"net.{name}", "secondary": None} for name in "xaybz"]
    document = a_document(attributes=attributes, allocations=[1, 3, *[None] * 6])

    found = read(document)

    assert [a.handle_id for a in found.block.attributes] == ["net.a", "net.b"]
    assert found.block.allocations[:2] == (0, 1)
    assert found.mistakes == tuple(f"attribute {i} is indexed by no allocation" for i in (0, 2, 4))
    assert found.is_sound


@pytest.mark.parametrize("index", [2, -1])
def test_an_allocation_of_an_attribute_that_is_not_there_is_held_by_somebody(index):
    found = read(a_document(allocations=[0, index, *[None] * 6]))

    holder = found.block.holder_of(found.block.address(1))
    assert holder == Attribute(None, None)
    assert not found.is_sound
    assert found.mistakes[0] == f"allocation 1 indexes attribute {index}, which is not there"


def test_a_release_that_has_not_come_yet_is_named_and_nothing_is_rewritten():
    early = {"handle_id": None, "secondary": None, "releasedAt": "2026-11-20T00:00:01Z"}
    document = a_document()
    document["attributes"][1] = early

    found = read(document)

    assert found.mistakes == ("attribute 1 has releasedAt in the future; compare the clocks",)
    assert not found.is_sound


@pytest.mark.parametrize(
    "fields",
    [
        {"allocations": [0, 1]},
        {"allocations": [0, 1, *[None] * 7]},
        {"allocations": None},
        {"allocations": [0, True, *[None] * 6]},
        {"allocations": {"0": 0}},
        {"attributes": "none"},
        {"unallocated": 7},
        {"cidr": "10.65.0.0/29"},
        {"sequenceNumber": "many"},
    ],
)
def test_what_says_nothing_about_its_addresses_is_unreadable(fields):
    with pytest.raises(Invalid, match=r"10\.65\.0\.8"):
        read(a_document(**fields))


def test_a_block_below_the_other_family_is_unreadable():
    value = json.dumps(a_document()).encode()

    with pytest.raises(Invalid, match="is not spelled as a block's key"):
        read_block(KEY.replace("ipv4", "ipv6"), value, NOW)


ORDINALS = st.integers(-1, 8)


@given(
    allocations=st.lists(st.none() | st.integers(0, 3), min_size=8, max_size=8),
    queue=st.lists(ORDINALS, max_size=10),
)
def test_whatever_the_queue_the_block_that_comes_out_is_right_and_holds_the_same(
    allocations, queue
):
    attributes = [{"handle_id": f"net.{i}", "secondary": None} for i in range(4)]
    document = a_document(allocations=allocations, unallocated=queue, attributes=attributes)

    block = read(document).block

    assert block.checked() is block
    assert block == read_block(KEY, codec.encode_block(block), NOW).block
    assert read_block(KEY, codec.encode_block(block), NOW).mistakes == ()
    assert [
        holder.handle_id if (holder := block.holder_of(address)) else None for address in CIDR
    ] == [None if i is None else f"net.{i}" for i in allocations]
