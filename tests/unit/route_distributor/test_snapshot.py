import json
from dataclasses import replace
from ipaddress import IPv4Interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.affinity import PENDING, PENDING_DELETION
from datamodel.bgp import BgpConfiguration
from datastore import keys
from datastore.mirror import within
from datastore.store import Entry
from route_distributor.decoded import Decoded
from route_distributor.snapshot import cluster_snapshot, ranges_of
from tests.cluster import (
    NODE,
    a_bgp_configuration,
    a_bgp_filter,
    a_bgp_peer,
    a_node,
    a_pool,
    an_affinity,
    stored,
)

OWN = a_node(NODE, "10.0.0.11")


def test_an_empty_store_is_a_cluster_without_us():
    snapshot = cluster_snapshot(NODE, {})

    assert snapshot.own is None
    assert (snapshot.others, snapshot.blocks, snapshot.pools, snapshot.skipped) == ((), (), (), ())
    assert snapshot.bgp == BgpConfiguration(64512, is_mesh_enabled=True, listen_port=179)


def test_the_cluster_is_seen_from_our_node():
    entries = stored(
        OWN,
        a_node("node-3", "10.0.0.13", as_number=64513),
        a_node("node-2", "10.0.0.12"),
        an_affinity("10.233.88.0/24"),
        an_affinity("10.233.77.0/24"),
        an_affinity("fd80:1::/122"),
        an_affinity("fd80::/122"),
        a_pool("default-ipv4-ippool", "10.233.64.0/18"),
        a_bgp_peer("tor", peerIP="10.0.0.1", asNumber=64513, filters=["f"]),
        a_bgp_peer("rr", peerSelector="has(rr)"),
        a_bgp_filter("f", exportV4=[{"action": "Reject"}]),
        a_bgp_configuration(asNumber="1.10", nodeToNodeMeshEnabled=False, listenPort=1179),
        a_bgp_configuration("node.node-2", listenPort=1180),
    )

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.own is not None
    assert snapshot.own.ipv4 == IPv4Interface("10.0.0.11/24")
    assert [(n.name, n.as_number) for n in snapshot.others] == [("node-2", None), ("node-3", 64513)]
    assert [str(block) for block in snapshot.blocks] == (
        ["10.233.77.0/24", "10.233.88.0/24", "fd80::/122", "fd80:1::/122"]
    )
    assert [peer.name for peer in snapshot.peers] == ["rr", "tor"]
    assert list(snapshot.filters) == ["f"]
    assert snapshot.listen_ports == {"node-2": 1180}
    assert [pool.name for pool in snapshot.pools] == ["default-ipv4-ippool"]
    assert snapshot.bgp == BgpConfiguration(65546, is_mesh_enabled=False, listen_port=1179)
    assert snapshot.skipped == ()


@pytest.mark.parametrize("state", [PENDING, PENDING_DELETION, "whatever comes"])
def test_only_confirmed_blocks_are_ours(state):
    assert cluster_snapshot(NODE, stored(an_affinity("10.233.77.0/24", state))).blocks == ()


@pytest.mark.parametrize("value", [b"", b"{}", b'{"state":""}'])
def test_a_very_old_affinity_without_a_state_is_confirmed(value):
    key = keys.affinity(NODE, ip_network("10.233.77.0/24"))

    assert cluster_snapshot(NODE, stored((key, value))).blocks == (ip_network("10.233.77.0/24"),)


def test_blocks_of_others_are_not_ours():
    entries = stored(
        an_affinity("10.233.77.0/24", host="node-2"),
        an_affinity("10.233.78.0/24", host=f"{NODE}0"),
    )

    assert cluster_snapshot(NODE, entries).blocks == ()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (keys.node("node-2"), b"{", "not JSON"),
        (keys.node("node-2"), b'{"spec":{}}', "metadata"),
        (a_node("node-2")[0], a_node("node-2", "224.0.0.5")[1], "no host's address"),
        (a_node("node-2")[0], a_node("node-2", "10.0.0.12", 2**32)[1], "asNumber"),
        (f"{keys.affinities(NODE, 4)}10.233.79.0", b"{}", "10.233.79.0"),
        (f"{keys.affinities(NODE, 4)}0.0.0.0-0", b"{}", "0.0.0.0/0"),
        (f"{keys.affinities(NODE, 4)}fd00::-122", b"{}", "fd00::/122"),
        (f"{keys.affinities(NODE, 6)}10.233.79.0-24", b"{}", "no IPv6 block of /116 to /128"),
        (f"{keys.affinities(NODE, 6)}fd00::-64", b"{}", "no IPv6 block of /116 to /128"),
        (f"{keys.affinities(NODE, 6)}fd00::%x-128", b"{}", "'fd00::%x-128'"),
        (*a_node("node-2"), "node node-2: has no address"),
        (keys.node("node-2"), a_node("node-2", ipv6="fe80::2")[1], "no host's address"),
        (keys.node("node-2"), a_node("node-2", ipv6="ff02::2")[1], "no host's address"),
        (*a_bgp_peer("tor", peerIP="10.0.0.1"), "BGPPeer tor: asNumber: is missing"),
        (*a_bgp_peer("tor", peerSelector="has(rr"), "BGPPeer tor: peerSelector: "),
        (*a_bgp_filter("f", exportV4=[{"action": "Drop"}]), "'Drop' is neither"),
        (keys.pool("p"), b'{"metadata":{"name":"p"},"spec":{"cidr":"all"}}', "ippools/p"),
        (f"{keys.BGP_CONFIGURATIONS}node.x", b"[]", "node.x"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(key, value, said):
    good = [OWN, a_node("node-3", "10.0.0.13"), an_affinity("10.233.77.0/24")]

    snapshot = cluster_snapshot(NODE, stored(*good, (key, value)))

    assert len(snapshot.skipped) == 1
    assert said in snapshot.skipped[0]
    expected = cluster_snapshot(NODE, stored(*good))
    assert replace(snapshot, skipped=()) == expected


def test_a_bgp_configuration_that_cannot_be_read_is_not_replaced_by_defaults():
    entries = stored(a_bgp_configuration(nodeToNodeMeshEnabled="no"))

    assert cluster_snapshot(NODE, entries).bgp is None


def test_of_two_nodes_with_one_address_the_first_by_name_keeps_it():
    entries = stored(OWN, a_node("node-3", "10.0.0.12"), a_node("node-2", "10.0.0.12"))

    snapshot = cluster_snapshot(NODE, entries)

    assert [node.name for node in snapshot.others] == ["node-2"]
    assert snapshot.skipped == (
        "node node-3: has the address 10.0.0.12 of node node-2; give each its own",
    )


def test_a_node_is_missed_by_the_others_and_not_by_itself():
    entries = stored(a_node(NODE), a_node("node-2"))

    assert cluster_snapshot(NODE, entries).skipped == (
        "node node-2: has no address, so nobody can reach its pods; see whether its ipamd runs",
    )


def test_our_own_address_is_never_a_peers():
    snapshot = cluster_snapshot(NODE, stored(OWN, a_node("a-node", "10.0.0.11")))

    assert snapshot.others == ()
    assert len(snapshot.skipped) == 1


def test_the_key_says_which_node_it_is():
    impostor = (keys.node("node-2"), a_node(NODE, "10.0.0.66")[1])

    snapshot = cluster_snapshot(NODE, stored(OWN, impostor))

    assert snapshot.own is not None
    assert snapshot.own.ipv4 == IPv4Interface("10.0.0.11/24")


def test_the_ranges_hold_everything_that_a_snapshot_is_made_of():
    entries = stored(
        OWN,
        an_affinity("10.233.77.0/24"),
        an_affinity("fd80::/122"),
        a_pool("p", "10.233.64.0/18"),
        a_bgp_configuration(),
        a_bgp_configuration("node.node-2"),
        a_bgp_peer("tor"),
        a_bgp_filter("f"),
    )

    assert all(within(key, ranges_of(NODE)) for key in entries)
    assert not within(an_affinity("10.233.77.0/24", host="node-2")[0], ranges_of(NODE))


# ---- both families -----------------------------------------------------------------------------


def test_a_node_of_either_family_is_one_of_the_others():
    entries = stored(
        OWN,
        a_node("both", "10.0.0.12", ipv6="fd99::12"),
        a_node("four", "10.0.0.13"),
        a_node("neither"),
        a_node("six", ipv6="fd99::14"),
    )

    assert [n.name for n in cluster_snapshot(NODE, entries).others] == ["both", "four", "six"]


@pytest.mark.parametrize(
    ("first", "second", "left", "lost"),
    [
        (("10.0.0.12", "fd99::2"), ("10.0.0.12", "fd99::3"), (None, "fd99::3/64"), "10.0.0.12"),
        (("10.0.0.12", "fd99::2"), ("10.0.0.13", "fd99::2"), ("10.0.0.13/24", None), "fd99::2"),
    ],
)
def test_a_duplicate_address_costs_a_node_that_family_only(first, second, left, lost):
    (ipv4, ipv6), (other4, other6) = first, second
    entries = stored(OWN, a_node("a", ipv4, ipv6=ipv6), a_node("b", other4, ipv6=other6))

    snapshot = cluster_snapshot(NODE, entries)

    found = snapshot.others[1]
    assert (found.ipv4 and str(found.ipv4), found.ipv6 and str(found.ipv6)) == left
    assert snapshot.skipped == (f"node b: has the address {lost} of node a; give each its own",)


def test_an_address_that_no_host_can_have_costs_a_node_that_family_only():
    entries = stored(OWN, a_node("node-2", "10.0.0.12", ipv6="fe80::2"))

    snapshot = cluster_snapshot(NODE, entries)

    assert [str(node.ipv4) for node in snapshot.others] == ["10.0.0.12/24"]
    assert snapshot.others[0].ipv6 is None
    assert snapshot.skipped == ("node node-2: ipv6Address fe80::2/64 is no host's address",)


def test_what_is_wrong_with_a_tunnel_costs_a_node_no_session():
    key, value = a_node("node-2", "10.0.0.12")
    document = json.loads(value)
    document["spec"]["bgp"]["ipv4IPIPTunnelAddr"] = "none"

    snapshot = cluster_snapshot(NODE, stored(OWN, (key, json.dumps(document).encode())))

    assert [str(node.ipv4) for node in snapshot.others] == ["10.0.0.12/24"]
    assert snapshot.skipped == ("node node-2: ipv4IPIPTunnelAddr 'none' cannot be read",)


# ---- what a node says for itself ---------------------------------------------------------------


def test_our_own_configuration_has_its_say_over_the_clusters():
    entries = stored(
        OWN,
        a_node("node-2", "10.0.0.12"),
        a_node("node-3", "10.0.0.13"),
        a_bgp_configuration(asNumber=64513, listenPort=1179),
        a_bgp_configuration(f"node.{NODE}", listenPort=1180, bindMode="NodeIP"),
        a_bgp_configuration("node.node-3", listenPort=1180),
    )

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.bgp == BgpConfiguration(64513, listen_port=1180, bind_mode="NodeIP")
    # Whoever is not named listens as we do; node-2 has the cluster's port.
    assert snapshot.listen_ports == {"node-2": 1179}


def test_an_own_configuration_that_cannot_be_read_is_not_passed_over():
    entries = stored(OWN, a_bgp_configuration(f"node.{NODE}", listenPort="179"))

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.bgp is None
    assert len(snapshot.skipped) == 1


def test_of_another_nodes_configuration_only_the_port_matters():
    entries = stored(OWN, a_bgp_configuration("node.node-2", listenPort=1180, bindMode=7))

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.listen_ports == {"node-2": 1180}
    assert snapshot.skipped == ()


def test_a_peer_whose_filter_is_missing_has_no_session():
    entries = stored(
        OWN,
        a_bgp_peer("tor", peerIP="10.0.0.1", asNumber=64513, filters=["f", "g"]),
        a_bgp_filter("f", exportV4=[{"action": "Reject"}]),
        (a_bgp_filter("g")[0], b"{"),
    )

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.peers == ()
    assert snapshot.skipped[1] == "BGPPeer tor: there is no BGPFilter 'g' that can be read"


def test_there_are_no_sessions_with_pods():
    entries = stored(OWN, a_bgp_peer("pods", localWorkloadSelector="all()", asNumber=64513))

    snapshot = cluster_snapshot(NODE, entries)

    assert snapshot.peers == ()
    assert snapshot.skipped == (
        "BGPPeer pods: localWorkloadSelector: there are no sessions with pods here",
    )


# ---- invariants --------------------------------------------------------------------------------

GOOD = (
    OWN,
    a_node("node-2", "10.0.0.12", ipv6="fd99::12"),
    a_node("node-3", "10.0.0.12", ipv6="fd99::13"),
    a_node("node-4", "10.0.0.11"),
    an_affinity("10.233.77.0/24"),
    an_affinity("fd80::/122"),
    a_pool("p", "10.233.64.0/18"),
    a_bgp_configuration(listenPort=1179),
    a_bgp_configuration(f"node.{NODE}", listenPort=1180),
    a_bgp_configuration("node.node-2", listenPort=1181),
    a_bgp_peer("tor", peerIP="10.0.0.1", asNumber=64513, filters=["f"]),
    a_bgp_filter("f", exportV4=[{"action": "Reject"}]),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["10.0.0.12/24", "fd99::12/64", "10.233.0.0/16", "node-2", "confirmed"])
)
FIELDS = st.sampled_from(
    [
        *("name", "labels", "annotations", "bgp", "ipv4Address", "ipv6Address", "asNumber"),
        *("ipv4IPIPTunnelAddr", "ipv4VXLANTunnelAddr", "vxlanTunnelMACAddr", "listenPort"),
        *("routeReflectorClusterID", "cidr", "blockSize", "peerIP", "peerSelector", "filters"),
        *("exportV4", "action", "communities", "ignoredInterfaces", "nodeToNodeMeshEnabled"),
    ]
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=10,
)
VALUES = st.binary(max_size=8) | st.fixed_dictionaries(
    {}, optional={"metadata": JSON, "spec": JSON, "state": JSON, "status": JSON}
).map(lambda document: json.dumps(document).encode())
KEYS = st.sampled_from([key for key, _ in GOOD]) | st.builds(
    str.__add__, st.sampled_from(sorted(ranges_of(NODE))), st.text(max_size=6)
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_whatever_is_stored_the_rest_is_seen(values):
    good = cluster_snapshot(NODE, stored(*GOOD))

    snapshot = cluster_snapshot(NODE, stored(*GOOD, *values.items()))

    if a_pool("p", "10.233.64.0/18")[0] not in values:
        assert good.pools[0] in snapshot.pools
    for block in good.blocks:
        assert block in snapshot.blocks or keys.affinity(NODE, block) in values
    addresses = [a.ip for n in snapshot.others for a in (n.ipv4, n.ipv6) if a is not None]
    assert len(addresses) == len(set(addresses))
    assert all(f in snapshot.filters for peer in snapshot.peers for f in peer.filters)


@given(st.permutations(GOOD), st.dictionaries(KEYS, VALUES, max_size=3))
def test_the_order_of_the_entries_does_not_matter(pairs, values):
    entries = {**stored(*pairs), **stored(*values.items())}
    expected = {**stored(*GOOD), **stored(*values.items())}

    assert cluster_snapshot(NODE, entries) == cluster_snapshot(NODE, expected)


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_what_was_there_before_does_not_matter(passes):
    decoded = Decoded()
    for values in [*passes, {}, *reversed(passes)]:
        entries = {**stored(*GOOD), **stored(*values.items())}

        assert cluster_snapshot(NODE, entries, decoded) == cluster_snapshot(NODE, entries)


def test_a_pass_decodes_only_what_changed():
    """1,000 nodes of which one changed: the others are the very values of the pass before."""
    nodes = stored(*(a_node(f"n{i:03}", f"10.1.{i // 250}.{i % 250 + 1}") for i in range(1000)))
    decoded = Decoded()
    before = cluster_snapshot("n000", nodes, decoded)
    key, value = a_node("n500", "10.9.0.1")

    after = cluster_snapshot("n000", {**nodes, key: Entry(key, value, 2)}, decoded)

    same = [new is old for new, old in zip(after.others, before.others, strict=True)]
    assert same.count(False) == 1
    assert str(after.others[same.index(False)].ipv4) == "10.9.0.1/24"
