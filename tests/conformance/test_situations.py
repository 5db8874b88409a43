"""Situations that every plugin meets sooner or later: kills, reboots, recycled names, storms."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni_plugin import install
from cni_plugin.config import read_config
from ocicatctl.lab import daemons, system
from tests.conformance.node import end
from tests.conformance.plugin import Pod
from tests.conformance.rules import rule

K8S = {"CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"}


# ---- late and repeated DELs ------------------------------------------------------------------


@rule("S1")
def test_a_late_del_does_not_free_an_address_that_is_another_s_by_now(node, pod):
    result = node.added(pod)
    assert node.call("DEL", pod).is_silent_success
    other = node.pod()
    address = result["ips"][0]["address"].split("/")[0]
    asked = node.added(other, conf={"runtimeConfig": {"ips": [address]}})
    before = node.snapshot()

    late = node.call("DEL", pod, conf={"prevResult": result})

    assert late.is_silent_success
    assert node.snapshot() == before
    assert node.checked(other, asked).is_silent_success


@rule("S1")
def test_the_del_of_an_old_sandbox_does_not_touch_the_new_one_of_the_same_pod(node, pod):
    new = node.pod()
    node.added(pod, environment=K8S)
    result = node.added(new, environment=K8S)
    before = node.snapshot()

    late = node.call("DEL", pod.but(netns=""), environment=K8S)

    assert late.is_silent_success
    changes = node.snapshot() - before
    assert [c for c in changes if c.startswith(("+ pod-2", "- pod-2"))] == []
    checked = node.call("CHECK", new, conf={"prevResult": result}, environment=K8S)
    assert checked.is_silent_success, checked
    assert node.ping(node.addresses_in(new)[0])


@rule("S1")
def test_the_del_of_an_old_sandbox_may_come_after_the_new_one_is_gone(node, pod):
    new = node.pod()
    node.added(pod, environment=K8S)
    node.added(new, environment=K8S)

    assert node.call("DEL", new, environment=K8S).is_silent_success
    assert node.call("DEL", pod, environment=K8S).is_silent_success

    node.tidy()
    node.assert_as_before()


# ---- recycled namespaces ---------------------------------------------------------------------


@rule("S2")
def test_a_namespace_that_is_another_containers_is_not_touched(node, pod):
    other = node.pod()
    node.added(pod)
    result = node.added(other)
    before = node.snapshot()

    recycled = node.call("DEL", pod.but(netns=other.netns))

    assert recycled.is_silent_success
    assert [c for c in node.snapshot() - before if c[2:].startswith("pod-2")] == []
    assert node.checked(other, result).is_silent_success


@rule("S3")
def test_the_nodes_namespace_is_not_touched(node, pod, before):
    node.added(pod.but(ifname="eth0"))

    recycled = node.call("DEL", pod.but(ifname="eth0", netns=str(node.plugin.namespace)))

    assert recycled.is_silent_success, recycled
    assert node.snapshot() == before


# ---- killed ----------------------------------------------------------------------------------


@rule("S4")
@pytest.mark.parametrize("after_ms", [0, 3, 6, 10, 20, 40])
def test_a_killed_add_and_a_del_leave_nothing(node, pod, before, after_ms):
    adding = node.started("ADD", pod)
    time.sleep(after_ms / 1000)
    end(adding)

    assert node.call("DEL", pod).is_silent_success

    node.tidy()
    node.assert_as_before()


@rule("S4")
def test_a_killed_add_may_be_followed_by_another_one(node, pod):
    adding = node.started("ADD", pod)
    time.sleep(0.01)
    end(adding)
    assert node.call("DEL", pod).is_silent_success

    result = node.added(pod)

    assert node.checked(pod, result).is_silent_success


@rule("S4")
def test_a_del_that_overtakes_its_add_wins(node, pod):
    adding = node.started("ADD", pod)
    deleted = node.call("DEL", pod)
    adding.wait(timeout=30)
    again = node.call("DEL", pod)

    assert deleted.is_silent_success
    assert again.is_silent_success
    node.tidy()
    node.assert_as_before()


@rule("S5", "A4")
def test_an_add_whose_result_nobody_receives_is_taken_back(node, pod):
    adding = node.started("ADD", pod, feed=False)
    adding.stdout.close()
    adding.stdin.write(json.dumps(node.plugin.conf_with({})).encode())
    adding.stdin.close()

    assert adding.wait(timeout=30) != 0
    node.assert_as_before()


@rule("S5")
def test_an_add_that_is_killed_is_taken_back_without_a_del(node, pod, spec):
    daemons.kill(spec, "ipamd", signal.SIGSTOP)
    try:
        adding = node.started("ADD", pod)
        system.wait_until(lambda: len(node.links(pod)) > 1, "the link", 10)
        end(adding)
    finally:
        daemons.kill(spec, "ipamd", signal.SIGCONT)

    node.assert_as_before()


# ---- never deleted ---------------------------------------------------------------------------


@rule("S6")
def test_what_is_never_deleted_is_cleaned_up_when_its_namespace_is_gone(node, pod):
    node.added(node.pod())  # a node that suddenly has no link at all is not believed
    before = node.snapshot().without("pod:")
    node.added(pod)
    node.forget(pod)
    node.remove_namespace(pod)

    system.wait_until(lambda: node.snapshot().without("pod:") == before, "the reaper", 30)


# ---- reboot ----------------------------------------------------------------------------------


@rule("S7")
def test_dels_of_old_sandboxes_come_between_new_adds_after_a_reboot(node):
    old = [node.pod() for _ in range(4)]
    results = [node.added(pod) for pod in old]
    for pod in old:
        node.remove_namespace(pod)
    new = [node.pod() for _ in range(4)]

    def replay(pod: Pod, result: dict) -> list[bool]:
        gone = pod.but(netns="")
        calls = (node.call("DEL", gone, conf={"prevResult": result}), node.call("DEL", gone))
        return [outcome.is_silent_success for outcome in calls]

    with ThreadPoolExecutor(8) as pool:
        deleting = [pool.submit(replay, *pair) for pair in zip(old, results, strict=True)]
        adding = [pool.submit(node.added, pod) for pod in new]
        added = [future.result() for future in adding]
        assert [future.result() for future in deleting] == [[True, True]] * 4

    for pod, result in zip(new, added, strict=True):
        assert node.checked(pod, result).is_silent_success


# ---- daemons down ----------------------------------------------------------------------------


@rule("S8")
@pytest.mark.parametrize("daemon", ["ipamd", "etcd", "cni-server", "all"])
def test_del_succeeds_while_a_daemon_is_down_and_is_made_good_later(node, pod, spec, daemon):
    node.added(pod)
    names = ["ipamd", "cni-server"] if daemon == "all" else [daemon]
    with node.without(*names):
        begun = time.monotonic()
        outcome = node.call("DEL", pod)
        took_s = time.monotonic() - begun
        assert pod.ifname not in node.links(pod)

    assert outcome.is_silent_success, outcome
    assert took_s < 20
    node.tidy()
    node.assert_as_before(within_s=30)


@rule("S8")
def test_many_dels_before_ipamd_is_up_are_fast(node, spec):
    pods = [node.pod() for _ in range(10)]
    with node.without("ipamd"):
        begun = time.monotonic()
        outcomes = [node.call("DEL", pod.but(netns="")) for pod in pods]
        took_s = time.monotonic() - begun

    assert [outcome.is_silent_success for outcome in outcomes] == [True] * 10
    assert took_s < 20
    node.assert_as_before(within_s=30)


@rule("S8", "A4")
def test_add_says_try_again_while_ipamd_is_down_and_leaves_nothing(node, pod):
    with node.without("ipamd"):
        outcome = node.call("ADD", pod)
        assert len(node.links(pod)) == 1

    outcome.assert_refused(11, "ipamd")
    node.tidy()
    node.assert_as_before(within_s=30)


@rule("S8")
def test_check_says_try_again_while_ipamd_is_down_and_works_at_once_when_it_is_back(node, pod):
    result = node.added(pod)
    with node.without("ipamd"):
        node.checked(pod, result).assert_refused(11, "ipamd")

    assert node.checked(pod, result).is_silent_success


# ---- storms ----------------------------------------------------------------------------------


@rule("S9")
def test_a_storm_of_adds_and_a_storm_of_dels(node):
    pods = [node.pod() for _ in range(24)]

    with ThreadPoolExecutor(len(pods)) as pool:
        results = list(pool.map(node.added, pods))
        addresses = {ip["address"] for result in results for ip in result["ips"]}
        outcomes = list(pool.map(lambda pod: node.call("DEL", pod), pods))

    assert len(addresses) == len(pods)
    assert [outcome.is_silent_success for outcome in outcomes] == [True] * len(pods)
    node.tidy()
    node.assert_as_before()


# ---- namespaces ------------------------------------------------------------------------------


@rule("S10")
def test_no_namespace_is_kept_open(node, pod):
    node.added(pod)

    node.remove_namespace(pod)  # waits until the kernel has taken the pair away

    assert node.call("DEL", pod).is_silent_success


@rule("S10")
def test_no_mount_of_a_namespace_is_kept(node, pod, spec):
    inode = os.stat(pod.netns).st_ino
    node.added(pod)

    held = []
    for daemon in ("cni-server", "ipamd"):
        pid = int((spec.directory / f"{daemon}.pid").read_text())
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            held += [daemon] if f"net:[{inode}]" in os.readlink(fd) else []

    assert held == []


@rule("S11")
def test_the_loopback_may_be_down(node, pod):
    node.ip("link", "set", "lo", "down", pod=pod)

    result = node.added(pod)

    assert node.checked(pod, result).is_silent_success
    assert node.ping(node.addresses_in(pod)[0])


@rule("S11")
@pytest.mark.parametrize("families", ["IPv4", "dual stack"])
def test_ipv6_may_be_switched_off_in_the_container(node, pod, families):
    for name in ("all", "default"):
        node.set_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1", pod=pod)
    conf = node.dual_stack if families == "dual stack" else {}

    result = node.added(pod, conf=conf)

    assert node.checked(pod, result, **conf).is_silent_success
    assert [node.ping(address) for address in node.addresses_in(pod)] == [True] * len(result["ips"])


@rule("S12")
def test_a_namespace_of_another_user_namespace_is_served(node, pod):
    line = ["unshare", "--user", "--map-root-user", "--net", "sleep", "infinity"]
    with subprocess.Popen(line) as process:
        own = os.stat("/proc/self/ns/net").st_ino
        path = Path(f"/proc/{process.pid}/ns/net")
        system.wait_until(lambda: path.stat().st_ino != own, "unshare", 5)
        called = pod.but(netns=str(path))
        try:
            result = node.added(called)
            checked = node.checked(called, result)
            address = result["ips"][0]["address"].split("/")[0]
            system.run("nsenter", f"--net={path}", "ip", "link", "set", "lo", "up")
            answered = node.ping(address)
            deleted = node.call("DEL", called)
        finally:
            process.kill()

    assert checked.is_silent_success, checked
    assert answered
    assert deleted.is_silent_success


# ---- several runtimes, upgrades, edits -------------------------------------------------------


@rule("S13")
def test_two_runtimes_may_share_a_network(node, pod):
    other = node.pod()
    result = node.added(pod)
    theirs = other.but(id=f"default-{other.id[:20]}")
    node.added(theirs)

    assert node.call("DEL", theirs.but(netns="")).is_silent_success

    assert node.checked(pod, result).is_silent_success


@rule("S14")
def test_the_executable_may_be_replaced_under_calls(node, spec):
    pods = [node.pod() for _ in range(12)]
    config = read_config(spec.environment)
    with ThreadPoolExecutor(6) as pool:
        adding = [pool.submit(node.added, pod) for pod in pods]
        for _ in range(5):
            install.install(spec.bin / "ocicat", config)
        results = [future.result() for future in adding]

    assert len({result["ips"][0]["address"] for result in results}) == len(pods)
    assert not list(spec.bin.glob(".*"))


@rule("S14")
def test_the_server_may_be_restarted_between_calls(node, pod, spec):
    result = node.added(pod)
    daemons.kill(spec, "cni-server", signal.SIGTERM)
    served_without = node.checked(pod, result)
    daemons.start(spec, "cni-server")

    assert served_without.is_silent_success, served_without
    assert node.checked(pod, result).is_silent_success


@rule("S15")
def test_a_plugin_that_was_added_to_the_list_later_gets_a_del(node, pod, before):
    """containerd uses the new list for DEL: with another name of the network, and of the plugin."""
    node.added(pod)

    assert node.call("DEL", pod, conf={"name": "renamed", "type": "renamed"}).is_silent_success
    assert node.call("DEL", pod).is_silent_success

    assert node.snapshot() == before


@rule("S15")
def test_the_mtu_may_be_edited_while_containers_run(node, pod):
    result = node.added(pod, conf={"mtu": 1400})

    assert node.call("DEL", pod, conf={"mtu": 1300, "prevResult": result}).is_silent_success


@rule("S8")
def test_etcd_may_restart_between_calls(node, pod):
    with node.without("etcd"):
        pass

    result = node.added(pod)
    assert node.checked(pod, result).is_silent_success
