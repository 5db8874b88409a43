"""Nodes whose daemons are containers: pods come and go, with no more privileges than are named."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from datamodel.errors import OcicatError
from ocicatctl.lab import daemons, show, system
from ocicatctl.lab.pidfile import PidFile
from tests.image.containers import ROLES
from tests.lab.load import WORKERS, load

# linux/capability.h
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,
    "SYS_CHROOT": 18,
    "SYS_ADMIN": 21,
}


def status_of(node, daemon):
    pid = PidFile(node.directory, daemon).read()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("daemon", ROLES)
def test_a_daemon_has_the_privileges_that_are_named_and_no_other(node, daemon):
    role, status = ROLES[daemon], status_of(node, daemon)

    named = sum(1 << CAPABILITIES[name] for name in role.capabilities)
    assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == named
    assert set(status["Uid"].split()) == {str(role.user)}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"  # podman's default profile


def test_pods_of_two_nodes_reach_each_other_and_leave_nothing(lab, node):
    here, there = (lab.add_pod(node, f"pod-{node.number}") for node in lab.nodes)

    system.run("ping", "-n", "-c1", "-W2", there.address, namespace=here.namespace)
    lab.runtime(node).check(here.container, here.result)
    for pod in (here, there):
        lab.delete_pod(pod.name)
    assert show.leftovers(lab).found == ()


BFD = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default, annotations: {ocicat.io/bfd: "true"}}
spec: {}
"""


def test_bfd_needs_no_more_privileges(lab, node, tmp_path):
    (tmp_path / "bfd.yaml").write_text(BFD)
    control = node.environment["OCICAT_BIRD_SOCKET"]
    listing = ("birdc", "-s", control, "show", "bfd", "sessions")

    show.ctl(node, "apply", "-f", str(tmp_path / "bfd.yaml"))
    try:
        system.wait_until(lambda: " Up " in system.run(*listing, check=False).stdout, "BFD", 20)
    finally:
        show.ctl(node, "delete", "bgpconfiguration", "default")


def restart(node, daemon):
    """End a daemon's container and start another in its place, as a rolling update does."""
    daemons.kill(node, daemon, signal.SIGTERM)
    if daemon == "route-distributor":
        # The new one serves once it has written this; process 1 is deaf to signals before.
        Path(node.environment["OCICAT_BIRD_CONFIG"]).unlink()
    daemons.start(node, daemon)


@pytest.mark.parametrize("daemon", ROLES)
def test_no_call_fails_while_a_container_is_replaced(lab, node, daemon):
    with load(lab, node) as answers:
        for _ in range(2):
            restart(node, daemon)

    assert len(answers) >= 2 * WORKERS
    assert [answer for answer in answers if answer.status] == []
    assert show.leftovers(lab).found == ()


# ---- without one of its privileges --------------------------------------------------------------


def pods_come_and_go(lab, node):
    pod = lab.add_pod(node, "tried")
    lab.delete_pod(pod.name)


def routes_come(lab, node):
    """BIRD learns the other node's block, which nobody has put into the kernel yet."""
    system.run("ip", "route", "flush", "proto", "bird", namespace=node.namespace)
    daemons.kill(node, "bird")
    daemons.start(node, "bird")
    (other,) = (other for other in lab.nodes if other != node)
    ours = set(daemons.bird_routes(other))
    system.wait_until(
        lambda: len(daemons.kernel_routes(node) & ours) > 1, "routes of the other node", 8
    )


def nat_comes(lab, node):
    nft = ("nft", "delete", "table", "inet", "ocicat")
    system.run(*nft, namespace=node.namespace, check=False)
    tables = ("nft", "list", "tables")
    system.wait_until(
        lambda: "ocicat" in system.run(*tables, namespace=node.namespace).stdout, "NAT", 8
    )


PROOFS = {
    "cni-server": pods_come_and_go,
    "route-distributor": nat_comes,
    "bird": routes_come,
}
NEEDED = [(name, capability) for name in PROOFS for capability in ROLES[name].capabilities]


@pytest.mark.parametrize(("daemon", "capability"), NEEDED)
def test_each_capability_is_needed(lab, node, monkeypatch, daemon, capability):
    role = ROLES[daemon]
    without = tuple(name for name in role.capabilities if name != capability)
    daemons.kill(node, daemon)
    with monkeypatch.context() as patch:
        patch.setitem(ROLES, daemon, replace(role, capabilities=without))
        daemons.start(node, daemon, wait=False)
        with pytest.raises(OcicatError):
            PROOFS[daemon](lab, node)

    if daemon in daemons.running(node):
        daemons.kill(node, daemon)
    daemons.start(node, daemon)
    PROOFS[daemon](lab, node)
