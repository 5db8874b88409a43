"""Pods with addresses of both families, or of IPv6 alone."""

import json
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from cni_plugin import versions
from ocicatctl.lab import etcd, show, system
from ocicatctl.lab.runtime import PluginError, Runtime
from tests.lab.call import CONF

POOL_KEY = "/calico/resources/v3/projectcalico.org/ippools/six"
POOL = {
    "kind": "IPPool",
    "apiVersion": "projectcalico.org/v3",
    "metadata": {"name": "six"},
    "spec": {"cidr": "fd00:10:233::/64", "blockSize": 122, "nodeSelector": "all()"},
}


@pytest.fixture
def pool(lab):
    """An IPv6 pool; it and its blocks are gone after the test."""
    etcd.etcdctl(lab.spec, "put", POOL_KEY, json.dumps(POOL))
    yield
    etcd.etcdctl(lab.spec, "del", POOL_KEY)
    for node in lab.nodes:
        etcd.etcdctl(lab.spec, "del", "--prefix", f"/calico/ipam/v2/host/{node.name}/ipv6/")
    etcd.etcdctl(lab.spec, "del", "--prefix", "/calico/ipam/v2/assignment/ipv6/block/")


@pytest.fixture
def attached(lab, node, pool):
    """Attaches containers with a version and an ipam section; they are deleted after the test."""
    done = []

    def attach(name, version="1.0.0", **ipam):
        conf = {**CONF, "ipam": {"type": "ocicat-ipam", **ipam}}
        conflist = {"cniVersion": version, "name": "k8s-pod-network", "plugins": [conf]}
        runtime = Runtime(node.namespace, conflist, node.bin)
        pod = lab.container(node, name)
        result = runtime.add(pod.container)
        done.append((runtime, pod, result))
        return runtime, pod, result

    yield attach
    for runtime, pod, result in done:
        runtime.delete(pod.container, result)
    assert show.leftovers(lab).found == ()


@pytest.mark.parametrize("version", versions.SUPPORTED)
def test_both_families_are_told_in_every_version(attached, version):
    runtime, pod, result = attached("both", version, assign_ipv6="true")

    if version in versions.LEGACY:
        addresses = [result["ip4"]["ip"], result["ip6"]["ip"]]
        gateways = [result["ip4"]["gateway"], result["ip6"]["gateway"]]
    else:
        addresses = [ip["address"] for ip in result["ips"]]
        gateways = [ip["gateway"] for ip in result["ips"]]
        assert [ip["interface"] for ip in result["ips"]] == [1, 1]
        assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]
    assert [ip_interface(a).network.prefixlen for a in addresses] == [32, 128]
    assert gateways == ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"]
    if version >= "0.4.0":
        runtime.check(pod.container, result)


def test_the_first_packet_of_either_family_passes(attached):
    _, first, _ = attached("one", assign_ipv6="true")
    _, _, second = attached("two", assign_ipv6="true")

    for ip in second["ips"]:
        target = str(ip_interface(ip["address"]).ip)
        system.run("ping", "-n", "-c1", "-W2", target, namespace=first.namespace)


def test_a_pod_may_have_ipv6_alone(attached):
    runtime, pod, result = attached("six", assign_ipv4="false", assign_ipv6="true")

    [ip] = result["ips"]
    assert ip_interface(ip["address"]).version == 6
    assert "169.254.1.1" not in system.run("ip", "route", namespace=pod.namespace).stdout
    runtime.check(pod.container, result)


def test_check_names_what_is_missing_of_ipv6(attached):
    runtime, pod, result = attached("six", assign_ipv6="true")
    address = result["ips"][1]["address"]
    system.run("ip", "-6", "addr", "del", address, "dev", "eth0", namespace=pod.namespace)
    system.run("ip", "-6", "route", "del", "default", namespace=pod.namespace)

    with pytest.raises(PluginError) as caught:
        runtime.check(pod.container, result)

    assert f"address {address} of link eth0" in str(caught.value)
    assert "route ::/0 via fe80::ecee:eeff:feee:eeee" in str(caught.value)


def test_without_a_pool_of_the_other_family_nothing_is_left(lab, node):
    conf = {**CONF, "ipam": {"type": "ocicat-ipam", "assign_ipv6": "true"}}
    conflist = {"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [conf]}
    pod = lab.container(node, "half")

    with pytest.raises(PluginError, match="IPv6") as caught:
        Runtime(node.namespace, conflist, node.bin).add(pod.container)

    assert caught.value.document["code"] == 101
    assert show.leftovers(lab).found == ()


def test_each_interface_of_a_container_is_an_attachment_of_its_own(lab, attached):
    runtime, pod, first = attached("many", assign_ipv6="true")
    others = [replace(pod.container, ifname=name) for name in ("net1", "net2.100", "a.b")]
    results = [runtime.add(container) for container in others]

    addresses = [ip["address"] for r in (first, *results) for ip in r["ips"]]
    assert len(set(addresses)) == 8
    for container, result in zip((pod.container, *others), (first, *results), strict=True):
        runtime.check(container, result)
    runtime.delete(others[0], results[0])
    for container, result in zip((pod.container, *others[1:]), (first, *results[1:]), strict=True):
        runtime.check(container, result)
    for container, result in zip(others[1:], results[1:], strict=True):
        runtime.delete(container, result)
    runtime.check(pod.container, first)
