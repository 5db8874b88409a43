"""docs/etcd-access.md: its users can do what their daemon does, and nothing else.

The commands are read from the page, so that page and test cannot differ.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_network

import grpc
import pytest

from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.departed import Departed
from datastore.etcd import EtcdStore
from datastore.known import Known
from datastore.mirror import Mirror
from datastore.node_removal import take_back
from datastore.store import Change, Committed, Doubt, settle
from ipam_api import ipam_pb2
from kube_controllers.release import decide_departure, decide_end
from kube_controllers.survey import RANGES, survey
from route_distributor.overlay.follower import RemoteFollower
from route_distributor.snapshot import cluster_snapshot, ranges_of
from tests.etcd_server import EtcdServer
from tests.ipam import NOW, STAMP, a_foreign_block
from tests.ipamd_process import ROOT, IpamdProcess, allocate_request, release_request

PAGE = (ROOT / "docs" / "etcd-access.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if line
]
PASSWORDS = dict(
    arguments[2].split(":") for arguments in COMMANDS if arguments[:2] == ["user", "add"]
)
IPAMD, ROUTES, VIEW, ADMIN = "ocicat-ipamd", "ocicat-routes", "ocicat-view", "ocicat-admin"
CONTROLLERS = "ocicat-controllers"
SETTINGS = (keys.BGP_CONFIGURATIONS, keys.FELIX_CONFIGURATIONS)
OUTSIDE = "/registry/secrets/kube-system/token"


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdServer]:
    """An etcd in which the page's commands were carried out."""
    with EtcdServer(flags=["--bcrypt-cost=4"]) as server:
        server.ctl("put", OUTSIDE, "secret")
        for arguments in COMMANDS:
            server.ctl(*arguments)
        yield server


def credentials(user: str) -> dict[str, str]:
    return {"ETCD_USERNAME": user, "ETCD_PASSWORD": PASSWORDS[user]}


@pytest.fixture(scope="module")
def ipamd(etcd: EtcdServer) -> Iterator[IpamdProcess]:
    """It has registered its node, made the default pools and claimed a block."""
    both = {"CALICO_IPV6POOL_CIDR": "fd00:10::/64", "CALICO_IPV4POOL_BLOCK_SIZE": "30"}
    process = IpamdProcess([etcd.endpoint], environment={**credentials(IPAMD), **both})
    try:
        process.start()
        yield process
    finally:
        process.__exit__()


@asynccontextmanager
async def client(etcd: EtcdServer, user: str) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(replace(etcd.config, username=user, password=PASSWORDS[user]))
    try:
        yield store
    finally:
        await store.close()


def test_the_page_ends_with_authentication_enabled():
    assert COMMANDS[-1] == ["auth", "enable"]
    assert PASSWORDS.keys() == {IPAMD, ROUTES, CONTROLLERS, VIEW, ADMIN, "root"}
    assert len(set(PASSWORDS.values())) == len(PASSWORDS)


# ---- ipamd -------------------------------------------------------------------------------------


def test_ipamd_registers_allocates_and_releases(ipamd):
    for i in range(6):  # more than a block
        request = allocate_request(f"c{i}")
        request.ipv6 = i == 0
        assert ipamd.stub.Allocate(request, timeout=10).addresses
    held = ipamd.stub.Get(ipam_pb2.GetRequest(attachment=request.attachment), timeout=10)
    for i in range(6):
        assert ipamd.stub.Release(release_request(f"c{i}"), timeout=10).addresses
    ipamd.report()
    ipamd.restart()

    assert held.addresses
    assert ipamd.allocate("again")
    assert "permission denied" not in ipamd.log


async def test_ipamd_takes_over_another_nodes_empty_block(etcd, ipamd):
    """A node lives on these where every block is claimed; their affinity is another node's."""
    pool = Pool("small", ip_network("10.66.0.0/30"), 30)
    stored = a_foreign_block(pool.cidr, "node-9") | {
        keys.pool("small"): codec.encode_pool(pool, STAMP)
    }
    request = allocate_request("taken-over")
    request.ipv4_pools.append("small")
    async with client(etcd, ADMIN) as store:
        await store.commit(Change(put=stored))

    answer = await asyncio.to_thread(allocate_soon, ipamd, request)

    assert answer.addresses[0].block == "10.66.0.0/30"
    assert "permission denied" not in ipamd.log


def allocate_soon(
    ipamd: IpamdProcess, request: ipam_pb2.AllocateRequest
) -> ipam_pb2.AllocateResponse:
    """Ask until ipamd has heard of the pool."""
    for _ in range(100):
        with contextlib.suppress(grpc.RpcError):
            return ipamd.stub.Allocate(request, timeout=10)
        time.sleep(0.05)
    return ipamd.stub.Allocate(request, timeout=10)


@pytest.mark.parametrize(
    "key",
    [
        OUTSIDE,
        keys.pool("other"),
        f"{keys.RESERVATIONS}mine",
        f"{keys.BGP_PEERS}mine",
        f"{keys.BGP_CONFIGURATIONS}default",
        "/calico/ipam/v2/virtual/load-balancer/ipv4/block/10.0.0.0-30",
        "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/allow",
    ],
)
async def test_ipamd_can_write_nothing_else(etcd, ipamd, key):
    async with client(etcd, IPAMD) as store:
        with pytest.raises(Invalid, match="permission denied"):
            await store.commit(Change(put={key: b"{}"}))


@pytest.mark.parametrize("user", [IPAMD, ROUTES, CONTROLLERS, VIEW, ADMIN])
async def test_nobody_reads_what_is_not_calicos(etcd, ipamd, user):
    async with client(etcd, user) as store:
        for wanted in (OUTSIDE, "/registry/", "/"):
            with pytest.raises(Invalid, match="permission denied"):
                await store.read(wanted)
        with pytest.raises(Doubt, match="refused"):
            await anext(aiter(store.watch(frozenset({"/registry/"}), 1)))


# ---- the route distributor ---------------------------------------------------------------------


async def test_the_route_distributor_follows_the_cluster(etcd, ipamd):
    ranges = ranges_of("node-1")
    async with client(etcd, ROUTES) as store, client(etcd, ADMIN) as admin:
        mirror = Mirror(store, lambda _: ranges)
        task = asyncio.create_task(mirror.run())
        async with asyncio.timeout(10):
            await mirror.ready_changed()
            before = cluster_snapshot("node-1", mirror.entries)
            await admin.commit(Change(put={f"{keys.BGP_CONFIGURATIONS}default": b'{"spec":{}}'}))
            while f"{keys.BGP_CONFIGURATIONS}default" not in mirror.entries:
                await mirror.changed()
        task.cancel()

    assert before.own is not None
    assert before.blocks
    assert before.pools


async def test_the_route_distributor_follows_the_blocks_of_all_nodes_if_a_pool_uses_vxlan(
    etcd, ipamd
):
    pool = Pool("tunnelled", ip_network("10.88.0.0/16"), 24, vxlan_mode="Always")
    async with client(etcd, ROUTES) as store, client(etcd, ADMIN) as admin:
        await admin.commit(Change(put={keys.pool(pool.name): codec.encode_pool(pool, STAMP)}))
        follower = RemoteFollower(store)
        task = asyncio.create_task(follower.run())
        async with asyncio.timeout(10):
            while follower.remote is None or not follower.remote.blocks:
                await follower.changed()
        task.cancel()

    assert follower.remote.skipped == ()


async def test_the_route_distributor_can_write_nothing(etcd, ipamd):
    async with client(etcd, ROUTES) as store:
        for prefix in ranges_of("node-1"):
            with pytest.raises(Invalid, match="permission denied"):
                await store.commit(Change(put={f"{prefix}mine": b"{}"}))


async def test_the_route_distributor_reads_no_pods(etcd, ipamd):
    async with client(etcd, ROUTES) as store:
        for prefix in (keys.ALL_HANDLES, keys.ENDPOINTS):
            with pytest.raises(Invalid, match="permission denied"):
                await store.read(prefix)


# ---- the controller ----------------------------------------------------------------------------


async def test_the_controller_takes_back_all_that_a_node_has_left(etcd, ipamd):
    name = "node-7"
    settings = {f"{prefix}node.{name}": b"{}" for prefix in SETTINGS}
    spec = json.dumps({"spec": {"node": name}}).encode()
    others = {f"{prefix}of-{name}": spec for prefix in (keys.BGP_PEERS, keys.HOST_ENDPOINTS)}
    endpoint = {keys.endpoint("default", "node--7-k8s-web-eth0"): spec}
    stored = {
        **a_foreign_block(ip_network("10.99.0.0/30"), name, 1),
        **settings,
        **others,
        **endpoint,
    }
    resource = codec.encode_node(Node(name), STAMP, kubernetes_name="kube-7")
    async with client(etcd, ADMIN) as store:
        made = await store.commit(Change(put={keys.node(name): resource, **stored}))

    async with client(etcd, CONTROLLERS) as store:
        entries = (await store.read(*RANGES)).entries
        node = survey(entries).nodes[name]
        known = Known()
        await settle(store, known, partial(decide_departure, node, known))
        await take_back(store, known, Departed(name, {}, NOW), lambda taken: None, print)
        await settle(store, known, partial(decide_end, name, known))

    assert isinstance(made, Committed)
    async with client(etcd, ADMIN) as store:
        left = (await store.read("/calico/", "/ocicat/departed/")).entries
    assert [key for key in left if name in key or "node--7" in key] == []


async def test_the_controller_writes_neither_pools_nor_claims(etcd, ipamd):
    async with client(etcd, CONTROLLERS) as store:
        for key in (keys.pool("mine"), keys.claim("node-1"), keys.IPAM_CONFIG):
            with pytest.raises(Invalid, match="permission denied"):
                await store.commit(Change(put={key: b"{}"}))


# ---- ocicatctl ---------------------------------------------------------------------------------

POOL = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: more}
spec: {cidr: 10.77.0.0/16}
"""


def ocicatctl(etcd: EtcdServer, user: str, *arguments: str, text: str = ""):
    return subprocess.run(
        [sys.executable, "-m", "ocicatctl", *arguments],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "ETCD_ENDPOINTS": etcd.endpoint,
            "OCICAT_IPAM_SOCKET": "/nowhere",
            **credentials(user),
        },
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "line",
    [
        "get ippool -o yaml",
        "get node -o wide",
        "get workloadendpoint --all-namespaces",
        "ipam show --show-blocks",
        "ipam explain --node node-1",
    ],
)
def test_who_only_looks_sees_everything(etcd, ipamd, line):
    done = ocicatctl(etcd, VIEW, *line.split())

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_who_only_looks_may_check(etcd, ipamd):
    done = ocicatctl(etcd, VIEW, "ipam", "check")

    assert "permission denied" not in done.stderr
    assert "Check complete" in done.stdout


@pytest.mark.parametrize(
    "line", ["apply -f -", "delete node node-1", "ipam configure --max-blocks-per-host=3"]
)
def test_who_only_looks_changes_nothing_and_is_told_why(etcd, ipamd, line):
    before = etcd.ctl("--user", f"root:{PASSWORDS['root']}", "get", "--prefix", "/calico/resources")

    done = ocicatctl(etcd, VIEW, *line.split(), text=POOL)

    assert done.returncode == 1
    *warnings, last = done.stderr.splitlines()
    assert last.startswith("ocicatctl: ")
    assert "refuses the request (permission denied)" in last
    assert all("its ipamd runs" in warning for warning in warnings)
    after = etcd.ctl("--user", f"root:{PASSWORDS['root']}", "get", "--prefix", "/calico/resources")
    assert after == before


def test_who_administers_changes_what_calico_has(etcd, ipamd):
    assert ocicatctl(etcd, ADMIN, "apply", "-f", "-", text=POOL).returncode == 0
    assert ocicatctl(etcd, ADMIN, "delete", "ippool", "more").returncode == 0
