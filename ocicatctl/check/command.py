"""``ocicatctl ipam check``: find what is wrong with addresses, and mend what is proven.

Edge: the command line, the clock, a file, etcd and ipamd's socket. ``findings.py`` finds,
``repair.py`` decides, ``text.py`` and ``report.py`` tell.
"""

import contextlib
import gc
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datamodel.errors import Invalid, OcicatError
from datamodel.report import Report
from datastore.store import Entry, Store
from ocicatctl import arguments
from ocicatctl.check.cluster import RANGES
from ocicatctl.check.draft import Run
from ocicatctl.check.findings import Findings, check_store
from ocicatctl.check.repair import Plan, plan
from ocicatctl.check.report import check_report, repair_report
from ocicatctl.check.text import Show, again_text, check_text, done_text, ipamd_text, plan_text
from ocicatctl.store import with_store

if TYPE_CHECKING:
    from ipam_api.answers import NodeStatus

KERNEL_TIMEOUT_S = 5.0
# Between the two looks at something that seems wrong: a request that was under way is over then.
PAUSE_S = 0.5
_JSON = "json"


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam check
  ocicatctl ipam check --show-problem-ips
  ocicatctl ipam check -o report.json
  ocicatctl ipam check -o json
  ocicatctl ipam check --repair --dry-run
  ocicatctl ipam check --repair

\b
Exit status: 0 nothing is wrong (any more), 1 something is, 2 wrong usage.
"""
)
@click.option("--show-all-ips", is_flag=True, help="Print every address that is checked.")
@click.option("--show-problem-ips", is_flag=True, help="Print every address that is wrong.")
@click.option(
    "-o",
    "--output",
    metavar="FILE|json",
    help="Write calicoctl's report to a file too; json: to standard output, and nothing else.",
)
@click.option("--repair", is_flag=True, help="Mend what can be proven to be safe to mend.")
@click.option("--dry-run", is_flag=True, help="With --repair: only say what would be done.")
@arguments.ipamd_socket
def check(
    show_all_ips: bool,
    show_problem_ips: bool,
    output: str | None,
    repair: bool,
    dry_run: bool,
    path: str,
) -> None:
    """Find what is wrong with addresses, handles, blocks, affinities and this node's links.

    The first part of the answer is calicoctl's. What seems wrong is looked at a second time, so
    that requests under way are not taken for problems. Nothing is changed without --repair; that
    releases an address only if it is proven that nobody uses it.
    """
    if dry_run and not repair:
        raise click.UsageError("--dry-run needs --repair.")
    is_text = output != _JSON
    look = _look_twice(path)
    _tell(check_text(look.findings, Show(show_all_ips, show_problem_ips), look.unasked), is_text)
    told = {str(problem) for problem in look.findings.problems}
    _tell(ipamd_text([text for text in look.ipamd_says if text not in told]), is_text)
    repairs: dict[str, Any] = {}
    if repair:
        chosen = plan(look.findings)
        failures = None if dry_run else with_store(lambda store: _carry_out(store, chosen))
        repairs = repair_report(chosen, failures)
        _tell(plan_text(chosen) if failures is None else done_text(chosen, failures), is_text)
        if failures:
            look = _look_twice(path)
            _tell(again_text(look.findings), is_text)
    if output:
        version = importlib.metadata.version("ocicat")
        report = check_report(look.findings, version, look.unasked)
        _write({**report, "ipamdSays": look.ipamd_says, **repairs}, output)
    if look.findings.problems:
        click.get_current_context().exit(1)


def _tell(text: str, is_wanted: bool) -> None:
    if is_wanted:
        # A key may have any bytes in it.
        click.echo(text.encode(errors="backslashreplace").decode(), nl=False)


def _write(document: dict[str, Any], output: str) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if output == _JSON:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise Invalid(f"{output}: cannot be written: {error.strerror}") from error


# ---- looking -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found."""

    findings: Findings
    unasked: str  # why no kernel was asked, if none was
    ipamd_says: tuple[str, ...]


def _look_twice(path: str) -> _Look:
    """Look, and again if something seems wrong; it is wrong if it seems so both times."""
    first = _look(path)
    if not first.findings.problems:
        return first
    time.sleep(PAUSE_S)
    second = _look(path)
    return replace(second, findings=second.findings.also_in(first.findings))


def _look(path: str) -> _Look:
    # The kernel before the store: a link is there before its address is recorded and gone before
    # the address is released.
    with _progress() as now, _uncollected():
        now("asking the kernel")
        report, unasked, status = _ask_kernel(path)
        now("reading etcd")
        entries = with_store(_read)
        now(f"comparing {len(entries)} keys")
        node, says = (status.node, _said(status)) if status else ("", ())
        return _Look(check_store(entries, report, node, datetime.now(UTC)), unasked, says)


async def _read(store: Store) -> Mapping[str, Entry]:
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


def _ask_kernel(path: str) -> "tuple[Report | None, str, NodeStatus | None]":
    """What this node's kernel has, or why it was not asked; and how its ipamd is."""
    # Here, because importing gRPC takes longer than a --help.
    from ipam_api.client import IpamClient

    client = IpamClient(path)
    begun = time.monotonic()
    try:
        last = client.get_report(fresh=True, timeout_s=KERNEL_TIMEOUT_S)
        status = client.status(timeout_s=KERNEL_TIMEOUT_S)  # with what that report showed
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
def _progress() -> Iterator[Callable[[str], None]]:
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


# ---- repairing ---------------------------------------------------------------------------------


async def _carry_out(store: Store, chosen: Plan) -> list[str]:
    """Commit the actions in their order; return for each why it was not done, empty if it was."""
    run = Run()
    failures: list[str] = []
    with _progress() as now:
        for action in chosen.actions:
            now(f"repair {len(failures) + 1} of {len(chosen.actions)}")
            change = run.next(action.change)
            if change is None:
                failures.append("it builds on a repair that was not done; run this again")
                continue
            try:
                answer = await store.commit(change)
            except OcicatError as error:
                # It may have been carried out all the same; the check that follows shows it.
                left = len(chosen.actions) - len(failures)
                return failures + [str(error)] * left
            is_done = run.answered(change, answer)
            failures.append("" if is_done else "somebody changed it meanwhile; run this again")
    return failures
