"""Invariants; what the file looks like is in tests/golden/route_distributor/."""

import random
from ipaddress import IPv4Address

from hypothesis import given, settings
from hypothesis import strategies as st

from datamodel.affinity import CONFIRMED, PENDING
from route_distributor.desired import BirdConfig, desired
from route_distributor.render import render
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import NODE, a_bgp_configuration, a_node, a_pool, an_affinity, stored

ADDRESSES = st.integers(1, 6).map(lambda i: f"10.0.0.{i * 5}")
AS_NUMBERS = st.one_of(st.none(), st.integers(0, 70000))
PAIRS = st.one_of(
    st.builds(
        a_node,
        st.sampled_from([NODE, "a", "b", "zzz"]),
        st.one_of(st.none(), ADDRESSES),
        AS_NUMBERS,
    ),
    st.builds(
        an_affinity,
        st.sampled_from(["10.233.77.0/24", "10.233.78.0/24", "10.233.79.5/32"]),
        st.sampled_from([CONFIRMED, PENDING]),
    ),
    st.builds(a_pool, st.just("p"), st.just("10.233.78.0/23"), disable_bgp_export=st.booleans()),
    st.builds(a_bgp_configuration, asNumber=AS_NUMBERS, nodeToNodeMeshEnabled=st.booleans()),
)
CLUSTERS = st.lists(PAIRS, max_size=12).map(lambda pairs: stored(*pairs))


def text_of(entries) -> str:
    decision = desired(cluster_snapshot(NODE, entries))
    return render(decision) if isinstance(decision, BirdConfig) else decision.reason


@given(CLUSTERS, st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(entries, rng: random.Random):
    shuffled = list(entries.items())
    rng.shuffle(shuffled)

    assert text_of(dict(shuffled)) == text_of(entries)


@given(st.lists(CLUSTERS, min_size=1, max_size=5))
def test_whatever_came_before_the_last_state_alone_decides(clusters):
    expected = text_of(dict(clusters[-1]))
    mirror = {}  # changed in place, as the real mirror is

    for cluster in clusters:
        for gone in mirror.keys() - cluster.keys():
            del mirror[gone]
        mirror |= cluster
        text = text_of(mirror)

    assert text == expected


@settings(max_examples=30)
@given(st.text(min_size=1).filter(lambda name: name != NODE))
def test_no_name_reaches_the_file(name):
    own = (a_node(NODE, "10.0.0.11"), an_affinity("10.233.77.0/24"))

    text = text_of(stored(*own, a_node(name, "10.0.0.12"), a_pool(name, "10.233.64.0/18")))

    assert text == text_of(stored(*own, a_node("node-2", "10.0.0.12")))


def test_a_thousand_peers_are_a_thousand_sessions():
    nodes = [a_node(f"n{i}", str(IPv4Address(0x0A000000 + 12 + i))) for i in range(1000)]

    text = text_of(stored(a_node(NODE, "10.0.0.11"), *nodes))

    assert text.count("protocol bgp Mesh_") == 1000
