import json
from ipaddress import ip_address

import pytest

from datamodel.errors import Invalid
from datastore import keys
from datastore.store import Entry
from ocicatctl.ipam.leak_report import ClusterState, LeakReport, check, common, parse
from ocicatctl.ipam.release_plan import Seen, Target

HERE = ClusterState(guid="g", revision="7", is_locked=True)


def a_document(**rest) -> dict:
    return {
        "version": "0.1.0",
        "clusterGUID": "g",
        "datastoreLocked": True,
        "clusterInformationRevision": "7",
        "clusterType": "bgp",
        "allocations": {},
        **rest,
    }


def an_allocation(ip: str, handle: str = "net.a", number: int = 5, **rest) -> dict:
    return {
        ip: [{"ip": ip, "handle": handle, "sequenceNumber": number, "inUse": False, "owners": None}
             | rest]
    }  # fmt: skip


def read(**rest) -> LeakReport:
    return parse("r.json", json.dumps(a_document(**rest)).encode())


def test_what_is_not_in_use_is_a_leak():
    allocations = {
        **an_allocation("10.0.0.1"),
        **an_allocation("10.0.0.2", inUse=True),
        **an_allocation("10.0.0.3", coolingDown=True),
        **an_allocation("fd00::1", "net.b", 2**64 - 1),
    }

    assert read(allocations=allocations).leaks == {
        ip_address("10.0.0.1"): Seen("net.a", 5),
        ip_address("fd00::1"): Seen("net.b", 2**64 - 1),
    }


def test_an_allocation_without_handle_and_number_is_one():
    allocations = {"10.0.0.1": [{"ip": "10.0.0.1", "inUse": False}]}

    assert read(allocations=allocations).leaks == {ip_address("10.0.0.1"): Seen(None, 0)}


def test_an_address_that_two_blocks_hold_is_left_to_people():
    twice = an_allocation("10.0.0.1")["10.0.0.1"] * 2

    assert read(allocations={"10.0.0.1": twice}).leaks == {}


def test_leaked_handles_have_their_revision():
    found = read(leakedHandles=[{"ID": "net.x", "UID": None, "Revision": "42"}])

    assert found.leaked_handles == {"net.x": 42}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps(a_document(version=1)).encode(),
        json.dumps(a_document(allocations=[1])).encode(),
        json.dumps(a_document(allocations={"x": [{"inUse": False}]})).encode(),
        json.dumps(a_document(allocations=an_allocation("10.0.0.1", number="5"))).encode(),
        json.dumps(a_document(leakedHandles=[{"ID": "x", "Revision": "new"}])).encode(),
        json.dumps(a_document(leakedHandles=[{"ID": "x"}])).encode(),
    ],
)
def test_what_is_no_report_is_refused_by_name(content):
    with pytest.raises(Invalid, match=r"^report r\.json: "):
        parse("r.json", content)


# ---- several reports ---------------------------------------------------------------------------


def test_only_what_all_reports_saw_alike_is_released():
    first = read(
        allocations={
            **an_allocation("10.0.0.2"),
            **an_allocation("10.0.0.1"),
            **an_allocation("10.0.0.3"),
            **an_allocation("10.0.0.4"),
        },
        leakedHandles=[{"ID": n, "Revision": "1"} for n in ("a", "b", "c")],
    )
    second = read(
        allocations={
            **an_allocation("10.0.0.1"),
            **an_allocation("10.0.0.2"),
            **an_allocation("10.0.0.3", number=6),
            **an_allocation("10.0.0.4", handle="net.z"),
        },
        leakedHandles=[{"ID": "a", "Revision": "1"}, {"ID": "b", "Revision": "2"}],
    )

    targets, handles = common([first, second])

    seen = Seen("net.a", 5)
    assert targets == [Target(ip_address("10.0.0.1"), seen), Target(ip_address("10.0.0.2"), seen)]
    assert handles == {"a": 1}


# ---- whether they may be used ------------------------------------------------------------------


def test_a_report_of_this_cluster_and_version_is_used():
    assert check([read()], HERE, "0.1.0", is_forced=False) == []


def test_a_report_of_another_cluster_is_refused_by_force_too():
    with pytest.raises(Invalid, match=r"report r\.json: is of another cluster \(x\)"):
        check([read(), read(clusterGUID="x")], HERE, "0.1.0", is_forced=True)


def test_reports_that_are_all_stale_are_refused_by_force_too():
    stale = read(clusterInformationRevision="6")

    with pytest.raises(Invalid, match="make a new one"):
        check([stale, stale], HERE, "0.1.0", is_forced=True)
    assert check([stale, read()], HERE, "0.1.0", is_forced=False) == []


def test_another_version_and_an_open_datastore_need_force():
    is_open = ClusterState("g", "7", is_locked=False)

    with pytest.raises(Invalid) as refused:
        check([read(version="v3.31.0")], is_open, "0.1.0", is_forced=False)

    assert str(refused.value).splitlines() == [
        "report r.json: was made by version v3.31.0, this is 0.1.0; use --force",
        "datastore: is not locked (datastoreReady is true); "
        "lock it with calicoctl datastore migrate lock, or use --force",
    ]
    assert len(check([read(version="v3.31.0")], is_open, "0.1.0", is_forced=True)) == 2


def cluster_information(**spec) -> Entry:
    value = json.dumps({"spec": {"clusterGUID": "g", **spec}}).encode()
    return Entry(keys.CLUSTER_INFORMATION, value, 7)


def test_the_cluster_is_locked_only_if_it_says_that_it_is_not_ready():
    assert ClusterState.of(cluster_information(datastoreReady=False)) == HERE
    assert not ClusterState.of(cluster_information(datastoreReady=True)).is_locked
    assert not ClusterState.of(cluster_information()).is_locked


@pytest.mark.parametrize("entry", [None, Entry(keys.CLUSTER_INFORMATION, b"{}", 7)])
def test_without_a_cluster_nothing_is_released(entry):
    with pytest.raises(Invalid, match=r"^ClusterInformation\(default\): "):
        ClusterState.of(entry)
