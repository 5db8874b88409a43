"""Addresses for interfaces that other plugins make: Debian's ptp, bridge and macvlan."""

import json
import signal
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from cni_plugin import versions
from ocicatctl.lab import daemons, etcd, show, system
from ocicatctl.lab.runtime import DEBIAN_PLUGINS, PluginError, Runtime
from tests.lab.call import CONF, Call, held

DEFAULT_ROUTE = [{"dst": "0.0.0.0/0"}]


@pytest.fixture
def call(lab, node):
    """The IPAM role called by hand, as a plugin does."""
    conf = {**CONF, "type": "ptp", "ipam": {"type": "ocicat-ipam"}}
    call = Call(node, netns="/proc/1/ns/net", conf=conf, executable=node.bin / "ocicat-ipam")
    yield call
    call.command = "DEL"
    assert call.run().status == 0


def handles(lab):
    return {key.rpartition("/")[2] for key in etcd.keys(lab.spec, "/calico/ipam/v2/handle/")}


@pytest.mark.parametrize("version", versions.SUPPORTED)
def test_the_result_has_addresses_alone_in_every_version(lab, call, version):
    call.conf = {**call.conf, "cniVersion": version, "prevResult": "of no interest"}

    document = call.run().document

    assert document["cniVersion"] == version
    assert "interfaces" not in document
    if version in versions.LEGACY:
        ip = document["ip4"]
        address, gateway = ip_interface(ip["ip"]), ip_address(ip["gateway"])
    else:
        [ip] = document["ips"]
        assert "interface" not in ip
        assert ("version" in ip) == (version in versions.ZERO)
        address, gateway = ip_interface(ip["address"]), ip_address(ip["gateway"])
    assert address.network.prefixlen == 24
    assert gateway in address.network
    assert gateway != address.ip
    store = held(lab)
    assert not [key for key in store if "workloadendpoints" in key]


def test_only_del_frees_the_address(lab, node, call):
    assert call.run().status == 0
    show.ctl(node, "ipam", "check")  # asks for a report of the kernel's links
    assert "k8s-pod-network.c0ffee" in handles(lab)

    call.command = "DEL"
    assert [call.run().status for _ in range(2)] == [0, 0]

    assert handles(lab) == set()
    assert show.leftovers(lab).found == ()


def test_it_is_no_problem_to_ipam_check(lab, node, call):
    assert call.run().status == 0

    assert "0 problems" in show.ctl(node, "ipam", "check")


def test_gc_frees_the_address(lab, node, call):
    assert call.run().status == 0
    call.command = "GC"
    call.conf = {**call.conf, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}

    assert call.run().status == 0

    assert handles(lab) == set()


def test_a_second_add_is_an_error_and_the_address_stays(lab, call):
    assert call.run().status == 0
    before = held(lab)

    second = call.run()

    assert second.document["code"] == 7
    assert "attached already" in second.document["msg"]
    assert held(lab) == before


def test_several_interfaces_of_a_container_have_an_address_each(lab, node, call):
    second = replace(call, ifname="net1")
    first, other = call.run().document, second.run().document
    second.command = "DEL"

    assert first["ips"][0]["address"] != other["ips"][0]["address"]
    assert second.run().status == 0
    assert "k8s-pod-network.c0ffee" in handles(lab)


def test_check_says_what_is_not_held_any_more(lab, call):
    call.command = "CHECK"
    assert "holds no IPv4" in call.run().document["msg"]

    call.command = "ADD"
    assert call.run().status == 0
    call.command = "CHECK"
    assert call.run().status == 0


def test_a_release_that_waits_does_not_hurt_the_next_add(lab, node, call):
    first = call.run().document
    daemons.kill(node, "ipamd")
    call.command = "DEL"
    assert call.run().status == 0
    daemons.start(node, "ipamd")
    call.command = "ADD"

    again = call.run()

    assert again.status == 0, again
    call.command = "CHECK"
    assert call.run().status == 0
    assert first


def test_without_ipamd_an_add_says_try_again(lab, node, call):
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    try:
        answer = call.run()
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)

    assert answer.document["code"] == 11
    system.wait_until(lambda: not show.leftovers(lab).found, "late answer taken back", 20)


# ---- under Debian's plugins --------------------------------------------------------------------


def runtime(node, plugin, **more):
    ipam = {"type": "ocicat-ipam", "routes": DEFAULT_ROUTE}
    conf = {"type": plugin, "ipam": ipam, **more}
    conflist = {"cniVersion": "1.0.0", "name": f"by-{plugin}", "plugins": [conf]}
    return Runtime(node.namespace, conflist, node.bin)


@pytest.fixture
def attached(lab, node):
    """Attaches containers by a runtime; they are deleted after the test."""
    done = []

    def attach(runtime, name):
        pod = lab.container(node, name)
        result = runtime.add(pod.container)
        done.append((runtime, pod, result))
        return pod, result

    yield attach
    for by, pod, result in done:
        by.delete(pod.container, result)
    assert not [handle for handle in handles(lab) if not handle.startswith("k8s-pod-network.")]
    system.run("ip", "link", "del", "cni0", namespace=node.namespace, check=False)


def address_of(result):
    return ip_interface(result["ips"][0]["address"]).ip


def test_ptp_reaches_host_neighbour_and_other_nodes(lab, node, attached):
    assert (DEBIAN_PLUGINS / "ptp").exists()
    by = runtime(node, "ptp")
    (first, one), (_, two) = attached(by, "ptp-1"), attached(by, "ptp-2")
    system.run("sysctl", "-qw", "net.ipv4.ip_forward=1", namespace=node.namespace)
    far = lab.add_pod(lab.nodes[1], "far")

    for target in (two and address_of(two), node.address.ip, far.address):
        system.run("ping", "-n", "-c1", "-W2", str(target), namespace=first.namespace)
    system.run("ping", "-n", "-c1", "-W2", str(address_of(one)), namespace=far.namespace)
    by.check(first.container, one)


def test_bridge_connects_its_containers(lab, node, attached):
    by = runtime(node, "bridge", bridge="cni0", ipMasq=False)
    by.conflist["plugins"][0]["ipam"] = {"type": "calico-ipam"}
    (first, _), (_, two) = attached(by, "bridge-1"), attached(by, "bridge-2")

    system.run("ping", "-n", "-c1", "-W2", str(address_of(two)), namespace=first.namespace)


@pytest.fixture
def segment(node):
    """A link of the node from which macvlan can make others."""
    kind = ("type", "veth", "peer", "name", "segment-end")
    system.run("ip", "link", "add", "segment", *kind, namespace=node.namespace)
    for name in ("segment", "segment-end"):
        system.run("ip", "link", "set", name, "up", namespace=node.namespace)
    probe = ("link", "segment", "name", "probe", "type", "macvlan")
    made = system.run("ip", "link", "add", *probe, namespace=node.namespace, check=False)
    if made.returncode == 0:
        system.run("ip", "link", "del", "probe", namespace=node.namespace)
        yield "segment"
    system.run("ip", "link", "del", "segment", namespace=node.namespace)
    if made.returncode:
        pytest.skip(f"this kernel has no macvlan: {made.stderr}")


def test_macvlan_connects_its_containers(segment, node, attached):
    by = runtime(node, "macvlan", master=segment)
    (first, one), (_, two) = attached(by, "macvlan-1"), attached(by, "macvlan-2")

    system.run("ping", "-n", "-c1", "-W2", str(address_of(two)), namespace=first.namespace)
    by.check(first.container, one)


def test_a_ptp_that_fails_gives_the_address_back(lab, node):
    pod = lab.container(node, "broken")
    kind = ("type", "veth", "peer", "name", "other")
    system.run("ip", "link", "add", "eth0", *kind, namespace=pod.namespace)

    with pytest.raises(PluginError):
        runtime(node, "ptp").add(pod.container)

    assert handles(lab) == set()
    assert "by-ptp" not in json.dumps(held(lab))
