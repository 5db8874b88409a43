"""`ocicatctl routes` in a cluster that works, and where something does not."""

import json
import sys
from ipaddress import ip_network

from ocicatctl.lab import daemons, system


def ctl(node, *arguments):
    return system.run(
        sys.executable,
        *("-m", "ocicatctl", "routes", *arguments),
        namespace=node.namespace,
        environment=node.environment,
        check=False,
    )


def block_of(pod):
    return str(ip_network(f"{pod.address}/24", strict=False))


def test_where_nothing_is_wrong_nothing_is_said(lab, node):
    pod = lab.add_pod(lab.nodes[1], "web")
    lab.wait_for_routes()

    done = ctl(node, "-o", "json")
    about = ctl(node, pod.address)

    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["problems"] == []
    by_node = {route["node"]: route for route in document["routes"]}
    far = by_node["node-2"]
    assert far["destination"] == block_of(pod)
    assert far["bird"][0]["peer"] == "node-2"
    assert far["kernel"][0]["hops"][0]["via"] == str(lab.nodes[1].address.ip)
    assert by_node["node-1"]["kernel"][0]["kind"] == "blackhole"
    assert about.returncode == 0, about.stdout + about.stderr
    assert about.stdout.startswith(f"{pod.address} is held by pod default/web on node node-2\n")
    assert "wrong" not in about.stdout


def test_a_session_that_is_down_is_told_where_its_route_is_missing(lab, node):
    far = lab.nodes[1]
    pod = lab.add_pod(far, "web")
    lab.wait_for_routes()
    socket = node.environment["OCICAT_BIRD_SOCKET"]
    session = f"Mesh_{str(far.address.ip).replace('.', '_')}"
    system.run("birdc", "-s", socket, "disable", session)
    try:
        system.wait_until(
            lambda: block_of(pod) not in daemons.kernel_routes(node), "route withdrawn", 10
        )
        by_node, by_address = ctl(node, "node-2"), ctl(node, pod.address)
    finally:
        system.run("birdc", "-s", socket, "enable", session)

    assert (by_node.returncode, by_address.returncode) == (1, 1)
    assert f"{block_of(pod)}: session {session} with node node-2 is down since" in by_node.stdout
    assert f"wrong     session {session} with node node-2 is down since" in by_address.stdout


def test_a_foreign_route_is_told_by_name(lab, node):
    pod = lab.add_pod(lab.nodes[1], "web")
    lab.wait_for_routes()
    gateway = str(lab.nodes[2].address.ip)
    system.run("ip", "-n", node.namespace, "route", "add", f"{pod.address}/32", "via", gateway)
    try:
        done = ctl(node, pod.address)
    finally:
        system.run("ip", "-n", node.namespace, "route", "del", f"{pod.address}/32")

    assert done.returncode == 1
    assert (
        f"wrong     another route catches it: {pod.address}/32 via {gateway} dev eth0 proto boot"
        in done.stdout
    )


def test_a_route_that_somebody_deleted_is_told_and_so_is_a_bird_that_is_not_there(lab, node):
    own, far = lab.add_pod(node, "own"), lab.add_pod(lab.nodes[1], "far")
    lab.wait_for_routes()
    daemons.kill(node, "bird")  # it would put the route back
    system.run("ip", "-n", node.namespace, "route", "del", block_of(far))

    whole, about = ctl(node), ctl(node, own.address)

    assert (whole.returncode, about.returncode) == (1, 1)
    assert (
        f"{block_of(far)}: the kernel has no route to it, and this node's BIRD does not answer\n"
    ) in whole.stdout
    assert f"{own.address} is held by pod default/own on node node-1\n" in about.stdout
    assert "is bird running with -s" in about.stdout
