"""Chains: behind another plugin, before Debian's, and with results that several plugins wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocicatctl.lab import system
from ocicatctl.lab.runtime import Container, Runtime
from tests.conformance.node import Node
from tests.conformance.plugin import Pod
from tests.conformance.rules import rule
from tests.conformance.versions import VERSIONS, WITH_FAMILY

EARLIER = {
    "interfaces": [
        {"name": "other0", "mac": "02:00:00:00:00:01"},
        {"name": "net7", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
    ],
    "ips": [{"address": "192.0.2.77/24", "gateway": "192.0.2.1", "interface": 1}],
    "routes": [{"dst": "198.51.100.0/24", "gw": "192.0.2.1"}],
    "dns": {"nameservers": ["192.0.2.53"], "search": ["example.org"]},
}


def earlier(version: str) -> dict[str, Any]:
    """The result of a plugin before ours."""
    family = {"version": "4"} if version in WITH_FAMILY else {}
    return {**EARLIER, "cniVersion": version, "ips": [{**family, **EARLIER["ips"][0]}]}


@rule("N1")
@pytest.mark.parametrize("version", [v for v in VERSIONS if v >= "0.3.0"])
def test_what_came_before_is_passed_on_with_its_own_added(node, pod, version):
    conf = {"cniVersion": version, "prevResult": earlier(version)}

    result = node.added(pod, conf=conf)

    assert result["interfaces"][:2] == EARLIER["interfaces"]
    assert [i.get("sandbox", "") for i in result["interfaces"][2:]] == ["", pod.netns]
    assert result["ips"][:1] == conf["prevResult"]["ips"]
    (own,) = result["ips"][1:]
    assert result["interfaces"][own["interface"]]["name"] == pod.ifname
    assert own["address"].split("/")[0] in node.addresses_in(pod)
    assert result["routes"][:1] == EARLIER["routes"]
    assert result["dns"] == EARLIER["dns"]


@rule("N1", "N4")
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_and_del_find_their_own_behind_another_plugin(node, pod, version):
    before = node.snapshot()
    result = node.added(pod, conf={"cniVersion": version, "prevResult": earlier(version)})

    checked = node.checked(pod, result, cniVersion=version)
    deleted = node.call("DEL", pod, conf={"cniVersion": version, "prevResult": result})

    assert checked.is_silent_success, checked
    assert deleted.is_silent_success, deleted
    assert node.snapshot() == before


@rule("N1")
def test_an_earlier_result_without_anything_is_taken(node, pod):
    result = node.added(pod, conf={"prevResult": {"cniVersion": "1.0.0"}})

    assert [ip["interface"] for ip in result["ips"]] == [1]


@rule("V11", "A4")
def test_an_earlier_result_of_another_family_is_refused(node, pod, before):
    conf = {
        "cniVersion": "1.0.0",
        "prevResult": {"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.7/24"}},
    }

    node.call("ADD", pod, conf=conf).assert_refused(None, our_code=7)

    assert node.snapshot() == before


# ---- Debian's plugins ------------------------------------------------------------------------

MAC = "02:00:00:00:00:55"
PORTS = [{"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}]
RATE = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
FOLLOWERS = {
    "tuning": {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
    "tuning of the MAC": {"type": "tuning", "mac": MAC},
    "bandwidth": {"type": "bandwidth", **RATE},
    "portmap": {"type": "portmap", "runtimeConfig": {"portMappings": PORTS}},
    "sbr": {"type": "sbr"},
    "firewall": {"type": "firewall", "backend": "iptables"},
}
# Debian's portmap looks for rules of IPv4 in the table of IPv6 and fails on its own.
WITHOUT_CHECK = ("portmap",)


@pytest.fixture
def chain(node, pod) -> Callable[..., Runtime]:
    """Makes a runtime whose list is the plugin and some of Debian's."""

    def make(*followers: dict[str, Any]) -> Runtime:
        node.remember(pod, {})
        conf = node.plugin.conf_with({})
        conflist = {"cniVersion": "1.0.0", "name": conf["name"], "plugins": [conf, *followers]}
        return Runtime(node.plugin.namespace.name, conflist, node.plugin.executable.parent)

    yield make
    system.run("nft", "flush", "ruleset", namespace=node.plugin.namespace.name)


def container(pod: Pod) -> Container:
    return Container(pod.id, pod.netns, pod.ifname)


@rule("N2", "N3")
@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_chain_with_debians_plugin_lives_and_ends(node: Node, pod, before, chain, name):
    runtime = chain(FOLLOWERS[name])

    result = runtime.add(container(pod))
    if name not in WITHOUT_CHECK:
        runtime.check(container(pod), result)
    runtime.delete(container(pod), result)
    assert node.call("DEL", pod).is_silent_success

    # The chains that portmap and firewall make for all containers stay, empty.
    assert [c for c in node.snapshot() - before if ": nft " not in c] == []
    assert not node.snapshot().about("nft", pod.id)


@rule("N2")
def test_portmap_opens_the_port_and_no_other_interface(node: Node, pod, chain):
    runtime = chain(FOLLOWERS["portmap"])
    uplinks = node.snapshot().about("sysctl net/ipv4/conf/eth0/route_localnet")

    result = runtime.add(container(pod))

    try:
        (address,) = node.addresses_in(pod)
        assert node.snapshot().about("node: nft", f"{address}:80")
        assert node.snapshot().about("node: sysctl", "eth0/route_localnet") == [
            line for line in uplinks if line.startswith("node:")
        ]
        assert answers_through(node, pod, 18080)
    finally:
        runtime.delete(container(pod), result)


SERVER = """
import socket
listener = socket.create_server(("", 80))
print("listens", flush=True)
listener.accept()[0].send(b"here")
"""
CLIENT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
print(connection.recv(100).decode())
"""


def answers_through(node: Node, pod: Pod, port: int) -> bool:
    """Whether a server in the container is reached at the node's port."""
    inside = ["nsenter", f"--net={pod.netns}", "--", sys.executable, "-c", SERVER]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline() == "listens\n"
            client = (sys.executable, "-c", CLIENT, node.address, str(port))
            done = system.run(*client, namespace=node.plugin.namespace.name, check=False)
            return done.stdout == "here\n"
        finally:
            server.kill()


@rule("N2")
def test_the_default_route_survives_sbr(node: Node, pod, chain):
    runtime = chain(FOLLOWERS["sbr"])

    result = runtime.add(container(pod))

    try:
        routes = node.ip("route", "show", "table", "all", pod=pod)
        assert "default via" in routes
        assert node.ping(node.addresses_in(pod)[0])
    finally:
        runtime.delete(container(pod), result)


@rule("N2")
def test_a_container_whose_mac_tuning_changed_is_reached(node: Node, pod, chain):
    runtime = chain(FOLLOWERS["tuning of the MAC"])

    result = runtime.add(container(pod))

    try:
        assert node.links(pod)[pod.ifname]["address"] == MAC
        assert node.ping(node.address, source=pod)
        assert node.ping(node.addresses_in(pod)[0])
    finally:
        runtime.delete(container(pod), result)


@rule("N3", "N4")
def test_all_of_them_in_one_chain(node: Node, pod, before, chain):
    names = ["tuning", "bandwidth", "firewall"]
    runtime = chain(*(FOLLOWERS[name] for name in names))

    result = runtime.add(container(pod))
    runtime.check(container(pod), result)
    own = json.loads(json.dumps(result))
    assert node.checked(pod, own).is_silent_success
    runtime.delete(container(pod), result)

    assert [c for c in node.snapshot() - before if ": nft " not in c] == []


@rule("N3", "A4")
def test_when_a_later_plugin_fails_del_cleans_up(node: Node, pod, before, chain):
    runtime = chain({"type": "tuning", "sysctl": {"net.ipv4.no_such_setting": "1"}})

    with pytest.raises(Exception, match="tuning ADD"):
        runtime.add(container(pod))
    runtime.delete(container(pod), None)

    assert node.snapshot() == before
    assert Path(pod.netns).exists()
