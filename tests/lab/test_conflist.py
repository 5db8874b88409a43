"""A conflist written for Calico, as Kubespray writes it, works as it is, with its whole chain."""

import json
import shutil

import pytest

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
def attached(lab, node):
    """A container that the whole chain attached, with the chain's result."""
    runtime = Runtime(node.namespace, KUBESPRAY, node.bin)
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


def test_its_pods_reach_those_of_our_own_conflist(lab, attached):
    _, pod, result = attached
    other = lab.add_pod(lab.nodes[1], "ours")
    address = result["ips"][0]["address"].partition("/")[0]

    system.run("ping", "-n", "-c1", "-W2", other.address, namespace=pod.namespace)
    system.run("ping", "-n", "-c1", "-W2", address, namespace=other.namespace)


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_every_version_gets_its_own_form_and_passes_check(lab, node, version):
    conflist = {**KUBESPRAY, "cniVersion": version, "plugins": KUBESPRAY["plugins"][:1]}
    runtime = Runtime(node.namespace, conflist, node.bin)
    pod = lab.container(node, "versioned")

    result = runtime.add(pod.container)

    assert result["cniVersion"] == version
    assert ("version" in result["ips"][0]) == (version != "1.0.0")
    if version != "0.3.1":
        runtime.check(pod.container, result)
    runtime.delete(pod.container, result)
