import json

import pytest

from bench.stats import Row, percentile, ratios, table


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(1, 99, 1), (5, 99, 5), (100, 99, 99), (110, 99, 109), (101, 50, 51), (3, 0, 1)],
)
def test_a_percentile_is_a_time_that_was_measured(count, percent, expected):
    times = [float(n) for n in range(count, 0, -1)]

    assert percentile(times, percent) == expected


def test_a_ratio_is_ours_over_theirs_by_the_medians():
    assert Row("ADD", [1, 3, 100], [6, 6, 6]).ratio == 0.5


def test_the_table_is_in_milliseconds():
    drawn = table([Row("sequential ADD", [0.001, 0.003], [0.004])])

    assert "| sequential ADD |         2.0 |      3.0 |           4.0 |        4.0 |" in drawn
    assert "|          0.50 |" in drawn


def test_the_json_has_one_line_with_the_ratios_that_have_a_key():
    rows = [Row("wall", [2.0], [3.0], "burst_add_ratio"), Row("each", [1.0], [1.0])]

    assert json.loads(ratios(rows)) == {"burst_add_ratio": 0.667}
    assert "\n" not in ratios(rows)
