"""CHECK names what somebody changed behind our back, on either side."""

import pytest

from ocicatctl.lab import etcd, system
from ocicatctl.lab.runtime import PluginError, Runtime
from tests.lab.call import CONF


@pytest.fixture
def pod(lab, node):
    return lab.add_pod(node, "web")


@pytest.fixture
def checked(lab, node, pod):
    def check():
        with pytest.raises(PluginError) as caught:
            lab.runtime(node).check(pod.container, pod.result)
        return caught.value.document["msg"]

    return check


def test_check_is_content_with_what_add_made(lab, node, pod):
    lab.runtime(node).check(pod.container, pod.result)


DAMAGE = {
    "address": ("pod", "addr flush dev eth0", "address {ip}/32 of link eth0"),
    "default route": ("pod", "route del default", "route 0.0.0.0/0 via 169.254.1.1"),
    "next hop's route": ("pod", "route flush 169.254.1.1", "route 169.254.1.1/32"),
    "next hop's neighbour": ("pod", "neigh flush all", "neighbour 169.254.1.1"),
    "pod's link down": ("pod", "link set eth0 down", "link eth0 in the container is down"),
    "host route": ("node", "route del {ip}", "route {ip}/32"),
    "host neighbour": ("node", "neigh del {ip} dev {link}", "neighbour {ip}"),
    "host link down": ("node", "link set {link} down", "link {link} on the host is down"),
    "host MAC": ("node", "link set {link} address 02:00:00:00:00:01", "02:00:00:00:00:01"),
    "host link": ("node", "link del {link}", "link {link} is missing on the host"),
    "alias": ("node", "link set {link} alias mine", "mine's"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_names_the_damage(node, pod, checked, damage):
    where, command, expected = DAMAGE[damage]
    names = {"ip": pod.address, "link": pod.result["interfaces"][0]["name"]}
    namespace = pod.namespace if where == "pod" else node.namespace
    if damage == "next hop's neighbour":
        command = "neigh del 169.254.1.1 dev eth0"

    system.run("ip", *command.format(**names).split(), namespace=namespace)
    message = checked()

    assert expected.format(**names) in message
    if damage == "alias":
        _restore_alias(node, pod, names["link"])


def _restore_alias(node, pod, link):
    """Else the DEL after the test would, rightly, not touch the link."""
    system.run("ip", "link", "del", link, namespace=node.namespace)


def test_check_names_a_sysctl(node, pod, checked):
    link = pod.result["interfaces"][0]["name"]

    write = f"echo 0 > /proc/sys/net/ipv4/conf/{link}/proxy_arp"
    system.run("sh", "-c", write, namespace=node.namespace)

    assert f"sysctl net/ipv4/conf/{link}/proxy_arp is 0 instead of 1" in checked()


def test_check_names_an_address_that_is_not_held_any_more(lab, pod, checked):
    key = "/calico/ipam/v2/handle/k8s-pod-network." + pod.container.id
    value = etcd.etcdctl(lab.spec, "get", "--print-value-only", key).stdout.strip()
    etcd.etcdctl(lab.spec, "del", key)

    message = checked()

    etcd.etcdctl(lab.spec, "put", key, value)
    assert "ipamd holds no address" in message


def test_check_leaves_additions_of_others_alone(lab, node, pod):
    system.run("ip", "addr", "add", "10.9.9.9/32", "dev", "eth0", namespace=pod.namespace)
    system.run("ip", "route", "add", "10.8.0.0/16", "dev", "eth0", namespace=pod.namespace)

    lab.runtime(node).check(pod.container, pod.result)


# ---- what plugins after us change on purpose ---------------------------------------------------


def chained(lab, node, *plugins, **conf):
    """A container that we and *plugins* attached; with the runtime and the result."""
    ours = {**CONF, **conf}
    conflist = {"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [ours, *plugins]}
    runtime = Runtime(node.namespace, conflist, node.bin)
    pod = lab.container(node, "chained")
    return runtime, pod, runtime.add(pod.container)


@pytest.mark.parametrize(
    "plugin",
    [
        {"type": "sbr"},
        {"type": "tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}},
        {"type": "tuning", "mtu": 1300},
        {"type": "tuning", "promisc": True},
        {"type": "bandwidth", "ingressRate": 1000000, "ingressBurst": 1000000},
        {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
        {"type": "firewall"},
    ],
    ids=lambda plugin: "-".join(map(str, [*plugin.values()][:1] + [*plugin][1:2])),
)
def test_check_is_content_after_another_plugin(lab, node, plugin):
    runtime, pod, result = chained(lab, node, plugin)
    try:
        runtime.check(pod.container, result)
        other = lab.add_pod(lab.nodes[1], "other")
        # With sbr only what is sent from the pod's address finds the default route.
        own = result["ips"][0]["address"].partition("/")[0]
        system.run("ping", "-n", "-c1", "-W2", "-I", own, other.address, namespace=pod.namespace)
    finally:
        runtime.delete(pod.container, result)


def test_check_is_content_after_multus_took_the_default_route(lab, node):
    runtime, pod, result = chained(lab, node)
    system.run("ip", "route", "del", "default", namespace=pod.namespace)
    edited = {**result, "routes": []}

    runtime.check(pod.container, edited)
    with pytest.raises(PluginError, match="0/0 via"):
        runtime.check(pod.container, result)
    runtime.delete(pod.container, result)


def test_check_goes_by_the_mtu_of_the_previous_result(lab, node):
    conf = {**CONF, "mtu": 1400}
    conflist = {"cniVersion": "1.1.0", "name": "k8s-pod-network", "plugins": [conf]}
    runtime = Runtime(node.namespace, conflist, node.bin)
    pod = lab.container(node, "tuned")
    result = runtime.add(pod.container)
    system.run("ip", "link", "set", "eth0", "mtu", "1300", namespace=pod.namespace)

    with pytest.raises(PluginError, match="MTU 1300 instead of 1400"):
        runtime.check(pod.container, result)
    result["interfaces"][1]["mtu"] = 1300
    runtime.check(pod.container, result)
    runtime.delete(pod.container, result)


def test_check_finds_our_interface_behind_those_of_others(lab, node):
    runtime, pod, result = chained(lab, node)
    more = [{"name": "ifb0"}, {"name": "eth0", "sandbox": "/somewhere/else"}]
    moved = {**result, "interfaces": [*more, *result["interfaces"]]}

    runtime.check(pod.container, moved)
    runtime.delete(pod.container, result)
