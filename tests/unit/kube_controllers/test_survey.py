"""What is read of the store: whose an address is, and what shows that a node lives."""

from collections.abc import Mapping

import pytest

from datamodel.attachment import Pod
from datamodel.attribute import DELEGATED
from datamodel.block import WINDOWS_HANDLE
from datastore import codec, keys
from datastore.store import Entry
from kube_controllers.survey import Holding, Kind, StoredNode, Survey, survey
from tests.controlled import FIRST, SECOND, two_nodes
from tests.leftovers import Cluster

POD = {"namespace": "default", "pod": "web-9", "node": "node-1"}
SEEN = {"boot": "b", "netns": "1", "timestamp": "2026-11-20 18:00:01 +0000 UTC"}


def surveyed(stored: Cluster, **more: bytes) -> Survey:
    values = {**stored.entries, **more}
    return survey({key: Entry(key, v, i) for i, (key, v) in enumerate(values.items(), 1)})


def holding(facts: Mapping[str, str], handle: str | None = "net.c1") -> Holding:
    """What a handle with these facts holds for node-1."""
    stored = two_nodes()
    address = stored.hold(FIRST, handle, **facts)
    (found,) = (h for h in surveyed(stored).nodes["node-1"].holdings if address in h.addresses)
    return found


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        (POD, Kind.POD),
        ({**POD, **SEEN}, Kind.POD),
        ({**POD, "type": DELEGATED}, Kind.POD),
        ({"node": "node-1", "type": "ocicatGateway"}, Kind.NODE),
        ({"node": "node-1", "type": "wireguardTunnelAddress"}, Kind.NODE),
        ({"node": "node-1"}, Kind.UNKNOWN),
        ({"node": "node-1", "pod": "web-9"}, Kind.UNKNOWN),
        ({**POD, "type": "LoadBalancer"}, Kind.UNKNOWN),
        ({**POD, "vmi-uid": "u"}, Kind.UNKNOWN),
    ],
)
def test_whose_an_address_is_its_facts_say(facts, kind):
    found = holding(facts)

    assert found.kind is kind
    assert found.pod == (Pod("default", "web-9") if kind is Kind.POD else None)


def test_without_a_handle_nobody_knows_whose_it_is():
    assert holding(POD, None).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("facts", "handle", "is_ipamds"),
    [
        ({**POD, **SEEN}, "net.c1", True),
        ({**POD, **SEEN}, "no attachment", False),
        ({**POD, "boot": "b"}, "net.c1", False),
        (POD, "net.c1", False),
    ],
)
def test_what_its_ipamd_can_see_has_the_kernel_in_its_facts(facts, handle, is_ipamds):
    assert holding(facts, handle).is_ipamds is is_ipamds


def test_a_handle_of_both_families_is_one_holding():
    stored = two_nodes()
    for cidr in (FIRST, SECOND):
        stored.hold(cidr, "net.c1", **POD)

    (found,) = (h for h in surveyed(stored).nodes["node-1"].holdings if h.handle_id == "net.c1")

    assert len(found.addresses) == 2
    assert found.blocks == {FIRST, SECOND}


@pytest.mark.parametrize("other", [{"node": "node-2"}, {"pod": "web-8"}])
def test_a_handle_that_holds_for_two_is_unknown(other):
    stored = two_nodes()
    stored.hold(FIRST, "net.c1", **POD)
    stored.hold(SECOND, "net.c1", **{**POD, **other})

    found = surveyed(stored)

    holdings = [h for node in found.nodes.values() for h in node.holdings]
    assert {h.kind for h in holdings if h.handle_id == "net.c1"} == {Kind.UNKNOWN}


def test_what_windows_keeps_is_nobodys():
    stored = two_nodes()
    before = surveyed(stored).nodes
    stored.hold(FIRST, WINDOWS_HANDLE, note="windows host rsvd")

    assert [n.addresses for n in surveyed(stored).nodes.values()] == [
        n.addresses for n in before.values()
    ]


def test_a_plain_host_has_no_name_in_kubernetes():
    nodes = surveyed(two_nodes()).nodes

    assert {n.name: n.kubernetes_names for n in nodes.values()} == {
        "node-1": ("kube-1",),
        "node-2": ("kube-2",),
        "plain": (),
    }


def signs(stored: Cluster, **more: bytes) -> StoredNode:
    return surveyed(stored, **more).nodes["node-1"]


def test_whoever_writes_of_a_node_leaves_a_sign():
    stored = two_nodes()
    before = signs(stored)

    assert signs(stored) == before
    assert signs(stored, **{keys.claim("node-1"): b"{}"}).signs != before.signs
    stored.block(SECOND, "node-1")
    assert signs(stored).signs != before.signs


def test_what_cannot_be_read_is_told_and_its_node_is_no_node_of_kubernetes():
    found = surveyed(
        two_nodes(),
        **{
            keys.block(FIRST): b"no json",
            keys.node("node-1"): b'{"spec":{"orchRefs":1}}',
            keys.departed("node-9"): b"{}",
        },
    )

    assert found.nodes["node-1"].kubernetes_names == ()
    assert found.nodes["node-9"].kubernetes_names == ()
    assert len(found.mistakes) == 3


def test_a_node_that_is_being_taken_back_is_known_by_its_note():
    stored = two_nodes()
    note = codec.DepartedNode(("kube-1",), stored.values.pop(keys.node("node-1")))

    node = signs(stored, **{keys.departed("node-1"): codec.encode_departed(note)})

    assert (node.kubernetes_names, node.entry, node.is_departed) == (("kube-1",), None, True)
    assert len(node.addresses) == 2
