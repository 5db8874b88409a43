"""What tables show of reservations, peers, BGP settings and the cluster."""

import json

import pytest

from datamodel.errors import Invalid
from datastore.codec import dump
from datastore.store import Entry, Snapshot
from ocicatctl.resources.kinds import (
    BGP_CONFIGURATION,
    CLUSTER,
    ENDPOINT,
    FILTER,
    KINDS,
    PEER,
    RESERVATION,
)
from ocicatctl.resources.query import Query, answer


def show(kind, output="ps", **specs):
    entries = {
        f"{kind.prefix}{name}": Entry(f"{kind.prefix}{name}", dump({"spec": spec}), 7)
        for name, spec in specs.items()
    }
    return answer(Query(kind), Snapshot(9, entries), output)[0]


def test_reservations_are_shown_and_long_ones_cut():
    specs = {"a": {"reservedCIDRs": ["10.65.0.8/32", "10.65.1.0/24"]}, "b": {}}

    assert show(RESERVATION, **specs) == "NAME   \na      \nb      \n\n"
    assert show(RESERVATION, "wide", **specs) == (
        "NAME   CIDRS                       \n"
        "a      10.65.0.8/32,10.65.1.0/24   \n"
        "b                                  \n"
        "\n"
    )
    row = show(RESERVATION, "wide", a={"reservedCIDRs": ["10.65.0.8/32"] * 9}).splitlines()[1]
    assert row.split()[1].endswith("...")
    assert len(row.split()[1]) == 80


def test_peers_say_whom_they_are_for():
    assert show(
        PEER,
        a={"peerIP": "172.18.0.254", "asNumber": 64513},
        b={"peerIP": "172.18.0.1", "asNumber": 64513, "node": "node-1"},
        c={"peerSelector": "has(rr)", "nodeSelector": "all()"},
    ) == (
        "NAME   PEERIP         NODE       ASN     \n"
        "a      172.18.0.254   (global)   64513   \n"
        "b      172.18.0.1     node-1     64513   \n"
        "c                     all()      0       \n"
        "\n"
    )


def test_bgp_settings_have_a_dash_where_nothing_is_set():
    assert show(
        BGP_CONFIGURATION,
        a={"logSeverityScreen": "Info", "nodeToNodeMeshEnabled": False, "asNumber": 64512},
        b={},
    ) == (
        "NAME   LOGSEVERITY   MESHENABLED   ASNUMBER   \n"
        "a      Info          false         64512      \n"
        "b                    -             -          \n"
        "\n"
    )


def test_of_a_filter_its_rules_are_counted():
    rule = {"action": "Reject"}

    assert show(FILTER, a={}, b={"exportV4": [rule], "exportV6": [rule], "importV4": [rule]}) == (
        "NAME   NUMEXPORT   NUMIMPORT   \n"
        "a      0           0           \n"
        "b      2           1           \n"
        "\n"
    )


@pytest.mark.parametrize("rules", [7, {"a": 1}, [7]])
def test_a_filter_without_lists_of_rules_is_named(rules):
    key = f"{FILTER.prefix}a"
    entry = Entry(key, json.dumps({"spec": {"exportV4": rules}}).encode(), 7)

    _, mistakes = answer(Query(FILTER), Snapshot(9, {key: entry}), "ps")

    assert [line.partition(": ")[0] for line in mistakes] == [f"etcd key {key}"]


def test_the_cluster_is_shown_as_go_prints_it():
    assert show(
        CLUSTER, a={"clusterGUID": "01", "clusterType": "bgp"}, b={"datastoreReady": True}
    ) == (
        "NAME   CLUSTERGUID   CLUSTERTYPE   CALICOVERSION   DATASTOREREADY   \n"
        "a      01            bgp                           <nil>            \n"
        "b                                                  true             \n"
        "\n"
    )


@pytest.mark.parametrize("kind", [RESERVATION, PEER, FILTER, BGP_CONFIGURATION, CLUSTER])
def test_a_spoilt_spec_is_named(kind):
    key = f"{kind.prefix}a"
    entry = Entry(key, b'{"spec": [1]}', 7)

    _, mistakes = answer(Query(kind), Snapshot(9, {key: entry}), "ps")

    assert mistakes == [f"etcd key {key}: spec is not a JSON object"]


def test_a_namespace_that_was_asked_for_has_a_column_as_in_calicoctl():
    query = Query(ENDPOINT, namespace="default", shows_namespace=True)

    assert answer(query, Snapshot(9, {}), "ps")[0].startswith("NAMESPACE   WORKLOAD")


def test_no_two_kinds_have_an_alias_in_common():
    aliases = [alias for kind in KINDS for alias in kind.aliases]

    assert len(aliases) == len(set(aliases))


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_does_not_exist_is_told(kind):
    with pytest.raises(Invalid, match=rf"resource does not exist: {kind.name}\(x\)"):
        answer(Query(kind, ("x",)), Snapshot(9, {}), "ps")
