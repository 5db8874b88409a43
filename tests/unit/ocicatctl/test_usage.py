from ipaddress import IPv4Network, IPv6Network, ip_network

from hypothesis import given
from hypothesis import strategies as st

from datamodel.block import Attribute, Block
from datamodel.pool import Pool
from ocicatctl.usage import Usage

POOL = Pool("default-ipv4-ippool", IPv4Network("10.65.0.0/16"), 26)


def a_block(cidr: str, held: int = 0, host: str = "node-1") -> Block:
    block = Block.new(ip_network(cidr), host, now_ns=1)
    for n in range(held):
        block, _ = block.assign(Attribute(f"net.container{n}", None))
    return block


def test_a_pool_sums_up_its_blocks_and_shows_them_when_asked():
    usage = Usage.of([POOL], [a_block("10.65.79.0/26", held=5)])

    assert usage.rows(with_blocks=False) == [
        ("IP Pool", "10.65.0.0/16", "65536", "5 (0%)", "65531 (100%)")
    ]
    assert usage.rows(with_blocks=True)[1:] == [
        ("Block", "10.65.79.0/26", "64", "5 (8%)", "59 (92%)")
    ]


def test_large_totals_have_five_digits():
    pool = Pool("six", IPv6Network("fd5f:abcd:64::/48"), 122)
    usage = Usage.of([pool], [a_block("fd5f:abcd:64::40/122", held=7)])

    assert usage.rows(with_blocks=False) == [
        ("IP Pool", "fd5f:abcd:64::/48", "1.2089e+24", "7 (0%)", "1.2089e+24 (100%)")
    ]


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
        "Block", "10.1.0.0/26", "64", "1 (2%)", "63 (98%)"
    )  # fmt: skip


def test_a_block_larger_than_the_pool_is_not_of_the_pool():
    small = Pool("small", IPv4Network("10.65.0.0/28"), 28)

    usage = Usage.of([small], [a_block("10.65.0.0/26")])

    assert usage.strays == (a_block("10.65.0.0/26"),)


def test_programs_get_whole_numbers_and_the_owner():
    usage = Usage.of([POOL], [a_block("10.65.79.0/26", held=5)])

    assert usage.document(with_blocks=True) == {
        "pools": [
            {
                "name": "default-ipv4-ippool",
                "cidr": "10.65.0.0/16",
                "total": 65536,
                "inUse": 5,
                "free": 65531,
                "blocks": [
                    {
                        "cidr": "10.65.79.0/26",
                        "total": 64,
                        "inUse": 5,
                        "free": 59,
                        "node": "node-1",
                    }
                ],
            }
        ],
        "blocksInNoPool": [],
    }
    assert usage.document(with_blocks=False)["pools"][0].keys() == {
        "name", "cidr", "total", "inUse", "free"
    }  # fmt: skip


@given(st.sets(st.integers(0, 2**12 - 1), max_size=20))
def test_every_block_is_shown_exactly_once(offsets):
    blocks = [a_block(f"10.{64 + o // 256}.{o % 256}.0/26") for o in offsets]

    rows = Usage.of([POOL], blocks).rows(with_blocks=True)

    assert sorted(row[1] for row in rows if row[0] == "Block") == sorted(
        str(block.cidr) for block in blocks
    )
