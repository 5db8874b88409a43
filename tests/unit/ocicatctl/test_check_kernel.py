"""Where etcd and the kernel differ is found, and what two looks make of it."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import pytest

from datamodel.affinity import Affinity
from datamodel.attachment import Kernel
from datamodel.block import Block
from datamodel.report import Report
from datastore import codec, keys
from ocicatctl.check.findings import check_store
from ocicatctl.check.problem import Kind
from tests.ipam import Stored
from tests.unit.ocicatctl.test_check_cluster import (
    HERE,
    LATER,
    a_cluster,
    a_link,
    a_report,
    address_of,
    blocks,
    checked,
    endpoint_key,
    handle,
    kinds,
    texts,
)

CIDR = ip_network("10.233.127.0/29")
CONFIRMED = codec.encode_affinity(Affinity("node-1", CIDR))


@pytest.fixture
def cluster() -> Stored:
    return a_cluster(2, 1)


def the_block(stored: Stored, node: str = "node-1") -> Block:
    (block,) = blocks(stored, node)
    return block


# ---- what the kernel shows ---------------------------------------------------------------------


def test_an_address_without_link(cluster):
    findings = checked(cluster, a_report(cluster, without={handle(1, 0)}))

    assert kinds(findings) == [Kind.NO_LINK]
    assert handle(1, 0) in texts(findings)[0]


def test_an_address_of_an_earlier_boot(cluster):
    report = Report(Kernel("boot-2", "4026531840"), True, ())

    assert kinds(checked(cluster, report)) == [Kind.NO_LINK, Kind.NO_LINK]


@pytest.mark.parametrize(
    "report",
    [
        Report(HERE, False, ()),
        Report(Kernel("boot-1", "1"), True, ()),
    ],
    ids=["cut short", "of another namespace"],
)
def test_a_report_that_says_nothing_about_missing_links_is_no_evidence(cluster, report):
    assert texts(checked(cluster, report)) == []


def test_an_allocation_of_this_minute_may_still_wait_for_its_link(cluster):
    soon = LATER - timedelta(hours=1) + timedelta(seconds=59)
    report = a_report(cluster, without={handle(1, 0)})

    assert check_store(cluster.entries, report, "node-1", soon).problems == ()


def test_the_report_of_one_node_is_no_evidence_for_another(cluster):
    assert texts(checked(cluster, a_report(cluster, "node-2"), "node-2")) == []


@pytest.mark.parametrize("has_alias", [True, False])
def test_a_link_with_an_address_that_nobody_holds(cluster, has_alias):
    link = a_link("net.new", ip_address("10.233.127.9"), alias=has_alias)
    report = a_report(cluster)

    findings = checked(cluster, replace(report, links=(*report.links, link)))

    assert kinds(findings) == [Kind.UNRECORDED_LINK]
    assert texts(findings)[0].startswith("link calinew on node-1: is of ")


def test_a_link_that_has_no_address_yet_is_one_of_an_add_under_way(cluster):
    report = a_report(cluster)

    assert texts(checked(cluster, replace(report, links=(*report.links, a_link("net.new"))))) == []


def test_a_link_with_the_address_of_another(cluster):
    link = a_link("net.new", address_of(cluster, handle(2, 0)))
    report = a_report(cluster)

    findings = checked(cluster, replace(report, links=(*report.links, link)))

    assert kinds(findings) == [Kind.STOLEN_ADDRESS]
    assert f"is of net.new and has {link.addresses[0]}" in texts(findings)[0]
    assert f"held by {handle(2, 0)}" in texts(findings)[0]


def test_a_link_whose_names_did_not_fit_into_its_alias_is_known_by_its_digest(cluster):
    report = a_report(cluster)
    links = tuple(replace(link, attachment=None) for link in report.links)

    assert texts(checked(cluster, replace(report, links=links))) == []


# ---- two looks ---------------------------------------------------------------------------------


def test_a_problem_counts_if_two_looks_find_it(cluster):
    lasting = cluster.without(keys.handle(handle(1, 0)))
    first = lasting.without(endpoint_key(2, 0))
    second = lasting.having(**{keys.affinity("node-1", CIDR): CONFIRMED})

    findings = checked(second).also_in(checked(first))

    assert kinds(findings) == [Kind.MISSING_HANDLE]


def test_a_problem_that_changed_between_two_looks_is_one_under_way(cluster):
    idle = {keys.handle("net.gone"): codec.encode_handle({CIDR: 1})}
    first = cluster.having(**idle)
    second = first.having(**idle)  # as if it had been taken and left once more

    assert kinds(checked(second)) == kinds(checked(first)) == [Kind.LEAKED_HANDLE]
    assert checked(second).also_in(checked(first)).problems == ()


def test_a_problem_counts_whether_or_not_both_looks_saw_the_kernel(cluster):
    stored = cluster.without(endpoint_key(1, 0))

    findings = checked(stored).also_in(checked(stored, a_report(cluster)))

    assert kinds(findings) == [Kind.LEAKED_ADDRESS]
