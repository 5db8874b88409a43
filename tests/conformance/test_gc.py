"""GC: what is not listed goes, what is listed stays, and a list that is wrong removes nothing."""

import json

import pytest

from tests.conformance.plugin import Outcome, Pod
from tests.conformance.rules import rule

pytestmark = pytest.mark.since("1.1.0")

NAME, OLD_NAME = "cni.dev/valid-attachments", "cni.dev/attachments"
LATEST = {"cniVersion": "1.1.0"}


def listed(*pods: Pod) -> list[dict[str, str]]:
    """The attachments as libcni lists them."""
    return [{"containerID": pod.id, "ifname": pod.ifname} for pod in pods]


def gc(node, **lists) -> Outcome:
    """GC with the lists of these names (``valid``, ``old``), as libcni calls it."""
    names = {"valid": NAME, "old": OLD_NAME}
    empty = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    conf = {**node.plugin.conf_with(LATEST), **{names[key]: lists[key] for key in lists}}
    return node.call("GC", stdin=json.dumps(conf), environment=empty)


@pytest.fixture
def pods(node):
    """Two containers on the network."""
    found = [node.pod(), node.pod()]
    for pod in found:
        node.added(pod, conf=LATEST)
    return found


@rule("G1", "R10")
def test_what_is_not_listed_goes_and_what_is_listed_stays(node, pods):
    stays, goes = pods
    host, address = node.host_end(goes), node.addresses_in(goes)[0]
    before = node.snapshot()

    outcome = gc(node, valid=listed(stays))

    assert outcome.is_silent_success, outcome
    changes = node.snapshot() - before
    assert host not in node.links()
    assert goes.ifname not in node.links(goes)
    its = (host, address, goes.id, " pod-2: ")
    assert [change for change in changes if not any(word in change for word in its)] == []


@rule("G1")
def test_a_listed_attachment_is_untouched(node, pods):
    before = node.snapshot()

    assert gc(node, valid=listed(*pods)).is_silent_success

    assert node.snapshot() == before


@rule("G1")
def test_what_is_listed_and_is_not_there_does_not_matter(node, pods):
    before = node.snapshot()

    assert gc(node, valid=listed(*pods, Pod("gone", ""))).is_silent_success

    assert node.snapshot() == before


@rule("G1")
def test_another_interface_of_a_listed_container_goes(node, pods):
    first = pods[0]
    second = first.but(ifname="net1")
    before = node.snapshot()
    node.added(second, conf=LATEST)

    assert gc(node, valid=listed(*pods)).is_silent_success

    assert node.snapshot() == before


@rule("G2")
@pytest.mark.parametrize("nothing", [[], None], ids=["empty", "null"])
def test_when_nothing_is_valid_everything_goes(node, pods, nothing):
    assert gc(node, valid=nothing).is_silent_success

    for pod in pods:
        assert pod.ifname not in node.links(pod)
    node.tidy()
    node.assert_as_before()


@rule("G3")
def test_without_a_list_nothing_goes(node, pods):
    before = node.snapshot()

    gc(node).assert_refused(7, "cni.dev/valid-attachments")

    assert node.snapshot() == before


MALFORMED = {
    "text": "text",
    "object": {},
    "number": 1,
    "entry is text": ["text"],
    "entry is null": [None],
    "no container": [{"ifname": "eth0"}],
    "no interface": [{"containerID": "a"}],
    "container is a number": [{"containerID": 1, "ifname": "eth0"}],
}


@rule("G3")
@pytest.mark.parametrize("what", MALFORMED)
def test_with_a_malformed_list_nothing_goes(node, pods, what):
    before = node.snapshot()

    gc(node, valid=MALFORMED[what]).assert_refused(7, "cni.dev/valid-attachments")

    assert node.snapshot() == before


@rule("G4")
def test_the_older_name_serves_as_well(node, pods):
    stays, goes = pods

    assert gc(node, old=listed(stays)).is_silent_success

    assert stays.ifname in node.links(stays)
    assert goes.ifname not in node.links(goes)


@rule("G4")
def test_of_both_names_the_newer_counts(node, pods):
    before = node.snapshot()

    assert gc(node, valid=listed(*pods), old=[]).is_silent_success

    assert node.snapshot() == before


@rule("G5")
def test_attachments_of_other_networks_stay(node, pod):
    node.added(pod, conf={**LATEST, "name": "another-network"})
    before = node.snapshot()

    assert gc(node, valid=[]).is_silent_success

    assert node.snapshot() == before


@rule("G6")
def test_no_container_is_needed(node, pods):
    before = node.snapshot()

    outcome = node.call("GC", conf={**LATEST, NAME: listed(*pods)})

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("G7")
def test_gc_may_be_repeated(node, pods):
    outcomes = [gc(node, valid=listed(pods[0])) for _ in range(3)]

    assert [outcome.is_silent_success for outcome in outcomes] == [True] * 3, outcomes


@rule("G7")
def test_the_namespaces_may_be_gone(node, pods):
    for pod in pods:
        node.remove_namespace(pod)

    assert gc(node, valid=[]).is_silent_success

    node.assert_as_before()


@rule("G7", "D2")
def test_del_after_gc_succeeds(node, pods):
    assert gc(node, valid=[]).is_silent_success

    for pod in pods:
        assert node.call("DEL", pod, conf=LATEST).is_silent_success
    node.assert_as_before()


@rule("G7", "A1")
def test_a_container_may_be_added_again_after_gc(node, pods):
    assert gc(node, valid=[]).is_silent_success

    result = node.added(pods[0], conf=LATEST)

    assert node.checked(pods[0], result, **LATEST).is_silent_success


@rule("G1")
def test_a_link_of_somebody_else_stays(node, foreign_link):
    before = node.snapshot()

    assert gc(node, valid=[]).is_silent_success

    assert node.snapshot() == before
