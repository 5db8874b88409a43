from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datamodel.pool import mistakes_against
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


def test_hosts_begin_at_different_places_of_a_huge_pool_and_go_on_from_there():
    pool = a_pool(cidr="fd00::/48", block_size=122)
    assert pool.block_count == 2**74

    walks = [list(islice(pool.blocks_for(f"node-{i}"), 100)) for i in range(100)]

    blocks = [block for walk in walks for block in walk]
    assert len(set(blocks)) == len(blocks)
    assert all(pool.contains(block) and block.prefixlen == 122 for block in blocks)


@given(st.integers(16, 28), st.integers(0, 8), st.text(max_size=20))
def test_whatever_the_size_every_block_is_yielded_once(length, bits, host):
    pool = a_pool(cidr=f"10.0.0.0/{length}", block_size=min(length + bits, 32))

    blocks = list(pool.blocks_for(host))

    assert len(blocks) == len(set(blocks)) == pool.block_count
    assert sum(block.num_addresses for block in blocks) == pool.cidr.num_addresses
    assert all(block.subnet_of(pool.cidr) for block in blocks)


def test_a_disabled_pool_that_is_smaller_than_its_blocks_has_none():
    pool = a_pool(cidr="10.0.0.0/25", disabled=True)

    assert pool.block_count == 0
    assert list(pool.blocks_for("node-1")) == []


@given(st.integers(0, 2**14 - 1))
def test_an_address_is_in_the_block_of_it(offset):
    pool = a_pool(cidr="10.233.64.0/18", block_size=26)
    address = pool.cidr[offset]

    block = pool.block_of(address)

    assert address in block
    assert block in list(pool.blocks_for("node-1"))


def test_the_block_of_an_ipv6_address():
    pool = a_pool(cidr="fd00::/48", block_size=122)

    assert pool.block_of(ip_address("fd00::1:7f")) == ip_network("fd00::1:40/122")


@pytest.mark.parametrize(
    ("cidr", "is_inside"),
    [
        ("10.0.0.0/16", True),
        ("10.0.255.0/24", True),
        ("10.0.0.1/32", True),
        ("10.0.0.0/15", False),
        ("10.1.0.0/24", False),
        ("::a00:0/128", False),
    ],
)
def test_a_pool_contains_what_lies_in_it_as_a_whole(cidr, is_inside):
    assert a_pool(cidr="10.0.0.0/16").contains(ip_network(cidr)) is is_inside


LINK_LOCAL = "which is link-local; take another range"


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
        (
            {"cidr": "10.0.0.0/25", "block_size": 24},
            "blockSize 24 is larger than the pool; take 25 or more",
        ),
        ({"ipip_mode": "always"}, "ipipMode 'always' is not one of Never, Always, CrossSubnet"),
        ({"vxlan_mode": ""}, "vxlanMode '' is not one of Never, Always, CrossSubnet"),
        (
            {"ipip_mode": "Always", "vxlan_mode": "CrossSubnet"},
            "ipipMode and vxlanMode are both on; choose one",
        ),
        (
            {"cidr": "fd00::/112", "block_size": 122, "ipip_mode": "Always"},
            "ipipMode is on, but IPIP does not carry IPv6",
        ),
        ({"cidr": "169.254.64.0/18"}, f"cidr overlaps with 169.254.0.0/16, {LINK_LOCAL}"),
        ({"cidr": "169.0.0.0/8"}, f"cidr overlaps with 169.254.0.0/16, {LINK_LOCAL}"),
        ({"cidr": "fe80::/64", "block_size": 122}, f"cidr overlaps with fe80::/10, {LINK_LOCAL}"),
        (
            {"allowed_uses": ("Workload", "workload")},
            "allowedUses 'workload' is not one of Workload, Tunnel, LoadBalancer",
        ),
        (
            {"assignment_mode": "manual"},
            "assignmentMode 'manual' is not one of Automatic, Manual",
        ),
        (
            {"namespace_selector": "has(team)"},
            "namespaceSelector is not for pools of tunnel addresses; set allowedUses to Workload",
        ),
        (
            {"node_selector": "rack = 'a'"},
            "nodeSelector: selector \"rack = 'a'\": expected ==, !=, in, not in, contains, "
            "starts with or ends with at character 6, found = 'a'",
        ),
        (
            {"node_selector": "has(a) || global()"},
            "nodeSelector 'has(a) || global()' uses global(), which is for network policies only",
        ),
        (
            {"namespace_selector": "global()", "allowed_uses": ("Workload",)},
            "namespaceSelector 'global()' uses global(), which is for network policies only",
        ),
        (
            {"allowed_uses": ("LoadBalancer", "Workload")},
            "a LoadBalancer pool cannot have allowedUses with Workload or Tunnel",
        ),
        (
            {"allowed_uses": ("LoadBalancer",), "vxlan_mode": "Always"},
            "a LoadBalancer pool cannot have ipipMode or vxlanMode",
        ),
        (
            {"allowed_uses": ("LoadBalancer",), "disable_bgp_export": True},
            "a LoadBalancer pool cannot have disableBGPExport",
        ),
        (
            {"allowed_uses": ("LoadBalancer",), "node_selector": "has(a)"},
            "a LoadBalancer pool cannot have a nodeSelector other than all()",
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


@pytest.mark.parametrize(
    "fields",
    [
        {"allowed_uses": ("LoadBalancer",)},
        {"allowed_uses": ("Workload",), "namespace_selector": "has(team)"},
        {"node_selector": "rack in {'a', 'b'} && !has(gpu)", "assignment_mode": "Manual"},
        {"cidr": "fd00::/112", "block_size": 122, "vxlan_mode": "Always"},
        {"node_selector": ""},
    ],
)
def test_what_calico_allows_is_right(fields):
    assert a_pool(**fields).mistakes() == []


# ---- a pool that is stored ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"cidr": "169.254.0.0/16"},
        {"node_selector": "?"},
        {"ipip_mode": "sometimes", "vxlan_mode": "Always"},
        {"allowed_uses": ("Something",)},
        {"assignment_mode": "New"},
        {"cidr": "10.0.0.0/25", "disabled": True},
    ],
)
def test_a_stored_pool_is_used_whatever_would_be_refused_today(fields):
    pool = a_pool(**fields)

    assert pool.usable() is pool


@pytest.mark.parametrize(
    "fields", [{"block_size": 19}, {"block_size": 33}, {"cidr": "10.0.0.0/25", "block_size": 24}]
)
def test_a_stored_pool_from_which_no_block_can_be_cut_is_not_used(fields):
    with pytest.raises(Invalid, match=r"pool default-ipv4-ippool .*: blockSize "):
        a_pool(**fields).usable()


# ---- what is there already ---------------------------------------------------------------------


def test_a_new_pool_must_not_overlap_with_another():
    others = [a_pool("a", "10.0.0.0/16"), a_pool("b", "10.1.0.0/16"), a_pool("off", "10.0.9.0/24")]

    def against(cidr: str) -> list[str]:
        return mistakes_against(a_pool("new", cidr), others, [], None)

    assert against("10.2.0.0/16") == []
    assert against("10.1.2.0/24") == ["cidr overlaps with pool b (10.1.0.0/16); take another range"]
    assert against("10.0.8.0/22") == [
        "cidr overlaps with pool a (10.0.0.0/16); take another range",
        "cidr overlaps with pool off (10.0.9.0/24); take another range",
    ]
    assert len(against("10.0.0.0/8")) == 3


def test_a_pool_does_not_overlap_with_itself_or_the_other_family():
    pool = a_pool("a", "10.0.0.0/16")
    others = [pool, a_pool("six", "::/112", block_size=122)]

    assert mistakes_against(pool, others, [], None) == []


def test_blocks_of_another_size_in_the_range_forbid_a_new_pool():
    blocks = [ip_network(c) for c in ("10.9.0.0/26", "10.0.4.0/26", "10.0.0.64/26", "::/122")]

    assert mistakes_against(a_pool(cidr="10.0.0.0/16"), [], blocks, None) == [
        "blockSize 24 is not that of the blocks in its range, 10.0.0.64/26 and 1 more; "
        "take their size, or another range"
    ]
    assert mistakes_against(a_pool(cidr="10.9.0.0/16"), [], blocks, None) == [
        "blockSize 24 is not that of the blocks in its range, 10.9.0.0/26; "
        "take their size, or another range"
    ]
    assert mistakes_against(a_pool(cidr="10.0.0.0/16", block_size=26), [], blocks, None) == []
    assert mistakes_against(a_pool(cidr="10.8.0.0/16"), [], blocks, None) == []


def test_a_block_that_is_larger_than_the_new_pool_is_in_its_range():
    blocks = [ip_network("10.0.0.0/24")]

    assert mistakes_against(a_pool(cidr="10.0.0.32/27", block_size=28), [], blocks, None) != []


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (
            {"cidr": ip_network("10.1.0.0/16")},
            "cidr cannot change from 10.0.0.0/16 to 10.1.0.0/16; add another pool",
        ),
        ({"block_size": 26}, "blockSize cannot change from 24 to 26; add another pool"),
    ],
)
def test_range_and_block_size_cannot_change(change, mistake):
    before = a_pool(cidr="10.0.0.0/16")

    assert mistakes_against(replace(before, **change), [before], [], before) == [mistake]


def test_a_pool_of_load_balancers_stays_one():
    before = a_pool(allowed_uses=("LoadBalancer",))
    after = replace(before, allowed_uses=("Workload", "Tunnel"))

    assert mistakes_against(after, [], [], before) == [
        "allowedUses cannot change from LoadBalancer to Workload, Tunnel"
    ]
    assert mistakes_against(before, [], [], after) == []


def test_a_pool_that_overlaps_can_still_be_disabled():
    before = a_pool("a", "10.0.0.0/16")
    others = [before, a_pool("b", "10.0.0.0/16")]
    blocks = [ip_network("10.0.0.0/26")]

    after = replace(before, disabled=True, node_selector="has(a)", nat_outgoing=True)

    assert mistakes_against(after, others, blocks, before) == []


cidrs = st.builds(
    lambda third, length: ip_network((f"10.0.{third}.0", length), strict=False),
    st.integers(0, 255),
    st.integers(16, 24),
)


@given(cidrs, st.lists(cidrs, max_size=4), st.lists(st.integers(0, 1023), max_size=4))
def test_a_new_pool_is_refused_just_if_an_address_would_be_in_two(cidr, taken, blocks):
    others = [a_pool(f"p{i}", str(other)) for i, other in enumerate(taken)]
    small = [ip_network((int(ip_address("10.0.0.0")) + 64 * n, 26)) for n in blocks]

    found = mistakes_against(a_pool("new", str(cidr)), others, small, None)

    shared = [o for o in others if o.cidr.subnet_of(cidr) or cidr.subnet_of(o.cidr)]
    inside = {block for block in small if block.subnet_of(cidr)}
    assert len(found) == len(shared) + bool(inside)
    assert all(any(str(other) in text for text in found) for other in shared)
