"""containerd's own client, ``ctr run --cni``: no Kubernetes, no arguments, a DEL seldom."""

import time
from contextlib import ExitStack

import pytest

from ocicatctl.lab import show
from tests.runtimes.conftest import HOST_PORT
from tests.runtimes.containerd import write_conflist
from tests.runtimes.rootfs import LARGE

WHO = "cgi-bin/who"


@pytest.fixture
def pods(lab, containerds):
    """A container on each node: its containerd, its name and its address."""
    with ExitStack() as end:
        made = []
        for i, containerd in enumerate(containerds):
            name = f"pod-{i}"
            end.callback(containerd.kill_container, name, containerd.serve(name))
            made.append((containerd, name, address_of(containerd, name)))
        yield made


def address_of(containerd, name):
    line = containerd.inside(name, "ip", "-4", "-o", "addr", "show", "eth0")
    return line.split()[3].partition("/")[0]


def test_containers_of_two_nodes_reach_each_other_without_nat(pods):
    for (containerd, name, own), (_, _, other) in zip(pods, reversed(pods), strict=True):
        answer = containerd.inside(name, "wget", "-qO-", f"http://{other}/{WHO}")
        assert answer == f"{other} asked by {own}\n"


def test_containers_and_nodes_reach_each_other(pods):
    for containerd, name, own in pods:
        for there, _, _ in pods:
            node = str(there.machine.node.address.ip)
            answer = containerd.inside(name, "wget", "-qO-", f"http://{node}:{HOST_PORT}/{WHO}")
            seen = there.machine.sees(own, containerd.machine)
            assert answer == f"{node} asked by {seen}\n"
            answer = there.machine.run("busybox", "wget", "-qO-", f"http://{own}/{WHO}")
            assert answer.startswith(f"{own} asked by ")


def test_a_container_that_ends_sends_del_without_a_namespace_and_leaves_nothing(lab, containerds):
    printed = containerds[0].run("short", "ip", "-4", "-o", "addr", "show", "eth0")

    # At once: by DEL, not by reconcile.
    assert [line for line in show.leftovers(lab).found if "short" in line] == []
    assert "inet 10.233." in printed


def test_a_detached_container_that_ends_leaves_nothing(lab, containerds):
    """Older ctr never sends DEL for it: then reconcile finds the address without a link."""
    containerds[0].detach("detached")

    containerds[0].forget_detached("detached")

    # The fixture waits until link, address and endpoint are gone.


@pytest.fixture
def slow_conflist(conflist, containerds):
    """ctr passes no capabilities, so the list has the limit: 1 MB/s, of which 100 kB at once."""
    limit = {"type": "bandwidth", "ingressRate": 8_000_000, "ingressBurst": 800_000}
    machine = containerds[0].machine
    write_conflist(machine, {**conflist, "plugins": [conflist["plugins"][0], limit]})
    yield
    write_conflist(machine, conflist)


def test_traffic_to_a_limited_container_takes_the_time_that_the_limit_says(slow_conflist, pods):
    (containerd, name, own), (other, other_name, address) = pods

    begun = time.monotonic()
    containerd.inside(name, "wget", "-qO", "/dev/null", f"http://{address}/large")
    took_s = time.monotonic() - begun
    begun = time.monotonic()
    other.inside(other_name, "wget", "-qO", "/dev/null", f"http://{own}/large")
    opposite_s = time.monotonic() - begun

    assert took_s > (LARGE - 100_000) / 1_000_000
    assert opposite_s < took_s
