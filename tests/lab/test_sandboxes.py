"""Sandboxes of one pod that follow each other, and containers whose names collide."""

import hashlib
from dataclasses import replace

import pytest

from ocicatctl.lab import etcd, show, system
from ocicatctl.lab.runtime import PluginError
from tests.lab.call import CONF, Call


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


def test_a_further_interface_of_a_pod_is_refused_whole(lab, node):
    pod = lab.add_pod(node, "web")
    second = replace(pod.container, ifname="net1")

    with pytest.raises(PluginError) as caught:
        lab.runtime(node).add(second)

    # One interface per pod for now: refused whole, and the first interface stays as it is.
    assert "route 169.254.1.1/32: exists already" in str(caught.value)
    lab.runtime(node).check(pod.container, pod.result)
    assert len(etcd.keys(lab.spec, "/calico/ipam/v2/handle/")) == 1
