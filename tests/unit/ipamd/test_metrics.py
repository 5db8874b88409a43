"""What the metrics show, over HTTP as Prometheus reads it."""

import asyncio
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from datamodel import errors
from datamodel.attachment import Kernel
from datamodel.block import Attribute, Block
from datamodel.claim import Machine
from datamodel.errors import Invalid, OcicatError, Unavailable
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change
from ipamd.claim import NameClaim
from ipamd.daemon import Daemon
from ipamd.historian import History
from ipamd.metrics import CANCELLED, OK, MeteredStore, Metrics, outcome_of
from ipamd.metrics_state import counts, show
from ipamd.reconciler import Pace, Reconciler
from ipamd.tunnel_keeper import TunnelKeeper
from tests.ipam import NODE, a_foreign_block, a_release, a_store, an_allocate, filled, serving

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ABSENT_AT_FIRST = "ocicat_ipamd_report_age_seconds"
ANYWHERE = ("127.0.0.1", 0)
CIDR = ip_network("10.233.64.0/29")


class Shown:
    """One answer to Prometheus."""

    def __init__(self, text: str) -> None:
        self.families = {f.name: f for f in text_string_to_metric_families(text)}
        self.samples = {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for family in self.families.values()
            for s in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"ocicat_ipamd_{name}", tuple(sorted(labels.items()))))


def fetch(port: int) -> Shown:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return Shown(answer.read().decode())


def health(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def a_daemon(serving_, metrics: Metrics, directory: Path | None = None) -> Daemon:
    history = History(directory, 1_000_000, NODE)
    mirror, allocator = serving_.mirror, serving_.allocator
    reconciler = Reconciler(mirror, allocator, NODE, Pace(60, 60))
    tunnels = TunnelKeeper(mirror, allocator, NODE, reconciler.blocks)
    claim = NameClaim(serving_.store, MemoryStore(), NODE, Machine(Kernel("boot-1", "1")))
    return Daemon(
        NODE, serving_.store, claim, mirror, allocator, reconciler, tunnels, history, metrics
    )


@asynccontextmanager
async def metered(store: MemoryStore, tmp_path: Path | None = None) -> AsyncIterator:
    """A node's allocator on a metered store, and a function that reads its metrics."""
    metrics = Metrics()
    async with serving(MeteredStore(store, metrics)) as ipamd:
        while not ipamd.mirror.is_ready:
            await ipamd.mirror.ready_changed()
        server = show(ANYWHERE, a_daemon(ipamd, metrics, tmp_path))
        try:
            yield ipamd, lambda: asyncio.to_thread(fetch, server.port)
        finally:
            await asyncio.to_thread(server.stop)


# ---- requests ----------------------------------------------------------------------------------


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_an_outcome_of_its_own(kind):
    expected = "bug" if kind is OcicatError else kind.__name__.lower()

    assert outcome_of(kind("x")) == expected


def test_what_is_no_error_of_ours_is_a_bug_unless_the_caller_gave_up():
    assert outcome_of(ZeroDivisionError()) == "bug"
    assert outcome_of(asyncio.CancelledError()) == CANCELLED


def test_a_request_is_counted_by_method_and_outcome():
    metrics = Metrics()
    for outcome in (OK, OK, outcome_of(Unavailable("etcd: no answer"))):
        metrics.observe_request("allocate", outcome, 0.1)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"ocicat_ipamd_{name}", labels)

    assert value("requests_total", method="allocate", outcome="ok") == 2
    assert value("requests_total", method="allocate", outcome="unavailable") == 1
    assert value("request_duration_seconds_count", method="allocate") == 3


# ---- the store ---------------------------------------------------------------------------------


async def test_commits_and_calls_of_etcd_are_counted():
    store = await filled(MemoryStore(), a_store())
    async with metered(store) as (ipamd, look):
        await asyncio.gather(*(ipamd.submit(an_allocate(f"c{i}", f"web-{i}")) for i in range(3)))
        store.fail_next(1, applied=False)
        with pytest.raises(Unavailable):
            await ipamd.submit(a_release("c1", "web-1"))
        await asyncio.sleep(0.001)  # behind the timer with which the commit is counted
        shown = await look()

    assert shown.value("commits_total", outcome="committed") >= 1
    assert shown.value("commits_total", outcome="failed") == 1
    assert shown.value("etcd_failures_total", call="commit") == 1
    assert shown.value("etcd_failures_total", call="read") == 0
    assert shown.value("commit_requests_sum") == 4
    assert shown.value("etcd_request_duration_seconds_count", call="read") >= 1


async def test_a_conflict_is_a_rejected_commit():
    store, metrics = MemoryStore(), Metrics()
    metered_store = MeteredStore(store, metrics)

    await metered_store.commit(Change(expect={"/a": 7}, put={"/a": b"1"}))
    await metered_store.commit(Change(expect={"/a": 0}, put={"/a": b"1", "/b": b"2"}))
    for _ in range(2):  # a commit is counted when those who wait for it have had their turn
        await asyncio.sleep(0)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"ocicat_ipamd_{name}", labels)

    assert value("commits_total", outcome="rejected") == 1
    assert value("commits_total", outcome="committed") == 1
    assert value("commit_operations_sum") == 3
    assert value("commit_requests_count") == 0


async def test_a_metered_store_is_the_store():
    store = MemoryStore()
    metered_store = MeteredStore(store, Metrics())
    await metered_store.commit(Change(put={"/a/b": b"1"}))
    store.restore(1)

    assert metered_store.epoch == store.epoch == 1
    await metered_store.commit(Change(put={"/a/b": b"2"}))
    assert (await metered_store.read("/a/", keys_only=True)).entries["/a/b"].value == b""
    async for events in metered_store.watch(frozenset({"/a/"}), 1):
        assert events.entries["/a/b"].value == b"2"
        break
    await metered_store.close()


# ---- the state ---------------------------------------------------------------------------------


def test_every_address_of_a_block_is_in_one_state():
    block = Block.new(CIDR, NODE, 1)
    for i in range(4):
        block = block.assign(Attribute(f"net.c{i}", {}))[0]
    block, _ = block.release("net.c1", now=datetime(2026, 11, 20, tzinfo=UTC), cooldown_s=60)

    assert counts(block, {0, 7}) == {"held": 3, "free": 3, "reserved": 1, "cooling": 1}


async def test_the_node_s_blocks_are_shown_and_no_others():
    own = Block.new(CIDR, NODE, 1)
    borrowed_from = Block.new(ip_network("10.233.64.8/29"), "node-2", 1)
    ours = Attribute("net.b", {"node": NODE})
    blocks = [own.assign(Attribute("net.a", {}))[0], borrowed_from.assign(ours)[0]]
    stored = a_store().having(
        **{keys.block(b.cidr): codec.encode_block(b) for b in blocks},
        **{keys.affinity(NODE, CIDR): b'{"state":"confirmed","deleted":false}'},
        **a_foreign_block(ip_network("10.233.64.16/29"), taken=2),
    )
    store = await filled(MemoryStore(), stored)
    async with metered(store) as (ipamd, look):
        found = await store.read(keys.block(borrowed_from.cidr))
        ipamd.mirror.learn(found.revision, found.entries)
        shown = await look()

    where = {"pool": "default-ipv4-ippool", "block": "10.233.64.0/29"}
    assert shown.value("addresses", **where, state="held") == 1
    assert shown.value("addresses", **where, state="free") == 7
    assert len(shown.families["ocicat_ipamd_addresses"].samples) == 4
    assert shown.value("blocks") == 1
    assert shown.value("borrowed_addresses") == 1


async def test_the_daemon_s_state_is_shown(tmp_path):
    store = await filled(MemoryStore(), a_store())
    async with metered(store, tmp_path) as (ipamd, look):
        shown = await look()

        assert shown.value("watch_ready") == 1
        assert shown.value("open") == 1
        assert shown.value("revision") == ipamd.mirror.revision
        for name in ("requests_waiting", "restorations_total", "findings", "suspects"):
            assert shown.value(name) == 0
        assert shown.value("report_age_seconds") is None
        assert shown.value("history_bytes") == 0
        assert "process_resident_memory_bytes" in shown.families


async def test_without_a_history_nothing_is_said_of_it():
    async with metered(await filled(MemoryStore(), a_store())) as (_, look):
        shown = await look()

    assert shown.value("history_bytes") is None


async def test_numbers_stay_readable_while_everything_changes():
    store = await filled(MemoryStore(), a_store())
    async with metered(store) as (ipamd, look):
        scrapes = [look() for _ in range(8)]
        work = [ipamd.submit(an_allocate(f"c{i}", f"web-{i}")) for i in range(300)]

        await asyncio.gather(*scrapes, *work)

        shown = await look()
    held = sum(
        value
        for (name, labels), value in shown.samples.items()
        if name == "ocicat_ipamd_addresses" and ("state", "held") in labels
    )
    assert held == 300


# ---- serving -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_open", "status"), [(True, 200), (False, 503)])
async def test_who_gives_out_addresses_is_ready_and_who_does_not_says_why(is_open, status):
    store = await filled(MemoryStore(), a_store())
    async with serving(store, is_open=is_open) as ipamd:
        while not ipamd.mirror.is_ready:
            await ipamd.mirror.ready_changed()
        server = show(ANYWHERE, a_daemon(ipamd, Metrics()))
        try:
            said = f"{ipamd.allocator.waits_for or 'ok'}\n"
            assert await asyncio.to_thread(health, server.port, "readiness") == (status, said)
            assert await asyncio.to_thread(health, server.port, "liveness") == (200, "ok\n")
        finally:
            await asyncio.to_thread(server.stop)


async def test_an_address_that_is_taken_is_named():
    async with serving(MemoryStore()) as ipamd:
        first = show(ANYWHERE, a_daemon(ipamd, Metrics()))
        where = ("127.0.0.1", first.port)
        try:
            with pytest.raises(Invalid, match=f"127.0.0.1:{first.port}: Address already in use"):
                show(where, a_daemon(ipamd, Metrics()))
        finally:
            await asyncio.to_thread(first.stop)


async def test_an_address_of_another_host_is_named():
    async with serving(MemoryStore()) as ipamd:
        with pytest.raises(Invalid, match=r"\[2001:db8::1\]:9098: .*assign"):
            show(("2001:db8::1", 9098), a_daemon(ipamd, Metrics()))


async def test_the_page_describes_every_series_there_is(tmp_path):
    metrics = Metrics()
    metrics.observe_request("allocate", OK, 0.1)
    store = await filled(MemoryStore(), a_store())
    async with metered(store, tmp_path) as (_, look):
        shown = await look()
    ours = {name for name in shown.families if name.startswith("ocicat_")}

    documented = re.findall(r"^\| `(ocicat_ipamd_\w+)`", PAGE.read_text(), re.MULTILINE)

    assert {name.removesuffix("_total") for name in documented} == ours | {ABSENT_AT_FIRST}
