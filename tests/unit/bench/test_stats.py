import json

import pytest

from bench.stats import Figures, Row, percentile


@pytest.mark.parametrize(
    ("count", "percent", "expected"),
    [(1, 99, 1), (5, 99, 5), (100, 99, 99), (110, 99, 109), (101, 50, 51), (3, 0, 1)],
)
def test_a_percentile_is_a_time_that_was_measured(count, percent, expected):
    times = [float(n) for n in range(count, 0, -1)]

    assert percentile(times, percent) == expected


def test_a_ratio_is_ours_over_theirs_by_the_medians():
    assert Row("ADD", [1, 3, 100], [6, 6, 6]).ratio == 0.5


def figures(*rows):
    costs = {
        "ours ADD": {"executables": 0.009, "cni-server": 0.002},
        "theirs ADD": {"executables": 0.0095},
    }
    return Figures(rows, costs, 61.25)


def test_the_table_is_in_milliseconds():
    drawn = figures(Row("sequential ADD", [0.001, 0.003], [0.004])).table

    assert "| sequential ADD |         2.0 |      3.0 |           4.0 |        4.0 |" in drawn
    assert "|          0.50 |" in drawn


def test_the_table_says_who_used_the_processor():
    drawn = figures().table

    assert "| executables              |      9.0 |        9.5 |" in drawn
    assert "| cni-server               |      2.0 |            |" in drawn
    assert "| all                      |     11.0 |        9.5 |" in drawn


def test_the_json_has_one_line_with_the_ratios_that_have_a_key():
    found = figures(Row("wall", [2.0], [3.0], "burst_add_ratio"), Row("each", [1.0], [1.0])).json

    assert json.loads(found) == {"burst_add_ratio": 0.667, "cpu_ms_per_add": 2.0, "rss_mb": 61.2}
    assert "\n" not in found
