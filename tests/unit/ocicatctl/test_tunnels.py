"""What the operator's commands make of the tunnels' addresses that ipamd records."""

from ipaddress import ip_network

import pytest

from datamodel.pool import Pool
from datamodel.tunnel import TUNNELS
from datastore import keys
from datastore.memory import MemoryStore
from datastore.node_removal import delete_node
from ipamd.request import KeepTunnel
from ocicatctl.check.findings import check_store
from ocicatctl.check.problem import Kind
from tests.consistency import assert_consistent
from tests.ipam import NODE, NOW, Stored, a_pool, a_store, content, filled, settled
from tests.virtual_time import in_virtual_time

POOLS = (
    a_pool("a", "10.0.0.0/24", block_size=28, ipip_mode="Always"),
    a_pool("b", "10.1.0.0/24", block_size=28, vxlan_mode="Always"),
    Pool("c", ip_network("fd00::/120"), 124, vxlan_mode="Always"),
)


@pytest.fixture
def tunnelled() -> Stored:
    """Two nodes with an address for each of their tunnels."""
    stored = a_store(*POOLS, nodes=(NODE, "node-2"))
    for node in (NODE, "node-2"):
        stored, _ = settled(stored, *map(KeepTunnel, TUNNELS), node=node)
    return stored


def test_ipam_check_knows_the_tunnels(tunnelled):
    findings = check_store(tunnelled.entries, None, NODE, NOW)

    others = {Kind.NO_CLUSTER_INFORMATION, Kind.NODE_WITHOUT_ADDRESS}  # of these builders
    assert {problem.kind for problem in findings.problems} == others
    assert findings.cluster.tunnels == 6


def test_ipam_check_names_a_tunnel_whose_node_does_not_know_it(tunnelled):
    plain = a_store().values[keys.node(NODE)]

    findings = check_store(tunnelled.having(**{keys.node(NODE): plain}).entries, None, NODE, NOW)

    assert {p.name for p in findings.of(Kind.LEAKED_ADDRESS)} == {
        tunnel.handle_id(NODE) for tunnel in TUNNELS
    }


@in_virtual_time
async def _delete(stored: Stored) -> dict[str, bytes]:
    store = await filled(MemoryStore(), stored)
    await delete_node(store, NODE, lambda text: None, now=lambda: NOW)
    return await content(store)


def test_a_node_is_deleted_with_its_tunnels_and_without_those_of_others(tunnelled):
    entries = _delete(tunnelled)

    assert_consistent(entries)
    assert [key for key, value in entries.items() if NODE.encode() in key.encode() + value] == []
    left = [key for key in entries if key.startswith(keys.ALL_HANDLES)]
    assert left == sorted(keys.handle(tunnel.handle_id("node-2")) for tunnel in TUNNELS)
