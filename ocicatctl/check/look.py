"""One look at a store and at what this node's kernel has, or two if something seems wrong.

Edge: the clock, etcd, ipamd's socket, a terminal.
"""

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from datamodel.errors import OcicatError
from datamodel.report import Report
from datastore.store import Entry, Store
from ocicatctl.check.cluster import RANGES
from ocicatctl.check.findings import Findings, check_store
from ocicatctl.store import with_store

if TYPE_CHECKING:
    from ipam_api.answers import NodeStatus

KERNEL_TIMEOUT_S = 5.0
# Between the two looks at something that seems wrong: a request that was under way is over then.
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Look:
    """What was found."""

    findings: Findings
    unasked: str  # why no kernel was asked, if none was
    ipamd_says: tuple[str, ...]


def look_twice(path: str) -> Look:
    """Look, and again if something seems wrong; it is wrong if it seems so both times."""
    first = _look(path)
    if not first.findings.problems:
        return first
    time.sleep(PAUSE_S)
    second = _look(path)
    return replace(second, findings=second.findings.also_in(first.findings))


def _look(path: str) -> Look:
    # The kernel before the store: a link is there before its address is recorded and gone before
    # the address is released.
    with progress() as now, _uncollected():
        now("asking the kernel")
        report, unasked, status = ask_kernel(path)
        now("reading etcd")
        entries = with_store(read_all)
        now(f"comparing {len(entries)} keys")
        node, says = (status.node, _said(status)) if status else ("", ())
        return Look(check_store(entries, report, node, datetime.now(UTC)), unasked, says)


async def read_all(store: Store) -> Mapping[str, Entry]:
    """Everything, at one revision, in portions that etcd can answer.

    The keys are listed first. What is made between that and the revision at which the values are
    read is missing, so that it may seem to be missing; a second look shows that it is not.
    """
    listed: list[str] = []
    for prefix in RANGES:
        listed += (await store.read(prefix, keys_only=True)).entries
    return (await store.read(*listed)).entries


def _said(status: "NodeStatus") -> tuple[str, ...]:
    waits = [f"gives out no address: {status.waits_for}"] if status.waits_for else []
    return (*waits, *status.findings)


def ask_kernel(
    path: str, timeout_s: float = KERNEL_TIMEOUT_S
) -> "tuple[Report | None, str, NodeStatus | None]":
    """What this node's kernel has, or why it was not asked; and how its ipamd is."""
    # Here, because importing gRPC takes longer than a --help.
    from ipam_api.client import IpamClient

    client = IpamClient(path)
    begun = time.monotonic()
    try:
        last = client.get_report(fresh=True, timeout_s=timeout_s)
        status = client.status(timeout_s=timeout_s)  # with what that report showed
    except OcicatError as error:
        return None, str(error), None
    finally:
        client.close()
    if last is None:
        return None, "ipamd has had no report of it; check that ocicat-cni-server runs", status
    if last.age_s > time.monotonic() - begun:
        return None, f"the last report of it is {last.age_s:.0f} s old; try again", status
    return last.report, "", status


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """One line on a terminal that says what is under way, and is gone in the end."""

    def now(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    try:
        yield now
    finally:
        now("")


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage: of 100,000 addresses that takes four times as long as the check."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
