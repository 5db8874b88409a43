"""Which sessions nodes have; what they look like is in tests/golden/route_distributor/."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.bgp import BgpConfiguration, SecretRef
from datamodel.bgp_filter import BgpFilter, FilterRule
from datamodel.bgp_peer import BgpPeer
from datamodel.node import Node
from route_distributor.bird.desired import Settings
from route_distributor.bird.values import NOTHING, OF_CLUSTER, REFLECTED, Peer
from tests.routing import config_of, dual, node, sessions_of, snapshot

TOR = ip_address("10.0.0.254")
RR = {"route_reflector_cluster_id": "1.0.0.1", "labels": {"rr": "yes"}}


def tor(name: str = "tor", **fields: object) -> BgpPeer:
    return BgpPeer(name, **{"peer_ip": TOR, "as_number": 64513, **fields})


def sessions(*nodes: Node, settings: Settings | None = None, **fields: object) -> dict[str, Peer]:
    return sessions_of(config_of(snapshot(*nodes, **fields), settings))


def problems(*nodes: Node, settings: Settings | None = None, **fields: object) -> tuple[str, ...]:
    return config_of(snapshot(*nodes, **fields), settings).problems


def test_a_peer_of_all_nodes_goes_before_one_of_this_node():
    peers = (tor("a", node="node-1", as_number=1), tor("b", as_number=2))

    found = sessions(node(1), peers=peers)

    assert (found["10.0.0.254"].kind, found["10.0.0.254"].as_number) == ("Global", 2)


def test_what_a_peer_of_ours_says_goes_before_what_follows_from_one_of_another_node():
    back = BgpPeer("a", node="node-2", peer_selector="has(x)", keepalive_s=7)
    own = BgpPeer("b", node="node-1", peer_selector="has(y)", keepalive_s=9)

    found = sessions(node(1, labels={"x": ""}), node(2, labels={"y": ""}), peers=(back, own))

    assert found["10.0.0.12"].options.keepalive_s == 9


def test_a_selected_node_has_the_session_as_well():
    peers = (BgpPeer("a", node="node-2", peer_selector="has(x)", keepalive_s=7),)

    found = sessions(dual(1, labels={"x": ""}), dual(2), peers=peers)

    assert [(p.kind, p.options.keepalive_s) for p in found.values()] == [("Node", 7), ("Node", 7)]
    assert sorted(found) == ["10.0.0.12", "fd00::12"]


def test_a_node_that_a_peer_names_by_its_address_has_the_session_of_that_family():
    peers = (BgpPeer("a", node="node-2", peer_ip=ip_address("fd00::11"), as_number=64512),)

    found = sessions(dual(1), dual(2), peers=peers, bgp=BgpConfiguration(is_mesh_enabled=False))

    assert sorted(found) == ["fd00::12"]


def test_manual_reverse_peering_gives_the_other_end_nothing_and_waits_for_nobody():
    peers = (BgpPeer("a", node="node-2", peer_selector="has(x)", reverse_peering="Manual"),)
    without_mesh = BgpConfiguration(is_mesh_enabled=False)

    selected = snapshot(node(1, labels={"x": ""}), node(2), peers=peers, bgp=without_mesh)
    selecting = snapshot(node(2), node(1, labels={"x": ""}), peers=peers, bgp=without_mesh)

    assert config_of(selected).peers == ()
    assert [p.is_passive for p in config_of(selecting).peers] == [False]


def test_the_local_as_of_one_end_is_what_the_other_expects():
    peers = (BgpPeer("a", node="node-2", peer_selector="has(x)", local_as_number=65100),)

    back = sessions(node(1, labels={"x": ""}), node(2), peers=peers)["10.0.0.12"]
    there = sessions(node(2), node(1, labels={"x": ""}), peers=peers)["10.0.0.11"]

    assert (back.as_number, back.options.local_as) == (65100, 64512)
    assert (there.as_number, there.options.local_as) == (64512, 65100)


def test_a_session_by_a_peer_takes_the_place_of_the_meshs():
    found = sessions(node(1), node(2), peers=(BgpPeer("a", peer_selector="all()"),))

    assert [(p.kind, str(p.address)) for p in found.values()] == [("Global", "10.0.0.12")]


def test_reflectors_are_outside_the_mesh():
    of_reflector = sessions(node(1, **RR), node(2))
    of_others = sessions(node(2), node(1, **RR), node(3))

    assert (sorted(of_reflector), sorted(of_others)) == ([], ["10.0.0.13"])


def test_a_reflector_reflects_for_peers_of_its_as_without_its_id():
    peers = (BgpPeer("a", peer_selector="all()"), tor())
    other_id = {**RR, "route_reflector_cluster_id": "1.0.0.2"}

    found = sessions(node(1, **RR), node(2, **RR), node(3), node(4, **other_id), peers=peers)

    assert {address: str(p.options.cluster_id) for address, p in found.items()} == {
        "10.0.0.12": "None",
        "10.0.0.13": "1.0.0.1",
        "10.0.0.14": "1.0.0.1",
        "10.0.0.254": "None",
    }
    assert {p.options.told for p in found.values()} == {REFLECTED, OF_CLUSTER}


def test_what_others_said_is_told_to_routers_and_by_reflectors_only():
    peers = (tor(), tor("within", peer_ip=ip_address("10.0.0.253"), as_number=64512))

    found = sessions(node(1), node(2, as_number=64999), peers=peers)

    assert {address: p.options.told for address, p in found.items()} == {
        "10.0.0.12": NOTHING,  # of the mesh, though of another AS
        "10.0.0.253": NOTHING,
        "10.0.0.254": OF_CLUSTER,
    }


def test_a_peer_node_is_dialled_where_it_listens():
    ports = {"node-1": 1791, "node-3": 1793}
    bgp = BgpConfiguration(listen_port=1790)
    peers = (BgpPeer("a", node="node-1", peer_ip=ip_address("10.0.0.13"), as_number=64512),)

    found = sessions(node(1), node(2), node(3), bgp=bgp, listen_ports=ports, peers=peers)

    assert {a: (p.port, p.is_port_named) for a, p in found.items()} == {
        "10.0.0.12": (1790, False),
        "10.0.0.13": (1793, True),
    }


def test_a_node_has_no_session_with_itself():
    own = BgpPeer("a", peer_ip=ip_address("10.0.0.11"), as_number=64512)
    everybody = BgpPeer("b", peer_selector="all()")

    assert sessions(node(1), peers=(own, everybody)) == {}


SECRET = SecretRef("bgp", "pw")


@pytest.mark.parametrize(
    "password", ["", 'a"b', "a\nb", "a\tb", "\x00", "\x7f", "\u2028", "\ud800", "ü" * 41]
)
def test_a_password_that_bird_cannot_be_told_takes_its_peer_away(password):
    settings = Settings(secrets={SECRET: password})
    peers = (tor(password=SECRET), tor("z", peer_ip=ip_address("10.0.0.253")))

    config = config_of(snapshot(node(1), peers=peers), settings)

    assert sorted(sessions_of(config)) == ["10.0.0.253"]
    assert config.problems == (
        "BGPPeer tor: password: key 'pw' of secret 'bgp' is not 1 to 80 bytes of printable text "
        "without quotes; choose another",
    )


def test_a_mesh_without_its_password_has_no_sessions_rather_than_open_ones():
    bgp = BgpConfiguration(mesh_password=SECRET)

    assert sessions(node(1), node(2), bgp=bgp) == {}
    assert problems(node(1), node(2), bgp=bgp) == (
        "BGPConfiguration default: nodeMeshPassword: key 'pw' of secret 'bgp' is not there; "
        "create it; there is no mesh",
    )


def test_a_mistake_in_another_nodes_password_is_no_problem_of_this_node():
    assert problems(node(1), peers=(tor(node="node-2", password=SECRET),)) == ()


def test_a_filter_that_cannot_be_expressed_takes_its_peers_away_and_no_other():
    wrong = BgpFilter("f", import_v6=(FilterRule(True, communities=("65536:1",)),))
    peers = (tor(filters=("f",)), tor("z", peer_ip=ip_address("10.0.0.253")))

    config = config_of(snapshot(node(1), peers=peers, filters={"f": wrong}))

    assert sorted(sessions_of(config)) == ["10.0.0.253"]
    assert config.problems == (
        "BGPPeer tor: BGPFilter f: importV6[0].communities: '65536:1' is not a community like "
        "65000:100; mend it with ocicatctl",
    )


LABELS = st.dictionaries(st.sampled_from("xyz"), st.just(""), max_size=3)
NODES = st.lists(
    st.tuples(LABELS, st.sampled_from([None, 64512, 65001]), st.sampled_from([None, "1.0.0.1"])),
    min_size=2,
    max_size=5,
)
SELECTORS = st.sampled_from(["", "has(x)", "has(y)", "!has(z)", "all()"])
ENDS = st.one_of(
    st.fixed_dictionaries({"peer_selector": SELECTORS.filter(bool)}),
    st.builds(
        lambda i, as_number: {"peer_ip": ip_address(f"10.0.0.{10 + i}"), "as_number": as_number},
        st.integers(1, 5),
        st.sampled_from([64512, 65001]),
    ),
)
PEERS = st.lists(st.tuples(SELECTORS, ENDS), max_size=4)


@given(NODES, PEERS, st.booleans())
def test_both_ends_of_a_session_agree(nodes, peers, is_mesh_enabled):
    given_nodes = [
        dual(i + 1, labels=labels, as_number=as_number, route_reflector_cluster_id=cluster_id)
        for i, (labels, as_number, cluster_id) in enumerate(nodes)
    ]
    given_peers = tuple(
        BgpPeer(f"p{i}", node_selector=selector, **end) for i, (selector, end) in enumerate(peers)
    )
    as_numbers = {a: n.as_number or 64512 for n in given_nodes for a in (str(n.ipv4.ip),)}
    ends = {}
    for own in given_nodes:
        others = [n for n in given_nodes if n is not own]
        bgp = BgpConfiguration(is_mesh_enabled=is_mesh_enabled)
        for peer in config_of(snapshot(own, *others, peers=given_peers, bgp=bgp)).peers:
            source = own.ipv4.ip if peer.address.version == 4 else own.ipv6.ip
            ends[str(source), str(peer.address)] = peer

    for (here, there), peer in ends.items():
        if as_numbers.get(there, peer.as_number) != peer.as_number:
            continue  # the BGPPeer is wrong about the node's AS
        other = ends.get((there, here))
        assert other is not None or not _exists(there, given_nodes)
        if other is not None and other.as_number == as_numbers.get(here, other.as_number):
            assert peer.is_passive != other.is_passive


def _exists(address: str, nodes: list[Node]) -> bool:
    return any(address in (str(n.ipv4.ip), str(n.ipv6.ip)) for n in nodes)
