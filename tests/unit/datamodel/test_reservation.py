import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.reservation import Reservations


def test_reservations_are_read_as_calico_reads_them():
    found = Reservations.of(
        [" 10.0.0.8/32 ", "10.0.1.7/24", "10.0.0.9", "", "  ", "fd00::1", "FD00::0:2/127"]
    )

    assert found.ordinals(ip_network("10.0.0.0/28")) == {8, 9}
    assert found.covers(ip_network("10.0.1.0/24"))
    assert found.ordinals(ip_network("fd00::/126")) == {1, 2, 3}
    assert found.malformed == ()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/255.255.255.0",
        "10.0.0.0/-1",
        "10.0.0",
        "10.0.0.01",
        "10.0.0.0-10.0.0.9",
        "fe80::1%eth0",
        "1",
    ],
)
def test_what_is_neither_cidr_nor_address_is_ignored_and_told(text):
    found = Reservations.of([text, "10.0.0.1"])

    assert found.malformed == (text,)
    assert found.ordinals(ip_network("10.0.0.0/30")) == {1}


def test_nothing_is_reserved_without_reservations():
    nothing = Reservations.of([])

    assert nothing == Reservations()
    assert nothing.ordinals(ip_network("10.0.0.0/26")) == frozenset()
    assert not nothing.covers(ip_network("10.0.0.0/32"))
    assert ip_address("10.0.0.0") not in nothing


def test_a_block_may_be_reserved_by_many_parts_that_together_cover_it():
    halves = Reservations.of(["10.0.0.0/27", "10.0.0.32/28", "10.0.0.48/28", "10.0.0.50"])

    assert halves.covers(ip_network("10.0.0.0/26"))
    assert halves == Reservations.of(["10.0.0.0/26"])
    assert not halves.covers(ip_network("10.0.0.0/25"))


def test_families_do_not_mix():
    found = Reservations.of(["0.0.0.0/0"])

    assert found.covers(ip_network("10.0.0.0/8"))
    assert not found.covers(ip_network("::/122"))
    assert ip_address("::1") not in found
    assert Reservations.of(["::/0"]).ordinals(ip_network("0.0.0.0/30")) == frozenset()


def test_many_reservations_cost_little():
    found = Reservations.of(f"10.{i // 256}.{i % 256}.{i % 100}" for i in range(20_000))
    block = ip_network("10.7.0.0/20")

    began = time.process_time()
    for _ in range(100):
        assert len(found.ordinals(block)) == 16
        assert not found.covers(block)
    assert time.process_time() - began < 2


texts = st.builds(
    lambda offset, length: f"10.0.0.{offset}/{length}", st.integers(0, 63), st.integers(26, 32)
) | st.integers(0, 63).map(lambda offset: f"10.0.0.{offset}")


@given(st.lists(texts, max_size=6), st.integers(26, 32), st.integers(0, 63))
def test_reservations_are_the_union_of_their_parts(reserved, length, offset):
    found = Reservations.of(reserved)
    block = ip_network((f"10.0.0.{offset}", length), strict=False)

    naive = {a for text in reserved for a in ip_network(text, strict=False)}
    taken = {i for i, address in enumerate(block) if address in naive}
    assert found.ordinals(block) == taken
    assert found.covers(block) == (len(taken) == block.num_addresses)
    assert found.touches(block) == bool(taken)
    assert [a for a in block if a in found] == [a for a in block if a in naive]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(120, 128)), max_size=5))
def test_the_same_holds_for_ipv6(parts):
    networks = [ip_network((f"fd00::{last:x}", length), strict=False) for last, length in parts]
    found = Reservations.of(map(str, networks))

    block = ip_network("fd00::/120")
    naive = {int(a) - int(block[0]) for network in networks for a in network}
    assert found.ordinals(block) == naive
    assert found.covers(block) == (len(naive) == 256)
