from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest

from datamodel.block import WINDOWS_HANDLE, Attribute
from datamodel.ipam_config import IpamConfig
from datamodel.reservation import Reservations
from datastore import keys
from datastore.store import Entry
from ocicatctl.ipam.borrowed import Borrowing
from ocicatctl.ipam.holder import Holder
from ocicatctl.ipam.plan import Plan
from ocicatctl.ipam.show import borrowing, configuration, utilization
from ocicatctl.structured import structured
from tests.unit.ocicatctl.addressing import (
    FIRST,
    HANDLE_0,
    NOW,
    POOL,
    SECOND,
    WEB_0,
    a_block,
    a_cluster,
    a_config,
    a_reservation,
    facts_of,
)

WEB = Attribute(HANDLE_0, facts_of("web-0"))


def a_plan(*more: dict[str, bytes]) -> Plan:
    return Plan.of({k: Entry(k, v, 1) for k, v in a_cluster(*more).items()}, NOW)


def test_the_table_has_the_columns_of_calicoctl_3_33():
    shown = utilization(a_plan(a_reservation("10.0.0.0/30")), show_blocks=True)

    assert shown.text == (
        "+----------+-------------+-----------+------------+--------------+-----------+\n"
        "| GROUPING |    CIDR     | IPS TOTAL | IPS IN USE | IPS RESERVED | IPS FREE  |\n"
        "+----------+-------------+-----------+------------+--------------+-----------+\n"
        "| IP Pool  | 10.0.0.0/24 |       256 | 2 (1%)     | 4 (2%)       | 251 (98%) |\n"
        "| Block    | 10.0.0.0/29 |         8 | 1 (12%)    | 4 (50%)      | 4 (50%)   |\n"
        "| Block    | 10.0.0.8/29 |         8 | 1 (12%)    | 0 (0%)       | 7 (88%)   |\n"
        "+----------+-------------+-----------+------------+--------------+-----------+\n"
    )


# ---- --ip --------------------------------------------------------------------------------------


def told(plan: Plan, address: object = WEB_0) -> str:
    return Holder.of(ip_address(str(address)), plan).text


def test_a_held_address_has_its_handle_and_attributes_in_order():
    assert told(a_plan()) == (
        "IP 10.0.0.0 is in use\n"
        "Handle ID: net.c0\n"
        "Active Owner Attributes:\n"
        "  namespace: default\n"
        "  node: node-1\n"
        "  pod: web-0\n"
        "  timestamp: 2026-11-20 11:00:00.5 +0000 UTC\n"
    )


def test_a_virtual_machine_has_alternate_attributes_too():
    moving = replace(WEB, extra={"alternateOwnerAttrs": {"pod": "virt-b", "node": "node-2"}})
    plan = Plan(pools=(POOL,), blocks=(a_block(FIRST, "node-1", moving),))

    assert told(plan).endswith("Alternate Owner Attributes:\n  node: node-2\n  pod: virt-b\n")


def test_a_holder_without_handle_and_attributes_says_so():
    plan = Plan(pools=(POOL,), blocks=(a_block(FIRST, "node-1", Attribute(None, None)),))

    assert told(plan) == (
        "IP 10.0.0.0 is in use\nHandle ID: <none>\nNo Active Owner attributes defined\n"
    )


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.99", "10.9.0.0", "fd00::1"])
def test_a_free_address_is_not_assigned(address):
    assert told(a_plan(), address) == f"{address} is not assigned\n"


def test_an_address_that_cools_down_is_not_assigned_and_says_until_when():
    released_at = NOW - timedelta(seconds=10)
    block, _ = a_block(FIRST, "node-1", WEB).release(HANDLE_0, now=released_at, cooldown_s=30)
    plan = Plan(pools=(POOL,), blocks=(block,), config=IpamConfig(ip_cooldown_s=30))

    assert told(plan) == (
        "10.0.0.0 is not assigned\n"
        "Released at: 2026-11-20T11:59:50Z, cooling down until 2026-11-20T12:00:20Z\n"
    )


def test_a_held_address_in_no_enabled_pool_is_not_assigned_for_calicoctl():
    plan = replace(a_plan(), pools=(replace(POOL, disabled=True),))

    first, second = told(plan).splitlines()
    assert first == "10.0.0.0 is not assigned"
    assert second.startswith("Handle net.c0 holds it, but it is in no enabled pool; see ")


def test_programs_get_the_same_about_one_address():
    assert Holder.of(WEB_0, a_plan()).document == {
        "ip": "10.0.0.0",
        "isAssigned": True,
        "isInEnabledPool": True,
        "handleID": "net.c0",
        "activeOwnerAttributes": dict(facts_of("web-0")),
        "alternateOwnerAttributes": {},
        "releasedAt": None,
        "coolingDownUntil": None,
    }


# ---- --show-borrowed ---------------------------------------------------------------------------


def test_an_address_of_another_nodes_block_is_borrowed():
    guest = Attribute("net.c9", facts_of("web-9", "node-3"))
    plan = Plan(blocks=(a_block(FIRST, "node-1", WEB, guest),))

    assert borrowing(plan).text == (
        "+----------+----------------+-------------+-------------+------+---------------+\n"
        "|    IP    | BORROWING-NODE |    BLOCK    | BLOCK OWNER | TYPE | ALLOCATED-TO  |\n"
        "+----------+----------------+-------------+-------------+------+---------------+\n"
        "| 10.0.0.1 | node-3         | 10.0.0.0/29 | node-1      | pod  | default/web-9 |\n"
        "+----------+----------------+-------------+-------------+------+---------------+\n"
    )


def test_what_is_held_in_nobodys_block_is_borrowed():
    (found,) = Borrowing.of([a_block(FIRST, None, WEB)]).addresses

    assert (found.block_owner, found.node) == ("", "node-1")


@pytest.mark.parametrize(
    ("facts", "kind", "whose"),
    [
        ({"pod": "p", "namespace": "n"}, "pod", "n/p"),
        ({"pod": "virt-p", "namespace": "n", "vmi-name": "vm"}, "vmi", "n/vm"),
        ({"type": "ipipTunnelAddress"}, "ipipTunnelAddress", ""),
        ({}, "", ""),
    ],
)
def test_a_borrowed_address_says_for_what_it_is(facts, kind, whose):
    block = a_block(FIRST, "node-1", Attribute("h", {"node": "node-2", **facts}))

    (found,) = Borrowing.of([block]).addresses

    assert (found.kind, found.allocated_to) == (kind, whose)


def test_allocations_that_name_no_node_are_counted_in_a_note():
    windows = Attribute(WINDOWS_HANDLE, {"note": "windows host rsvd"})
    block, _ = a_block(FIRST, "node-1", windows, WEB).release(HANDLE_0, now=NOW, cooldown_s=9)

    assert borrowing(Plan(blocks=(block,))).text.endswith(
        "+\n\nNote: found 1 IP allocations without an explicit node association. "
        "Unable to determine if they are borrowed.\n"
    )
    assert Borrowing.of([block]).document == {"borrowed": [], "allocationsWithoutNode": 1}


# ---- --show-configuration ----------------------------------------------------------------------


def test_the_configuration_is_shown_by_calicoctls_names():
    plan = a_plan(a_config(max_blocks_per_host=4, ip_cooldown_s=30))

    assert configuration(plan.config).text == (
        "+------------------------------+----------+\n"
        "|           PROPERTY           |  VALUE   |\n"
        "+------------------------------+----------+\n"
        "| StrictAffinity               | true     |\n"
        "| AutoAllocateBlocks           | true     |\n"
        "| MaxBlocksPerHost             |        4 |\n"
        "| KubeVirtVMAddressPersistence | Disabled |\n"
        "| IPCooldownSeconds            |       30 |\n"
        "+------------------------------+----------+\n"
    )


def test_without_a_config_calicos_defaults_are_shown():
    assert configuration(Plan.of({}, NOW).config).document == {
        "StrictAffinity": False,
        "AutoAllocateBlocks": True,
        "MaxBlocksPerHost": 0,
        "KubeVirtVMAddressPersistence": "Disabled",
        "IPCooldownSeconds": 0,
    }


# ---- what cannot be read -----------------------------------------------------------------------


def test_what_cannot_be_read_is_named_and_hides_nothing_else():
    plan = a_plan(
        {
            keys.block(SECOND): b"{}",
            keys.pool("bad"): b"[]",
            keys.IPAM_CONFIG: b'{"strict_affinity":1}',
            **a_reservation("10.0.0.300", "10.0.0.1"),
        }
    )

    assert [str(block.cidr) for block in plan.blocks] == ["10.0.0.0/29"]
    assert plan.pools == (POOL,)
    assert plan.reservations == Reservations.of(["10.0.0.1", "10.0.0.300"])
    named = ("bad", "10.0.0.8-29", "10.0.0.300", "strict_affinity")
    assert len(plan.mistakes) == 4
    assert all(name in text for name, text in zip(named, plan.mistakes, strict=True))


def test_documents_are_yaml_too_and_keep_their_order():
    assert structured({"b": 1, "a": None}, "yaml") == "b: 1\na: null\n"
