"""A conflist written for Calico, as Kubespray writes it, works as it is, with its whole chain."""

import copy
import json
import shutil
from dataclasses import replace

import pytest

from cni_plugin import versions
from ocicatctl.lab import system
from ocicatctl.lab.runtime import Runtime

KUBESPRAY = {
    "name": "cni0",
    "cniVersion": "0.3.1",
    "plugins": [
        {
            "datastore_type": "etcdv3",
            "nodename": "node-1",
            "type": "calico",
            "log_level": "info",
            "log_file_path": "/var/log/calico/cni/cni.log",
            "etcd_endpoints": "https://10.0.0.10:2379",
            "etcd_cert_file": "/etc/calico/certs/cert.crt",
            "etcd_key_file": "/etc/calico/certs/key.pem",
            "etcd_ca_cert_file": "/etc/calico/certs/ca_cert.crt",
            "ipam": {
                "type": "calico-ipam",
                "assign_ipv4": "true",
                "ipv4_pools": ["10.233.64.0/18"],
            },
            "policy": {"type": "k8s"},
            "mtu": 1400,
            "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ],
}


@pytest.fixture
def kubespray(node):
    """The conflist; only that its log file does not lie on this machine's /var."""
    plugins = copy.deepcopy(KUBESPRAY["plugins"])
    plugins[0]["log_file_path"] = str(node.directory / "calico/cni/cni.log")
    return {**KUBESPRAY, "plugins": plugins}


@pytest.fixture
def attached(lab, node, kubespray):
    """A container that the whole chain attached, with the chain's result."""
    runtime = Runtime(node.namespace, kubespray, node.bin)
    pod = lab.container(node, "kubespray")
    result = runtime.add(pod.container)
    yield runtime, pod, result
    runtime.delete(pod.container, result)


def test_a_kubespray_conflist_is_accepted_as_it_is(lab, attached):
    _, pod, result = attached

    assert shutil.which("portmap", path="/usr/lib/cni")
    assert result["cniVersion"] == "0.3.1"
    host, inside = result["interfaces"]
    assert host["name"].startswith("cali")
    assert "sandbox" not in host
    assert (inside["name"], inside["sandbox"]) == ("eth0", pod.container.netns)
    (ip,) = result["ips"]
    assert ip["version"] == "4"
    assert ip["interface"] == 1
    assert ip["address"].startswith("10.233.")
    assert ip["address"].endswith("/32")
    links = system.run("ip", "-j", "link", "show", "eth0", namespace=pod.namespace).stdout
    assert json.loads(links)[0]["mtu"] == 1400


def test_its_calls_are_logged_where_it_says(node, attached):
    _, pod, _ = attached

    (line,) = [
        line
        for line in (node.directory / "calico/cni/cni.log").read_text().splitlines()
        if pod.container.id in line
    ]
    assert f" INFO cni_plugin.skel ADD container={pod.container.id} ifname=eth0 " in line
    assert " ok trace=" in line


def test_its_pods_reach_those_of_our_own_conflist(lab, attached):
    _, pod, result = attached
    other = lab.add_pod(lab.nodes[1], "ours")
    address = result["ips"][0]["address"].partition("/")[0]

    system.run("ping", "-n", "-c1", "-W2", other.address, namespace=pod.namespace)
    system.run("ping", "-n", "-c1", "-W2", address, namespace=other.namespace)


@pytest.mark.parametrize("version", versions.SUPPORTED)
def test_every_version_gets_its_own_form_and_passes_check(lab, node, kubespray, version):
    conflist = {**kubespray, "cniVersion": version, "plugins": kubespray["plugins"][:1]}
    runtime = Runtime(node.namespace, conflist, node.bin)
    pod = lab.container(node, "versioned")

    result = runtime.add(pod.container)

    assert result["cniVersion"] == version
    if version in versions.LEGACY:
        assert result["ip4"]["ip"].endswith("/32")
        assert "interfaces" not in result
    else:
        [ip] = result["ips"]
        assert ("version" in ip) == (version in versions.ZERO)
        assert result["interfaces"][ip["interface"]]["sandbox"] == pod.container.netns
        assert ("mtu" in result["interfaces"][1]) == (version == "1.1.0")
    if version >= "0.4.0":
        runtime.check(pod.container, result)
    runtime.delete(pod.container, result)


@pytest.mark.parametrize("source", ["CNI_ARGS", "args", "runtimeConfig"])
def test_a_container_may_ask_for_its_mac_and_its_address(lab, node, kubespray, source):
    conf = dict(kubespray["plugins"][0])
    pod = lab.container(node, "asked")
    container = pod.container
    if source == "CNI_ARGS":
        args = f"{container.args};MAC=02:00:00:00:AB:CD;IP=10.233.70.9"
        container = replace(container, args=args)
    elif source == "args":
        conf["args"] = {"cni": {"mac": "02:00:00:00:ab:cd", "ips": ["10.233.70.9/24"]}}
    else:
        conf["runtimeConfig"] = {"mac": "02:00:00:00:ab:cd", "ips": ["10.233.70.9"]}
    runtime = Runtime(node.namespace, {**kubespray, "plugins": [conf]}, node.bin)

    result = runtime.add(container)
    link = system.run("ip", "-o", "link", "show", "eth0", namespace=pod.namespace).stdout
    address = system.run("ip", "-o", "addr", "show", "eth0", namespace=pod.namespace).stdout
    runtime.delete(container, result)

    assert result["interfaces"][1]["mac"] == "02:00:00:00:ab:cd"
    assert "02:00:00:00:ab:cd" in link
    assert result["ips"][0]["address"] == "10.233.70.9/32"
    assert "10.233.70.9/32" in address
