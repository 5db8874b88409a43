"""An address is released if it is proven that nobody uses it, and in no other case."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from datamodel.attachment import Kernel
from datamodel.block import Attribute
from datamodel.report import Report
from datastore import codec, keys
from ocicatctl.check.cluster import read_cluster
from ocicatctl.check.kernel import Links
from ocicatctl.check.release import judge
from tests.ipam import Stored
from tests.unit.ocicatctl.test_check_cluster import (
    HERE,
    LATER,
    a_cluster,
    a_link,
    a_report,
    address_of,
    blocks,
    edited,
    endpoint_key,
    handle,
    with_block,
)

LEAK = handle(1, 0)
FACTS = {
    "namespace": "default",
    "pod": "n1-0",
    "node": "node-1",
    "timestamp": "2026-11-20 12:00:00.12345 +0000 UTC",
    "boot": HERE.boot_id,
    "netns": HERE.netns,
}


@pytest.fixture
def leaking() -> Stored:
    """A cluster that has lost the endpoint of one pod."""
    return a_cluster(2, 1).without(endpoint_key(1, 0))


def known(stored: Stored, facts: dict[str, str | None], handle_id: str = LEAK) -> Stored:
    """The leak with other facts, and perhaps another handle."""
    kept = {name: value for name, value in {**FACTS, **facts}.items() if value is not None}
    block = next(block for block in blocks(stored) if block.held_by(LEAK))
    attributes = tuple(
        Attribute(handle_id, kept) if a.handle_id == LEAK else a for a in block.attributes
    )
    return with_block(stored, replace(block, attributes=attributes)).having(
        **{keys.handle(handle_id): codec.encode_handle({block.cidr: 1})}
    )


def verdict(stored: Stored, report: Report | None, node="node-1", now=LATER, handle_id=LEAK):
    links = Links.of(node, report) if report else None
    return judge(read_cluster(stored.entries, now), links, handle_id, now)


def test_a_kernel_without_the_link_proves_it(leaking):
    found = verdict(leaking, a_report(leaking, without={LEAK}))

    assert found.is_proven
    assert found.why.startswith("the kernel of node-1, asked just now, has no link")
    # Whoever asks for the address again writes this.
    assert found.guards == {endpoint_key(1, 0)}


def test_a_kernel_of_a_later_boot_proves_it(leaking):
    report = Report(Kernel("boot-2", "1"), False, ())

    assert verdict(leaking, report).is_proven
    assert "before node-1 was booted" in verdict(leaking, report).why


def test_a_node_that_does_not_exist_proves_it(leaking):
    found = verdict(leaking.without(keys.node("node-1")), None)

    assert found.is_proven
    assert found.guards == {keys.node("node-1"), endpoint_key(1, 0)}


def test_a_tunnel_of_a_node_that_does_not_exist_is_nobodys(leaking):
    facts = {"node": "node-1", "type": "ipipTunnelAddress"}
    tunnel = "ipip-tunnel-addr-node-1"
    stored = known(leaking, {**dict.fromkeys(FACTS), **facts}, tunnel)

    alive = verdict(stored, a_report(leaking, without={LEAK}), handle_id=tunnel)
    gone = verdict(stored.without(keys.node("node-1")), None, handle_id=tunnel)

    assert (alive.is_proven, gone.is_proven) == (False, True)
    assert gone.guards == {keys.node("node-1")}


def report_without(stored: Stored, **fields) -> Report:
    return replace(a_report(stored, without={LEAK}), **fields)


UNPROVEN = {
    "no kernel was asked": (lambda s: (s, None), "run this there"),
    "another node's kernel": (lambda s: (s, Report(HERE, True, ())), "run this there"),
    "a report cut short": (lambda s: (s, report_without(s, is_complete=False)), "did not list all"),
    "another namespace": (
        lambda s: (s, report_without(s, kernel=Kernel("boot-1", "1"))),
        "another network namespace",
    ),
    "the link is there": (
        lambda s: (s, report_without(s, links=(a_link(LEAK),))),
        "link calic1-0 is its container's",
    ),
    "another link has the address": (
        lambda s: (s, report_without(s, links=(a_link("net.x", address_of(s, LEAK)),))),
        "link calix has it",
    ),
    "no kernel is noted": (
        lambda s: (known(s, {"boot": None}), report_without(s)),
        "nobody noted in which kernel",
    ),
    "no time is noted": (
        lambda s: (known(s, {"timestamp": None}), report_without(s)),
        "nobody noted when",
    ),
    "an odd time is noted": (
        lambda s: (known(s, {"timestamp": "2026-11-31 00:00:00 +0000 UTC"}), report_without(s)),
        "nobody noted when",
    ),
    "no node is noted": (
        lambda s: (known(s, {"node": None}), report_without(s)),
        "nobody here knows",
    ),
    "a virtual machine's": (
        lambda s: (known(s, {"vmi-name": "vm"}), report_without(s)),
        "nobody here knows",
    ),
    "an unknown type": (
        lambda s: (known(s, {"type": "somethingNew"}), report_without(s)),
        "nobody here knows",
    ),
    "a handle that nobody can read": (
        lambda s: (s.having(**{keys.handle(LEAK): b"{"}), report_without(s)),
        "cannot be read; delete it first",
    ),
    "an endpoint that nobody can read": (
        lambda s: (s.having(**{endpoint_key(2, 0): b"{"}), report_without(s)),
        "cannot be read and may be the endpoint",
    ),
}


@pytest.mark.parametrize("case", UNPROVEN)
def test_nothing_is_proven_by(leaking, case):
    change, why = UNPROVEN[case]
    stored, report = change(leaking)
    node = "node-2" if case == "another node's kernel" else "node-1"

    found = verdict(stored, report, node)

    assert not found.is_proven
    assert why in found.why


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_is_younger_than_a_minute_is_left(leaking, is_gone):
    stored = leaking.without(keys.node("node-1")) if is_gone else leaking
    now = LATER - timedelta(hours=1) + timedelta(seconds=59)

    found = verdict(stored, report_without(stored), now=now)

    assert not found.is_proven
    assert "younger than 60 s" in found.why


def test_a_handle_that_is_no_containers_is_left_even_without_its_node(leaking):
    stored = known(leaking, {}, "odd handle").without(keys.node("node-1"))

    found = verdict(stored, None, handle_id="odd handle")

    assert not found.is_proven
    assert "not one of a container" in found.why


def test_the_endpoint_of_the_very_container_is_no_use_and_goes_with_it(leaking):
    stored = a_cluster(2, 1)
    block = next(block for block in blocks(stored) if block.held_by(LEAK))
    block = block.assign_address(ip_address(block.address(7)), Attribute(LEAK, FACTS))
    stored = with_block(stored, block.next_write())

    found = verdict(stored, report_without(stored))

    assert found.is_proven
    assert found.endpoint.endswith("/default/node--1-k8s-n1--0-eth0")


def test_a_handle_with_an_address_that_another_endpoint_uses_is_left_as_a_whole(leaking):
    stored = a_cluster(2, 1)
    block = next(block for block in blocks(stored) if block.held_by(LEAK))
    block = block.assign_address(ip_address(block.address(7)), Attribute(LEAK, FACTS))
    stored = with_block(stored, block.next_write())
    key = endpoint_key(1, 0)
    newer = stored.entries[key].value.replace(b'"containerID":"c1-0"', b'"containerID":"newer"')

    found = verdict(stored.having(**{key: newer}), report_without(stored))

    assert not found.is_proven
    assert "Workload(default/node--1-k8s-n1--0-eth0) uses" in found.why


def test_what_is_held_for_several_nodes_is_left(leaking):
    block = next(block for block in blocks(leaking) if block.held_by(LEAK))
    block, _ = block.assign(Attribute(LEAK, {**FACTS, "node": "node-2"}))
    stored = with_block(leaking, block.next_write())

    assert "of several nodes" in verdict(stored, report_without(stored)).why


def test_a_block_that_does_not_say_who_holds_what_is_left(leaking):
    block = next(block for block in blocks(leaking) if block.held_by(LEAK))
    key = keys.block(block.cidr)
    allocations = [*json.loads(leaking.values[key])["allocations"]]
    stored = edited(leaking, key, allocations=[*allocations[:7], 9])

    assert "does not say who holds" in verdict(stored, report_without(leaking)).why


def test_an_owner_that_a_newer_calico_noted_is_respected(leaking):
    block = next(block for block in blocks(leaking) if block.held_by(LEAK))
    attributes = tuple(
        replace(a, extra={"alternateOwnerAttrs": {"pod": "other"}}) for a in block.attributes
    )
    stored = with_block(leaking, replace(block, attributes=attributes))

    assert "nobody here knows" in verdict(stored, report_without(stored)).why
