"""What of etcd gets on the picture, and what is said of what cannot be read."""

import json
from ipaddress import ip_network

import pytest
from click.testing import CliRunner

from datastore import codec, keys
from datastore.store import Entry
from ocicatctl.__main__ import ocicatctl
from ocicatctl.node.command import as_json
from ocicatctl.topology.asking import ask
from ocicatctl.topology.build import topology
from ocicatctl.topology.text import text
from tests.cluster import (
    a_bgp_configuration,
    a_bgp_peer,
    a_node,
    an_affinity,
    stored,
)
from tests.golden.clusters import CASES, a_filled_block, a_pool_with, a_session

ONE, TWO = a_node("node-1", "10.0.0.11"), a_node("node-2", "10.0.0.12")
BLOCK = ip_network("10.233.77.0/24")


def built(*pairs, **seen):
    return topology(stored(*pairs), {name.replace("_", "-"): some for name, some in seen.items()})


def blocks_of(found, name="node-1"):
    (place,) = [place for place in found.places if place.name == name]
    return [(str(block.cidr), block.note) for block in place.blocks]


def test_nodes_are_in_the_order_in_which_people_count():
    found = built(
        *(a_node(f"node-{i}", f"10.0.0.{i}") for i in (10, 9, 1)), a_node("a", "10.1.0.1")
    )

    assert [place.name for place in found.places] == ["a", "node-1", "node-9", "node-10"]


def test_a_block_without_pool_is_told():
    assert blocks_of(built(ONE, *a_filled_block(str(BLOCK), "node-1"))) == [
        ("10.233.77.0/24", "in no pool")
    ]


@pytest.mark.parametrize(
    ("pairs", "note"),
    [
        ([an_affinity(str(BLOCK))], "no block"),
        ([an_affinity(str(BLOCK), "pending")], "pending"),
        ([(keys.affinity("node-1", BLOCK), b"{")], "unreadable"),
        ([an_affinity(str(BLOCK)), (keys.block(BLOCK), b"{")], "cannot be read"),
        (
            [an_affinity(str(BLOCK)), a_filled_block(str(BLOCK), "node-2")[0]],
            "the block says node-2",
        ),
        ([a_filled_block(str(BLOCK), "node-1")[0]], "node-1 has no affinity"),
    ],
)
def test_whatever_is_wrong_with_a_block_is_told_at_its_node(pairs, note):
    pool = a_pool_with("p", "10.233.64.0/18")

    assert blocks_of(built(ONE, pool, *pairs)) == [("10.233.77.0/24", note)]


def test_a_block_of_nobody_is_told():
    (key, value), _ = a_filled_block(str(BLOCK), "node-1", "node-1")
    orphan = codec.encode_block(codec.decode_block(key, value.replace(b'"host:node-1"', b"null")))

    found = built(ONE, (key, orphan))

    assert [(str(b.cidr), b.counts.in_use) for b in found.strays] == [("10.233.77.0/24", 1)]


def test_who_borrows_and_who_lends_is_told():
    found = topology(*CASES["mesh"])

    assert found.places[0].borrowed == (("node-3", 2),)
    assert found.places[2].blocks[0].lent == (("node-1", 2),)


def test_whoever_is_only_mentioned_has_a_place():
    found = built(ONE, (keys.node("broken"), b"x"), an_affinity(str(BLOCK), host="gone"), lost=[])

    assert {place.name: place.problem for place in found.places} == {
        "node-1": "",
        "broken": "cannot be read",
        "gone": "is not in etcd",
        "lost": "is not in etcd",
    }


def test_without_readable_settings_no_session_is_guessed():
    key, _ = a_bgp_configuration()

    found = built(ONE, TWO, (key, b"{"), node_1=[a_session("10.0.0.12")])

    assert [(end.state, end.is_wanted) for end in found.sessions] == [("up", False)]
    assert key in found.problems[0]


def test_a_peer_without_its_filter_has_no_session_and_is_named():
    found = built(ONE, a_bgp_peer("tor", peerIP="10.0.0.1", asNumber=1, filters=["f"]))

    assert found.sessions == ()
    assert found.problems == ("BGPPeer tor: has no sessions without its BGPFilter f; create it",)


@pytest.mark.parametrize(
    ("fields", "subnets", "kinds"),
    [
        ({}, 2, []),
        ({"ipip_mode": "Always"}, 1, ["IPIP"]),
        ({"ipip_mode": "CrossSubnet"}, 1, []),
        ({"vxlan_mode": "CrossSubnet"}, 2, ["VXLAN"]),
        ({"ipip_mode": "Always", "vxlan_mode": "Always"}, 2, []),
    ],
)
def test_between_which_nodes_there_are_tunnels(fields, subnets, kinds):
    other = a_node("node-2", f"10.0.{subnets - 1}.12")

    found = built(ONE, other, a_pool_with("p", "10.233.64.0/18", **fields))

    assert [tunnel.kind for tunnel in found.tunnels] == kinds


def test_a_terminal_gets_tables_without_anything_that_moves_its_cursor():
    shown = text(topology(*CASES["hostile-names"]))

    assert {c for c in shown if not c.isprintable()} == {"\n"}
    assert "node-9" in shown


def test_of_many_sessions_a_terminal_gets_those_that_are_not_up():
    entries = stored(*(a_node(f"node-{i}", f"10.0.0.{i}") for i in range(1, 11)))
    seen = {
        f"node-{i}": [a_session(f"10.0.0.{j}") for j in range(1, 11) if (i, j) != (1, 2)]
        for i in range(1, 11)
    }

    lines = text(topology(entries, seen)).splitlines()

    begin = next(i for i, line in enumerate(lines) if "ASKED FOR BY" in line) + 1
    listed = [line.split()[:5] for line in lines[begin : lines.index("", begin)]]
    assert listed == [["node-1", "node-2", "10.0.0.2", "mesh", "down"]]


def test_what_node_status_printed_elsewhere_is_read(tmp_path):
    (tmp_path / "node-2.json").write_text(as_json([a_session("10.0.0.11")]))

    seen = ask("/nowhere", tmp_path)

    assert [str(s.peer_address) for s in seen.sessions["node-2"]] == ["10.0.0.11"]
    assert seen.sessions["node-2"][0].is_established


@pytest.mark.parametrize("content", ["", "{}", "[{}]", '[{"name": 1}]', "[1]", "[", "null"])
def test_a_file_that_is_not_what_node_status_printed_is_named(tmp_path, content):
    path = tmp_path / "node-2.json"
    path.write_text(content)

    seen = ask("/nowhere", tmp_path)

    assert seen.sessions == {}
    assert seen.problems[0].startswith(f"file {path}: ")


def test_a_bird_that_does_not_answer_is_named(tmp_path):
    socket = tmp_path / "bird.ctl"
    socket.touch()

    assert str(socket) in ask(str(socket), None).problems[0]


def test_without_etcd_nothing_is_drawn():
    environment = {"ETCD_ENDPOINTS": "http://127.0.0.1:1"}

    done = CliRunner(env=environment).invoke(ocicatctl, ["topology", "-o", "svg"])

    assert (done.exit_code, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr


def test_what_etcd_answers_to_a_name_that_is_json_of_something_else_is_no_crash():
    entries = {key: Entry(key, json.dumps([1]).encode(), 1) for key in CASES["mesh"][0]}

    found = topology(entries, {})

    assert len(found.problems) >= len(entries) - 3
    assert {place.problem for place in found.places} == {"cannot be read"}
