"""Addresses for interfaces that other plugins make, and the gateway they share."""

from ipaddress import ip_network

from datamodel.attribute import DELEGATED, GATEWAY
from tests.consistency import assert_consistent
from tests.ipam import a_pool, a_release, a_store, an_allocate, settled

SMALL = a_pool("small", "10.0.0.0/24", block_size=29)


def asked(container_id, **rest):
    return an_allocate(container_id, link=None, is_delegated=True, **rest)


def granted(stored, *requests):
    stored, outcomes = settled(stored, *requests)
    assert_consistent(stored.values)
    return stored, [outcome.grants[0] for outcome in outcomes]


def test_the_gateway_is_in_the_block_and_nobodys_address():
    stored, [first, second] = granted(a_store(SMALL), asked("c1"), asked("c2"))

    assert first.gateway == second.gateway
    assert first.gateway in first.block
    assert len({first.address, second.address, first.gateway}) == 3
    kinds = [a.secondary["type"] for a in stored.block(first.block).attributes]
    assert sorted(kinds) == [DELEGATED, DELEGATED, GATEWAY]
    assert "endpoint" not in str([key for key in stored.values if "c1" in key])


def test_it_is_not_what_a_plugin_takes_for_network_or_broadcast():
    _, grants = granted(a_store(SMALL), *(asked(f"c{i}") for i in range(5)))

    [block] = {grant.block for grant in grants}
    used = {grant.address for grant in grants} | {grants[0].gateway}
    assert used == set(ip_network(block).hosts())


def test_those_are_given_out_before_a_request_is_refused():
    _, grants = granted(a_store(SMALL), *(asked(f"c{i}") for i in range(7)))

    assert len({grant.block for grant in grants}) == 1


def test_the_same_container_has_the_same_gateway_again():
    stored, [first] = granted(a_store(SMALL), asked("c1"))

    _, [again] = granted(stored, asked("c1"))

    assert again == first


def test_the_gateway_goes_with_the_last_address():
    stored, _ = granted(a_store(SMALL), asked("c1"), asked("c2"), an_allocate("c3", pod="web-3"))

    for container_id, pod in (("c1", "web-0"), ("c2", "web-0"), ("c3", "web-3")):
        assert any("ocicat-gateway" in key for key in stored.values)
        stored, _ = settled(stored, a_release(container_id, pod))
        assert_consistent(stored.values)

    assert not [key for key in stored.values if "/handle/" in key]


def test_each_block_has_its_own_and_the_handle_counts_them():
    stored, grants = granted(a_store(SMALL), *(asked(f"c{i}") for i in range(9)))

    assert len({(grant.block, grant.gateway) for grant in grants}) == 2
    for i in range(9):
        stored, _ = settled(stored, a_release(f"c{i}"))
        assert_consistent(stored.values)
    assert not [key for key in stored.values if "/handle/" in key]


def test_a_block_of_one_has_no_room_for_a_gateway():
    _, [grant] = granted(a_store(a_pool("one", "10.0.0.0/28", block_size=32)), asked("c1"))

    assert grant.gateway is None


def test_an_ordinary_request_has_no_gateway():
    _, [grant] = granted(a_store(SMALL), an_allocate("c1"))

    assert grant.gateway is None
