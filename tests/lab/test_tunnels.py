"""A pool that an operator has tunnelled gives every node an address, and takes it back."""

import json

from ocicatctl.lab import show, system
from tests.consistency import assert_consistent
from tests.lab_store import everything

SOON_S = 10.0
POOL = "default-ipv4-ippool"


def set_mode(lab, node, mode):
    """``ocicatctl apply`` the pool with another mode."""
    pool = json.loads(show.ctl(node, "get", "ippool", POOL, "-o", "json"))
    pool["spec"]["vxlanMode"] = mode
    file = lab.spec.directory / "pool.json"
    file.write_text(json.dumps(pool))
    show.ctl(node, "apply", "-f", str(file))


def tunnel_addresses(lab):
    """The address that each node's resource names."""
    prefix = "/calico/resources/v3/projectcalico.org/nodes/"
    store = {k: json.loads(v) for k, v in everything(lab).items() if k.startswith(prefix)}
    return [node["spec"].get("ipv4VXLANTunnelAddr") for node in store.values()]


def mtus(node, pod):
    """Of the pod's interface, and of the host end that leads to it."""
    route = system.run("ip", "-o", "route", "get", pod.address, namespace=node.namespace).stdout
    ends = ((pod.namespace, "eth0"), (node.namespace, route.split(" dev ")[1].split()[0]))
    return [
        json.loads(system.run("ip", "-j", "link", "show", name, namespace=where).stdout)[0]["mtu"]
        for where, name in ends
    ]


def test_every_node_gets_an_address_of_its_own_and_gives_it_back(lab, node):
    before = lab.add_pod(node, "before")
    try:
        set_mode(lab, node, "Always")
        system.wait_until(lambda: all(tunnel_addresses(lab)), "tunnel addresses", SOON_S)

        assert len(set(tunnel_addresses(lab))) == len(lab.nodes)
        assert "0 problems" in show.ctl(node, "ipam", "check")
        assert_consistent(everything(lab))
        later = lab.add_pod(node, "later")
        assert mtus(node, later) == [mtu - 50 for mtu in mtus(node, before)]
    finally:
        set_mode(lab, node, "Never")
    system.wait_until(lambda: not any(tunnel_addresses(lab)), "no tunnel addresses", SOON_S)

    assert not [key for key in everything(lab) if "tunnel-addr" in key]
    assert "0 problems" in show.ctl(node, "ipam", "check")
