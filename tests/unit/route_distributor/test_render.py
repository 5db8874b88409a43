"""Invariants; what the file looks like is in tests/golden/route_distributor/."""

import random
import re
from ipaddress import IPv4Address, IPv4Network, ip_network

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datamodel.affinity import CONFIRMED, PENDING
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
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
    st.builds(
        a_pool,
        st.sampled_from(["p", "q", "r"]),
        st.sampled_from(["10.233.64.0/18", "10.233.78.0/23", "10.234.0.0/16"]),
        disable_bgp_export=st.booleans(),
    ),
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


@given(CLUSTERS, st.sampled_from(["10.233.77.7", "10.233.78.7", "10.233.79.5", "10.234.5.6"]))
def test_of_pods_routes_peers_learn_borrowed_addresses_and_blocks_of_one(entries, address):
    snapshot = cluster_snapshot(NODE, {**entries, **stored(a_node(NODE, "10.0.0.11"))})
    decision = desired(snapshot)
    assume(isinstance(decision, BirdConfig))
    pod = ip_network(address)
    pools = [pool for pool in snapshot.pools if pod.subnet_of(pool.cidr)]
    is_withheld = any(pool.disable_bgp_export for pool in pools)
    blocks = [block for block in snapshot.blocks if pod.subnet_of(block)]

    expected = not is_withheld and (pod in blocks if blocks else bool(pools))

    assert is_learnt(render(decision), pod) == expected


def is_learnt(text: str, route: IPv4Network) -> bool:
    """What ``from_kernel`` makes of a route on a pod's link."""
    rules = text.partition("filter from_kernel4 {")[2].partition("\n}\n")[0]
    for patterns, verdict in re.findall(r"if net ~ \[ (.*) \] then (accept|reject);", rules):
        if any(matches(pattern, route) for pattern in patterns.split(", ")):
            return verdict == "accept"
    return False


def matches(pattern: str, route: IPv4Network) -> bool:
    cidr, _, lengths = pattern.partition("{")
    if lengths:
        return lengths == "32,32}" and route.prefixlen == 32 and route.subnet_of(ip_network(cidr))
    return route == ip_network(cidr)


@settings(max_examples=30)
@given(st.text(min_size=1).filter(lambda name: name not in (NODE, "p")))
def test_no_name_reaches_the_file(name):
    own = (a_node(NODE, "10.0.0.11"), an_affinity("10.233.77.0/24"))

    pool = a_pool("p", "10.234.0.0/16")

    text = text_of(stored(*own, a_node(name, "10.0.0.12"), pool, a_pool(name, "10.233.64.0/18")))

    usual = a_node("node-2", "10.0.0.12"), a_pool("default", "10.233.64.0/18")
    assert text == text_of(stored(*own, pool, *usual))


def test_a_thousand_peers_are_a_thousand_sessions():
    nodes = [a_node(f"n{i}", str(IPv4Address(0x0A000000 + 12 + i))) for i in range(1000)]

    text = text_of(stored(a_node(NODE, "10.0.0.11"), *nodes))

    assert text.count("protocol bgp Mesh_") == 1000
