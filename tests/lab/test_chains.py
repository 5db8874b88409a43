"""Debian's plugins behind ours in one list: ADD, CHECK, DEL, and what each is there for."""

import json
import time

import pytest

from ocicatctl.lab import show, system
from tests.lab.call import traces
from tests.lab.chain import Chain

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
TUNING = {
    "type": "tuning",
    "sysctl": {"net.core.somaxconn": "500", "net.ipv4.conf.eth0.log_martians": "1"},
    "mtu": 1400,
    "promisc": True,
}
MAC = "02:00:5e:10:00:07"
TUNING_MAC = {"type": "tuning", "mac": MAC}
FIREWALL = {"type": "firewall"}
SBR = {"type": "sbr"}
EVERY = (PORTMAP, BANDWIDTH, TUNING, FIREWALL)

CHAINS = {plugin["type"]: (plugin,) for plugin in EVERY} | {"mac": (TUNING_MAC,), "every": EVERY}

RATE = 8_000_000  # bits a second
BURST = 800_000  # bits
LARGE = 1_000_000  # bytes
CAPABILITIES = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
    "bandwidth": {
        "ingressRate": RATE,
        "ingressBurst": BURST,
        "egressRate": 2 * RATE,
        "egressBurst": BURST,
    },
}

# Debian's portmap 1.1.1 looks for the rules of an IPv4 pod in the IPv6 tables as well.
FALSE_ALARM = "could not check ipv6 dnat: chain CNI-DN-"


@pytest.fixture
def chained(lab, node):
    """Make a container for a chain; what the plugins made of it is gone after the test."""
    made = []

    def make(*later, version="1.0.0"):
        # tuning keeps what it changed: not on this host.
        later = [
            {**p, "dataDir": str(node.directory / "tuning")} if p["type"] == "tuning" else p
            for p in later
        ]
        pod = lab.container(node, f"chained-{len(made)}")
        made.append(Chain(node, pod.container, later, CAPABILITIES, version))
        return made[-1], pod

    yield make
    for chain in made:
        if chain.result:
            assert chain.delete() is None


@pytest.fixture
def other(lab):
    """A pod on another node."""
    return lab.add_pod(lab.nodes[1], "other")


def left(lab, node, pod):
    """Every trace, and the rules that iptables has for single containers.

    BIRD's routes come and go with the pods of other nodes.
    """
    found = traces(lab, node, pod.namespace)
    routes = found[node.namespace, "route"].splitlines()
    found[node.namespace, "route"] = [line for line in routes if "proto bird" not in line]
    lines = system.run("iptables-save", namespace=node.namespace).stdout.splitlines()
    found["iptables"] = [line for line in lines if "CNI-DN-" in line or "10.233." in line]
    return found


def assert_content(answers):
    """Every CHECK found its own as it made it."""
    for plugin, answer in answers.items():
        if plugin == "portmap" and answer.status:
            assert answer.document["msg"].startswith(FALSE_ALARM)
        else:
            assert answer.status == 0, (plugin, answer)


@pytest.mark.parametrize(
    ("name", "version"), [*((name, "1.0.0") for name in CHAINS), ("every", "0.4.0")]
)
def test_a_chain_connects_is_content_and_leaves_nothing(lab, node, chained, other, name, version):
    chain, pod = chained(*CHAINS[name], version=version)
    before = left(lab, node, pod)

    chain.add()
    there = show.Place("chained", pod.namespace, chain.address)
    assert show.ping(there, show.place_of_pod(other))
    assert show.ping(show.place_of_pod(other), there)
    assert_content(chain.check())
    deleted = [chain.delete(), chain.delete(), chain.delete(netns="")]

    assert deleted == [None] * 3
    assert left(lab, node, pod) == before


def serve(pod, directory):
    """A web server in the pod; it ends with the pod's namespace."""
    (directory / "hello").write_text("hello")
    (directory / "large").write_bytes(bytes(LARGE))
    system.run("busybox", "httpd", "-p", "80", "-h", directory, namespace=pod.namespace)


def fetch(namespace, url):
    return system.run("busybox", "wget", "-qO-", url, namespace=namespace).stdout


def test_portmap_leads_a_port_of_the_node_to_the_pod(lab, node, chained, tmp_path):
    chain, pod = chained(*EVERY)
    chain.add()
    serve(pod, tmp_path)

    answers = [
        fetch(lab.nodes[1].namespace, f"http://{node.address.ip}:8080/hello"),
        fetch(node.namespace, "http://127.0.0.1:8080/hello"),
        fetch(pod.namespace, f"http://{node.address.ip}:8080/hello"),
    ]

    assert answers == ["hello"] * 3


def test_bandwidth_limits_what_the_pod_receives(node, chained, other, tmp_path):
    chain, pod = chained(*EVERY)
    result = chain.add()
    serve(other, tmp_path)

    begun = time.monotonic()
    system.run(
        *("busybox", "wget", "-qO", "/dev/null", f"http://{other.address}/large"),
        namespace=pod.namespace,
    )
    took_s = time.monotonic() - begun

    queues = json.loads(system.run("tc", "-j", "qdisc", "show", namespace=node.namespace).stdout)
    rates = {q["dev"]: 8 * q["options"]["rate"] for q in queues if q["kind"] == "tbf"}
    host, _, queue = (interface["name"] for interface in result["interfaces"])
    assert rates == {host: RATE, queue: 2 * RATE}
    assert took_s > (8 * LARGE - BURST) / RATE


def test_tuning_is_not_taken_for_damage_and_damage_to_it_is_its_own(chained):
    chain, pod = chained(*EVERY)
    chain.add()
    (link,) = json.loads(
        system.run("ip", "-j", "link", "show", "eth0", namespace=pod.namespace).stdout
    )

    write = "echo 400 >/proc/sys/net/core/somaxconn"
    system.run("sh", "-c", write, namespace=pod.namespace)
    answers = chain.check()

    assert (link["mtu"], "PROMISC" in link["flags"]) == (1400, True)
    assert answers["tuning"].status != 0
    assert answers["ocicat"].status == 0


def test_a_pod_whose_mac_tuning_changes_is_reached_before_it_sends(chained, other):
    chain, pod = chained(TUNING_MAC)
    result = chain.add()

    there = show.Place("chained", pod.namespace, chain.address)
    assert result["interfaces"][1]["mac"] == MAC
    assert show.ping(show.place_of_pod(other), there)
    assert show.ping(there, show.place_of_pod(other))
    assert_content(chain.check())


def test_check_names_a_host_that_sends_to_the_mac_from_before_tuning(node, chained):
    chain, _ = chained(TUNING_MAC)
    link = chain.add()["interfaces"][0]["name"]

    system.run(
        *("ip", "neigh", "replace", chain.address, "dev", link),
        *("lladdr", "02:00:5e:10:00:08", "nud", "permanent"),
        namespace=node.namespace,
    )
    answer = chain.check()["ocicat"]

    assert f"neighbour {chain.address} at {MAC} of link {link}" in answer.document["msg"]


def test_firewall_lets_the_pods_traffic_pass_where_the_node_forwards_none(node, chained, other):
    (plain, plain_pod), (allowed, allowed_pod) = chained(), chained(FIREWALL)
    plain.add()
    allowed.add()
    there = show.place_of_pod(other)

    system.run("iptables", "-P", "FORWARD", "DROP", namespace=node.namespace)
    try:
        lost = show.ping(show.Place("plain", plain_pod.namespace, plain.address), there)
        passed = show.ping(show.Place("allowed", allowed_pod.namespace, allowed.address), there)
    finally:
        system.run("iptables", "-P", "FORWARD", "ACCEPT", namespace=node.namespace)

    assert lost is None
    assert passed is not None


def test_sbr_moves_the_default_route_and_loses_nothing(lab, node, chained, other):
    chain, pod = chained(*EVERY, SBR)
    before = left(lab, node, pod)

    chain.add()
    routes = system.run("ip", "route", "show", "table", "100", namespace=pod.namespace).stdout
    assert "default via 169.254.1.1 dev eth0" in routes
    assert show.ping(show.place_of_pod(other), show.Place("pod", pod.namespace, chain.address))
    bound = ("ping", "-n", "-c1", "-W2", "-I", chain.address)  # sbr goes by the source
    system.run(*bound, other.address, namespace=pod.namespace)
    assert_content(chain.check())
    first, again = chain.delete(), chain.delete()

    assert first is None
    # sbr 1.1.1 cannot repeat a DEL; the list ends at it, and ours was called before.
    assert again.document["msg"] == "Failed to get link eth0: Link not found"
    assert left(lab, node, pod) == before
