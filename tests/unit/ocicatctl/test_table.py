from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocicatctl.table import box, columns

CELLS = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=12)
TABLES = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)
)


def test_the_box_is_the_one_of_calicoctl():
    header = ("Grouping", "CIDR", "IPs total", "IPs in use", "IPs free")
    rows = [
        ("IP Pool", "10.65.0.0/16", "65536", "5 (0%)", "65531 (100%)"),
        ("Block", "10.65.79.0/26", "64", "5 (8%)", "59 (92%)"),
        ("IP Pool", "fd5f:abcd:64::/48", "1.2089e+24", "7 (0%)", "1.2089e+24 (100%)"),
        ("Block", "fd5f:abcd:64:4f::77c0/122", "64", "7 (11%)", "57 (89%)"),
    ]

    text = box(header, rows)

    assert text == (
        "+----------+---------------------------+------------+------------+-------------------+\n"
        "| GROUPING |           CIDR            | IPS TOTAL  | IPS IN USE |     IPS FREE      |\n"
        "+----------+---------------------------+------------+------------+-------------------+\n"
        "| IP Pool  | 10.65.0.0/16              |      65536 | 5 (0%)     | 65531 (100%)      |\n"
        "| Block    | 10.65.79.0/26             |         64 | 5 (8%)     | 59 (92%)          |\n"
        "| IP Pool  | fd5f:abcd:64::/48         | 1.2089e+24 | 7 (0%)     | 1.2089e+24 (100%) |\n"
        "| Block    | fd5f:abcd:64:4f::77c0/122 |         64 | 7 (11%)    | 57 (89%)          |\n"
        "+----------+---------------------------+------------+------------+-------------------+\n"
    )


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("64", "|     64 |"),
        ("-1.5", "|   -1.5 |"),
        ("1e+06", "| 1e+06  |"),  # not a plain number to calicoctl's table writer
        ("5 (8%)", "| 5 (8%) |"),
    ],
)
def test_only_plain_numbers_go_to_the_right(cell, shown):
    assert box(("Column",), [(cell,)]).splitlines()[3] == shown


def test_an_odd_blank_of_a_header_is_on_its_right():
    assert box(("free",), [("12 (3%)",)]).splitlines()[1] == "|  FREE   |"


def test_an_empty_box_has_a_header():
    assert box(("a",), []).splitlines() == ["+---+", "| A |", "+---+"]


def test_columns_have_a_gap_and_a_least_width_and_blanks_at_the_end():
    text = columns(("NAME", "N", "CIDR"), [("pool", "1", "10.233.64.0/18")])

    assert text == (
        "NAME   N    CIDR             \n"  #
        "pool   1    10.233.64.0/18   \n"
    )


@given(TABLES)
def test_all_lines_are_equally_long_and_cells_stand_below_each_other(table):
    header, *rows = table

    lines = columns(header, rows).split("\n")[:-1]

    assert len({len(line) for line in lines}) == 1
    starts = [0]
    for column in zip(*table, strict=True):
        starts.append(starts[-1] + max(5, max(map(len, column)) + 3))
    for line, cells in zip(lines, table, strict=True):
        assert [line[a:b].rstrip() for a, b in pairwise(starts)] == [
            cell.rstrip() for cell in cells
        ]


@given(TABLES)
def test_a_box_is_a_rectangle_whose_bars_stand_below_each_other(table):
    header, *rows = [[cell.replace("|", " ") for cell in line] for line in table]

    rule, *lines = box(header, rows).split("\n")[:-1]

    bars = [i for i, char in enumerate(rule) if char == "+"]
    assert all(len(line) == len(rule) for line in lines)
    assert all(line[i] in "+|" for line in lines for i in bars)
