"""podman with its CNI backend: no Kubernetes, host ports, addresses that the user chooses."""

from contextlib import ExitStack

import pytest

from tests.runtimes.conftest import HOST_PORT
from tests.runtimes.test_ctr import WHO


@pytest.fixture
def run(lab, podman):
    """Run containers on the first node; they are removed after the test."""
    with ExitStack() as end:

        def start(name, *options):
            podman.run(name, *options)
            end.callback(podman.remove, name)
            return podman.address(name)

        yield start


def asked_from(podman, container, url):
    """What a container is told by a web server."""
    return podman("exec", container, "wget", "-qO-", url)


def test_containers_reach_each_other_and_the_nodes(machines, podman, run):
    one, two = run("one"), run("two")

    assert asked_from(podman, "one", f"http://{two}/{WHO}") == f"{two} asked by {one}"
    for machine in machines:
        node = machine.node.address.ip
        answer = asked_from(podman, "one", f"http://{node}:{HOST_PORT}/{WHO}")
        assert answer == f"{node} asked by {machine.sees(one, machines[0])}"
        answer = machine.run("busybox", "wget", "-qO-", f"http://{one}/{WHO}")
        assert answer.startswith(f"{one} asked by 10.")


def test_a_container_reaches_those_of_other_runtimes(containerds, podman, run):
    """containerd and podman share the node: one pool, one plugin, two networks."""
    own = run("one")
    containerd = containerds[1]
    waits = containerd.serve("theirs")
    try:
        answer = containerd.inside("theirs", "wget", "-qO-", f"http://{own}/{WHO}")
    finally:
        containerd.kill_container("theirs", waits)

    assert answer.startswith(f"{own} asked by 10.233.")


def test_a_published_port_leads_to_its_container(machines, podman, run):
    address = run("web", "--publish", "8080:80")
    node = machines[0].node.address.ip

    answer = machines[1].run("busybox", "wget", "-qO-", f"http://{node}:8080/{WHO}")
    hairpin = asked_from(podman, "web", f"http://{node}:8080/{WHO}")

    assert answer == f"{address} asked by {machines[1].node.address.ip}\n"
    assert hairpin.startswith(f"{address} asked by ")


def test_a_container_gets_the_address_that_the_user_chooses(podman, run, residents):
    block = residents[0].address.rpartition(".")[0]

    address = run("chosen", "--ip", f"{block}.200")

    assert address == f"{block}.200"


def test_a_container_that_is_stopped_and_started_again_is_on_the_network(machines, podman, run):
    run("web")

    podman("stop", "--time", "0", "web")
    podman("start", "web")

    address = podman.address("web")
    answer = machines[1].run("busybox", "wget", "-qO-", f"http://{address}/{WHO}")
    assert answer.startswith(f"{address} asked by 10.0.0.")
