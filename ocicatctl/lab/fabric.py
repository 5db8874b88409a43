"""The lab's namespaces and cables: a bridge, and a node on each of its ports.

Edge: ip(8).
"""

from ocicatctl.lab import system
from ocicatctl.lab.spec import GATEWAY, LabSpec, NodeSpec

BRIDGE = "fabric0"


def make(spec: LabSpec, nodes: list[NodeSpec]) -> None:
    """Make what is missing of the fabric and of the nodes' namespaces and uplinks."""
    fabric = spec.fabric
    system.add_namespace(fabric)
    if not _has_link(fabric, BRIDGE):
        system.run("ip", "-n", fabric, "link", "add", BRIDGE, "type", "bridge")
        system.run("ip", "-n", fabric, "addr", "add", str(GATEWAY), "dev", BRIDGE)
        system.run("ip", "-n", fabric, "link", "set", BRIDGE, "up")
    for node in nodes:
        system.add_namespace(node.namespace)
        if not _has_link(node.namespace, "eth0"):
            _plug_in(node)


def _plug_in(node: NodeSpec) -> None:
    """Give a node its uplink: a cable to the bridge, an address, a default route."""
    name, fabric = node.namespace, node.lab.fabric
    ends = ("eth0", "netns", name, "type", "veth", "peer", "name", node.uplink)
    system.run("ip", "-n", fabric, "link", "add", *ends)
    system.run("ip", "-n", fabric, "link", "set", node.uplink, "master", BRIDGE, "up")
    system.run("ip", "-n", name, "addr", "add", str(node.address), "dev", "eth0")
    system.run("ip", "-n", name, "link", "set", "eth0", "up")
    system.run("ip", "-n", name, "route", "add", "default", "via", str(GATEWAY.ip))


def _has_link(namespace: str, name: str) -> bool:
    return system.run("ip", "-n", namespace, "link", "show", name, check=False).returncode == 0
