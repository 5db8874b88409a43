"""Nothing on the picture covers anything else, however many nodes there are."""

import itertools
from dataclasses import replace
from ipaddress import ip_network
from xml.etree import ElementTree

import pytest

from ocicatctl.ipam.usage import Counts
from ocicatctl.topology.cards import MOST_CARDS
from ocicatctl.topology.drawing import CHARACTER, TITLE_CHARACTER, cells, escaped, fitting
from ocicatctl.topology.layout import GAP, curves, layout
from ocicatctl.topology.model import BlockFill, Place, SessionEnd, Topology
from ocicatctl.topology.picture import picture
from ocicatctl.topology.svg import svg
from tests.golden.clusters import HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
WIDTH = 200.0
ADDRESS = ip_network("10.0.0.1").network_address


def a_place(number: int, subnet: int = 0, **fields: object) -> Place:
    block = BlockFill(ip_network(f"10.233.{number}.0/24"), Counts(256, number % 200, 0, 256))
    address = f"10.{subnet}.0.{number % 250 + 1}/24"
    usual = {"addresses": (address,), "as_number": 64512, "blocks": (block,)}
    return Place(f"node-{number}", **{**usual, **fields})


def a_cluster(*places: Place, **fields: object) -> Topology:
    usual = dict.fromkeys(("routers", "pools", "sessions", "tunnels", "strays", "problems"), ())
    return Topology(places, **{**usual, **fields})


def mesh(places) -> tuple[SessionEnd, ...]:
    return tuple(
        SessionEnd(a.name, ADDRESS, b.name, "", "up") for a, b in itertools.permutations(places, 2)
    )


def boxes(upper: int, below: int):
    keys = [f"u{i}" for i in range(upper)], [f"n{i}" for i in range(below)]
    heights = {key: 60.0 + 17 * (i % 5) for i, key in enumerate(itertools.chain(*keys))}
    return layout(*keys, WIDTH, heights)


@pytest.mark.parametrize("upper", [0, 1, 2, 5])
@pytest.mark.parametrize("below", [0, 1, 2, 3, 6, 7, 12, 13, 20, 50])
def test_cards_do_not_overlap_and_stay_inside(upper, below):
    found = boxes(upper, below)

    placed = list(found.boxes.values())
    assert len(placed) == upper + below
    for box in placed:
        assert 0 <= box.x <= found.width - box.width + 0.01
        assert 0 <= box.y <= found.height - box.height + 0.01
    for a, b in itertools.combinations(placed, 2):
        apart_x = max(a.x, b.x) - min(a.x + a.width, b.x + b.width)
        apart_y = max(a.y, b.y) - min(a.y + a.height, b.y + b.height)
        assert max(apart_x, apart_y) >= GAP - 0.01


def points(curve):
    for step in range(1, 20):
        t = step / 20
        shares = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        ends = (curve.start, curve.control_1, curve.control_2, curve.end)
        yield tuple(sum(s * p[axis] for s, p in zip(shares, ends, strict=True)) for axis in (0, 1))


@pytest.mark.parametrize(("upper", "below"), [(0, 2), (0, 5), (2, 6), (1, 9), (3, 20), (0, 50)])
def test_no_wire_crosses_a_card(upper, below):
    found = boxes(upper, below)
    pairs = list(itertools.combinations(found.boxes, 2))

    for curve in curves(pairs, found):
        for x, y in points(curve):
            inside = [
                box
                for box in found.boxes.values()
                if box.x + 1 < x < box.x + box.width - 1 and box.y + 1 < y < box.y + box.height - 1
            ]
            assert not inside


def test_up_to_fifty_nodes_have_a_card_of_their_own():
    found = picture(a_cluster(*map(a_place, range(MOST_CARDS))))

    assert [card.title for card in found.cards][:2] == ["node-0", "node-1"]
    assert len(found.cards) == MOST_CARDS


def test_more_nodes_share_cards_by_subnet_and_what_is_between_them_is_summed_up():
    places = [a_place(i, subnet=i // 30) for i in range(60)]
    ends = [replace(e, state="down") if e.node == "node-0" else e for e in mesh(places)]

    found = picture(a_cluster(*places, sessions=tuple(ends)))

    assert [(card.title, card.lines[:3]) for card in found.cards] == [
        ("30 nodes", ("node-0 …", "… node-29", "10.0.0.0/24")),
        ("30 nodes", ("node-30 …", "… node-59", "10.1.0.0/24")),
    ]
    assert found.cards[1].lines[3:] == ("among them:", "435 BGP sessions: 435 up")
    assert [(wire.ends, wire.state) for wire in found.wires] == [(("node-0", "node-30"), "down")]
    assert found.notes[-1] == "… and 49 more"


def test_as_many_subnets_as_nodes_are_one_group():
    found = picture(a_cluster(*(a_place(i, subnet=i) for i in range(60))))

    assert [card.title for card in found.cards] == ["60 nodes"]


def test_many_blocks_of_a_node_are_summed_up():
    blocks = tuple(
        BlockFill(ip_network(f"10.1.{i}.0/24"), Counts(256, 6, 0, 250)) for i in range(9)
    )

    (card,) = picture(a_cluster(a_place(1, blocks=blocks))).cards

    assert [(bar.label, bar.value) for bar in card.bars[-2:]] == [
        ("10.1.4.0/24", "6/256"),
        ("4 more blocks", "24/1024"),
    ]


def test_a_store_without_a_cluster_is_named():
    assert picture(a_cluster()).notes == ("etcd has neither nodes nor pools; is it the cluster's?",)


@pytest.mark.parametrize("count", [1, 7, 50])
def test_the_svg_is_the_same_bytes_each_time_and_its_texts_fit_into_the_cards(count):
    places = [a_place(i) for i in range(count)]
    places[0] = replace(places[0], name=HOSTILE, addresses=("fd00:1:2:3:4:5:6:7/128",))
    cluster = a_cluster(*places, sessions=mesh(places))

    drawn = svg(picture(cluster))

    assert drawn == svg(picture(cluster))
    root = ElementTree.fromstring(drawn)
    (_, _, width, height) = map(float, root.get("viewBox").split())
    assert 500 < width < 4000
    assert 200 < height < 4000
    cards = [
        group for group in root.iter(f"{SVG}g") if group.find(f"{SVG}rect[@rx='8']") is not None
    ]
    assert len([card for card in cards if card.find(f"{SVG}title") is not None]) == count
    for card in cards:
        if card.find(f"{SVG}title") is not None:
            assert_fits(card)


def assert_fits(card):
    rect = card.find(f"{SVG}rect")
    left = float(rect.get("x"))
    right = left + float(rect.get("width"))
    for text in card.iter(f"{SVG}text"):
        width = cells(text.text) * (TITLE_CHARACTER if text.get("class") == "title" else CHARACTER)
        x = float(text.get("x"))
        if text.get("text-anchor") == "end":
            assert x - width >= left
        else:
            assert x + width <= right, text.text


def test_text_is_cut_where_it_would_be_too_wide():
    assert fitting("abc", 3) == "abc"
    assert fitting("abcd", 3) == "ab…"
    assert fitting("日本語", 5) == "日本…"
    assert fitting("a \n b", 9) == "a b"
    assert cells("e\u0301") == 1


def test_what_is_no_character_does_not_get_into_the_file():
    assert escaped("a\x00<\ud800&\u202e") == "a\ufffd&lt;\ufffd&amp;\ufffd"
