"""The copies of nodes and pods: what is in them, and since when that is known without a gap."""

import pytest

from datamodel.attachment import Pod
from datamodel.errors import Invalid, Unavailable
from kube_api.answer import Event
from kube_controllers.cluster import (
    MAX_SILENCE_S,
    STALE_S,
    Cluster,
    Copy,
    cluster_of,
    node_of,
    pod_of,
)
from tests.kube_server import NODE, POD

WEB = Pod("shop", "web-0")


def a_pod(name: str = "web-0", node: str | None = "node-1") -> dict:
    document = {**POD, "metadata": {**POD["metadata"], "name": name}}
    return {**document, "spec": {**POD["spec"], "nodeName": node}}


def pods(*documents: dict, version: str = "10", at_s: float = 0.0) -> Copy:
    copy = Copy("pods", pod_of)
    copy.take_list(documents, version, at_s)
    return copy


def event(kind: str, document: dict, version: str) -> Event:
    return Event(kind, document, version)


# ---- what is in them ---------------------------------------------------------------------------


def test_a_node_and_a_pod_are_read_from_their_recorded_shapes():
    assert node_of(NODE) == ("node-1", False)
    assert pod_of(POD) == (WEB, "node-1")


@pytest.mark.parametrize(
    ("conditions", "is_ready"),
    [
        ([{"type": "Ready", "status": "True"}], True),
        ([{"type": "Ready", "status": "Unknown"}], False),
        ([{"type": "Ready", "status": "False"}], False),
        ([{"type": "DiskPressure", "status": "True"}], False),
        (None, False),
    ],
)
def test_a_node_is_ready_if_its_kubelet_says_so(conditions, is_ready):
    assert node_of({**NODE, "status": {"conditions": conditions}}) == ("node-1", is_ready)


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded", "Failed", "Unknown"])
def test_a_pod_counts_in_every_phase(phase):
    """Also one that has ended keeps its sandbox, and its address, until its kubelet takes it."""
    assert pod_of({**POD, "status": {"phase": phase}}) == (WEB, "node-1")


def test_a_pod_that_is_not_scheduled_has_no_node():
    assert pod_of(a_pod(node=None)) == (WEB, "")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": 1, "namespace": "a"}, "spec": {}},
        {**POD, "spec": None},
    ],
)
def test_what_is_no_pod_is_refused(document):
    with pytest.raises(Invalid, match="not a Pod"):
        pods(document)


@pytest.mark.parametrize("document", [{}, {"metadata": {"name": ""}}, {**NODE, "status": [1]}])
def test_what_is_no_node_is_refused(document):
    with pytest.raises(Invalid, match="not a Node"):
        Copy("nodes", node_of).take_list([document], "10", 0.0)


def test_a_watch_changes_the_copy():
    copy = pods(a_pod(), a_pod("web-1"))

    copy.take_events(
        [
            event("MODIFIED", a_pod(node="node-2"), "11"),
            event("DELETED", a_pod("web-1"), "12"),
            event("ADDED", a_pod("web-2"), "13"),
            event("BOOKMARK", {"metadata": {}}, "20"),
        ],
        1.0,
    )

    assert copy.items == {WEB: "node-2", Pod("shop", "web-2"): "node-1"}
    assert copy.version == "20"
    assert copy.losses == 1


def test_a_list_that_lacks_one_is_a_loss():
    copy = pods(a_pod(), a_pod("web-1"))

    copy.take_list([a_pod()], "11", 1.0)

    assert copy.losses == 1


# ---- since when they are known -----------------------------------------------------------------


def test_before_the_first_list_nothing_is_known():
    assert Copy("pods", pod_of).known_since(0.0) is None


def test_it_is_known_since_the_list_was_asked_for():
    assert pods(a_pod(), at_s=5.0).known_since(6.0) == 5.0


def test_bookmarks_keep_it_known():
    copy = pods(a_pod())

    for minute in range(1, 60):
        copy.take_events([event("BOOKMARK", {}, str(10 + minute))], 60.0 * minute)

    assert copy.known_since(3600.0) == 0.0


def test_after_a_silence_it_is_not_known():
    copy = pods(a_pod())

    assert copy.known_since(MAX_SILENCE_S + 1) is None


def test_after_a_gap_it_is_known_anew():
    copy = pods(a_pod())

    copy.take_list([a_pod()], "11", 1000.0)

    assert copy.known_since(1001.0) == 1000.0


def test_a_short_gap_is_none():
    copy = pods(a_pod())

    copy.take_list([a_pod()], "11", MAX_SILENCE_S)

    assert copy.known_since(MAX_SILENCE_S) == 0.0


def test_a_process_that_was_stopped_knows_nothing_of_the_time_between():
    """The events that had waited for it come first; only then the hour shows."""
    copy = pods(a_pod())

    copy.take_events([event("BOOKMARK", {}, "11")], 3600.0)

    assert copy.known_since(3600.0) == 3600.0


# ---- old lists ---------------------------------------------------------------------------------


def test_a_list_that_is_older_than_what_is_known_is_refused():
    copy = pods(a_pod(), a_pod("web-1"), version="10")

    with pytest.raises(Unavailable, match=r"of version 9, but it had told of 10"):
        copy.take_list([a_pod()], "9", 1.0)

    assert copy.known_since(1.0) is None
    assert len(copy.items) == 2


def test_an_api_that_tells_nothing_newer_for_long_was_restored():
    copy = pods(a_pod(), version="1000")
    for minute in range(int(STALE_S) // 60):
        with pytest.raises(Unavailable):
            copy.take_list([], "7", 60.0 * minute)

    copy.take_list([a_pod("web-1")], "7", STALE_S)
    copy.take_list([a_pod("web-1")], "8", STALE_S + 1)

    assert copy.items == {Pod("shop", "web-1"): "node-1"}
    assert copy.known_since(STALE_S + 1) == STALE_S


def test_one_good_list_between_old_ones_makes_the_time_begin_anew():
    copy = pods(a_pod(), version="1000")
    with pytest.raises(Unavailable):
        copy.take_list([], "7", 1.0)
    copy.take_list([a_pod()], "1001", 2.0)

    with pytest.raises(Unavailable):
        copy.take_list([], "7", STALE_S + 1)


def test_versions_that_are_no_numbers_have_no_order():
    copy = pods(a_pod(), version="b")

    copy.take_list([], "a", 1.0)

    assert copy.items == {}


# ---- both --------------------------------------------------------------------------------------


def nodes(at_s: float) -> Copy:
    copy = Copy("nodes", node_of)
    copy.take_list([NODE], "10", at_s)
    return copy


def test_the_cluster_is_known_since_the_last_of_both_is():
    cluster = cluster_of(nodes(3.0), pods(a_pod(), at_s=5.0), 6.0)

    assert cluster == Cluster({"node-1": False}, {WEB: "node-1"}, 5.0)


def test_without_one_of_both_nothing_is_known():
    assert cluster_of(nodes(0.0), Copy("pods", pod_of), 0.0) is None
    assert cluster_of(nodes(0.0), pods(a_pod(), at_s=200.0), 200.0) is None
