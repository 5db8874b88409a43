"""Runs in a guest: makes it a node of a lab, and its pods, with the lab's own parts.

``python -m tests.vm.inside up 1`` starts what a node runs, the first node etcd as well.
``… add-pod 1 web`` prints the result of the pod's ADD.
"""

import json
import sys
from pathlib import Path

from ocicatctl.lab import system
from ocicatctl.lab.runtime import Container, Runtime
from ocicatctl.lab.spec import LabSpec, NodeSpec

LAB = LabSpec()
START_TIMEOUT_S = 200.0
_MADE_BY_DAEMONS = ("OCICAT_IPAM_SOCKET", "OCICAT_CNI_SOCKET", "OCICAT_BIRD_CONFIG")


def up(node: NodeSpec) -> None:
    """Start every daemon and wait until all serve."""
    # Not for pods: gRPC, which comes with it, takes an emulated processor seconds.
    from ocicatctl.lab import daemons, etcd
    from ocicatctl.lab.lab import install

    node.directory.mkdir(parents=True)
    _call_this_machine(node.namespace)
    if node.number == 1:
        _call_this_machine(LAB.fabric)
        etcd.start(LAB)
    for daemon in daemons.DAEMONS[:-1]:
        daemons.start(node, daemon, wait=False)
    # An emulated processor needs long, and longer if somebody keeps asking the daemons.
    made = [Path(node.environment[name]) for name in _MADE_BY_DAEMONS]
    system.wait_until(lambda: all(path.exists() for path in made), node.name, START_TIMEOUT_S)
    for daemon in daemons.DAEMONS:
        daemons.start(node, daemon)
    install(node)


def _call_this_machine(namespace: str) -> None:
    """In the lab a node is a network namespace; here it is the machine's only one."""
    system.run("ip", "netns", "attach", namespace, "1")


def add_pod(node: NodeSpec, name: str) -> None:
    """Make a pod as a runtime does."""
    system.add_namespace(name)
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
    container = Container(f"container-of-{name}", str(system.NETNS / name), args=args)
    [conflist] = (node.directory / "net.d").iterdir()
    runtime = Runtime(node.namespace, json.loads(conflist.read_text()), node.bin)
    sys.stdout.write(json.dumps(runtime.add(container)))


if __name__ == "__main__":
    command, number, *names = sys.argv[1:]
    {"up": up, "add-pod": add_pod}[command](LAB.node(int(number)), *names)
