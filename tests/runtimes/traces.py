"""Everything that a container could leave behind on a machine and in the store."""

import contextlib
import json
import re
from collections.abc import Callable, Sequence

from datamodel.errors import Unavailable
from ocicatctl.lab import show, system
from ocicatctl.lab.lab import Lab
from tests.runtimes.containerd import NETNS
from tests.runtimes.machine import Machine

# Longer than reconcile's grace and period: a runtime that sends no DEL is nobody's mistake here.
GONE_TIMEOUT_S = 20.0

# Where runtimes and plugins keep notes about single containers.
_FOLDERS = (
    "/run/netns",
    NETNS,
    "/run/containerd/runc/default",
    "/run/containerd/runc/k8s.io",
    "/run/runc",
    "/var/lib/cni/results",
)

# What is mounted for a single container; podman's own mounts stay once it has run.
_MOUNT = r"/netns/|/rootfs$|/merged$|/sandboxes/"

Traces = dict[tuple[str, str], list[str]]


def everything(lab: Lab, machines: Sequence[Machine]) -> Traces:
    """What there is of pods, on the lab's nodes and in the store and on each machine."""
    found = {("lab", "pods"): list(show.leftovers(lab).found)}
    for machine in machines:
        for kind, what in of(machine).items():
            found[machine.node.name, kind] = what
    return found


def of(machine: Machine) -> dict[str, list[str]]:
    """What there is on a machine, by kind."""
    return {
        "links": links(machine),
        "iptables": iptables(machine),
        "mounts": [path for path in machine.mounts() if re.search(_MOUNT, path)],
        "processes": sorted(machine.processes().values()),
        "cgroups": [path for path in machine.cgroups() if not path.endswith("/conmon")],
        "files": sorted(
            f"{folder}/{path.name}"
            for folder in _FOLDERS
            if machine.path(folder).exists()
            for path in machine.path(folder).iterdir()
        ),
    }


def links(machine: Machine) -> list[str]:
    """The node's links, each with its index: one that was made anew is another one."""
    found = json.loads(machine.run("ip", "-j", "link"))
    return sorted(f"{link['ifname']} ({link['ifindex']})" for link in found)


def iptables(machine: Machine) -> list[str]:
    """The lines that are about one container; the chains that lead to them stay for the next."""
    lines = machine.run("iptables-save").splitlines()
    return sorted(line for line in lines if "CNI-DN-" in line or "name: " in line)


def assert_gone(look: Callable[[], Traces], before: Traces) -> None:
    """Wait until everything is as *before*; else name what is not."""
    with contextlib.suppress(Unavailable):
        system.wait_until(lambda: look() == before, "a clean lab", GONE_TIMEOUT_S)
    now = look()
    assert now == before, "\n".join(
        f"{where} {kind}: {now[where, kind]} instead of {before[where, kind]}"
        for where, kind in before
        if now[where, kind] != before[where, kind]
    )
