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


def test_every_node_gets_an_address_of_its_own_and_gives_it_back(lab, node):
    lab.add_pod(node, "there")
    try:
        set_mode(lab, node, "Always")
        system.wait_until(lambda: all(tunnel_addresses(lab)), "tunnel addresses", SOON_S)

        assert len(set(tunnel_addresses(lab))) == len(lab.nodes)
        assert "0 problems" in show.ctl(node, "ipam", "check")
        assert_consistent(everything(lab))
    finally:
        set_mode(lab, node, "Never")
    system.wait_until(lambda: not any(tunnel_addresses(lab)), "no tunnel addresses", SOON_S)

    assert not [key for key in everything(lab) if "tunnel-addr" in key]
    assert "0 problems" in show.ctl(node, "ipam", "check")
