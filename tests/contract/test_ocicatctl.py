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
from tests.etcd_server import free_ports

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


def run(endpoint: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OCICATCTL, *line.split()],
        env={"ETCD_ENDPOINTS": endpoint},
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
    "get weps -n elsewhere": "WORKLOAD   NODE   NETWORKS   INTERFACE   \n\n",
    "ipam show --show-blocks": (
        "+----------+----------------+-----------+------------+--------------+\n"
        "| GROUPING |      CIDR      | IPS TOTAL | IPS IN USE |   IPS FREE   |\n"
        "+----------+----------------+-----------+------------+--------------+\n"
        "| IP Pool  | 10.233.64.0/18 |     16384 | 1 (0%)     | 16383 (100%) |\n"
        "| Block    | 10.233.77.0/24 |       256 | 1 (0%)     | 255 (100%)   |\n"
        "+----------+----------------+-----------+------------+--------------+\n"
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


def test_an_etcd_that_is_down_is_told_in_one_line():
    (port,) = free_ports(1)

    done = run(f"http://127.0.0.1:{port}", "get node")

    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"ocicatctl: etcd http://127.0.0.1:{port}: ")
    assert done.stderr.count("\n") == 1


def test_wrong_usage_has_status_2():
    assert run("http://127.0.0.1:1", "get bogus").returncode == 2
