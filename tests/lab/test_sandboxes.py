"""Sandboxes of one pod that follow each other, and containers whose names collide."""

import hashlib
import json
import socket
import time
from dataclasses import replace

import pytest

from ocicatctl.lab import daemons, etcd, show, system
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.runtime import PluginError, Runtime
from tests.lab.call import CONF, Call, traces


def sandbox(lab, node, pod, number):
    """Another sandbox of *pod*: a new container id and namespace, the same pod name."""
    namespace = lab.spec.pod_namespace(f"again-{number}")
    system.add_namespace(namespace)
    identity = hashlib.sha256(f"{pod.name}{number}".encode()).hexdigest()
    return replace(pod.container, id=identity, netns=str(system.NETNS / namespace)), namespace


def test_a_new_sandbox_takes_over_and_the_old_del_does_not_hurt_it(lab, node):
    pod = lab.add_pod(node, "web")
    runtime = lab.runtime(node)
    container, namespace = sandbox(lab, node, pod, 1)
    try:
        result = runtime.add(container)
        held = etcd.keys(lab.spec, "/calico/ipam/v2/handle/")
        runtime.delete(pod.container, pod.result)  # the late DEL of the old sandbox
        runtime.check(container, result)
        runtime.delete(container, result)
    finally:
        system.remove_namespaces([namespace])

    assert held == [f"/calico/ipam/v2/handle/k8s-pod-network.{container.id}"]
    assert show.leftovers(lab).found == ()


def test_a_sandbox_whose_namespace_vanished_is_followed_by_a_new_one(lab, node):
    pod = lab.add_pod(node, "web")
    system.run("ip", "netns", "del", pod.namespace)
    link = pod.result["interfaces"][0]["name"]

    def is_link_gone():
        return link not in system.run("ip", "-o", "link", namespace=node.namespace).stdout

    system.wait_until(is_link_gone, "the kernel's removal of the link", 10)
    container, namespace = sandbox(lab, node, pod, 2)
    try:
        lab.runtime(node).add(container)
        held = etcd.keys(lab.spec, "/calico/ipam/v2/handle/")
        lab.runtime(node).delete(container, None)
    finally:
        system.remove_namespaces([namespace])

    assert held == [f"/calico/ipam/v2/handle/k8s-pod-network.{container.id}"]
    assert show.leftovers(lab).found == ()


def test_containers_that_begin_alike_get_links_of_their_own(lab, node):
    spaces = [lab.spec.pod_namespace(f"alike-{i}") for i in (1, 2)]
    calls = []
    for i, namespace in enumerate(spaces):
        system.add_namespace(namespace)
        identity = f"default-abc-container-{i}"
        calls.append(Call(node, netns=str(system.NETNS / namespace), container_id=identity))
    try:
        answers = [call.run() for call in calls]
        assert [answer.status for answer in answers] == [0, 0], answers
        names = [answer.document["interfaces"][0]["name"] for answer in answers]
        assert names[0] == "calidefault-abc"
        assert names[1] != names[0]
        for call, answer in zip(calls, answers, strict=True):
            call.command, call.conf = "CHECK", {**CONF, "prevResult": answer.document}
            checked = call.run()
            assert checked.status == 0, checked
    finally:
        for call in calls:
            call.command = "DEL"
            assert call.run().status == 0
        system.remove_namespaces(spaces)
    assert show.leftovers(lab).found == ()


def test_a_further_interface_of_a_pod_comes_and_goes_beside_the_first(lab, node):
    pod = lab.add_pod(node, "web")
    second = replace(pod.container, ifname="net1")
    runtime = lab.runtime(node)

    result = runtime.add(second)
    runtime.check(second, result)
    runtime.check(pod.container, pod.result)
    shown = system.run("ip", "route", "show", "default", namespace=pod.namespace).stdout
    runtime.delete(second, result)
    runtime.check(pod.container, pod.result)

    assert [line.split()[4] for line in shown.splitlines()] == ["eth0", "net1"]
    assert len(etcd.keys(lab.spec, "/calico/ipam/v2/handle/")) == 1


def state(lab, node, namespace):
    """What must not change when a call for something else is refused."""
    found = traces(lab, node, namespace)
    return {what: found[what] for what in found if what != "files"}


def test_an_add_on_another_network_does_not_touch_the_interface_that_is_there(lab, node):
    pod = lab.add_pod(node, "web")
    container = pod.container
    other = Runtime(node.namespace, {**lab.runtime(node).conflist, "name": "other"}, node.bin)
    before = state(lab, node, pod.namespace)

    with pytest.raises(PluginError, match="exists and is ocicat:k8s-pod-network"):
        other.add(container)
    refused = state(lab, node, pod.namespace)
    other.delete(container, None)  # as the runtime does after a failed ADD

    assert refused == before
    assert state(lab, node, pod.namespace) == before


def test_a_second_add_under_another_pod_name_does_not_touch_the_first(lab, node):
    pod = lab.add_pod(node, "web")
    args = pod.container.args.replace("K8S_POD_NAME=web", "K8S_POD_NAME=other")
    before = state(lab, node, pod.namespace)

    with pytest.raises(PluginError, match="interface of that name already"):
        lab.runtime(node).add(replace(pod.container, args=args))

    assert state(lab, node, pod.namespace) == before


def test_a_second_add_of_a_container_that_begins_like_another_touches_neither(lab, node):
    spaces = [lab.spec.pod_namespace(f"alike-{i}") for i in (1, 2)]
    calls = []
    for i, namespace in enumerate(spaces):
        system.add_namespace(namespace)
        calls.append(
            Call(node, netns=str(system.NETNS / namespace), container_id=f"abcdefghijk{i}")
        )
    try:
        assert [call.run().status for call in calls] == [0, 0]
        before = [state(lab, node, namespace) for namespace in spaces]
        assert calls[1].run().document["code"] == 7
        with_both = [state(lab, node, namespace) for namespace in spaces]
        calls[0].command = "DEL"
        assert calls[0].run().status == 0
        alone = state(lab, node, spaces[1])
        assert calls[1].run().document["code"] == 7
        assert state(lab, node, spaces[1]) == alone
        assert with_both == before
    finally:
        for call in calls:
            call.command = "DEL"
            call.run()
        system.remove_namespaces(spaces)
    assert show.leftovers(lab).found == ()


def test_a_failed_add_does_not_forget_a_release_that_waits(lab, node):
    pod = lab.add_pod(node, "web")
    daemons.kill(node, "ipamd")
    lab.runtime(node).delete(pod.container, pod.result)

    with pytest.raises(PluginError, match="ipamd"):
        lab.runtime(node).add(pod.container)
    daemons.start(node, "ipamd")

    system.wait_until(lambda: not show.leftovers(lab).found, "delivery of the release", 20)


def test_a_late_take_back_does_not_touch_a_newer_add(lab, node, call_by_hand):
    """The launcher of an ADD is slow to confirm; meanwhile the container is deleted and added."""
    pod = lab.container(node, "web")
    first = call_by_hand(pod.container)
    lab.runtime(node).delete(pod.container, None)
    result = lab.runtime(node).add(pod.container)

    first.close()  # never confirmed: the server takes the first ADD back
    time.sleep(0.5)

    lab.runtime(node).check(pod.container, result)
    lab.runtime(node).delete(pod.container, result)


def test_a_late_take_back_does_not_touch_a_newer_add_under_another_name(lab, node, call_by_hand):
    pod = lab.container(node, "web")
    first = call_by_hand(pod.container)
    lab.runtime(node).delete(pod.container, None)
    args = pod.container.args.replace("K8S_POD_NAME=web", "K8S_POD_NAME=other")
    renamed = replace(pod.container, args=args)
    result = lab.runtime(node).add(renamed)

    first.close()
    time.sleep(0.5)

    lab.runtime(node).check(renamed, result)
    lab.runtime(node).delete(renamed, result)


@pytest.fixture
def call_by_hand(node):
    """Speaks to the server as the launcher does, up to the answer; the receipt is not sent."""

    def call(container):
        conf = json.dumps(CONF).encode()
        lines = {
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": container.id,
            "CNI_NETNS": container.netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": container.args,
        }
        environment = b"\0".join(f"{k}={v}".encode() for k, v in lines.items())
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(node.environment["OCICAT_CNI_SOCKET"])
        lengths = len(environment).to_bytes(4, "big") + len(conf).to_bytes(4, "big")
        with open(container.netns) as netns:
            socket.send_fds(connection, [lengths + environment + conf], [netns.fileno()])
        assert connection.recv(65536)[0] == 0
        return connection

    return call


@pytest.mark.parametrize("daemon", ["ipamd", "cni-server"])
def test_a_successor_keeps_its_socket_when_the_old_daemon_ends(lab, node, daemon):
    pid_file = PidFile(node.directory, daemon)
    old = pid_file.read()
    (node.directory / f"{daemon}.pid").unlink()
    daemons.start(node, daemon)
    time.sleep(1.5)  # the new one has taken the name by then

    system.end([old])
    pod = lab.add_pod(node, "web")

    lab.runtime(node).check(pod.container, pod.result)
    assert daemons._serves(node, daemon)
