from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from datamodel.block import Attribute, Block
from datamodel.pool import Pool
from datamodel.reservation import Reservations
from ocicatctl.ipam.usage import Counts, Usage

POOL = Pool("default-ipv4-ippool", IPv4Network("10.65.0.0/16"), 26)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def a_block(cidr: str, held: int = 0, host: str = "node-1") -> Block:
    block = Block.new(ip_network(cidr), host, now_ns=1)
    for n in range(held):
        block, _ = block.assign(Attribute(f"net.container{n}", None))
    return block


def test_a_pool_sums_up_its_blocks_and_shows_them_when_asked():
    usage = Usage.of([POOL], [a_block("10.65.79.0/26", held=5)])

    assert usage.rows(with_blocks=False) == [
        ("IP Pool", "10.65.0.0/16", "65536", "5 (0%)", "0 (0%)", "65531 (100%)")
    ]
    assert usage.rows(with_blocks=True)[1:] == [
        ("Block", "10.65.79.0/26", "64", "5 (8%)", "0 (0%)", "59 (92%)")
    ]


def test_large_totals_have_five_digits():
    pool = Pool("six", IPv6Network("fd5f:abcd:64::/48"), 122)
    usage = Usage.of([pool], [a_block("fd5f:abcd:64::40/122", held=7)])

    assert usage.rows(with_blocks=False) == [
        ("IP Pool", "fd5f:abcd:64::/48", "1.2089e+24", "7 (0%)", "0 (0%)", "1.2089e+24 (100%)")
    ]


def test_a_reserved_address_is_not_free_and_one_in_use_counts_as_both():
    reservations = Reservations.of(["10.65.79.0/30", "10.65.0.0/24", "10.1.0.0/16", "fd00::/8"])
    usage = Usage.of([POOL], [a_block("10.65.79.0/26", held=2)], reservations)

    assert usage.rows(with_blocks=True) == [
        ("IP Pool", "10.65.0.0/16", "65536", "2 (0%)", "260 (0%)", "65276 (100%)"),
        ("Block", "10.65.79.0/26", "64", "2 (3%)", "4 (6%)", "60 (94%)"),
    ]


def test_a_huge_reservation_is_counted_without_looking_at_each_address():
    pool = Pool("six", IPv6Network("fd5f:abcd:64::/48"), 122)

    (used,) = Usage.of([pool], [], Reservations.of(["fd5f::/16"])).pools

    assert (used.counts.reserved, used.counts.free) == (2**80, 0)


def test_an_address_that_cools_down_is_in_use():
    block = a_block("10.65.79.0/26", held=2)
    block, _ = block.release("net.container0", now=NOW, cooldown_s=60)

    counts = Counts.of_block(block, Reservations())

    assert counts == Counts(total=64, in_use=2, reserved=0, free=62, cooling=1)


def test_blocks_stand_in_the_order_of_addresses_not_of_keys():
    usage = Usage.of([POOL], [a_block("10.65.0.128/26"), a_block("10.65.0.64/26")])

    assert [row[1] for row in usage.rows(with_blocks=True)[1:]] == [
        "10.65.0.64/26",
        "10.65.0.128/26",
    ]


def test_blocks_in_no_pool_come_last_and_count_for_none():
    usage = Usage.of([POOL], [a_block("10.1.0.0/26", held=1), a_block("10.65.0.0/26")])

    assert usage.rows(with_blocks=False)[0][3] == "0 (0%)"
    assert usage.rows(with_blocks=True)[-1] == (
        "Block", "10.1.0.0/26", "64", "1 (2%)", "0 (0%)", "63 (98%)"
    )  # fmt: skip


def test_a_block_larger_than_the_pool_is_not_of_the_pool():
    small = Pool("small", IPv4Network("10.65.0.0/28"), 28)

    usage = Usage.of([small], [a_block("10.65.0.0/26")])

    assert [block for block, _ in usage.strays] == [a_block("10.65.0.0/26")]


def test_programs_get_whole_numbers_and_the_owner():
    usage = Usage.of([POOL], [a_block("10.65.79.0/26", held=5)])

    counts = {"inUse": 5, "reserved": 0, "cooling": 0}
    assert usage.document(with_blocks=True) == {
        "pools": [
            {
                "name": "default-ipv4-ippool",
                "cidr": "10.65.0.0/16",
                "total": 65536,
                "free": 65531,
                **counts,
                "blocks": [
                    {
                        "cidr": "10.65.79.0/26",
                        "total": 64,
                        "free": 59,
                        **counts,
                        "node": "node-1",
                    }
                ],
            }
        ],
        "blocksInNoPool": [],
    }
    assert usage.document(with_blocks=False)["pools"][0].keys() == {
        "name", "cidr", "total", "inUse", "reserved", "free", "cooling"
    }  # fmt: skip


@given(st.sets(st.integers(0, 2**12 - 1), max_size=20))
def test_every_block_is_shown_exactly_once(offsets):
    blocks = [a_block(f"10.{64 + o // 256}.{o % 256}.0/26") for o in offsets]

    rows = Usage.of([POOL], blocks).rows(with_blocks=True)

    assert sorted(row[1] for row in rows if row[0] == "Block") == sorted(
        str(block.cidr) for block in blocks
    )


@given(
    st.lists(st.integers(0, 7), max_size=8),
    st.lists(st.tuples(st.integers(0, 31), st.integers(0, 5)), max_size=4),
)
def test_free_is_what_is_neither_held_nor_reserved(held, reserved):
    pool = Pool("tiny", IPv4Network("10.65.0.0/27"), 29)
    reservations = Reservations.of(
        str(IPv4Network((int(pool.cidr[offset]), 32 - bits), strict=False))
        for offset, bits in reserved
    )
    blocks = []
    for n, block in enumerate(map(a_block, ("10.65.0.0/29", "10.65.0.16/29"))):
        for ordinal in sorted({o for o in held if o % 2 == n}):
            block = block.assign_address(block.address(ordinal), Attribute(f"h.{ordinal}", None))
            if ordinal > 4:
                block, _ = block.release(f"h.{ordinal}", now=NOW, cooldown_s=9)
        blocks.append(block.collected(NOW + timedelta(seconds=1), 9))

    (used,) = Usage.of([pool], blocks, reservations).pools

    def is_free(address) -> bool:
        is_held = any(block.holder_of(address) for block in blocks)
        return not is_held and address not in reservations

    assert used.counts.free == sum(is_free(address) for address in pool.cidr)
    assert used.counts.reserved == sum(address in reservations for address in pool.cidr)
