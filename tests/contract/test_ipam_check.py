"""The installed ``ocicatctl ipam check`` on a real etcd: its answer, its status, its repairs."""

import json
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.errors import Unavailable
from datamodel.node import Node
from datamodel.pool import Pool
from datamodel.report import Report, ReportedLink
from datastore import codec, keys
from datastore.store import MAX_OPERATIONS, Change, Committed, Store
from ipam_api import ipam_pb2
from ipam_api.client import IpamClient
from ipam_api.messages import report_message
from tests.consistency import assert_consistent
from tests.fake_ipamd import FakeIpamd, serving
from tests.ipam import content
from tests.ipamd_process import IpamdProcess

OCICATCTL = Path(sys.executable).parent / "ocicatctl"
STAMP = codec.Stamp("5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11", datetime(2026, 11, 20, tzinfo=UTC))
POOL = Pool("default-ipv4-ippool", IPv4Network("10.233.64.0/18"), 24, nat_outgoing=True)
BLOCK = IPv4Network("10.233.77.0/24")
HERE = Kernel("0b3c5d1e-7d57-4a53-9d2c-8c7f0a0f2d11", "4026531840")


def an_attachment(n: int) -> Attachment:
    return Attachment("ocicat", f"c{n}", "eth0")


def endpoint_key(n: int) -> str:
    where = EndpointId.of("node-1", an_attachment(n), Pod("default", f"web-{n}"))
    return keys.endpoint(where.namespace, where.name)


def a_cluster(pods: int = 2) -> dict[str, bytes]:
    """One node with one block, and pods in it; nothing is wrong."""
    values = {
        keys.CLUSTER_INFORMATION: codec.encode_cluster_information("0" * 32, STAMP),
        keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG,
        keys.pool(POOL.name): codec.encode_pool(POOL, STAMP),
        keys.node("node-1"): codec.encode_node(
            Node("node-1", IPv4Interface("10.0.0.11/24")), STAMP
        ),
        keys.affinity("node-1", BLOCK): codec.encode_affinity(Affinity("node-1", BLOCK)),
    }
    block = Block.new(BLOCK, "node-1", now_ns=1)
    for n in range(pods):
        attachment = an_attachment(n)
        facts = {
            "namespace": "default",
            "pod": f"web-{n}",
            "node": "node-1",
            "timestamp": "2026-11-20 12:00:00.5 +0000 UTC",
            "boot": HERE.boot_id,
            "netns": HERE.netns,
        }
        block, address = block.assign(Attribute(attachment.handle_id, facts))
        values[keys.handle(attachment.handle_id)] = codec.encode_handle({BLOCK: 1})
        values[endpoint_key(n)] = codec.encode_endpoint(
            WorkloadEndpoint(
                id=EndpointId.of("node-1", attachment, Pod("default", f"web-{n}")),
                container_id=attachment.container_id,
                networks=(IPv4Network(address),),
                interface_name=f"cali{n}",
                mac="ee:ee:ee:ee:ee:ee",
            ),
            STAMP,
        )
    return values | {keys.block(BLOCK): codec.encode_block(block.next_write())}


def a_report(*pods: int) -> Report:
    """The kernel of node-1 has the links of these pods."""
    links = tuple(
        ReportedLink(
            interface_name=f"cali{n}",
            attachment=an_attachment(n),
            attachment_digest=an_attachment(n).digest,
            pod=Pod("default", f"web-{n}"),
            addresses=(BLOCK.network_address + n,),
            mac="ee:ee:ee:ee:ee:ee",
        )
        for n in pods
    )
    return Report(HERE, True, links)


@pytest.fixture
async def store(empty_etcd_store) -> Store:
    """A store in which nothing is wrong."""
    values = list(a_cluster().items())
    assert isinstance(await empty_etcd_store.commit(Change(put=dict(values))), Committed)
    return empty_etcd_store


@pytest.fixture
def ipamd(tmp_path):
    """An ipamd of node-1 that has been told of all its links."""
    with serving(FakeIpamd(), tmp_path / "ipamd.sock") as served:
        served.answers["Status"] = ipam_pb2.StatusResponse(node="node-1")
        tell(served, a_report(0, 1))
        yield served


def tell(ipamd: FakeIpamd, report: Report, age_s: float = 0.0) -> None:
    ipamd.answers["GetReport"] = ipam_pb2.GetReportResponse(
        report=report_message(report), age_s=age_s
    )


@pytest.fixture
def check(etcd, tmp_path):
    def run(line: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [OCICATCTL, "ipam", "check", *line.split()],
            env={
                "ETCD_ENDPOINTS": etcd.endpoint,
                "OCICAT_IPAM_SOCKET": str(tmp_path / "ipamd.sock"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.splitlines()[-1]


@pytest.mark.usefixtures("store", "ipamd")
def test_nothing_is_wrong(check):
    done = check()

    assert (done.stderr, done.returncode) == ("", 0)
    assert "Check complete; found 0 problems." in done.stdout
    assert "Comparing with the 2 links that the kernel of node node-1 has..." in done.stdout
    assert last(done) == "Found 0 problems in all."


@pytest.mark.usefixtures("store")
def test_without_ipamd_the_kernel_is_not_looked_at_and_that_is_said(check):
    done = check()

    assert done.returncode == 0
    assert "The kernel of this node was not looked at: ipamd " in done.stdout


@pytest.mark.usefixtures("store")
def test_an_old_report_is_no_look_at_the_kernel(check, ipamd):
    tell(ipamd, a_report(), age_s=600)

    done = check()

    assert done.returncode == 0
    assert "not looked at: the last report of it is 600 s old; try again." in done.stdout
    assert ipamd.requests["GetReport"].fresh


@pytest.mark.usefixtures("store")
def test_without_a_report_the_kernel_is_not_looked_at(check, ipamd):
    ipamd.answers["GetReport"] = ipam_pb2.GetReportResponse()

    assert "not looked at: ipamd has had no report of it" in check().stdout


@pytest.mark.usefixtures("empty_etcd_store")
def test_who_does_not_report_is_named(etcd):
    with (
        IpamdProcess([etcd.endpoint]) as ipamd,
        closing(IpamClient(ipamd.socket)) as client,
        pytest.raises(Unavailable, match="check that ocicat-cni-server runs"),
    ):
        client.get_report(fresh=True, timeout_s=1)


@pytest.mark.usefixtures("store")
def test_what_ipamd_warns_of_is_told_and_is_no_problem_by_itself(check, ipamd):
    ipamd.answers["Status"] = ipam_pb2.StatusResponse(
        node="node-1", waits_for="etcd: gone", findings=["nothing is freed"]
    )

    done, alone = check(), check("-o json")

    assert done.returncode == 0
    assert done.stdout.endswith(
        "\nipamd of this node:\n  gives out no address: etcd: gone\n  nothing is freed\n"
    )
    says = ["gives out no address: etcd: gone", "nothing is freed"]
    assert json.loads(alone.stdout)["ipamdSays"] == says


async def test_what_ipamd_warns_of_is_not_told_twice(check, store, ipamd):
    await store.commit(Change(put={keys.pool("bad"): b"[]"}))
    mistake = (
        f"etcd key {keys.pool('bad')}: value is not a JSON object; "
        "put a right one there with ocicatctl apply"
    )
    ipamd.answers["Status"] = ipam_pb2.StatusResponse(node="node-1", findings=[mistake])

    assert check().stdout.count(mistake) == 1


@pytest.mark.usefixtures("ipamd")
async def test_a_problem_has_status_1_and_is_named_when_asked_for(check, store):
    await store.commit(Change(delete=frozenset({endpoint_key(0)})))

    brief, long = check(), check("--show-problem-ips")

    assert (brief.returncode, long.returncode) == (1, 1)
    assert "Check complete; found 1 problems." in brief.stdout
    assert "10.233.77.0" not in brief.stdout.replace(f" IPAM block {BLOCK} ", "")
    assert "  10.233.77.0 leaked; attrs Main:ocicat.c0 Extra:" in long.stdout


@pytest.mark.usefixtures("ipamd")
async def test_the_report_goes_to_a_file_or_alone_to_standard_output(check, store, tmp_path):
    await store.commit(Change(delete=frozenset({endpoint_key(0)})))

    to_file, alone = check("-o report.json"), check("-o json")

    written = json.loads((tmp_path / "report.json").read_text())
    assert "Check complete; found 1 problems." in to_file.stdout
    assert json.loads(alone.stdout) == written
    assert (to_file.returncode, alone.returncode) == (1, 1)
    (leak,) = written["allocations"]["10.233.77.0"]
    assert leak["inUse"]  # its link is there
    assert written["kernel"] == {"node": "node-1", "links": 2, "notLookedAt": None}


@pytest.mark.usefixtures("store")
def test_a_file_that_cannot_be_written_is_told(check):
    done = check("-o /nowhere/report.json")

    assert done.returncode == 1
    assert done.stderr == (
        "ocicatctl: /nowhere/report.json: cannot be written: No such file or directory\n"
    )


@pytest.mark.parametrize("line", ["--dry-run", "extra", "--show-all"])
def test_wrong_usage_has_status_2(check, line):
    assert check(line).returncode == 2


async def test_a_leak_is_released_when_the_kernel_proves_it(check, store, ipamd):
    await store.commit(Change(delete=frozenset({endpoint_key(0)})))
    tell(ipamd, a_report(1))

    tried, done = check("--repair --dry-run"), check("--repair")

    assert tried.returncode == 1
    assert "What --repair would do:\n  release 10.233.77.0 (sequence number 1)" in tried.stdout
    assert "    safe: the kernel of node-1, asked just now, has no link" in tried.stdout
    assert (done.stderr, done.returncode) == ("", 0)
    assert "Made 1 of 1 repairs.\nNothing else is wrong.\n" in done.stdout
    assert done.stdout.endswith("Checked again.\nFound 0 problems in all.\n")
    after = await content(store)
    assert_consistent(after)
    assert after.keys() == a_cluster().keys() - {endpoint_key(0), keys.handle("ocicat.c0")}


async def test_a_dry_run_changes_nothing(check, store, ipamd):
    await store.commit(Change(delete=frozenset({endpoint_key(0), keys.handle("ocicat.c1")})))
    before = await store.read("/")

    check("--repair --dry-run")

    assert await store.read("/") == before


async def test_what_no_kernel_proves_is_left_and_the_rest_is_mended(check, store):
    gone = frozenset({endpoint_key(0), keys.handle("ocicat.c1"), keys.affinity("node-1", BLOCK)})
    await store.commit(Change(delete=gone))

    done = check("--repair")

    assert done.returncode == 1
    assert (
        "    not repaired: cannot be proven to be unused: only the kernel of node node-1"
        in done.stdout
    )
    assert "Made 2 of 2 repairs." in done.stdout
    assert last(done) == "Found 1 problems in all."
    after = await content(store)
    assert after.keys() == a_cluster().keys() - {endpoint_key(0)}
    assert_consistent(after, unwired={"ocicat.c0"})


async def test_a_report_of_a_repair_says_what_was_done(check, store):
    await store.commit(Change(delete=frozenset({keys.handle("ocicat.c1")})))

    done = check("--repair -o json")

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert [repair["notDone"] for repair in document["repairs"]] == [None]
    assert document["problems"] == document["notRepaired"] == []


async def test_a_key_of_odd_bytes_is_told_and_deleted_like_any_other(check, store):
    key = keys.handle(b"net.\xff\xc3".decode(errors="surrogateescape"))
    await store.commit(Change(put={key: codec.encode_handle({BLOCK: 1})}))

    told, alone, mended = check("--show-all-ips"), check("-o json"), check("--repair")

    assert "  net.\\udcff\\udcc3 doesn't have any active IPs." in told.stdout
    assert len(json.loads(alone.stdout)["leakedHandles"]) == 1
    assert mended.returncode == 0
    assert key not in await content(store)


async def test_more_than_one_answer_of_etcd_takes_is_read_at_one_revision(check, store):
    """More keys than one transaction reads, and a block of each node."""
    values: dict[str, bytes] = {}
    for n in range(1, 200):
        node, cidr = f"far-{n}", IPv4Network(f"10.233.{64 + n // 16}.{n % 16 * 16}/28")
        pool = Pool(f"p{n}", cidr, 28, disabled=True)
        where = Node(node, IPv4Interface(f"10.1.{n}.1/16"))
        values |= {
            keys.pool(pool.name): codec.encode_pool(pool, STAMP),
            keys.node(node): codec.encode_node(where, STAMP),
            keys.block(cidr): codec.encode_block(Block.new(cidr, node, 1)),
            keys.affinity(node, cidr): codec.encode_affinity(Affinity(node, cidr)),
        }
    items = [(key, value) for key, value in values.items() if key != keys.block(BLOCK)]
    for i in range(0, len(items), MAX_OPERATIONS):
        await store.commit(Change(put=dict(items[i : i + MAX_OPERATIONS])))

    done = check()

    assert "Found 200 IPAM blocks." in done.stdout
    assert "Found 1 active IP pools." in done.stdout
    assert (last(done), done.returncode) == ("Found 0 problems in all.", 0)
