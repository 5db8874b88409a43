"""What is masqueraded, and the rules for it."""

import subprocess
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Pool
from route_distributor.nat.desired import Family, Nat, desired
from route_distributor.nat.ruleset import difference, listing, ruleset
from route_distributor.snapshot import ClusterSnapshot, cluster_snapshot
from tests.cluster import NODE, a_pool, stored


def nat_of(*pools, own=None) -> Nat:
    snapshot = cluster_snapshot(NODE, stored(*pools))
    return desired(ClusterSnapshot(NODE, own, (), (), snapshot.pools, snapshot.bgp, ()))


def networks(*texts):
    return tuple(map(ip_network, texts))


def test_what_leaves_for_no_pool_is_masqueraded():
    nat = nat_of(
        a_pool("a", "10.233.0.0/16", nat_outgoing=True), a_pool("b", "10.99.0.0/24"), own=None
    )

    assert nat == Nat(Family(networks("10.233.0.0/16"), networks("10.99.0.0/24", "10.233.0.0/16")))


def test_a_disabled_pool_counts_as_any_other():
    nat = nat_of(
        a_pool("a", "10.233.0.0/16", nat_outgoing=True, disabled=True),
        a_pool("outside", "192.0.2.0/24", disabled=True),
    )

    assert nat.ipv4.sources == networks("10.233.0.0/16")
    assert nat.ipv4.pools == networks("10.233.0.0/16", "192.0.2.0/24")


def test_a_family_in_which_nothing_is_masqueraded_plays_no_part():
    nat = nat_of(a_pool("a", "fd00:1::/48", nat_outgoing=True), a_pool("b", "10.99.0.0/24"))

    assert nat == Nat(ipv6=Family(networks("fd00:1::/48"), networks("fd00:1::/48")))


def test_without_a_pool_that_asks_for_it_there_are_no_rules():
    nat = nat_of(a_pool("a", "10.233.0.0/16"), own=Node(NODE, IPv4Interface("10.0.0.11/24")))

    assert nat.is_empty
    assert ruleset(nat) == "add table inet ocicat\ndelete table inet ocicat\n"


def test_a_tunnel_takes_its_own_address():
    own = Node(
        NODE,
        ipip_address=IPv4Address("10.233.77.1"),
        vxlan_ipv6=IPv6Address("fd00:1::1"),
    )

    nat = nat_of(own=own)

    assert nat.tunnels == ("tunl0", "vxlan-v6.calico")
    assert 'oifname "tunl0" fib saddr . oif type != local fib saddr type local' in ruleset(nat)


CIDRS = st.builds(
    lambda number, length: ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)
POOLS = st.builds(
    lambda cidr, nat, name: Pool(name, cidr, 32, nat_outgoing=nat),
    CIDRS,
    st.booleans(),
    st.text(min_size=1),
)


def of(pools) -> Nat:
    return desired(ClusterSnapshot(NODE, None, (), (), tuple(pools), None, ()))


@given(st.lists(POOLS, max_size=8), st.randoms(use_true_random=False))
def test_order_and_names_of_pools_do_not_matter(pools, random):
    shuffled = random.sample(pools, len(pools))
    renamed = [
        Pool(f'"; }} {i}\n', pool.cidr, 32, nat_outgoing=pool.nat_outgoing)
        for i, pool in enumerate(shuffled)
    ]

    assert ruleset(of(renamed)) == ruleset(of(pools))


@given(st.lists(POOLS, max_size=8), st.integers(0, 2**32 - 1))
def test_an_address_is_in_a_set_exactly_if_it_is_in_such_a_pool(pools, number):
    address = ip_address(number)
    family = of(pools).ipv4

    sources = [pool.cidr for pool in pools if pool.nat_outgoing]
    assert any(address in cidr for cidr in family.sources) == any(address in c for c in sources)
    if sources:
        everything = [pool.cidr for pool in pools]
        assert any(address in c for c in family.pools) == any(address in c for c in everything)


@given(st.lists(POOLS, max_size=8))
def test_ranges_of_a_set_do_not_overlap(pools):
    for ranges in (of(pools).ipv4.sources, of(pools).ipv4.pools):
        assert not [(a, b) for a in ranges for b in ranges if a < b and a.overlaps(b)]


def test_the_rules_are_what_nft_takes():
    nat = Nat(
        Family(networks("10.0.0.0/9"), networks("0.0.0.0/0")),
        Family(networks("fd00::/48"), networks("fd00::/48", "fd00:2::/48")),
        ("tunl0", "vxlan.calico", "vxlan-v6.calico"),
    )

    done = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"],
        input=ruleset(nat),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.returncode == 0


def test_listings_are_compared_without_what_counts_up():
    before = listing('{"nftables": [{"metainfo": {}}, {"set": {"name": "a", "handle": 3}}]}')
    after = listing('{"nftables": [{"metainfo": {"x": 1}}, {"set": {"handle": 9, "name": "a"}}]}')

    assert difference(before, after) == 0
    assert difference(before, frozenset()) == 1
    assert difference(before, listing('{"nftables": [{"set": {"name": "b"}}]}')) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"nftables": [3]}', '{"nftables": [{"set": 1}]}']
)
def test_what_is_no_listing_is_refused(text):
    with pytest.raises(Invalid, match="nft: its listing cannot be read"):
        listing(text)
