"""``ocicatctl ipam release``: give back addresses that nobody uses.

Edge: the command line, files and the clock. ``release.py`` decides, ``leak_report.py`` reads what
``ipam check`` found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click

from datamodel.block import Address
from datamodel.errors import Invalid, Unavailable
from datastore import keys
from datastore.codec import decode_ipam_config
from datastore.known import Known
from datastore.store import Decision, Store, settle
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.ipam import leak_report
from ocicatctl.ipam.release_plan import (
    Fate,
    Target,
    Terms,
    Verdict,
    decide_forget,
    decide_release,
    endpoints_listing,
)
from ocicatctl.reading import block_keys, keys_with, read_in_portions
from ocicatctl.store import with_store

# Block, handles, endpoints and nodes must fit into one transaction (MAX_OPERATIONS).
PER_TRANSACTION = 30
HANDLES_PER_TRANSACTION = 100


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam release --ip=10.233.77.0
  ocicatctl ipam release --ip=10.233.77.0 --ip=10.233.77.1
  ocicatctl ipam release --from-report=yesterday.json --from-report=today.json
"""
)
@click.option(
    "--ip", "addresses", type=arguments.address, multiple=True, help="An address; repeatable."
)
@click.option(
    "--from-report",
    "files",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    help="A report of `ipam check -o`; of several, what all of them call leaked.",
)
@click.option(
    "--force",
    "is_forced",
    is_flag=True,
    help="With --ip: what an endpoint or a tunnel uses, too. With --from-report: "
    "although the datastore is not locked, or the report of another version.",
)
def release(addresses: tuple[Address, ...], files: tuple[str, ...], is_forced: bool) -> None:
    """Give back addresses that were not given back as they should have been.

    It does not take them from whoever has them: an address that a workload endpoint lists is
    refused.
    """
    if bool(addresses) == bool(files):
        raise click.UsageError("Either --ip or --from-report must be given.")
    if files:
        _release_reported(files, is_forced)
    else:
        _release_named(list(dict.fromkeys(addresses)), is_forced)


# ---- --ip --------------------------------------------------------------------------------------


def _release_named(addresses: Sequence[Address], is_forced: bool) -> None:
    async def act(store: Store) -> tuple[list[Verdict], list[str]]:
        return await release_all(store, [Target(a) for a in addresses], is_forced=is_forced)

    verdicts, mistakes = with_store(act)
    for verdict in verdicts:
        address = verdict.target.address
        if verdict.fate is Fate.RELEASED:
            click.echo(f"Successfully released IP address {address}")
        elif verdict.fate is Fate.IN_USE:
            mistakes.append(
                f"IP address {address}: is used by {' and '.join(verdict.users)}; "
                "delete what uses it, or release it all the same with --force"
            )
        else:
            mistakes.append(f"IP address {address} is not assigned")
    raise_for(mistakes)


async def release_all(
    store: Store, targets: Sequence[Target], *, is_forced: bool
) -> tuple[list[Verdict], list[str]]:
    """Release the targets, block by block; return what became of each, and what went wrong.

    Raises:
        Unavailable: etcd does not answer any more; what was released before stays so.
    """
    terms, known = await _look_around(store, {target.address for target in targets}, is_forced)
    verdicts: list[Verdict] = []
    mistakes: list[str] = []
    for block_key, some in await _by_block(store, targets):
        if block_key is None:
            verdicts += [Verdict(target, Fate.NOT_ASSIGNED) for target in some]
            continue
        try:
            verdicts += await _release_some(store, block_key, some, terms, known)
        except Invalid as error:
            mistakes.append(str(error))
        except Unavailable as error:
            mistakes.append(str(error))
            break  # the next one would wait as long for the same answer
    return verdicts, mistakes


async def _look_around(
    store: Store, addresses: set[Address], is_forced: bool
) -> tuple[Terms, Known]:
    config = (await store.read(keys.IPAM_CONFIG)).entries.get(keys.IPAM_CONFIG)
    endpoints = await read_in_portions(store, keys.ENDPOINTS)
    listing = endpoints_listing(addresses, endpoints.entries.values())
    known = Known()
    listed = {key for found in listing.values() for key in found}
    known.learn(endpoints.revision, {key: endpoints.entries[key] for key in listed})
    cooldown_s = decode_ipam_config(config.value if config else None).ip_cooldown_s
    return Terms(datetime.now(UTC), cooldown_s, is_forced, listing), known


async def _by_block(
    store: Store, targets: Iterable[Target]
) -> list[tuple[str | None, list[Target]]]:
    """The targets by the key of their block, as many as one transaction takes; in their order."""
    listed: dict[int, list[str]] = {}
    found: dict[str | None, list[Target]] = {}
    for target in targets:
        of_family = target.address.version
        if of_family not in listed:
            listed[of_family] = await block_keys(store, of_family)
        key = next(iter(keys_with(target.address, listed[of_family])), None)
        found.setdefault(key, []).append(target)
    return [
        (key, some[i : i + PER_TRANSACTION])
        for key, some in found.items()
        for i in range(0, len(some), PER_TRANSACTION)
    ]


async def _release_some(
    store: Store, block_key: str, targets: Sequence[Target], terms: Terms, known: Known
) -> list[Verdict]:
    tried: set[Target] = set()

    def decide() -> Decision[tuple[Verdict, ...]]:
        decision = decide_release(block_key, targets, terms, known)
        # A transaction without an answer may have been carried out. It is then tried again, and
        # finds its own work.
        verdicts = tuple(_undoubted(verdict, tried) for verdict in decision.outcome)
        tried.update(v.target for v in verdicts if v.fate is Fate.RELEASED)
        return replace(decision, outcome=verdicts)

    verdicts = await settle(store, known, decide)
    return list(verdicts)


def _undoubted(verdict: Verdict, tried: set[Target]) -> Verdict:
    is_done = verdict.fate is Fate.NOT_ASSIGNED and verdict.target in tried
    return replace(verdict, fate=Fate.RELEASED) if is_done else verdict


# ---- --from-report -----------------------------------------------------------------------------


def _release_reported(files: Sequence[str], is_forced: bool) -> None:
    reports = [leak_report.parse(name, Path(name).read_bytes()) for name in files]

    async def act(store: Store) -> list[str]:
        entry = (await store.read(keys.CLUSTER_INFORMATION)).entries.get(keys.CLUSTER_INFORMATION)
        cluster = leak_report.ClusterState.of(entry)
        for doubt in leak_report.check(reports, cluster, version("ocicat"), is_forced):
            click.echo(f"WARNING: {doubt.partition(';')[0]}. Ignoring due to --force option")
        targets, handles = leak_report.common(reports)
        mistakes = await _release_leaks(store, targets)
        mistakes += await _forget_handles(store, handles)
        if cluster.is_locked:
            click.echo("You may now unlock the data store.")
        return mistakes

    raise_for(with_store(act))


async def _release_leaks(store: Store, targets: Sequence[Target]) -> list[str]:
    if not targets:
        click.echo("Report didn't contain any leaked IPs to clean up.")
        return []
    click.echo(f"Releasing {len(targets)} old IPs...")
    verdicts, mistakes = await release_all(store, targets, is_forced=False)
    counts = {fate: sum(v.fate is fate for v in verdicts) for fate in Fate}
    click.echo(f"Released {counts[Fate.RELEASED]} IPs successfully")
    if gone := counts[Fate.NOT_ASSIGNED]:
        click.echo(f"{gone} addresses marked as leaked in the report had already been cleaned up.")
    for verdict in verdicts:
        address = verdict.target.address
        if verdict.fate is Fate.CHANGED:
            click.echo(f"Skipped {address}: it was released and is held again")
        elif verdict.fate is Fate.IN_USE:
            click.echo(f"Skipped {address}: it is used by {' and '.join(verdict.users)}")
    return mistakes


async def _forget_handles(store: Store, handles: Mapping[str, int]) -> list[str]:
    if not handles:
        click.echo("Report didn't contain any handles to clean up.")
        return []
    click.echo(f"Deleting {len(handles)} handles...")
    forgotten, skipped, mistakes = 0, 0, list[str]()
    names = sorted(handles)
    for i in range(0, len(names), HANDLES_PER_TRANSACTION):
        some = {name: handles[name] for name in names[i : i + HANDLES_PER_TRANSACTION]}
        try:
            gone, left = await settle(store, known := Known(), partial(decide_forget, some, known))
        except Unavailable as error:
            mistakes.append(str(error))
            break
        forgotten, skipped = forgotten + len(gone), skipped + len(left)
    errors = len(names) - forgotten - skipped
    click.echo(f"Released {forgotten} handles; {skipped} skipped; {errors} errors.")
    return mistakes
