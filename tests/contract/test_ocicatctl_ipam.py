"""The installed ``ocicatctl ipam …`` on a real etcd: what it prints, what it writes, its status."""

import json
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from datamodel.block import Attribute, Block
from datastore import codec, keys
from datastore.store import MAX_OPERATIONS, Change, Committed, Store
from ipam_api import ipam_pb2
from tests.consistency import assert_consistent, problems
from tests.etcd_server import free_ports
from tests.fake_ipamd import FakeIpamd, serving
from tests.unit.ocicatctl.addressing import (
    FIRST,
    HANDLE_0,
    NOW,
    POOL,
    a_block,
    a_cluster,
    a_config,
    a_reservation,
    an_endpoint,
    block_in,
    content,
    facts_of,
    stored_block,
)

OCICATCTL = Path(sys.executable).parent / "ocicatctl"
WEB = Attribute(HANDLE_0, facts_of("web-0"))
LEAKED = Attribute("net.gone", facts_of("gone"))  # holds 10.0.0.1
IN_USE = (
    "ocicatctl: IP address 10.0.0.0: is used by workload endpoint "
    "default/node--1-k8s-web--0-eth0; delete what uses it, or release it all the same with "
    "--force\n"
)


def run(endpoint: str, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OCICATCTL, "ipam", *line.split()],
        env={"ETCD_ENDPOINTS": endpoint, **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.fixture
async def store(empty_etcd_store) -> Store:
    """A store with the cluster, a leaked address in its first block."""
    leak = stored_block(a_block(FIRST, "node-1", WEB, LEAKED))
    assert isinstance(await empty_etcd_store.commit(Change(put=a_cluster(leak))), Committed)
    return empty_etcd_store


@pytest.fixture
def ctl(etcd, store):
    """Run a command on that store."""
    return lambda line, **environment: run(etcd.endpoint, line, **environment)


def amend(path: Path, **fields: str) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def answer(done: subprocess.CompletedProcess[str]) -> tuple[str, str, int]:
    return done.stdout, done.stderr, done.returncode


# ---- show --------------------------------------------------------------------------------------


async def test_show_counts_what_is_reserved(ctl, store):
    await store.commit(Change(put=a_reservation("10.0.0.1", "10.0.0.128/25")))

    assert answer(ctl("show")) == (
        "+----------+-------------+-----------+------------+--------------+-----------+\n"
        "| GROUPING |    CIDR     | IPS TOTAL | IPS IN USE | IPS RESERVED | IPS FREE  |\n"
        "+----------+-------------+-----------+------------+--------------+-----------+\n"
        "| IP Pool  | 10.0.0.0/24 |       256 | 3 (1%)     | 129 (50%)    | 125 (49%) |\n"
        "+----------+-------------+-----------+------------+--------------+-----------+\n",
        "",
        0,
    )


async def test_show_counts_a_huge_ipv6_pool(ctl, store):
    pool = codec.encode_pool(
        type(POOL)("six", ip_network("fd5f:abcd:64::/48"), 122), codec.Stamp("u", NOW)
    )
    block = Block.new(ip_network("fd5f:abcd:64::40/122"), "node-1", 1).assign(WEB)[0]
    await store.commit(Change(put={keys.pool("six"): pool, **stored_block(block)}))

    text = ctl("show").stdout

    assert "| IP Pool  | fd5f:abcd:64::/48 | 1.2089e+24 | 1 (0%)     |" in text
    assert "| 1.2089e+24 (100%) |" in text


def test_show_ip_tells_who_has_it(ctl):
    done = ctl("show --ip=10.0.0.1")

    assert done.stdout.startswith("IP 10.0.0.1 is in use\nHandle ID: net.gone\nActive Owner Attr")
    assert answer(ctl("show --ip=10.0.0.7")) == ("10.0.0.7 is not assigned\n", "", 0)
    assert yaml.safe_load(ctl("show --ip=10.0.0.1 -o yaml").stdout)["handleID"] == "net.gone"


async def test_show_ip_of_a_block_that_cannot_be_read_claims_nothing(ctl, store):
    await store.commit(Change(put={keys.block(FIRST): b"{"}))

    text, document = ctl("show --ip=10.0.0.1"), ctl("show --ip=10.0.0.1 -o json")

    assert text.stdout == "10.0.0.1 may be assigned: its block cannot be read\n"
    assert text.stderr.startswith(f"ocicatctl: etcd key {keys.block(FIRST)}: value is not JSON")
    assert json.loads(document.stdout)["isAssigned"] is None
    assert (text.returncode, document.returncode) == (1, 1)


def test_show_borrowed_and_configuration(ctl):
    assert "| IP | BORROWING-NODE | BLOCK | BLOCK OWNER | TYPE | ALLOCATED-TO |" in (
        ctl("show --show-borrowed").stdout
    )
    assert "| IPCooldownSeconds            |        0 |" in ctl("show --show-configuration").stdout
    assert json.loads(ctl("show --show-configuration -o json").stdout)["StrictAffinity"] is True


async def test_show_reads_more_blocks_than_one_request_takes(ctl, store):
    cidrs = list(ip_network("10.1.0.0/19").subnets(new_prefix=29))[: 3 * MAX_OPERATIONS]
    for i in range(0, len(cidrs), MAX_OPERATIONS):
        some = cidrs[i : i + MAX_OPERATIONS]
        blocks = {keys.block(c): codec.encode_block(Block.new(c, "node-2", 1)) for c in some}
        await store.commit(Change(put=blocks))

    shown = json.loads(ctl("show --show-blocks -o json").stdout)

    assert len(shown["blocksInNoPool"]) == len(cidrs)


# ---- configure ---------------------------------------------------------------------------------


async def test_configure_says_what_it_set_and_keeps_the_rest(ctl, store):
    await store.commit(
        Change(put={keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true,"future":[1]}'})
    )

    done = ctl(
        "configure --strictaffinity=true --max-blocks-per-host=4 --ip-cooldown-seconds=30"
        " --kubevirt-ip-persistence=Enabled"
    )

    assert sorted(done.stdout.splitlines()) == [
        "Successfully set IPCooldownSeconds to: 30",
        "Successfully set KubeVirtVMAddressPersistence to: Enabled",
        "Successfully set MaxBlocksPerHost to: 4",
        "Successfully set StrictAffinity to: true",
    ]
    assert json.loads((await content(store))[keys.IPAM_CONFIG]) == {
        "strict_affinity": True,
        "auto_allocate_blocks": True,
        "maxBlocksPerHost": 4,
        "future": [1],
        "kubeVirtVMAddressPersistence": "Enabled",
        "ipCooldownSeconds": 30,
    }


async def test_configure_refuses_what_breaks_a_rule(ctl, store):
    before = await content(store)

    done = ctl("configure --strictaffinity=false --auto-allocate-blocks=false")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("ocicatctl: IPAM config: strict_affinity and auto_allocate_bl")
    assert await content(store) == before


# ---- release -----------------------------------------------------------------------------------


async def test_release_gives_back_a_leaked_address(ctl, store):
    assert problems(await content(store))

    done = ctl("release --ip=10.0.0.1")

    assert answer(done) == ("Successfully released IP address 10.0.0.1\n", "", 0)
    assert_consistent(await content(store))
    assert answer(ctl("release --ip=10.0.0.1")) == (
        "",
        "ocicatctl: IP address 10.0.0.1 is not assigned\n",
        1,
    )


async def test_release_keeps_the_cooldown(ctl, store):
    await store.commit(Change(put=a_config(ip_cooldown_s=600)))

    ctl("release --ip=10.0.0.1")

    holder = (await block_in(store)).holder_of(ip_address("10.0.0.1"))
    assert holder is not None
    assert holder.released_at is not None
    assert_consistent(await content(store))
    assert "cooling down until" in ctl("show --ip=10.0.0.1").stdout


async def test_release_refuses_what_a_pod_uses_unless_forced(ctl, store):
    before = await content(store)

    assert answer(ctl("release --ip=10.0.0.0")) == ("", IN_USE, 1)
    assert await content(store) == before
    assert ctl("release --ip=10.0.0.0 --force").returncode == 0
    assert (await block_in(store)).holder_of(ip_address("10.0.0.0")) is None


async def test_release_of_several_does_what_it_can(ctl, store):
    done = ctl("release --ip=10.0.0.1 --ip=10.0.0.7 --ip=10.0.0.0 --ip=10.0.0.1")

    assert done.stdout == "Successfully released IP address 10.0.0.1\n"
    assert sorted(done.stderr.splitlines(keepends=True)) == sorted(
        ["ocicatctl: IP address 10.0.0.7 is not assigned\n", IN_USE]
    )
    assert done.returncode == 1
    assert_consistent(await content(store))


@pytest.fixture
def report(ctl, tmp_path) -> str:
    """What ``ipam check`` writes about the cluster."""
    path = tmp_path / "report.json"
    ctl(f"check -o {path}", OCICAT_IPAM_SOCKET=f"{tmp_path}/none.sock")
    return str(path)


async def test_release_from_a_report_of_check(ctl, store, report):
    done = ctl(f"release --from-report={report} --force")

    assert answer(done) == (
        "WARNING: datastore: is not locked (datastoreReady is true). Ignoring due to --force "
        "option\n"
        "Releasing 1 old IPs...\n"
        "Released 1 IPs successfully\n"
        "Report didn't contain any handles to clean up.\n",
        "",
        0,
    )
    assert_consistent(await content(store))


async def test_release_from_a_report_needs_a_locked_datastore(ctl, store, report):
    before = await content(store)

    done = ctl(f"release --from-report={report}")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith("ocicatctl: datastore: is not locked")
    assert await content(store) == before


async def test_release_from_a_report_leaves_what_was_taken_into_use_since(ctl, store, report):
    await store.commit(Change(put=an_endpoint("gone", "gone", "10.0.0.1")))

    done = ctl(f"release --from-report={report} --force")

    assert "Released 0 IPs successfully\n" in done.stdout
    assert "Skipped 10.0.0.1: it is used by workload endpoint default/node--1-k8s-gone-eth0" in (
        done.stdout
    )
    assert_consistent(await content(store))


async def test_release_from_a_report_leaves_what_is_held_anew(ctl, store, report):
    block = await block_in(store)
    anew = block.release("net.gone", now=NOW)[0].assign_address(ip_address("10.0.0.1"), LEAKED)
    await store.commit(Change(put={keys.block(FIRST): codec.encode_block(anew.next_write())}))

    done = ctl(f"release --from-report={report} --force")

    assert "Skipped 10.0.0.1: it was released and is held again\n" in done.stdout
    assert (await block_in(store)).held_by("net.gone") == (1,)


async def test_release_from_a_report_deletes_leaked_handles(ctl, store, tmp_path):
    stale = {keys.handle(name): codec.encode_handle({FIRST: 1}) for name in ("net.x", "net.y")}
    await store.commit(Change(put=stale))
    path = tmp_path / "r.json"
    ctl(f"check -o {path}", OCICAT_IPAM_SOCKET=f"{tmp_path}/none.sock")
    await store.commit(Change(put={keys.handle("net.y"): codec.encode_handle({FIRST: 2})}))

    done = ctl(f"release --from-report={path} --force")

    assert done.stdout.endswith("Deleting 2 handles...\nReleased 1 handles; 1 skipped; 0 errors.\n")
    found = await content(store)
    assert keys.handle("net.x") not in found
    assert keys.handle("net.y") in found


async def test_a_report_of_another_cluster_is_refused(ctl, store, report):
    amend(Path(report), clusterGUID="other")
    before = await content(store)

    done = ctl(f"release --from-report={report} --force")

    assert done.returncode == 1
    assert "is of another cluster (other)" in done.stderr
    assert await content(store) == before


# ---- explain -----------------------------------------------------------------------------------


def test_explain_an_address_a_pod_and_a_node(ctl):
    done = ctl("explain default/web-0")

    assert done.stdout.startswith("10.0.0.0 is held by pod default/web-0 on node node-1 since ")
    assert (done.stderr, done.returncode) == ("", 0)
    assert ctl("explain web-0").stdout == done.stdout == ctl("explain 10.0.0.0").stdout
    assert answer(ctl("explain --node node-2")) == (
        "Node node-2, IPv4: strict affinity, 1 of at most 20 blocks\n"
        "  pool main (10.0.0.0/24): serves; 2 of 32 blocks claimed\n"
        "    block 10.0.0.8/29: 7 of 8 free\n"
        "  next address: from the node's own block 10.0.0.8/29\n",
        "",
        0,
    )


def test_explain_for_programs(ctl):
    address = json.loads(ctl("explain 10.0.0.1 -o json").stdout)
    pod = json.loads(ctl("explain web-0 -o json").stdout)
    (node,) = json.loads(ctl("explain --node node-1 --pool 10.0.0.0/24 -o json").stdout)

    assert address["holder"]["pod"] == "gone"
    assert address["notes"] == [
        "no workload endpoint lists it: it is leaked, or another plugin wires the container"
    ]
    assert (pod["pod"], pod["addresses"][0]["address"]) == ("web-0", "10.0.0.0")
    assert (node["next"]["step"], node["next"]["blocks"]) == ("own", ["10.0.0.0/29"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("explain --node nope", "node nope: has no Node resource"),
        ("explain --node node-1 --pool nope", "pool nope: does not exist"),
        ("explain nope", "pod default/nope: has neither a workload endpoint nor an address"),
    ],
)
def test_explain_of_what_is_not_there_has_status_1(ctl, line, words):
    done = ctl(line)

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: {words}")


async def test_of_a_config_that_cannot_be_read_nothing_is_claimed(ctl, store):
    await store.commit(Change(put={keys.IPAM_CONFIG: b'{"strict_affinity":"yes"}'}))

    shown, explained = ctl("show --show-configuration"), ctl("explain --node node-1")

    assert (shown.stdout, shown.returncode, explained.returncode) == ("", 1, 1)
    assert explained.stdout.startswith("Node node-1, IPv4: IPAM config cannot be read\n")
    for done in (shown, explained):
        assert done.stderr.startswith(f"ocicatctl: etcd key {keys.IPAM_CONFIG}: strict_affinity")


async def test_a_spoilt_value_is_named_and_the_rest_is_told(ctl, store):
    await store.commit(Change(put={keys.pool("bad"): b"{}"}))

    for line in ("show", "explain 10.0.0.0", "explain --node node-1"):
        done = ctl(line)

        assert done.stdout
        assert done.stderr == (
            f"ocicatctl: etcd key {keys.pool('bad')}: field 'spec' is missing; "
            "put a right one there with ocicatctl apply\n"
        )
        assert done.returncode == 1


# ---- history -----------------------------------------------------------------------------------


def a_history() -> FakeIpamd:
    ipamd = FakeIpamd()
    holding = ipam_pb2.Holding(
        address="10.0.0.8", handle_id="net.c1", node="node-1", from_s=1.795e9, to_s=0
    )
    holding.pod.namespace, holding.pod.name = "default", "web-1"
    ipamd.answers["GetHistory"] = ipam_pb2.GetHistoryResponse(holdings=[holding], begins_s=1.79e9)
    ipamd.answers["Status"] = ipam_pb2.StatusResponse(node="node-1")
    return ipamd


TABLE = (
    "ADDRESS    HELD BY         NODE     FROM                   TO    HANDLE   \n"
    "10.0.0.8   default/web-1   node-1   2026-11-18T11:06:40Z   now   net.c1   \n"
    "\n"
    "The history of this node begins at 2026-09-21T14:13:20Z.\n"
)
ELSEWHERE = (
    "10.0.0.8 is of a block of node node-2, and this is node node-1; "
    "run ocicatctl ipam history 10.0.0.8 on node-2\n"
)


def test_history_asks_the_ipamd_of_the_node(ctl, tmp_path):
    path = tmp_path / "ipamd.sock"
    with serving(a_history(), path) as ipamd:
        by_address = ctl("history 10.0.0.8", OCICAT_IPAM_SOCKET=str(path))
        assert ipamd.requests["GetHistory"].address == "10.0.0.8"
        by_pod = ctl(f"history default/web-1 --socket {path}")
        assert ipamd.requests["GetHistory"].pod.name == "web-1"
        ctl(f"history --container c1 --socket {path}")
        assert ipamd.requests["GetHistory"].container_id == "c1"
        by_handle = ctl(f"history --handle net.c1 -o json --socket {path}")
        assert ipamd.requests["GetHistory"].handle_id == "net.c1"

    assert answer(by_address) == (TABLE, ELSEWHERE, 0)
    assert answer(by_pod) == (TABLE, "", 0)
    assert json.loads(by_handle.stdout)["holdings"][0]["to"] is None


def test_history_needs_no_etcd(tmp_path):
    (port,) = free_ports(1)
    path = tmp_path / "ipamd.sock"
    with serving(a_history(), path):
        done = run(f"http://127.0.0.1:{port}", f"history 10.0.0.8 --socket {path}")

    assert answer(done) == (TABLE, "", 0)


def test_history_without_ipamd_has_status_1(ctl, tmp_path):
    done = ctl("history 10.0.0.8", OCICAT_IPAM_SOCKET=f"{tmp_path}/none.sock")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: ipamd {tmp_path}/none.sock: does not answer")


# ---- etcd --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "show",
        "release --ip=10.0.0.1",
    ],
)
def test_an_etcd_that_is_down_is_told_in_one_line(line):
    (port,) = free_ports(1)

    done = run(f"http://127.0.0.1:{port}", line)

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: etcd http://127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1
