"""The report of ``ipam check`` for programs: calicoctl's, and what is behind it."""

from dataclasses import replace

import pytest

from datamodel.attribute import DELEGATED, GATEWAY
from datamodel.block import Attribute, Block
from datastore import codec, keys
from ocicatctl.check.repair import Plan, plan
from ocicatctl.check.report import check_report, repair_report
from tests.ipam import Stored
from tests.unit.ocicatctl.test_check_cluster import (
    a_cluster,
    a_report,
    address_of,
    blocks,
    checked,
    edited,
    endpoint_key,
    handle,
    with_block,
)
from tests.unit.ocicatctl.test_check_damage import DAMAGES, FREE

UNASKED = "ipamd /run/ocicat/ipamd.sock: does not answer"


@pytest.fixture
def cluster() -> Stored:
    return a_cluster(2, 1)


def the_block(stored: Stored, node: str = "node-1") -> Block:
    (block,) = blocks(stored, node)
    return block


@pytest.fixture
def chosen(cluster) -> Plan:
    stored = DAMAGES["without pool"].do(cluster.without(keys.handle(handle(1, 0))), cluster, 0)
    return plan(checked(stored))


def report_of(stored: Stored, report=None):
    return check_report(checked(stored, report), "0.1.0", "" if report else UNASKED)


def test_the_report_has_calicoctls_fields_first(cluster):
    document = report_of(cluster)

    address = address_of(cluster, handle(2, 0))
    assert list(document)[:7] == [
        *("version", "clusterGUID", "datastoreLocked", "clusterInformationRevision"),
        *("clusterType", "allocations", "leakedHandles"),
    ]
    assert document["version"] == "0.1.0"
    assert document["clusterGUID"] == "0" * 32
    assert document["datastoreLocked"] is False
    assert document["clusterInformationRevision"] == str(
        cluster.entries[keys.CLUSTER_INFORMATION].revision
    )
    assert document["clusterType"] == "bgp"
    assert document["allocations"][str(address)] == [
        {
            "ip": str(address),
            "handle": handle(2, 0),
            "sequenceNumber": the_block(cluster, "node-2").sequence_numbers[0],
            "pod": "n2-0",
            "namespace": "default",
            "node": "node-2",
            "creationTimestamp": "2026-11-20 12:00:00.12345 +0000 UTC",
            "inUse": True,
            "owners": ["Workload(default/node--2-k8s-n2--0-eth0)"],
        }
    ]
    assert document["leakedHandles"] == []
    assert document["problems"] == []
    assert document["kernel"] == {"node": None, "links": None, "notLookedAt": UNASKED}


def test_a_locked_store_is_reported_so(cluster):
    spec = {"clusterGUID": "x", "datastoreReady": False}

    assert report_of(edited(cluster, keys.CLUSTER_INFORMATION, spec=spec))["datastoreLocked"]


def test_leaks_are_reported_with_what_it_takes_to_release_them(cluster):
    idle = {keys.handle("net.idle"): codec.encode_handle({FREE: 1})}
    stored = cluster.without(endpoint_key(1, 0)).having(**idle)

    document = report_of(stored)

    (leak,) = document["allocations"][str(address_of(cluster, handle(1, 0)))]
    assert (leak["inUse"], leak["owners"]) == (False, [])
    revision = stored.entries[keys.handle("net.idle")].revision
    assert document["leakedHandles"] == [{"ID": "net.idle", "UID": None, "Revision": str(revision)}]
    assert {p["kind"] for p in document["problems"]} == {"leaked-address", "leaked-handle"}


def test_what_a_link_has_is_not_reported_as_free_to_be_released(cluster):
    stored = cluster.without(endpoint_key(1, 0))

    document = report_of(stored, a_report(cluster))

    (found,) = document["allocations"][str(address_of(cluster, handle(1, 0)))]
    assert (found["inUse"], found["owners"]) == (True, ["Link(calic1-0)"])


@pytest.mark.parametrize("kind", [DELEGATED, GATEWAY])
def test_what_another_plugin_may_use_is_not_reported_as_free_to_be_released(cluster, kind):
    facts = {"node": "node-1", "type": kind}
    block, address = the_block(cluster).assign(Attribute("net.m1", facts))

    document = report_of(with_block(cluster, block.next_write()))

    (found,) = document["allocations"][str(address)]
    assert (found["inUse"], found["owners"]) == (True, ["Plugin"])


def test_borrowed_and_cooling_addresses_say_so(cluster):
    block = the_block(cluster)
    borrowed, address = block.assign(Attribute("net.far", {"node": "node-2"}))
    cooling, _ = borrowed.release(handle(1, 0), now=checked(cluster).now, cooldown_s=60)

    document = report_of(with_block(cluster, replace(cooling.next_write())))

    (far,) = document["allocations"][str(address)]
    (gone,) = document["allocations"][str(address_of(cluster, handle(1, 0)))]
    assert far["borrowed"]
    assert (gone["coolingDown"], gone["inUse"], "handle" in gone) == (True, False, False)


def test_repairs_are_reported_with_their_proof(chosen):
    tried, untried = repair_report(chosen, [""]), repair_report(chosen, None)

    assert tried["repairs"][0]["notDone"] is None
    assert untried["repairs"][0]["notDone"] == "--dry-run"
    assert tried["repairs"][0]["proof"]
    assert {left["why"] for left in tried["notRepaired"]}
