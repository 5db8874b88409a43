from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from tests.ipam import a_pool


@pytest.mark.parametrize(
    ("cidr", "block_size"),
    [
        ("10.233.64.0/18", 24),
        ("10.0.0.0/24", 24),
        ("10.0.0.0/29", 32),
        ("fd00::/112", 120),
        ("fd00::/125", 128),
    ],
)
@pytest.mark.parametrize("host", ["node-1", "node-2", ""])
def test_every_block_is_yielded_once(cidr, block_size, host):
    pool = a_pool(cidr=cidr, block_size=block_size)

    blocks = list(pool.blocks_for(host))

    assert sorted(blocks) == list(ip_network(cidr).subnets(new_prefix=block_size))
    assert len(blocks) == pool.block_count


def test_blocks_follow_each_other_and_wrap_around():
    pool = a_pool(cidr="10.0.0.0/22")

    first, *rest = pool.blocks_for("node-1")

    everything = list(pool.cidr.subnets(new_prefix=24))
    start = everything.index(first)
    assert [first, *rest] == everything[start:] + everything[:start]


@given(st.text(max_size=63))
def test_a_host_always_looks_in_the_same_order(host):
    pool = a_pool(cidr="10.0.0.0/20")

    assert list(pool.blocks_for(host)) == list(pool.blocks_for(host))


def test_hosts_begin_at_different_places():
    pool = a_pool()

    starts = {next(pool.blocks_for(f"node-{i}")) for i in range(40)}

    assert len(starts) > 20


def test_a_pool_of_many_blocks_is_not_enumerated_before_the_first_is_known():
    pool = a_pool(cidr="fd00::/48", block_size=122)

    assert next(pool.blocks_for("node-1")).subnet_of(pool.cidr)


def test_a_right_pool_has_no_mistakes():
    pool = a_pool()

    assert pool.mistakes() == []
    assert pool.checked() is pool


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        ({"block_size": 19}, "blockSize 19 is not in 20..32"),
        ({"block_size": 33}, "blockSize 33 is not in 20..32"),
        ({"cidr": "fd00::/64", "block_size": 64}, "blockSize 64 is not in 116..128"),
        ({"cidr": "10.0.0.0/25", "block_size": 24}, "blockSize 24 is larger than the pool"),
        ({"ipip_mode": "always"}, "ipipMode 'always' is not one of Never, Always, CrossSubnet"),
        ({"vxlan_mode": ""}, "vxlanMode '' is not one of Never, Always, CrossSubnet"),
        (
            {"ipip_mode": "Always", "vxlan_mode": "CrossSubnet"},
            "ipipMode and vxlanMode are both on; choose one",
        ),
    ],
)
def test_a_mistake_is_named(wrong, mistake):
    assert a_pool(**wrong).mistakes() == [mistake]


def test_a_disabled_pool_may_be_smaller_than_its_blocks():
    assert a_pool(cidr="10.0.0.0/25", disabled=True).mistakes() == []


def test_every_mistake_is_reported_at_once():
    pool = a_pool(block_size=8, ipip_mode="yes", vxlan_mode="no")

    with pytest.raises(Invalid) as caught:
        pool.checked()

    text = str(caught.value)
    assert text.startswith("pool default-ipv4-ippool (10.233.64.0/18): ")
    assert text.count(";") == 4
    for word in ("blockSize 8", "'yes'", "'no'", "both on"):
        assert word in text
