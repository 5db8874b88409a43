"""What ``ipam check`` prints and reports; the first part is calicoctl's, to the letter."""

import json

import pytest

from datamodel.block import Attribute, Block
from datastore import codec, keys
from ocicatctl.check.repair import Plan, plan
from ocicatctl.check.text import Show, again_text, check_text, done_text, plan_text
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


def lines(text: str) -> list[str]:
    assert text.endswith("\n")
    return text.splitlines()


def text_of(stored: Stored, show: Show = Show(), report=None) -> list[str]:  # noqa: B008 - frozen
    return lines(check_text(checked(stored, report), show, "" if report else UNASKED))


def test_a_sound_cluster_reads_as_with_calicoctl(cluster):
    assert text_of(cluster) == [
        "Checking IPAM for inconsistencies...",
        "",
        "Loading all IPAM blocks...",
        "Found 2 IPAM blocks.",
        " IPAM block 10.233.73.32/29 affinity=host:node-2:",
        " IPAM block 10.233.87.64/29 affinity=host:node-1:",
        "IPAM blocks record 3 allocations.",
        "",
        "Loading all IPAM pools...",
        "  10.233.64.0/18",
        "Found 1 active IP pools.",
        "",
        "Loading all nodes.",
        "Found 0 node tunnel IPs.",
        "",
        "Loading all workload endpoints.",
        "Found 3 workload IPs.",
        "Workloads and nodes are using 3 IPs.",
        "",
        "Loading all handles",
        "Looking for top (up to 20) nodes by allocations...",
        "  node-1 has 2 allocations",
        "  node-2 has 1 allocations",
        "Node with most allocations has 2; median is 1",
        "",
        "Scanning for IPs that are allocated but not actually in use...",
        "Found 0 IPs that are allocated in IPAM but not actually in use.",
        "Scanning for IPs that are in use by a workload or node but not allocated in IPAM...",
        "Found 0 in-use IPs that are not in active IP pools.",
        "Found 0 in-use IPs that are in active IP pools but have no corresponding IPAM allocation.",
        "",
        "Scanning for IPAM handles with no matching IPs...",
        "Found 0 handles with no matching IPs (and 3 handles with matches).",
        "Scanning for IPs with missing handle...",
        "Found 0 handles mentioned in blocks with no matching handle resource.",
        "Validating IPAMBlock structures...",
        "Found 0 invalid IPAMBlocks.",
        "Check complete; found 0 problems.",
        "",
        "Scanning for what calicoctl does not look at...",
        "Found 0 further problems in etcd.",
        f"The kernel of this node was not looked at: {UNASKED}.",
        "Found 0 problems in all.",
    ]


def test_the_kernel_is_named_if_it_was_looked_at(cluster):
    assert text_of(cluster, report=a_report(cluster))[-3:] == [
        "Comparing with the 2 links that the kernel of node node-1 has...",
        "Found 0 differences between etcd and that kernel.",
        "Found 0 problems in all.",
    ]


def test_all_ips_are_shown_with_attributes_and_users(cluster):
    address = address_of(cluster, handle(2, 0))

    shown = text_of(cluster, Show(all_ips=True))

    assert (
        f"  {address} allocated; attrs Main:{handle(2, 0)} Extra:boot=boot-1,namespace=default,"
        "netns=4026531840,node=node-2,pod=n2-0,timestamp=2026-11-20 12:00:00.12345 +0000 UTC"
    ) in shown
    assert f"  {address} belongs to Workload(default/node--2-k8s-n2--0-eth0)" in shown


def broken(cluster: Stored) -> Stored:
    """One of each kind that calicoctl counts, and one handle that is missing."""
    spec = json.loads(cluster.values[endpoint_key(1, 1)])["spec"]
    spec["ipNetworks"] += ["10.233.127.9/32", "192.0.2.1/32"]
    stored = edited(cluster.without(endpoint_key(1, 0)), endpoint_key(1, 1), spec=spec)
    stored = edited(stored, keys.block(the_block(cluster, "node-2").cidr), unallocated=[7])
    idle = {keys.handle("net.idle"): codec.encode_handle({FREE: 1})}
    return stored.having(**idle).without(keys.handle(handle(2, 0)))


def test_calicoctls_count_is_calicoctls_and_ours_is_the_sum(cluster):
    shown = text_of(broken(cluster))

    assert [line for line in shown if line.startswith(("Found", "Check complete"))][-9:] == [
        "Found 1 IPs that are allocated in IPAM but not actually in use.",
        "Found 1 in-use IPs that are not in active IP pools.",
        "Found 1 in-use IPs that are in active IP pools but have no corresponding IPAM allocation.",
        "Found 1 handles with no matching IPs (and 2 handles with matches).",
        "Found 1 handles mentioned in blocks with no matching handle resource.",
        "Found 1 invalid IPAMBlocks.",
        "Check complete; found 5 problems.",
        "Found 1 further problems in etcd.",
        "Found 6 problems in all.",
    ]
    assert not [line for line in shown if "leaked; attrs" in line]


def test_problem_ips_are_shown_in_calicoctls_words(cluster):
    leak = address_of(cluster, handle(1, 0))
    user = "Workload(default/node--1-k8s-n1--1-eth0)"
    block = the_block(cluster, "node-2").cidr

    shown = text_of(broken(cluster), Show(problem_ips=True))

    assert [line for line in shown if line.startswith(f"  {leak} leaked; attrs Main:")]
    assert f"  192.0.2.1 in use by {user} is not in any active IP pool." in shown
    assert (
        f"  10.233.127.9 in use by {user} and in active IPAM pool but has no IPAM allocation."
    ) in shown
    assert f"  {handle(2, 0)} is in use in a block but doesn't exist." in shown
    assert [ln for ln in shown if ln.startswith(f"  IPAMBlock BlockKey(cidr={block}) is invalid: ")]
    assert "  net.idle doesn't have any active IPs." not in shown
    assert "  net.idle doesn't have any active IPs." in text_of(broken(cluster), Show(all_ips=True))


def test_an_address_with_two_users_is_shown_once(cluster):
    spec = json.loads(cluster.values[endpoint_key(2, 0)])["spec"]
    spec["ipNetworks"] += [f"{address_of(cluster, handle(1, 0))}/32"]

    shown = text_of(edited(cluster, endpoint_key(2, 0), spec=spec), Show(problem_ips=True))

    assert shown.count(f"  {address_of(cluster, handle(1, 0))} has multiple owners.") == 1


def test_a_service_is_not_judged_and_that_is_said(cluster):
    block, _ = the_block(cluster).assign(Attribute("lb-x", {"type": "LoadBalancer"}))
    counts = {keys.handle("lb-x"): codec.encode_handle({block.cidr: 1})}

    shown = text_of(with_block(cluster, block.next_write()).having(**counts))

    assert "Not judged: 1 IPs of services; Kubernetes was not asked." in shown
    assert shown[-1] == "Found 0 problems in all."


def test_many_problems_of_one_kind_are_cut_short_unless_all_are_wanted(cluster):
    strays = [f"10.233.120.{8 * i}/29" for i in range(12)]
    values = {
        keys.affinity("node-1", type(FREE)(cidr)): b'{"state":"confirmed"}' for cidr in strays
    }
    stored = cluster.having(**values)

    shown, whole = text_of(stored), text_of(stored, Show(problem_ips=True))

    assert "  ... and 2 more of this kind; --show-problem-ips shows them all" in shown
    assert len([line for line in whole if "its block does not exist" in line]) == 12


# ---- the repair --------------------------------------------------------------------------------


@pytest.fixture
def chosen(cluster) -> Plan:
    stored = DAMAGES["without pool"].do(cluster.without(keys.handle(handle(1, 0))), cluster, 0)
    return plan(checked(stored))


def test_a_dry_run_names_each_action_its_proof_and_what_is_left(chosen):
    shown = lines(plan_text(chosen))

    assert shown[:4] == [
        "",
        "What --repair would do:",
        f"  write handle {handle(1, 0)} as holding 1 in 10.233.87.64/29",
        "    safe: it is only a count; the blocks say what is held and stay as they are",
    ]
    assert (
        "  block 10.233.87.64/29: is in no pool; release its addresses, or create the pool again"
        in shown
    )
    assert "    not repaired: only an operator knows whether pool or block is wrong" in shown


def test_what_was_not_done_says_why(chosen):
    failed = lines(done_text(chosen, ["somebody changed it meanwhile"]))
    done = lines(done_text(chosen, [""]))

    assert "    not done: somebody changed it meanwhile" in failed
    assert "Made 0 of 1 repairs." in failed
    assert "Made 1 of 1 repairs." in done
    assert not [line for line in done if "not done" in line]


def test_a_second_check_lists_all_that_is_left(cluster):
    assert lines(again_text(checked(cluster))) == ["", "Checked again.", "Found 0 problems in all."]
    assert lines(again_text(checked(cluster.without(keys.node("node-2")))))[2].startswith(
        "  block "
    )
