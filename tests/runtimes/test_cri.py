"""containerd's CRI service, driven as by a kubelet: sandboxes, host ports, a killed daemon."""

import json
from contextlib import ExitStack

import pytest

from ocicatctl.lab import system
from tests.runtimes import traces
from tests.runtimes.conftest import HOST_PORT
from tests.runtimes.containerd import CRI_NAMESPACE

WHO = "cgi-bin/who"
MANY = 50
FIRST_PORT = 30_000


@pytest.fixture
def sandbox(lab, kubelets):
    """Run sandboxes, on the first node or another; they are stopped and removed after the test."""
    with ExitStack() as end:

        def run(name, node=0, **config):
            kubelet = kubelets[node]
            made = kubelet.run(name, **config)
            end.callback(kubelet.remove, made)
            return made, kubelet.address(made)

        yield run


def asked_from(containerd, sandbox, url):
    """What a sandbox of this containerd is told by a web server."""
    return containerd.inside(sandbox, "wget", "-qO-", url, namespace=CRI_NAMESPACE)


def asked_from_node(machine, url):
    return machine.run("busybox", "wget", "-qO-", url)


def test_pods_of_two_nodes_reach_each_other_and_the_nodes(containerds, sandbox):
    pods = [sandbox(f"web-{i}", node=i) for i in (0, 1)]

    for i, (pod, own) in enumerate(pods):
        for _, other in pods:
            answer = asked_from(containerds[i], pod, f"http://{other}/{WHO}")
            assert answer == f"{other} asked by {own}\n"
        for there in containerds:
            node = str(there.machine.node.address.ip)
            answer = asked_from(containerds[i], pod, f"http://{node}:{HOST_PORT}/{WHO}")
            seen = there.machine.sees(own, containerds[i].machine)
            assert answer == f"{node} asked by {seen}\n"
            answer = asked_from_node(there.machine, f"http://{own}/{WHO}")
            assert answer.startswith(f"{own} asked by 10.")


def test_a_host_port_leads_to_its_pod_from_everywhere(containerds, machines, sandbox):
    pod, address = sandbox("web", ports={8080: 80})
    _, client = sandbox("client", node=1)
    node = str(machines[0].node.address.ip)

    from_other_node = asked_from_node(machines[1], f"http://{node}:8080/{WHO}")
    from_itself = asked_from_node(machines[0], f"http://127.0.0.1:8080/{WHO}")
    hairpin = asked_from(containerds[0], pod, f"http://{node}:8080/{WHO}")

    assert from_other_node == f"{address} asked by {machines[1].node.address.ip}\n"
    assert from_itself.startswith(f"{address} asked by ")
    assert hairpin.startswith(f"{address} asked by ")
    assert client != address


def test_bandwidth_annotations_become_queues_of_the_host_end(machines, sandbox):
    limits = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "20M"}
    sandbox("limited", annotations=limits)

    queues = json.loads(machines[0].run("tc", "-j", "qdisc", "show"))

    rates = {q["dev"][:4]: q["options"]["rate"] for q in queues if q["kind"] == "tbf"}
    # tc counts bytes. What the pod sends passes the plugin's own device.
    assert rates.pop("cali") == 10_000_000 / 8
    assert list(rates.values()) == [20_000_000 / 8]


def test_fifty_pods_at_once_with_host_ports(lab, machines, kubelets):
    kubelet, (machine, other) = kubelets[0], machines
    ports = {i: FIRST_PORT + i for i in range(0, MANY, 5)}
    calls = [
        kubelet.begin(f"pod-{i}", ports={ports[i]: 80} if i in ports else None) for i in range(MANY)
    ]
    pods = [call.result().pod_sandbox_id for call in calls]
    addresses = [kubelet.address(pod) for pod in pods]
    urls = [f"http://{address}/{WHO}" for address in addresses]
    urls += [f"http://{machine.node.address.ip}:{port}/{WHO}" for port in ports.values()]

    answers = other.run("sh", "-c", f"for u in {' '.join(urls)}; do busybox wget -qO- $u; done")
    for end in (kubelet.begin_stop, kubelet.begin_stop, kubelet.begin_remove):
        for call in [end(pod) for pod in pods]:
            call.result()

    assert len(set(addresses)) == MANY
    asked = [*addresses, *(addresses[i] for i in ports)]
    assert answers.splitlines() == [f"{a} asked by {other.node.address.ip}" for a in asked]


@pytest.mark.parametrize("progress", [1, 8])
def test_containerd_killed_while_pods_start_leaks_nothing(
    lab, machines, containerds, kubelets, sandbox, progress
):
    containerd, kubelet, machine = containerds[0], kubelets[0], machines[0]
    live, address = sandbox("live")
    before = traces.everything(lab, machines)
    known, links = containerd.netns(), len(traces.links(machine))
    calls = [kubelet.begin(f"started-{i}") for i in range(20)]
    system.wait_until(
        lambda: len(traces.links(machine)) >= links + progress, "pods that are being started", 30
    )

    containerd.kill()
    for call in calls:
        call.exception()  # some had finished
    containerd.start()
    system.wait_until(kubelet.is_network_ready, "containerd's network", 20)
    for found in kubelet.sandboxes():
        if found != live:
            kubelet.remove(found)
    containerd.remove_forgotten(known, live)

    traces.assert_gone(lambda: traces.everything(lab, machines), before)
    answer = asked_from(containerd, live, f"http://{address}/{WHO}")
    assert answer == f"{address} asked by {address}\n"
