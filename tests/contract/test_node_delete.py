"""``ocicatctl node delete`` on a real etcd: what it prints, what it leaves, and being killed."""

import asyncio
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from datastore import keys
from datastore.etcd import EtcdStore
from datastore.store import MAX_OPERATIONS, Change
from tests.consistency import assert_consistent
from tests.leftovers import NODE, Cluster, a_cluster, mentions, neighbours, spoil

OCICATCTL = Path(sys.executable).parent / "ocicatctl"


async def fill(store: EtcdStore, cluster: Cluster) -> None:
    entries = list(cluster.entries.items())
    for i in range(0, len(entries), MAX_OPERATIONS):
        await store.commit(Change(put=dict(entries[i : i + MAX_OPERATIONS])))


async def content(store: EtcdStore) -> dict[str, bytes]:
    return {key: entry.value for key, entry in (await store.read("/")).entries.items()}


def run(endpoint: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OCICATCTL, *line.split()],
        env={"ETCD_ENDPOINTS": endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start(endpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [OCICATCTL, "node", "delete", NODE],
        env={"ETCD_ENDPOINTS": endpoint},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def test_a_node_is_deleted_with_all_that_it_left(etcd, empty_etcd_store):
    await fill(empty_etcd_store, spoil(a_cluster()))

    done = run(etcd.endpoint, f"node delete {NODE}")

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == (
        "node node-1: deleted\n"
        "  addresses released: 9, 1 of them borrowed\n"
        "  blocks deleted: 4, left to those who use them: 1\n"
        "  workload endpoints deleted: 7\n"
        "  deleted: BGPPeer(tor)\n"
        "  deleted: HostEndpoint(one-eth0)\n"
        "  deleted: BGPConfiguration(node.node-1)\n"
        "  deleted: FelixConfiguration(node.node-1)\n"
        "  deleted: /calico/ipam/v2/handle/vxlan-tunnel-addr-node-1\n"
        "  deleted: /calico/ipam/v2/host/node-1\n"
    )
    entries = await content(empty_etcd_store)
    assert_consistent(entries)
    assert mentions(entries) == []


async def test_a_dry_run_only_tells(etcd, empty_etcd_store):
    await fill(empty_etcd_store, a_cluster())
    before = await content(empty_etcd_store)

    done = run(etcd.endpoint, f"node delete {NODE} --dry-run")

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith("would delete Node(node-1)\nwould release 10.233.77.0 (default/")
    assert await content(empty_etcd_store) == before


async def test_a_name_of_which_there_is_nothing_has_status_1(etcd, empty_etcd_store):
    await fill(empty_etcd_store, neighbours())

    done = run(etcd.endpoint, f"node delete {NODE}")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "ocicatctl: resource does not exist: Node(node-1)\n"


async def test_what_cannot_be_read_is_named_with_status_1(etcd, empty_etcd_store):
    await fill(empty_etcd_store, a_cluster())
    key = keys.block(ip_network("10.233.77.32/28"))
    await empty_etcd_store.commit(Change(put={key: b'"node-1"'}))

    done = run(etcd.endpoint, f"node delete {NODE}")

    assert done.returncode == 1
    assert done.stdout.startswith("node node-1: deleted\n  addresses released: 7, ")
    assert done.stderr == f"ocicatctl: etcd key {key}: value is not a JSON object\n"


@pytest.mark.parametrize("transactions", [1, 2, 4])
async def test_killed_half_way_it_finishes_the_next_time(etcd, empty_etcd_store, transactions):
    cluster = a_cluster()
    wide = ip_network("10.233.100.0/24")
    cluster.block(wide, NODE)
    for i in range(250):
        cluster.pod(NODE, f"many-{i}", wide)
    await fill(empty_etcd_store, cluster)
    revision = (await empty_etcd_store.read(keys.node(NODE))).revision

    killed = start(etcd.endpoint)
    try:
        async with asyncio.timeout(30):
            while (await empty_etcd_store.read("/x")).revision < revision + transactions:
                pass
    finally:
        killed.kill()
        killed.wait()
    is_half_done = bool(mentions(await content(empty_etcd_store)))
    done = run(etcd.endpoint, f"node delete {NODE}")

    if is_half_done:  # it may have been faster than the kill
        assert (done.stderr, done.returncode) == ("", 0)
        assert done.stdout.startswith("node node-1: was deleted before\n")
    entries = await content(empty_etcd_store)
    assert_consistent(entries)
    assert mentions(entries) == []
