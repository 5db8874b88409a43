"""Invariants; what the file looks like is in tests/golden/route_distributor/."""

import random
import re
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address, ip_network

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datamodel.affinity import CONFIRMED, PENDING
from datamodel.bgp import BgpConfiguration
from datamodel.bgp_peer import BgpPeer
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
from route_distributor.snapshot import cluster_snapshot
from tests import routing
from tests.cluster import NODE, a_bgp_configuration, a_node, a_pool, an_affinity, stored
from tests.routing import dual, node, pool, snapshot

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


BGP_PEERS = st.lists(
    st.builds(
        lambda name, address, selector: BgpPeer(
            name, node_selector=selector, peer_ip=ip_address(address), as_number=64513
        ),
        st.sampled_from("abc"),
        st.sampled_from(["10.0.0.254", "10.0.0.12", "fd00::254"]),
        st.sampled_from(["", "all()", "has(x)"]),
    ),
    max_size=3,
    unique_by=lambda peer: peer.name,
)
POOLS = st.lists(
    st.builds(
        lambda name, cidr, ipip, vxlan: pool(name, cidr, ipip_mode=ipip, vxlan_mode=vxlan),
        st.sampled_from("pq"),
        st.sampled_from(["10.233.64.0/18", "10.234.0.0/16", "fd65::/112"]),
        st.sampled_from(["Never", "Always", "CrossSubnet"]),
        st.sampled_from(["Never", "Always"]),
    ),
    max_size=3,
    unique_by=lambda given_pool: given_pool.name,
)
SNAPSHOTS = st.builds(
    lambda count, peers, pools, is_bfd: snapshot(
        *(dual(i + 1) for i in range(count)),
        blocks=("10.233.77.0/24", "fd65::40/122"),
        peers=tuple(peers),
        pools=tuple(pools),
        bgp=BgpConfiguration(is_mesh_bfd=is_bfd),
    ),
    st.integers(1, 5),
    BGP_PEERS,
    POOLS,
    st.booleans(),
)


@given(st.lists(SNAPSHOTS, min_size=1, max_size=4))
def test_whatever_snapshots_came_before_the_last_one_decides(snapshots):
    alone = routing.text_of(snapshots[-1])

    assert [routing.text_of(each) for each in snapshots][-1] == alone


@given(SNAPSHOTS, st.randoms(use_true_random=False))
def test_no_order_of_nodes_peers_and_pools_changes_the_file(given_snapshot, rng: random.Random):
    def shuffled(values: tuple) -> tuple:
        return tuple(rng.sample(values, len(values)))

    other = replace(
        given_snapshot,
        others=shuffled(given_snapshot.others),
        peers=shuffled(given_snapshot.peers),
        pools=shuffled(given_snapshot.pools),
        blocks=shuffled(given_snapshot.blocks),
    )

    assert routing.text_of(other) == routing.text_of(given_snapshot)


@given(SNAPSHOTS)
def test_a_new_node_adds_its_sessions_and_changes_nothing_else(given_snapshot):
    new = dual(9)
    more = replace(given_snapshot, others=(*given_snapshot.others, new))

    before = routing.text_of(given_snapshot).split("\n\n")
    after = routing.text_of(more).split("\n\n")

    added = [section for section in after if section.strip() not in map(str.strip, before)]
    assert [section.split()[:3] for section in added] == [
        ["protocol", "bgp", "Mesh_10_0_0_19"],
        ["protocol", "bgp", "Mesh_fd00__19"],
    ]
    assert len(after) == len(before) + 2


def test_a_large_cluster_is_written_in_time_that_grows_with_it_only():
    def took_s(count: int) -> float:
        others = [
            replace(node(2), name=f"n{i}", ipv4=IPv4Interface(f"10.1.{i // 250}.{i % 250 + 1}/16"))
            for i in range(count)
        ]
        given_snapshot = snapshot(node(1), *others)
        started = time.process_time()
        routing.text_of(given_snapshot)
        return time.process_time() - started

    small = min(took_s(250) for _ in range(3))

    assert min(took_s(2000) for _ in range(3)) < 8 * small * 3
