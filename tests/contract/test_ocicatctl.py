"""The installed ``ocicatctl`` on a real etcd: what it prints, byte by byte, and its exit status."""

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
import yaml

from datamodel.affinity import Affinity
from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.endpoint import EndpointId, WorkloadEndpoint
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.store import Change, Committed
from tests.etcd_server import EtcdServer, free_ports, make_certificates

OCICATCTL = Path(sys.executable).parent / "ocicatctl"
STAMP = codec.Stamp("5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11", datetime(2026, 11, 20, tzinfo=UTC))
POOL = Pool("default-ipv4-ippool", IPv4Network("10.233.64.0/18"), 24, nat_outgoing=True)
BLOCK = IPv4Network("10.233.77.0/24")


def a_cluster() -> Mapping[str, bytes]:
    """One node with one block, and one pod in it."""
    pod, attachment = Pod("default", "web-0"), Attachment("ocicat", "4f0c9a5d2b", "eth0")
    where = EndpointId.of("node-1", attachment, pod)
    block, address = Block.new(BLOCK, "node-1", now_ns=1).assign(
        Attribute(attachment.handle_id, {"node": "node-1"})
    )
    endpoint = WorkloadEndpoint(
        id=where,
        container_id=attachment.container_id,
        networks=(IPv4Network(address),),
        interface_name="cali0d7763386da",
        mac="ee:ee:ee:ee:ee:ee",
    )
    node = Node("node-1", IPv4Interface("10.0.0.11/24"))
    return {
        keys.pool(POOL.name): codec.encode_pool(POOL, STAMP),
        keys.node("node-1"): codec.encode_node(node, STAMP),
        keys.affinity("node-1", BLOCK): codec.encode_affinity(Affinity("node-1", BLOCK)),
        keys.block(BLOCK): codec.encode_block(block.next_write()),
        keys.handle(attachment.handle_id): codec.encode_handle({BLOCK: 1}),
        keys.endpoint("default", where.name): codec.encode_endpoint(endpoint, STAMP),
    }


def run(
    endpoint: str, line: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OCICATCTL, *line.split()],
        env={"ETCD_ENDPOINTS": endpoint, **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


@pytest.fixture
async def revision(empty_etcd_store) -> int:
    """Fill the store; the revision at which that happened."""
    done = await empty_etcd_store.commit(Change(put=a_cluster()))
    assert isinstance(done, Committed)
    return done.revision


TABLES = {
    "get ippool": (
        "NAME                  CIDR             SELECTOR   \n"
        "default-ipv4-ippool   10.233.64.0/18   all()      \n"
        "\n"
    ),
    "get nodes -o wide": (
        "NAME     ASN       IPV4           IPV6   \nnode-1   (64512)   10.0.0.11/24          \n\n"
    ),
    "get wep": (
        "WORKLOAD   NODE     NETWORKS         INTERFACE         \n"
        "web-0      node-1   10.233.77.0/32   cali0d7763386da   \n"
        "\n"
    ),
    "get weps -n elsewhere": "NAMESPACE   WORKLOAD   NODE   NETWORKS   INTERFACE   \n\n",
    "ipam show --show-blocks": (
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
        "| GROUPING |      CIDR      | IPS TOTAL | IPS IN USE | IPS RESERVED |   IPS FREE   |\n"
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
        "| IP Pool  | 10.233.64.0/18 |     16384 | 1 (0%)     | 0 (0%)       | 16383 (100%) |\n"
        "| Block    | 10.233.77.0/24 |       256 | 1 (0%)     | 0 (0%)       | 255 (100%)   |\n"
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
    ),
}


@pytest.mark.usefixtures("revision")
@pytest.mark.parametrize("line", TABLES)
def test_tables_are_those_of_calicoctl(etcd, line):
    done = run(etcd.endpoint, line)

    assert (done.stdout, done.stderr, done.returncode) == (TABLES[line], "", 0)


def test_json_is_what_is_stored_and_its_revision(etcd, revision):
    done = run(etcd.endpoint, f"get ippool {POOL.name} -o json")

    stored = json.loads(codec.encode_pool(POOL, STAMP))
    stored["metadata"]["resourceVersion"] = str(revision)
    assert json.loads(done.stdout) == stored


def test_a_yaml_list_has_the_revision_of_the_store(etcd, revision):
    done = run(etcd.endpoint, "get node -o yaml")

    document = yaml.safe_load(done.stdout)
    assert document["kind"] == "NodeList"
    assert document["metadata"]["resourceVersion"] == str(revision)
    assert [item["metadata"]["name"] for item in document["items"]] == ["node-1"]


@pytest.mark.usefixtures("revision")
def test_a_name_that_does_not_exist_has_status_1(etcd):
    done = run(etcd.endpoint, "get ippool foo")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "ocicatctl: resource does not exist: IPPool(foo)\n"


@pytest.mark.usefixtures("revision")
async def test_a_spoilt_block_is_named_and_does_not_hide_the_pool(etcd, empty_etcd_store):
    await empty_etcd_store.commit(Change(put={keys.block(BLOCK): b"{}"}))

    done = run(etcd.endpoint, "ipam show")

    assert "| IP Pool  | 10.233.64.0/18 |" in done.stdout
    assert done.stderr == f"ocicatctl: etcd key {keys.block(BLOCK)}: field 'cidr' is missing\n"
    assert done.returncode == 1


async def test_what_cannot_be_shown_is_escaped(etcd, empty_etcd_store):
    document = {"metadata": {"labels": {"half": "\ud83d"}}}
    key = f"{keys.BGP_PEERS}odd-\udcff"
    await empty_etcd_store.commit(Change(put={key: json.dumps(document).encode()}))

    table, exact = run(etcd.endpoint, "get bgppeer"), run(etcd.endpoint, "get bgppeer -o json")

    assert (table.returncode, exact.returncode) == (0, 0), exact.stderr
    assert table.stdout.splitlines()[1].startswith("odd-\\udcff   ")
    assert json.loads(exact.stdout)["items"][0]["metadata"]["labels"] == {"half": "\ud83d"}


def test_an_etcd_that_is_down_is_told_in_one_line():
    (port,) = free_ports(1)

    done = run(f"http://127.0.0.1:{port}", "get node")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: etcd http://127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1


def test_a_certificate_that_is_refused_is_told_in_one_line(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    certificates = make_certificates(tmp_path / "theirs")
    with EtcdServer(certificates=certificates) as server:
        others = make_certificates(tmp_path / "ours")
        environment = {
            "ETCD_CA_CERT_FILE": str(certificates.ca),
            "ETCD_CERT_FILE": str(others.client),
            "ETCD_KEY_FILE": str(others.client_key),
        }

        done = run(server.endpoint, "get node", environment=environment)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "check ETCD_CERT_FILE and ETCD_KEY_FILE" in done.stderr


def test_wrong_usage_has_status_2():
    assert run("http://127.0.0.1:1", "get bogus").returncode == 2


MANIFEST = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: second}
spec: {cidr: 10.99.0.0/16, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: IPReservation
metadata: {name: gateways}
spec: {reservedCIDRs: [10.233.64.1, 10.99.0.0/30]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {nodeSelector: rack == "r1", peerIP: "172.18.0.254:1790", asNumber: 1.10}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false, asNumber: 64513, logSeverityScreen: info}
"""


def told(done: subprocess.CompletedProcess[str]) -> tuple[str, str, int]:
    return done.stdout, done.stderr, done.returncode


@pytest.mark.usefixtures("revision")
def test_what_a_file_says_is_created_shown_changed_and_deleted(etcd):
    def ctl(line: str) -> tuple[str, str, int]:
        return told(run(etcd.endpoint, line, MANIFEST))

    assert ctl("create -f -") == ("Successfully created 4 resource(s)\n", "", 0)
    assert ctl("get ippool") == (
        "NAME                  CIDR             SELECTOR   \n"
        "default-ipv4-ippool   10.233.64.0/18   all()      \n"
        "second                10.99.0.0/16     all()      \n"
        "\n",
        "",
        0,
    )
    assert ctl("get ipreservation -o wide")[0].splitlines()[1] == (
        "gateways   10.233.64.1,10.99.0.0/30   "
    )
    assert ctl("get bgppeer")[0].splitlines()[1] == (
        'tor    172.18.0.254:1790   rack == "r1"   65546   '
    )
    assert ctl("get bgpconfig")[0].splitlines()[1] == (
        "default   Info          false         64513      "
    )
    assert "(64513)" in ctl("get node -o wide")[0]
    assert ctl("create -f -")[2] == 1
    assert ctl("create -f - --skip-exists") == ("Successfully created 4 resource(s)\n", "", 0)
    assert ctl("apply -f -") == ("Successfully applied 4 resource(s)\n", "", 0)
    assert ctl("replace -f -") == ("Successfully replaced 4 resource(s)\n", "", 0)
    assert ctl("delete -f -") == ("Successfully deleted 4 resource(s)\n", "", 0)
    assert ctl("replace -f -")[1].splitlines()[1] == (
        "ocicatctl: Failed to replace any resources: "
        "[resource does not exist: IPReservation(gateways)]"
    )
    assert ctl("delete bp tor") == (
        "",
        "ocicatctl: Failed to delete 'BGPPeer' resource: resource does not exist: BGPPeer(tor)\n",
        1,
    )
    assert ctl("delete -f - --skip-not-exists") == ("Successfully deleted 4 resource(s)\n", "", 0)


@pytest.mark.usefixtures("revision")
def test_what_get_prints_can_be_applied_until_somebody_else_writes(etcd):
    shown = run(etcd.endpoint, f"get ippool {POOL.name} -o yaml").stdout

    first = run(etcd.endpoint, "apply -f -", shown)
    second = run(etcd.endpoint, "apply -f -", shown)

    assert told(first) == ("Successfully applied 1 'IPPool' resource(s)\n", "", 0)
    assert told(second) == (
        "",
        f"ocicatctl: Failed to apply 'IPPool' resource: [update conflict: IPPool({POOL.name})]\n",
        1,
    )
    again = run(etcd.endpoint, f"get ippool {POOL.name} -o yaml").stdout
    before, after = yaml.safe_load(shown), yaml.safe_load(again)
    before["metadata"].pop("resourceVersion")
    after["metadata"].pop("resourceVersion")
    assert after == before


@pytest.mark.usefixtures("revision")
async def test_nothing_is_written_if_anything_is_wrong(etcd, empty_etcd_store):
    before = (await empty_etcd_store.read("/")).revision
    overlap = MANIFEST.replace("10.99.0.0/16", "10.233.0.0/16, blockSize: 24")

    stored = run(etcd.endpoint, "create -f -", overlap)
    typed = run(etcd.endpoint, "create -f -", MANIFEST.replace("peerIP", "peerIp"))

    assert told(stored) == (
        "",
        "ocicatctl: standard input: IPPool(second): spec: "
        "cidr overlaps with pool default-ipv4-ippool (10.233.64.0/18); take another range\n",
        1,
    )
    assert 'unknown field "peerIp"; did you mean "peerIP"?' in typed.stderr
    assert (await empty_etcd_store.read("/")).revision == before


@pytest.mark.usefixtures("revision")
async def test_a_deleted_pool_leaves_the_addresses_in_use_and_no_owner(etcd, empty_etcd_store):
    empty = IPv4Network("10.233.78.0/24")
    await empty_etcd_store.commit(
        Change(
            put={
                keys.block(empty): codec.encode_block(Block.new(empty, "node-1", now_ns=1)),
                keys.affinity("node-1", empty): codec.encode_affinity(Affinity("node-1", empty)),
            }
        )
    )

    done = run(etcd.endpoint, f"delete pool {POOL.name}")

    assert told(done) == ("Successfully deleted 1 'IPPool' resource(s)\n", "", 0)
    left = (await empty_etcd_store.read("/")).entries
    assert not [k for k in left if k.startswith((keys.POOLS, keys.ALL_AFFINITIES))]
    block = codec.decode_block(keys.block(BLOCK), left[keys.block(BLOCK)].value)
    assert (block.affinity, block.in_use, block.sequence_number) == (None, 1, 3)
    assert keys.block(empty) not in left


@pytest.mark.usefixtures("revision")
def test_an_endpoint_is_edited_in_its_namespace(etcd):
    name = "node--1-k8s-web--0-eth0"
    shown = run(etcd.endpoint, f"get wep {name} -o json")

    applied = run(etcd.endpoint, "apply -f -", shown.stdout)
    elsewhere = run(etcd.endpoint, f"delete wep {name} -n elsewhere")
    deleted = run(etcd.endpoint, f"delete wep {name}")

    assert told(applied) == ("Successfully applied 1 'WorkloadEndpoint' resource(s)\n", "", 0)
    assert f"resource does not exist: WorkloadEndpoint(elsewhere/{name})" in elsewhere.stderr
    assert told(deleted) == ("Successfully deleted 1 'WorkloadEndpoint' resource(s)\n", "", 0)


def test_an_etcd_that_is_down_is_told_when_writing():
    (port,) = free_ports(1)

    done = run(f"http://127.0.0.1:{port}", "create -f -", MANIFEST)

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: etcd http://127.0.0.1:{port}: ")
