"""A pool that an operator has tunnelled: pods reach each other by VXLAN, and without it again."""

from ocicatctl.lab import system
from tests.lab.test_tunnels import set_mode

SOON_S = 15.0
DEVICE = "vxlan.calico"


def run(node, *command):
    return system.run(*command, namespace=node.namespace).stdout


def way(node, pod):
    """The device by which a node sends to a pod."""
    return run(node, "ip", "-o", "route", "get", pod.address).split(" dev ")[1].split()[0]


def ping(pod, other):
    # The far end may be a moment behind.
    system.run("ping", "-n", "-c3", "-i0.2", "-W2", other.address, namespace=pod.namespace)


def test_pods_reach_each_other_by_tunnel_and_without(lab):
    here, there = lab.nodes[:2]
    one, two = (lab.add_pod(node, f"pod-{node.number}") for node in (here, there))
    ways = ((here, two), (there, one))
    try:
        set_mode(lab, here, "Always")
        for node, pod in ways:
            system.wait_until(lambda n=node, p=pod: way(n, p) == DEVICE, "the tunnel", SOON_S)
        ping(one, two)

        run(here, "ip", "link", "del", DEVICE)
        system.wait_until(lambda: way(here, two) == DEVICE, "the tunnel", SOON_S)
        ping(one, two)
    finally:
        set_mode(lab, here, "Never")

    for node, pod in ways:
        system.wait_until(lambda n=node, p=pod: way(n, p) == "eth0", "BIRD's route", SOON_S)
        assert DEVICE not in run(node, "ip", "link")
    ping(one, two)
