"""What happens to nodes: daemons upgraded under load, reboots, etcd away, a node without power.

What was measured is told on standard error; docs/vm.md has the figures of one run.
"""

import json
import re
import time

import pytest

from tests.vm.node import UNITS, provision
from tests.vm.waiting import say, until

STREAM = ("ping", "-n", "-i", "0.2", "-W", "10")
BFD_S = 3.0


@pytest.fixture
def pods(cluster):
    """A pod on each node, natively routed; the pods of tests before may be among them."""
    cluster.use_pool()
    one, two, three = pods = cluster.add_pods("web")
    one.node.wait_for_route(rf"{re.escape(two.block)} via .* dev eth0 proto bird")
    one.node.wait_for_route(rf"{re.escape(three.block)} via .* dev eth0 proto bird")
    assert one.ping(two.address) == one.ping(three.address) == 3
    return pods


def begin_stream(source, target):
    source.node.background("stream", *source.prefix, *STREAM, target.address)


def end_stream(source):
    """How many packets were sent, and how many of them lost."""
    said = source.node.finish("stream", "INT")
    sent, received = map(
        int, re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
    )
    return sent, max(0, sent - received - 1)  # the last may still have been under way


def problems(node):
    """What ``ocicatctl ipam check`` finds; "" if all addresses in etcd are in use, each once."""
    done = node.machine.run("ocicatctl", "ipam", "check", check=False, timeout_s=120)
    return done.stdout if done.returncode else ""


def wait_for_clean_store(node):
    until(lambda: not problems(node), "ipam check finds nothing", 240, lambda: problems(node))


def test_an_upgrade_of_every_daemon_fails_no_call_and_loses_no_packet(cluster, pods):
    one, two, _ = pods
    begin_stream(one, two)
    for pod in (one, two):
        pod.node.begin_churn(1)

    for pod in (one, two):
        begun = time.monotonic()
        provision(pod.node.machine, "node", cluster.settings(pod.node), wheels="next")
        pod.node.sh("systemctl restart ocicat-bird")  # an upgrade leaves it alone
        say(f"{pod.node.name}: upgraded under load ({time.monotonic() - begun:.0f} s)")
    churns = [json.loads(pod.node.finish("churn")) for pod in (one, two)]
    sent, lost = end_stream(one)

    say(f"upgrade: stream {sent} packets, {lost} lost; churn {churns}")
    assert [churn["failures"] for churn in churns] == [[], []]
    assert all(churn["adds"] == churn["dels"] > 0 for churn in churns)
    assert lost == 0
    for pod in (one, two):
        assert "0.1.0.post1" in pod.node.sh("systemctl show -p ExecStart ocicat-ipamd")
        assert pod.node.sh(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * 4


def test_killed_daemons_come_back_and_pods_do_not_notice(cluster, pods):
    one, two, _ = pods
    begin_stream(one, two)

    one.node.sh(f"systemctl kill --signal=KILL {' '.join(UNITS)}")
    until(
        lambda: "inactive" not in one.node.sh(f"systemctl is-active {' '.join(UNITS)} || true"),
        "daemons that run again",
        60,
    )
    cluster.add_pods("web", "after-kill")
    sent, lost = end_stream(one)

    say(f"daemons killed: stream {sent} packets, {lost} lost")
    assert lost == 0


def test_etcd_may_be_restarted(cluster, pods):
    one, two, _ = pods
    begin_stream(one, two)

    cluster.router.run("systemctl", "restart", "etcd")
    cluster.add_pods("web", "after-etcd")
    sent, lost = end_stream(one)

    say(f"etcd restarted: stream {sent} packets, {lost} lost")
    assert lost == 0
    wait_for_clean_store(one.node)


def test_a_rebooted_node_frees_the_addresses_of_before_and_has_its_pods_again(cluster, pods):
    one, two, three = pods
    before = {one.address}

    one.node.machine.reboot()
    [again] = until_replaced(one)
    wait_for_clean_store(two.node)

    say(
        f"{one.node.name}: rebooted in {one.node.machine.boot_s:.0f} s; {before} -> {again.address}"
    )
    held = two.node.ctl("get", "workloadendpoints", "-A", "-o", "wide")
    addresses = re.findall(r"10\.233\.\d+\.\d+(?=/32)", held)
    assert sorted(addresses) == sorted(pod.address for pod in (again, two, three))
    again.node.wait_for_route(rf"{re.escape(two.block)} via .* dev eth0 proto bird")
    two.node.wait_for_route(rf"{re.escape(again.block)} via .* dev eth0 proto bird")
    assert again.ping(two.address) == two.ping(again.address) == 3


def until_replaced(pod):
    """The node's pods, as soon as the sandbox of before is replaced."""

    def look():
        pods = pod.node.pods(pod.name)
        return pods if pods[0].sandbox != pod.sandbox else None

    return until(look, f"{pod.node.name}: another sandbox", 180, pod.node.logs)


def test_a_node_boots_without_etcd_and_has_its_pods_as_soon_as_etcd_is_back(cluster, pods):
    one, _, three = pods
    cluster.router.run("systemctl", "stop", "etcd")

    three.node.machine.reboot()
    states = three.node.sh(f"systemctl is-active {' '.join(UNITS)} || true").split()
    assert one.ping(pods[1].address) == 3
    cluster.router.run("systemctl", "start", "etcd")
    begun = time.monotonic()
    [again] = until_replaced(three)

    say(f"boot without etcd: units {states}; pods {time.monotonic() - begun:.0f} s after etcd")
    assert "failed" not in states
    one.node.wait_for_route(rf"{re.escape(again.block)} via .* dev eth0 proto bird")
    until(lambda: one.ping(again.address) == 3, "answers of the pod that came back", 60)


def test_routes_to_a_node_without_power_go_within_3_s_with_bfd(cluster, pods):
    one, two, three = pods
    cluster.use_bfd()
    for pod in (one, three):
        pod.node.wait_for_route(rf"{re.escape(two.block)} via .*")
    cluster.wait_for_route_of_router(rf"{re.escape(two.block)} via .*")

    begun = time.monotonic()
    cluster.power_off(two.node)
    took = {}
    while len(took) < 2:
        for name, machine in (("n1", one.node.machine), ("router", cluster.router)):
            if name not in took and two.block not in machine.run("ip", "route").stdout:
                took[name] = round(time.monotonic() - begun, 1)
        assert time.monotonic() - begun < 60, took

    say(f"power off, with BFD: routes gone after {took} s")
    assert max(took.values()) < BFD_S
    assert one.ping(three.address) == 3
