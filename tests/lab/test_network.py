"""A cluster with pods: what the demonstration shows, asserted."""

import re

from ocicatctl.lab import show, system
from ocicatctl.lab.daemons import bird_routes, established
from ocicatctl.lab.show import Matrix, place_of_node, place_of_pod


def test_every_pod_reaches_every_pod_and_every_node_and_back(lab):
    for node in lab.nodes:
        for number in (1, 2):
            lab.add_pod(node, f"web-{node.number}-{number}")
    pods = [place_of_pod(pod) for pod in lab.pods()]
    nodes = [place_of_node(node) for node in lab.nodes]

    matrices = [Matrix(pods, pods), Matrix(nodes, pods), Matrix(pods, nodes)]

    assert [(m.answered, m.total) for m in matrices] == [(30, 30), (18, 18), (18, 18)]


def test_ip_route_reads_as_in_calico(lab, node):
    pod = lab.add_pod(node, "web")
    other = lab.nodes[1]

    listing = [line.strip() for line in show.routes(node).splitlines()]

    block = pod.address.rpartition(".")[0] + ".0/24"
    link = pod.result["interfaces"][0]["name"]
    assert f"blackhole {block} proto bird" in listing
    assert f"{pod.address} dev {link} scope link" in listing
    remote = [line for line in listing if f"via {other.address.ip}" in line]
    assert len(remote) == 1
    assert re.fullmatch(
        rf"10\.233\.\d+\.0/24 via {other.address.ip} dev eth0 proto bird", remote[0]
    )


def test_a_pod_route_never_leaves_its_node(lab, node):
    pod = lab.add_pod(node, "web")

    for other in lab.nodes[1:]:
        assert pod.address not in show.routes(other)
        assert f"{pod.address}/32" not in bird_routes(other)


def test_every_node_has_a_session_with_every_other(lab):
    assert [established(node) for node in lab.nodes] == [2, 2, 2]


def test_operators_see_pods_as_with_calicoctl(lab, node):
    pod = lab.add_pod(node, "web")

    table = show.ctl(node, "get", "workloadendpoint", "-a").splitlines()

    assert table[0].split() == ["NAMESPACE", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE"]
    link = pod.result["interfaces"][0]["name"]
    assert table[1].split() == ["default", "web", "node-1", f"{pod.address}/32", link]


def test_nothing_is_left_when_every_pod_is_gone(lab):
    before = {node.name: bird_routes(node) for node in lab.nodes}
    for node in lab.nodes:
        lab.add_pod(node, f"web-{node.number}")

    for pod in lab.pods():
        lab.delete_pod(pod.name)

    assert show.leftovers(lab).found == ()
    assert {node.name: bird_routes(node) for node in lab.nodes} == before


def test_the_very_first_packet_of_a_new_pod_passes(lab):
    far = lab.add_pod(lab.nodes[1], "far")

    for i in range(15):
        new = lab.add_pod(lab.nodes[0], f"new-{i}")
        system.run("ping", "-n", "-c1", "-W1", far.address, namespace=new.namespace)


def test_a_burst_of_pods_on_one_node_gets_different_addresses(lab, node):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(30) as pool:
        pods = list(pool.map(lambda i: lab.add_pod(node, f"burst-{i}"), range(30)))

    assert len({pod.address for pod in pods}) == 30
    system.run("ping", "-c1", "-W2", pods[-1].address, namespace=pods[0].namespace)
