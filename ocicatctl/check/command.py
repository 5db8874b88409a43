"""``ocicatctl ipam check``: find what is wrong with addresses, and mend what is proven.

Edge: the command line and a file. ``look.py`` looks, ``findings.py`` finds, ``repair.py`` decides,
``text.py`` and ``report.py`` tell.
"""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import click

from datamodel.errors import Invalid, OcicatError
from datastore.store import Store
from ocicatctl import arguments
from ocicatctl.check.draft import Run
from ocicatctl.check.look import look_twice, progress
from ocicatctl.check.repair import Plan, plan
from ocicatctl.check.report import check_report, repair_report
from ocicatctl.check.text import Show, again_text, check_text, done_text, ipamd_text, plan_text
from ocicatctl.store import with_store

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
    look = look_twice(path)
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
            look = look_twice(path)
            _tell(again_text(look.findings), is_text)
    if output:
        version = importlib.metadata.version("ocicat")
        report = check_report(look.findings, version, look.unasked)
        _write({**report, "ipamdSays": look.ipamd_says, **repairs}, output)
    if look.findings.problems:
        click.get_current_context().exit(1)


def _tell(text: str, is_wanted: bool) -> None:
    if is_wanted:
        click.echo(text, nl=False)


def _write(document: dict[str, Any], output: str) -> None:
    text = json.dumps(document, indent=2) + "\n"
    if output == _JSON:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text)
    except OSError as error:
        raise Invalid(f"{output}: cannot be written: {error.strerror}") from error


# ---- repairing ---------------------------------------------------------------------------------


async def _carry_out(store: Store, chosen: Plan) -> list[str]:
    """Commit the actions in their order; return for each why it was not done, empty if it was."""
    run = Run()
    failures: list[str] = []
    with progress() as now:
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
