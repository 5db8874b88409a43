"""The samples are what BIRD 2.0.12 printed, with two peers of which one reflects the other's."""

import contextlib
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bird_api.reply import Reply, parse_line
from bird_api.routes import BirdRoute, Hop, routes
from datamodel.errors import Invalid

SAMPLES = Path(__file__).parent / "samples"


def answer(text: str) -> list[Reply]:
    replies: list[Reply] = []
    for line in text.splitlines():
        reply, _ = parse_line(line, replies[-1] if replies else None)
        assert reply is not None
        replies.append(reply)
    return replies


@pytest.fixture(scope="module")
def found() -> list[BirdRoute]:
    return routes(answer((SAMPLES / "show_route_all.txt").read_text()))


def of(found: list[BirdRoute], network: str) -> list[BirdRoute]:
    return [route for route in found if route.network == ip_network(network)]


def test_a_route_of_a_peer_has_protocol_time_next_hop_and_attributes(found):
    best, _ = of(found, "10.65.1.0/24")

    assert best == BirdRoute(
        network=ip_network("10.65.1.0/24"),
        kind="unicast",
        protocol="Mesh_10_99_0_2",
        since="21:58:01.192",
        is_best=True,
        hops=(Hop("eth0", ip_address("10.99.0.2")),),
        source="BGP",
        attributes={
            "BGP.origin": "IGP",
            "BGP.as_path": "",
            "BGP.next_hop": "10.99.0.2",
            "BGP.local_pref": "100",
        },
    )


def test_a_further_route_for_the_same_destination_is_not_the_best(found):
    _, other = of(found, "10.65.1.0/24")

    assert not other.is_best
    assert other.peer == ip_address("10.99.0.3")
    assert other.attributes["BGP.originator_id"] == "10.99.0.2"


def test_a_next_hop_that_cannot_be_reached_has_no_hops(found):
    best = of(found, "10.65.3.0/24")[0]

    assert (best.kind, best.hops, best.next_hop) == ("unreachable", (), "192.168.77.1")


def test_what_is_no_route_of_bgp_has_a_source_too(found):
    kinds = {(str(r.network), r.kind, r.source) for r in found if r.source != "BGP"}

    assert kinds == {
        ("10.65.0.0/24", "blackhole", "static"),
        ("10.65.200.0/24", "unreachable", "static"),
        ("10.66.5.5/32", "unicast", "inherit"),
        ("10.77.0.0/16", "unicast", "inherit"),
        ("10.99.0.0/24", "unicast", "device"),
        ("fd65:0:0:a::/122", "blackhole", "static"),
        ("fd99::/64", "unicast", "device"),
    }


def test_a_route_may_have_several_hops_or_a_link_only(found):
    (several,), (link,) = of(found, "10.77.0.0/16"), of(found, "10.66.5.5/32")

    assert several.hops == tuple(Hop("eth0", ip_address(f"10.99.0.{i}")) for i in (3, 2))
    assert link.hops == (Hop("cali0123456789a"),)


def test_the_second_table_is_read_as_well(found):
    (route,) = of(found, "fd65:0:0:b::/122")

    assert route.hops == (Hop("eth0", ip_address("fd99::2")),)


def test_without_all_there_are_no_attributes(found):
    text = (SAMPLES / "show_route_all.txt").read_text()
    brief = [reply for reply in answer(text) if reply.code not in (1008, 1012)]

    assert [(r.network, r.protocol, r.hops) for r in routes(brief)] == [
        (r.network, r.protocol, r.hops) for r in found
    ]
    assert {route.source for route in routes(brief)} == {""}


def test_a_route_through_a_tunnel_is_onlink():
    text = "10.65.1.0/24         unicast [Mesh_10_99_0_2 2026-11-20] * (100) [i]"
    (route,) = routes([Reply(1007, text), Reply(1007, "\tvia 10.99.0.2 on tunl0 onlink")])

    assert route.hops == (Hop("tunl0", ip_address("10.99.0.2"), is_onlink=True),)
    assert route.since == "2026-11-20"


def test_no_routes_are_no_routes():
    assert routes([Reply(1007, "Table master4:"), Reply(0, "")]) == []


@pytest.mark.parametrize(
    "line",
    [
        "10.65.1.0/24 something else",
        "                     unicast [Mesh_10_99_0_2 21:58:01] (100) [i]",
        "10.65.1.1/24         unicast [Mesh_10_99_0_2 21:58:01] * (100) [i]",
        "\tvia 10.99.0.2 on eth0",
    ],
)
def test_what_we_do_not_know_is_refused(line):
    with pytest.raises(Invalid, match="BIRD's routes"):
        routes([Reply(1007, line)])


@given(st.data())
def test_an_answer_that_was_damaged_is_read_or_refused(data):
    lines = answer((SAMPLES / "show_route_all.txt").read_text())
    index = data.draw(st.integers(0, len(lines) - 1))
    damaged = Reply(lines[index].code, data.draw(st.text(max_size=60)))

    with contextlib.suppress(Invalid):
        routes([*lines[:index], damaged, *lines[index + 1 :]])
