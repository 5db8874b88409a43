"""What becomes of ipamd's answers when etcd dies, freezes, forgets, fills up, or refuses us.

With real processes. ``tests/contract/test_etcd.py`` says the same of the store's client alone.
"""

import contextlib
import itertools
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import grpc
import pytest

from datamodel.pool import Pool
from datastore import codec, keys
from datastore.config import EtcdConfig
from ipam_api import ipam_pb2
from tests.consistency import assert_consistent
from tests.etcd_proxy import EtcdProxy, LoopThread
from tests.etcd_server import Certificates, EtcdServer, make_certificates, members
from tests.faults.node import PACE, DirectStore, Node, handle_of, held_in
from tests.ipam import STAMP
from tests.ipamd_process import IpamdProcess, allocate_request

IN_FLIGHT = 64
# The first address of a node's own block comes at once; a change of leader takes a second or two.
SOON_S = 5.0

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@pytest.fixture
def own_etcd() -> Iterator[EtcdServer]:
    """An etcd that the test may ill-treat."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
def undo() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def a_node(
    undo: contextlib.ExitStack,
    loop: LoopThread,
    config: EtcdConfig,
    endpoints: tuple[str, ...] = (),
    number: int = 1,
    **environment: str,
) -> Node:
    """A node whose ipamd does not run yet; *endpoints*: another way to the store."""
    store = undo.enter_context(DirectStore(config, loop))
    ipamd = IpamdProcess(
        endpoints or config.endpoints,
        f"node-{number}",
        address=f"192.0.2.{number}/24",
        environment={**PACE, **environment},
    )
    undo.callback(ipamd.__exit__)
    return Node(ipamd, store)


def tls(certificates: Certificates) -> dict[str, str]:
    return {
        "ETCD_CA_CERT_FILE": str(certificates.ca),
        "ETCD_CERT_FILE": str(certificates.client),
        "ETCD_KEY_FILE": str(certificates.client_key),
    }


def refusal(node: Node, timeout_s: float = 1.5) -> str:
    """Ask for an address that cannot be had for lack of etcd; return what the caller is told."""
    begun = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        node.add("refused", timeout_s=timeout_s)
    assert time.monotonic() - begun < timeout_s, "the answer came after the caller's deadline"
    assert caught.value.code() is UNAVAILABLE
    # Else it is gRPC's word, not ours.
    assert ("ocicat-error", "1") in caught.value.trailing_metadata()
    return caught.value.details()


def add_soon(node: Node, container: str, timeout_s: float = 20.0) -> list[str]:
    """Ask again and again, as a runtime does."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            return node.add(container, timeout_s=2)
        except grpc.RpcError as error:
            if error.code() is not UNAVAILABLE or time.monotonic() > end:
                raise
            time.sleep(0.1)


def report_until_served(node: Node, container: str, timeout_s: float = 10.0) -> None:
    """Report, as the CNI server is asked to, and ask for an address until there is one."""
    end = time.monotonic() + timeout_s
    while True:
        node.report()
        try:
            node.add(container, timeout_s=2)
            return
        except grpc.RpcError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def wait_for_log(node: Node, text: str, timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while text not in node.ipamd.log:
        assert time.monotonic() < end, f"{text!r} is not in the log:\n{node.ipamd.log}"
        time.sleep(0.05)


# ---- a member dies or freezes ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[EtcdServer]]:
    with members(3) as servers:
        yield servers


@pytest.fixture
def clustered(undo, loop, cluster) -> Node:
    """A node on an empty cluster of three, which the test leaves running."""
    config = EtcdConfig(tuple(server.endpoint for server in cluster))
    node = a_node(undo, loop, config)
    node.store.empty()
    node.start()
    node.add("bystander")
    return node


def test_no_request_fails_while_one_member_after_the_other_is_killed(clustered, cluster):
    """The one that ipamd speaks to and the leader are among them."""
    stop = threading.Event()

    def churn(worker: int) -> int:
        for i in itertools.count():
            if stop.is_set():
                return i
            clustered.add(f"c{worker}x{i}")
            if i % 2:
                clustered.delete(f"c{worker}x{i}")
        raise AssertionError

    with ThreadPoolExecutor(IN_FLIGHT) as executor:
        workers = [executor.submit(churn, i) for i in range(IN_FLIGHT)]
        try:
            for member in cluster:
                time.sleep(0.5)
                member.kill()
                time.sleep(1.0)
                member.start()
        finally:
            stop.set()
        counts = [worker.result() for worker in workers]

    assert min(counts) > 1
    assert not clustered.spool
    clustered.check()
    clustered.reconcile()
    clustered.check()


def test_no_request_fails_while_one_member_after_the_other_freezes(clustered, cluster):
    numbers = itertools.count()
    for member in cluster:
        member.freeze()
        try:
            for _ in range(3):
                begun = time.monotonic()
                clustered.add(f"c{next(numbers)}")
                assert time.monotonic() - begun < SOON_S
        finally:
            member.thaw()
        time.sleep(0.5)  # for the members to agree on a leader

    clustered.reconcile()
    clustered.check()


def test_without_a_majority_the_caller_is_told_in_time_and_with_one_everything_works(
    clustered, cluster
):
    lost = cluster[:2]
    for member in lost:
        member.kill()
    try:
        told = refusal(clustered)
        clustered.delete("bystander", timeout_s=1.5)
        assert clustered.spool == {"refused", "bystander"}
    finally:
        for member in lost:
            member.spawn()
        for member in lost:
            member.wait_until_it_serves()

    assert told.startswith("etcd")
    add_soon(clustered, "later")
    clustered.deliver()
    clustered.reconcile()
    clustered.check()


# ---- the only etcd dies, freezes, is away ------------------------------------------------------


def test_an_etcd_that_appears_after_ipamd_is_served_then(undo, loop):
    etcd = undo.enter_context(contextlib.closing(EtcdServer()))
    node = a_node(undo, loop, etcd.config)

    node.ipamd.spawn()
    wait_for_log(node, "gives out no address")
    told = refusal(node)
    etcd.start()
    node.ipamd.wait_until_serving()
    node.report()
    node.deliver()
    node.add("first")

    assert etcd.endpoint in told
    assert "connection refused" in told
    node.check()


def test_what_a_frozen_etcd_carries_out_late_is_taken_back(undo, loop, own_etcd):
    node = a_node(undo, loop, own_etcd.config)
    node.start()
    node.add("bystander")

    own_etcd.freeze()
    try:
        told = refusal(node, timeout_s=1)
    finally:
        own_etcd.thaw()
    add_soon(node, "next")
    node.deliver()

    assert told.startswith("etcd")
    node.check()


def test_asked_to_end_ipamd_finishes_what_is_in_flight(own_etcd):
    with IpamdProcess([own_etcd.endpoint]) as ipamd:
        process, stub = ipamd.process, ipamd.stub
        assert process is not None
        own_etcd.freeze()
        try:
            asked = stub.Allocate.future(allocate_request("c1"), timeout=10)
            stub.Status(ipam_pb2.StatusRequest(), timeout=5)  # taken after the other one
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(grpc.RpcError):  # then it takes no more requests
                while stub.Status(ipam_pb2.StatusRequest(), timeout=5):
                    pass
        finally:
            own_etcd.thaw()

        assert asked.result().addresses
        assert process.wait(timeout=20) == 0


def test_an_etcd_that_is_killed_and_started_keeps_its_node(undo, loop, own_etcd):
    node = a_node(undo, loop, own_etcd.config)
    node.start()
    node.add("bystander")

    own_etcd.kill()
    own_etcd.start()
    add_soon(node, "next")

    assert "restored" not in node.ipamd.log
    node.check()


def test_a_full_etcd_is_named_and_serves_again_once_it_has_room(undo, loop):
    etcd = undo.enter_context(EtcdServer(flags=["--quota-backend-bytes=2000000"]))
    node = a_node(undo, loop, etcd.config)
    node.start()
    node.add("bystander")
    with contextlib.suppress(AssertionError):  # that it has no space left
        for _ in range(100):
            etcd.ctl("put", "/waste", "x" * 100_000)

    told = refusal(node, timeout_s=8)
    etcd.ctl("del", "/waste")
    etcd.ctl("compaction", str(node.store.revision))
    etcd.ctl("defrag")
    etcd.ctl("alarm", "disarm")
    add_soon(node, "next")
    node.deliver()

    assert "its database is full" in told
    node.check()


# ---- the watch breaks --------------------------------------------------------------------------

OTHER = Pool("other", IPv4Network("10.88.0.0/24"), block_size=26)


def move_to_another_pool(node: Node) -> None:
    """What an operator does: the pool that serves is disabled, another one made."""
    ((key, value),) = [(k, v) for k, v in node.store.content.items() if k.startswith(keys.POOLS)]
    disabled = replace(codec.decode_pool(key, value), disabled=True)
    pools = {key: disabled, keys.pool(OTHER.name): OTHER}
    node.store.put({key: codec.encode_pool(pool, STAMP) for key, pool in pools.items()})


def compact(etcd: EtcdServer, node: Node) -> None:
    """Let etcd forget the last change; it keeps the newest revision, so that is another one."""
    etcd.ctl("compaction", str(node.store.put({"/elsewhere": b""})))


def test_what_was_changed_and_compacted_while_ipamd_was_cut_off_is_obeyed(undo, loop, own_etcd):
    proxy = undo.enter_context(EtcdProxy(own_etcd.endpoint, loop))
    node = a_node(undo, loop, own_etcd.config, (proxy.endpoint,))
    node.start()
    first = node.add("first")

    proxy.cut()
    move_to_another_pool(node)
    compact(own_etcd, node)
    told = refusal(node)
    proxy.mend()
    second = add_soon(node, "second")

    assert told.startswith("etcd")
    assert IPv4Network(first[0]).subnet_of(IPv4Network("10.233.64.0/18"))
    assert IPv4Network(second[0]).subnet_of(OTHER.cidr)
    node.deliver()
    node.delete("first")  # of a disabled pool; the consistency of tests wants none there
    node.check()


def test_what_was_changed_and_compacted_between_list_and_watch_is_obeyed(undo, loop, own_etcd):
    proxy = undo.enter_context(EtcdProxy(own_etcd.endpoint, loop))
    node = a_node(undo, loop, own_etcd.config, (proxy.endpoint,))
    node.start()

    proxy.cut()
    wait_for_log(node, "lists again")
    proxy.hold_watches()
    proxy.mark()
    proxy.mend()
    while not proxy.calls:  # the list
        time.sleep(0.01)
    time.sleep(0.1)
    move_to_another_pool(node)
    compact(own_etcd, node)
    proxy.let_watches_go()
    wait_for_log(node, "compacted")
    second = add_soon(node, "second")

    assert IPv4Network(second[0]).subnet_of(OTHER.cidr)
    node.check()


# ---- who we are --------------------------------------------------------------------------------


@pytest.fixture
def auth_etcd() -> Iterator[EtcdServer]:
    """An etcd with the users root and ocicat, whose tokens are good for a second or two."""
    with EtcdServer(flags=["--bcrypt-cost=4", "--auth-token-ttl=1"]) as server:
        server.ctl("user", "add", "root:root")
        server.ctl("user", "add", "ocicat:secret")
        server.ctl("role", "add", "network")
        for prefix in ("/calico/", "/ocicat/"):
            server.ctl("role", "grant-permission", "network", "--prefix=true", "readwrite", prefix)
        server.ctl("user", "grant-role", "ocicat", "network")
        server.ctl("user", "grant-role", "root", "root")
        server.ctl("auth", "enable")
        yield server


USER = {"ETCD_USERNAME": "ocicat", "ETCD_PASSWORD": "secret"}


def as_root(etcd: EtcdServer) -> EtcdConfig:
    return EtcdConfig((etcd.endpoint,), username="root", password="root")


def test_a_token_that_expired_is_renewed(undo, loop, auth_etcd):
    node = a_node(undo, loop, as_root(auth_etcd), **USER)
    node.start()
    node.add("first")

    time.sleep(4)  # etcd looks for expired tokens every second
    node.add("second")
    move_to_another_pool(node)
    node.settle()
    third = node.add("third")

    assert IPv4Network(third[0]).subnet_of(OTHER.cidr)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({**USER, "ETCD_PASSWORD": "wrong"}, "check ETCD_USERNAME and ETCD_PASSWORD"),
        ({}, "set ETCD_USERNAME and ETCD_PASSWORD"),
    ],
    ids=["wrong password", "no user"],
)
def test_a_user_that_etcd_refuses_is_named_to_the_caller_and_in_the_log(
    undo, loop, auth_etcd, environment, expected
):
    node = a_node(undo, loop, as_root(auth_etcd), **environment)
    node.ipamd.spawn()
    wait_for_log(node, "gives out no address")

    told = refusal(node)

    assert expected in node.ipamd.log
    assert expected in told


def test_a_permission_that_is_taken_away_is_named_and_works_once_it_is_back(undo, loop, auth_etcd):
    node = a_node(undo, loop, as_root(auth_etcd), **USER)
    node.start()
    node.add("bystander")
    root = "--user=root:root"

    auth_etcd.ctl(root, "role", "revoke-permission", "network", "--prefix=true", "/calico/")
    with pytest.raises(grpc.RpcError) as caught:
        node.add("refused")
    auth_etcd.ctl(
        root, "role", "grant-permission", "network", "--prefix=true", "readwrite", "/calico/"
    )
    add_soon(node, "next")
    node.deliver()

    assert "grant the user what docs/etcd-access.md grants it" in caught.value.details()
    node.check()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_etcd(certificates: Certificates) -> Iterator[EtcdServer]:
    with EtcdServer(certificates=certificates) as server:
        yield server


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of another authority."""
    return tls(make_certificates(tmp_path_factory.mktemp("strangers")))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (["ETCD_CA_CERT_FILE"], "not one that ETCD_CA_CERT_FILE vouches for"),
        (["ETCD_CERT_FILE", "ETCD_KEY_FILE"], "check ETCD_CERT_FILE and ETCD_KEY_FILE"),
        (["ETCD_KEY_FILE"], "ETCD_CERT_FILE, ETCD_KEY_FILE and ETCD_CA_CERT_FILE"),
    ],
    ids=["authority", "client certificate", "key"],
)
def test_a_certificate_that_does_not_fit_is_named_to_the_caller_and_in_the_log(
    undo, loop, tls_etcd, certificates, strangers, wrong, expected
):
    environment = {**tls(certificates), **{name: strangers[name] for name in wrong}}
    node = a_node(undo, loop, tls_etcd.config, **environment)
    node.ipamd.spawn()
    wait_for_log(node, "gives out no address")

    told = refusal(node)

    assert expected in node.ipamd.log
    assert expected in told


@pytest.mark.parametrize(
    ("whose", "expected"),
    [
        ("server", "its certificate has expired"),
        ("client", "check ETCD_CERT_FILE and ETCD_KEY_FILE, and whether they have expired"),
    ],
)
def test_an_expired_certificate_is_named_to_the_caller_and_in_the_log(
    undo, loop, tmp_path, whose, expected
):
    certificates = make_certificates(tmp_path, expired=whose)
    etcd = undo.enter_context(EtcdServer(certificates=certificates))
    node = a_node(undo, loop, etcd.config, **tls(certificates))
    node.ipamd.spawn()
    wait_for_log(node, "gives out no address")

    told = refusal(node)

    assert expected in node.ipamd.log
    assert expected in told


@pytest.mark.parametrize(
    ("name", "content"),
    [("ETCD_CA_CERT_FILE", None), ("ETCD_CERT_FILE", b""), ("ETCD_KEY_FILE", b"junk")],
    ids=["missing", "empty", "junk"],
)
def test_a_file_that_is_no_certificate_is_named_to_the_caller_and_in_the_log(
    undo, loop, tls_etcd, certificates, tmp_path, name, content
):
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    node = a_node(undo, loop, tls_etcd.config, **{**tls(certificates), name: str(path)})
    node.ipamd.spawn()
    wait_for_log(node, "gives out no address")

    told = refusal(node)

    assert f"{name}: {path}" in node.ipamd.log
    assert f"{name}: {path}" in told


def test_certificates_that_were_renewed_are_used_without_a_restart(undo, loop, tmp_path):
    """Both sides get files of a new authority, as when the old one is about to expire."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old, new = make_certificates(tmp_path / "old"), make_certificates(tmp_path / "new")
    etcd = undo.enter_context(EtcdServer(certificates=old))
    node = a_node(undo, loop, etcd.config, **tls(old))
    node.start()
    node.add("bystander")

    etcd.kill()
    for path in (tmp_path / "new").iterdir():
        shutil.copy(path, tmp_path / "old" / path.name)
    etcd.start()
    add_soon(node, "next")

    assert new.ca.read_bytes() == old.ca.read_bytes()


# ---- the store is an older one -----------------------------------------------------------------

SMALL = Pool("small", IPv4Network("10.77.0.0/29"), block_size=31)


def data_of(etcd: EtcdServer) -> Path:
    return etcd._dir / "data"


@contextlib.contextmanager
def set_back(etcd: EtcdServer, tmp_path: Path) -> Iterator[None]:
    """What is written within the block is lost: afterwards etcd runs on a copy made before."""
    etcd.stop()
    shutil.copytree(data_of(etcd), tmp_path / "backup")
    etcd.start()
    yield
    etcd.kill()
    etcd.wipe()
    shutil.copytree(tmp_path / "backup", data_of(etcd))
    etcd.start()


@pytest.mark.parametrize("ipamd", ["runs", "is down", "is restarted"])
def test_a_store_that_was_set_back_gets_what_links_have_before_any_address_is_given_out(
    undo, loop, own_etcd, tmp_path, ipamd
):
    node = a_node(undo, loop, own_etcd.config)
    node.store.put({keys.pool("small"): codec.encode_pool(SMALL, STAMP)})
    node.start()
    node.add("before")
    node.add("deleted")
    with set_back(own_etcd, tmp_path):
        # The first block is full: these are from blocks of which the older store knows nothing.
        for container in ("after-1", "after-2", "after-3"):
            add_soon(node, container)
        node.delete("deleted")
        if ipamd == "is down":
            node.ipamd.kill()
    if ipamd == "is restarted":
        node.ipamd.kill()
    if ipamd != "runs":
        node.ipamd.spawn()
        node.ipamd.wait_until_serving()
    else:
        wait_for_log(node, "restored from a backup")

    told = refusal(node)
    node.report()
    next_one = node.add("next")

    assert "before the CNI server has told it which links this node has" in told
    assert next_one
    assert node.ipamd.log.count("recorded what a link has") == 3
    node.reconcile()  # frees what was deleted
    node.deliver()
    node.check()


@pytest.mark.parametrize("ipamd", ["runs", "is restarted"])
def test_in_a_store_that_was_set_back_nobody_takes_what_a_slower_node_has_to_record(
    undo, loop, own_etcd, tmp_path, ipamd
):
    quick, slow = (a_node(undo, loop, own_etcd.config, number=n) for n in (1, 2))
    quick.store.put({keys.pool("small"): codec.encode_pool(SMALL, STAMP)})
    for node, containers in ((quick, ("a1", "a2")), (slow, ("b1", "b2"))):
        node.start()
        for container in containers:  # which fill the node's first block
            node.add(container)
    with set_back(own_etcd, tmp_path):
        add_soon(quick, "a3")
        add_soon(slow, "b3")
    for node in (quick, slow):
        if ipamd == "is restarted":
            node.ipamd.kill()
        else:
            wait_for_log(node, "restored from a backup")
    if ipamd == "is restarted":
        quick.ipamd.spawn()
        quick.ipamd.wait_until_serving()

    quick.report()
    for i in range(4, 9):  # more than it has room for without a new block
        with contextlib.suppress(grpc.RpcError):
            quick.add(f"a{i}", timeout_s=1)
    if ipamd == "is restarted":
        slow.ipamd.spawn()
        slow.ipamd.wait_until_serving()
    slow.report()
    quick.deliver()

    links = {**quick.links, **slow.links}
    content = quick.store.content
    assert held_in(content) == {handle_of(c): set(link.addresses) for c, link in links.items()}
    assert_consistent(content)


def test_a_node_that_joined_after_the_backup_is_registered_again(undo, loop, own_etcd, tmp_path):
    first, second = (a_node(undo, loop, own_etcd.config, number=n) for n in (1, 2))
    first.start()
    with set_back(own_etcd, tmp_path):
        second.start()
        add_soon(second, "b1")
    wait_for_log(second, "restored from a backup")

    report_until_served(second, "b2")

    second.reconcile()
    second.check()


def test_an_etcd_that_lost_everything_is_filled_anew(undo, loop, own_etcd):
    node = a_node(undo, loop, own_etcd.config)
    node.start()
    node.add("first")

    own_etcd.kill()
    own_etcd.wipe()
    own_etcd.start()
    wait_for_log(node, "restored from a backup")

    report_until_served(node, "second")

    node.reconcile()
    node.check()
