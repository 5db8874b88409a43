"""The sessions on the picture are those that the route distributors make."""

from ipaddress import ip_address

import pytest

from bird_api.protocols import Session
from datamodel.bgp import BgpConfiguration
from ocicatctl.topology.model import DOWN, UNKNOWN, UP, session_states
from ocicatctl.topology.sessions import (
    Speakers,
    Wanted,
    routers,
    session_ends,
    wanted_sessions,
)
from route_distributor.bird.desired import BirdConfig, desired
from tests.golden.topologies import TOPOLOGIES
from tests.routing import node, snapshot

# What only the node itself knows: no password, no way to say something in BIRD's language.
LOCAL = {"mesh-password-missing", "peer-password-missing", "filter-that-cannot-be"}
LOCAL |= {"peers-wrong", "hostile-everything"}  # decoding leaves such BGPPeers out


@pytest.mark.parametrize("case", sorted(TOPOLOGIES.keys() - LOCAL))
def test_a_node_is_to_have_the_sessions_that_its_distributor_makes(case):
    given, settings = TOPOLOGIES[case]
    config = desired(given, settings)
    assert isinstance(config, BirdConfig)
    ports = {**given.listen_ports, given.node: given.bgp.listen_port}
    nodes = sorted((given.own, *given.others), key=lambda n: n.name)

    wanted = wanted_sessions(Speakers(tuple(nodes), given.bgp, given.peers, ports))

    own = [w for w in wanted if w.node == given.node]
    assert [(w.address, w.port, w.as_number) for w in own] == (
        [(peer.address, peer.port, peer.as_number) for peer in config.peers]
    )


def test_both_ends_of_a_session_between_nodes_are_wanted():
    given, _ = TOPOLOGIES["reflector"]
    nodes = (given.own, *given.others)

    wanted = wanted_sessions(Speakers(nodes, given.bgp, given.peers))

    by_address = {n.ipv4.ip: n.name for n in nodes}
    ends = {(w.node, by_address[w.address]) for w in wanted}
    assert ends == {(b, a) for a, b in ends}


def seen(address: str, info: str = "Established") -> Session:
    return Session("name", ip_address(address), "global", "up", "10:00", info)


WANTED = [
    Wanted("node-1", ip_address("10.0.0.12"), 179, 64512, ""),
    Wanted("node-1", ip_address("10.0.0.254"), 179, 64601, "tor"),
    Wanted("node-2", ip_address("10.0.0.11"), 179, 64512, ""),
]
NAMES = {ip_address("10.0.0.11"): "node-1", ip_address("10.0.0.12"): "node-2"}


def ends(**sessions):
    given = {name.replace("_", "-"): some for name, some in sessions.items()}
    return session_ends(WANTED, NAMES, given)


def test_of_a_node_that_was_not_asked_nothing_is_known():
    assert [end.state for end in ends()] == [UNKNOWN] * 3


def test_a_session_that_one_end_calls_established_is_up():
    found = ends(node_1=[seen("10.0.0.12"), seen("10.0.0.254")])

    assert [end.state for end in found] == [UP, UP, UNKNOWN]
    assert session_states(found) == [UP, UP]


def test_a_session_that_bird_does_not_have_is_down():
    found = ends(node_1=[seen("10.0.0.12", "Active Socket: Connection refused")])

    assert [(end.state, end.info) for end in found[:2]] == [
        (DOWN, "up: Active Socket: Connection refused"),
        (DOWN, "BIRD does not have it"),
    ]


def test_a_session_that_nobody_asked_for_is_shown_as_such():
    *_, found = ends(node_1=[], node_2=[seen("10.0.0.99")])

    assert (found.node, found.other, found.is_wanted) == ("node-2", "router 10.0.0.99", False)


def test_a_router_is_whoever_a_session_leads_to_and_is_no_node():
    found = routers(WANTED, ends(node_2=[seen("10.0.0.99")]), NAMES)

    assert [(str(r.address), r.as_number, r.peers) for r in found] == [
        ("10.0.0.99", None, ()),
        ("10.0.0.254", 64601, ("tor",)),
    ]


def test_every_client_of_two_reflectors_has_both():
    given, _ = TOPOLOGIES["reflector"]
    clients = tuple(node(number) for number in range(3, 240))
    peers = snapshot(given.own, peers=given.peers).peers

    wanted = wanted_sessions(
        Speakers((given.own, *given.others[:1], *clients), BgpConfiguration(), peers)
    )

    assert sum(w.why == "clients" for w in wanted) == 2 * 2 * len(clients)
