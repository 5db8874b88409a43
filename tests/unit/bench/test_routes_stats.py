import json
from ipaddress import IPv4Network

import pytest

from bench.cluster import Cluster, node_name
from bench.routes_measure import rendering, seen_by, text_for
from bench.routes_stats import Figures
from datamodel.pool import Pool
from route_distributor.decoded import Decoded


@pytest.fixture
def figures():
    return Figures(
        render_ms=[70, 80, 90],
        render_again_ms=[20, 21],
        node_add_ms=[40.04, 41],
        node_add_wall_ms=[100, 200],
        node_add_reconfigures=[1, 2, 1],
        converge_ms=[float(ms) for ms in range(1, 101)],
        converge_one_ms=[5, 6],
        idle_cpu_pct=0.1234,
        rss_mb=45.67,
        others={"load": "0.1"},
    )


def test_the_line_of_json_has_what_is_followed(figures):
    assert json.loads(figures.json) == {
        "render_ms": 80,
        "node_add_ms": 40.5,
        "node_add_reconfigures": 2,
        "converge_p50_ms": 50.5,
        "converge_p99_ms": 99,
        "idle_cpu_pct": 0.123,
        "rss_mb": 45.7,
    }


def test_the_table_shows_the_bars_and_what_is_for_people_only(figures):
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in figures.table.splitlines()]

    assert ["a new block in the last kernel, ms", "50.5", "99.0", "250, p99 1000"] in cells
    assert ["load", "0.1"] in cells


def test_the_distributor_renders_what_the_benchmark_gives_it():
    cluster = Cluster(Pool("pods", IPv4Network("10.128.0.0/12"), 26), nodes=3, blocks_per_node=2)
    values = dict(cluster.entries())
    owned = dict(cluster.owners())

    text = text_for(node_name(0), seen_by(node_name(0), values), Decoded())

    assert all(f"route {block} blackhole;" in text for block in owned[node_name(0)])
    assert [text.count(f"neighbor 172.16.0.{i} ") for i in (1, 2, 3)] == [0, 1, 1]
    rendered = rendering(node_name(0), values, rounds=2)
    assert (len(rendered.first_ms), len(rendered.next_ms)) == (2, 2)
