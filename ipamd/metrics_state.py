"""Shows ipamd's state as metrics, read off when somebody asks, and its health.

Edge: prometheus_client. A thread of its own serves; what it shows is read on the event loop,
where nothing changes meanwhile. Only this node's blocks are named, so the series are few.
"""

import asyncio
from collections.abc import Container
from datetime import UTC, datetime
from functools import partial

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from datamodel.block import Block
from health_api.state import StateCollector
from health_api.web import WebServer, loop_check
from ipamd.daemon import Daemon
from ipamd.historian import History
from ipamd.known import Known
from ipamd.request import View


def show(address: tuple[str, int], daemon: Daemon) -> WebServer:
    """Serve metrics and health from now on. Call it on the event loop of the daemon.

    Ready is who gives out addresses; else the answer says what is waited for.

    Raises:
        Invalid: nobody can serve there.
    """
    registry, loop = daemon.metrics.registry, asyncio.get_running_loop()
    registry.register(StateCollector(partial(_families, daemon)))
    checks = {
        "/liveness": loop_check(loop),
        "/readiness": loop_check(loop, lambda: daemon.allocator.waits_for),
    }
    return WebServer("OCICAT_IPAMD_METRICS", address, registry, checks)


# ---- what there is to see ----------------------------------------------------------------------


async def _families(daemon: Daemon) -> list[Metric]:
    found = [
        *_store_families(daemon),
        *_address_families(daemon),
        *_history_families(daemon.history),
    ]
    reconciler = daemon.reconciler
    found += [
        _gauge("suspects", "Handles whose links were missing once.", reconciler.suspects),
        _gauge("findings", "What an operator has to decide.", len(reconciler.findings)),
        _counter("freed_addresses", "Addresses freed because they had no link.", reconciler.freed),
        _counter(
            "recorded_links", "Links whose addresses had to be recorded.", reconciler.recorded
        ),
    ]
    report, age_s = await reconciler.last_report(fresh=False)
    if report is not None:
        found.append(_gauge("report_age_seconds", "Age of the last complete report.", age_s))
    return found


def _store_families(daemon: Daemon) -> list[Metric]:
    mirror, allocator = daemon.mirror, daemon.allocator
    return [
        _gauge("watch_ready", "Whether what is known is listed and followed.", mirror.is_ready),
        _gauge("revision", "etcd's revision up to which all is known.", mirror.revision),
        _counter(
            "restorations", "How often etcd turned out to be another one.", mirror.restorations
        ),
        _gauge("name_held", "Whether no other machine has the node's name.", daemon.claim.is_held),
        _gauge("open", "Whether addresses are given out.", not allocator.waits_for),
        _gauge(
            "requests_waiting",
            "Attachments for which a request has no answer yet.",
            len(allocator.busy_handles),
        ),
    ]


def _address_families(daemon: Daemon) -> list[Metric]:
    addresses = GaugeMetricFamily(
        "ocicat_ipamd_addresses",
        "Addresses of this node's blocks, by what becomes of them.",
        labels=["pool", "block", "state"],
    )
    known = Known(View(daemon.node, datetime.now(UTC), daemon.mirror.entries, {}, {}))
    blocks = list(daemon.reconciler.blocks())
    own = [block for block in blocks if block.host == daemon.node]
    for block in own:
        pool = next((pool.name for pool in known.pools if pool.contains(block.cidr)), "")
        for state, count in counts(block, known.reserved(block.cidr)).items():
            addresses.add_metric([pool, str(block.cidr), state], count)
    foreign = (block for block in blocks if block.host != daemon.node)
    borrowed = sum(_held_for(block, daemon.node) for block in foreign)
    return [
        addresses,
        _gauge("blocks", "Blocks that this node owns.", len(own)),
        _gauge("borrowed_addresses", "Addresses held in blocks of other nodes.", borrowed),
    ]


def _history_families(history: History) -> list[Metric]:
    if not history.is_on:
        return []
    return [
        _gauge("history_bytes", "Size of the history's files.", history.bytes),
        _counter("history_dropped", "States that came too fast for the history.", history.dropped),
        _gauge("history_unreadable_lines", "Spoilt lines at the last start.", history.unreadable),
    ]


def counts(block: Block, reserved: Container[int]) -> dict[str, int]:
    """How many addresses of a block are in each state: each is in one."""
    cooling = {i for i, a in enumerate(block.attributes) if a.released_at is not None}
    resting = sum(index in cooling for index in block.allocations)
    kept = sum(ordinal in reserved for ordinal in block.unallocated)
    return {
        "held": block.in_use - resting,
        "free": len(block.unallocated) - kept,
        "reserved": kept,
        "cooling": resting,
    }


def _held_for(block: Block, node: str) -> int:
    theirs = {i for i, a in enumerate(block.attributes) if a.node == node}
    return sum(index in theirs for index in block.allocations)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"ocicat_ipamd_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"ocicat_ipamd_{name}", text, value=value)
