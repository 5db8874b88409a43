"""Addresses of both families: all or none, and one handle and endpoint for both."""

from ipaddress import ip_address

import pytest

from datamodel.errors import Exhausted, Invalid
from datastore import codec, keys
from tests.consistency import assert_consistent
from tests.ipam import (
    a_pool,
    a_release,
    a_store,
    an_allocate,
    decided,
    endpoint_key,
    handle_key,
    settled,
)

FOUR = a_pool("four", "10.0.0.0/24", block_size=28)
SIX = a_pool("six", "fd00::/112", block_size=122)


def counts(stored):
    key = handle_key("c1")
    return codec.decode_handle(key, stored.entries[key].value)


def test_both_families_are_granted_in_one_change():
    stored, [granted] = settled(a_store(FOUR, SIX), an_allocate(versions=(4, 6)))

    assert [grant.address.version for grant in granted.grants] == [4, 6]
    assert sorted(counts(stored).values()) == [1, 1]
    assert [network.prefixlen for network in stored.endpoint("web-0").networks] == [32, 128]
    assert_consistent(stored.values)


def test_without_room_in_one_family_nothing_is_granted():
    decision = decided(a_store(FOUR), an_allocate(versions=(4, 6)))

    [refused] = decision.outcome
    assert isinstance(refused, Exhausted)
    assert "there is no IPv6 pool" in str(refused)
    assert not decision.change.put


@pytest.mark.parametrize("versions", [(4,), (6,)])
def test_a_family_that_is_asked_for_later_joins_the_other(versions):
    other = tuple({4, 6} - set(versions))
    stored, [first] = settled(a_store(FOUR, SIX), an_allocate(versions=versions))

    stored, [second] = settled(stored, an_allocate(versions=other))

    held = {grant.address for grant in (*first.grants, *second.grants)}
    assert sum(counts(stored).values()) == 2
    assert {network.network_address for network in stored.endpoint("web-0").networks} == held
    assert_consistent(stored.values)


def test_a_release_takes_both():
    stored, _ = settled(a_store(FOUR, SIX), an_allocate(versions=(4, 6)))

    stored, [released] = settled(stored, a_release())

    assert len(released.grants) == 2
    assert not {handle_key("c1"), endpoint_key("web-0")} & stored.entries.keys()


def test_certain_addresses_are_granted_whatever_is_reserved():
    wanted = (ip_address("10.0.0.77"), ip_address("fd00::77"))
    reservation = b'{"metadata":{"name":"r"},"spec":{"reservedCIDRs":["10.0.0.0/24","fd00::/112"]}}'
    stored = a_store(FOUR, SIX, **{f"{keys.RESERVATIONS}r": reservation})

    stored, [granted] = settled(stored, an_allocate(versions=(4, 6), addresses=wanted))
    _, [refused] = settled(stored, an_allocate("c2", "web-1"))

    assert tuple(grant.address for grant in granted.grants) == wanted
    assert isinstance(refused, Exhausted)


def test_a_certain_address_is_not_taken_from_a_pool_for_other_uses():
    stored = a_store(FOUR, a_pool("tunnels", "10.1.0.0/24", allowed_uses=("Tunnel",)))

    _, [refused] = settled(stored, an_allocate(addresses=(ip_address("10.1.0.5"),)))

    assert isinstance(refused, Invalid)
    assert str(refused) == (
        "address 10.1.0.5: pool tunnels (10.1.0.0/24) is for Tunnel only; "
        "ask for an address of another pool"
    )


def test_a_certain_address_must_be_in_an_enabled_pool():
    stored = a_store(FOUR, a_pool("off", "10.1.0.0/24", disabled=True))

    for text in ("10.1.0.5", "192.0.2.1"):
        _, [refused] = settled(stored, an_allocate(addresses=(ip_address(text),)))

        assert isinstance(refused, Invalid)
        assert str(refused).startswith(f"address {text}: is in no enabled pool")


def test_who_holds_another_address_is_told_so():
    stored, [granted] = settled(a_store(FOUR), an_allocate())

    other = granted.grants[0].address + 1
    _, [refused] = settled(stored, an_allocate(addresses=(other,)))

    assert f"holds {granted.grants[0].address} already" in str(refused)


def test_the_limit_of_blocks_counts_each_family():
    config = b'{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":1}'
    stored = a_store(
        a_pool("four", "10.0.0.0/24", block_size=32), SIX, **{keys.IPAM_CONFIG: config}
    )

    stored, [granted] = settled(stored, an_allocate(versions=(4, 6)))
    _, [refused] = settled(stored, an_allocate("c2", "web-1"))

    assert len(granted.grants) == 2
    assert "has reached the limit of 1 blocks" in str(refused)


def test_an_affinity_that_nobody_can_read_does_not_stop_its_block():
    stored, [granted] = settled(a_store(FOUR), an_allocate())
    cidr = granted.grants[0].block
    stored = stored.having(**{keys.affinity("node-1", cidr): b"{"})

    stored, [second] = settled(stored, an_allocate("c2", "web-1"))

    assert second.grants[0].block == cidr
    assert_consistent(stored.values)
