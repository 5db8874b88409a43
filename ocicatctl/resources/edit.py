"""``ocicatctl create``, ``apply``, ``replace`` and ``delete``.

Edge: the command line, the clock and randomness. ``manifest.py`` reads what is asked for,
``write.py`` and ``delete.py`` do it.
"""

import asyncio
import functools
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from datamodel.errors import Invalid
from datastore.codec import Stamp
from datastore.store import Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.resources import files
from ocicatctl.resources.kinds import BY_ALIAS, KINDS
from ocicatctl.resources.manifest import Resource, Verb, named, resources_in
from ocicatctl.resources.outcome import Report
from ocicatctl.store import with_store

_KIND_NAMES = ", ".join(kind.name for kind in KINDS if not kind.is_read_only)


@dataclass(frozen=True, slots=True)
class Source:
    """What the options say about the files, and what they hold is for."""

    filename: str | None
    recursive: bool
    skip_empty: bool
    namespace: str | None

    def resources(self, verb: Verb) -> Sequence[Resource]:
        """Every resource of the files, checked as far as that needs no store.

        Raises:
            Invalid: something is wrong with one of them; one line for each mistake.
        """
        documents, unreadable = files.read(
            str(self.filename),
            sys.stdin.buffer.read,
            is_recursive=self.recursive,
            may_be_empty=self.skip_empty,
        )
        found, mistakes = resources_in(documents, self.namespace, verb)
        raise_for([*unreadable, *mistakes])
        return found


def _with_source(is_required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    options = (
        click.option(
            "-f",
            "--filename",
            required=is_required,
            metavar="FILE",
            help="YAML or JSON; '-' is standard input, a directory all its .json, .yaml and .yml.",
        ),
        click.option("-R", "--recursive", is_flag=True, help="Directories in a directory too."),
        click.option("--skip-empty", is_flag=True, help="Files without anything in them are fine."),
        click.option(
            "-n",
            "--namespace",
            type=arguments.namespace,
            metavar="NS",
            help="Of WorkloadEndpoints that name none: default.",
        ),
    )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            source = Source(**{name: given.pop(name) for name in Source.__slots__})
            command(source=source, **given)

        for option in reversed(options):
            run = option(run)
        return run

    return decorate


@click.command(
    epilog="""\b
Examples:
  ocicatctl create -f pools.yaml
  ocicatctl create -f pools/ --skip-exists
  cat peer.json | ocicatctl create -f -
"""
)
@_with_source(is_required=True)
@click.option("--skip-exists", is_flag=True, help="Resources that exist count as created.")
def create(source: Source, skip_exists: bool) -> None:
    """Create resources; one that exists is an error.

    Everything is checked before anything is written.
    """
    _write(Verb.CREATE, source, skip_exists)


@click.command(
    epilog="""\b
Examples:
  ocicatctl apply -f pools.yaml
  ocicatctl get bgpconfig default -o yaml > bgp.yaml; vi bgp.yaml; ocicatctl apply -f bgp.yaml
"""
)
@_with_source(is_required=True)
def apply(source: Source) -> None:
    """Create resources, or replace those that exist.

    The whole spec is replaced; labels and annotations are added. If the file has a
    resourceVersion, only that version is replaced. Everything is checked before anything is
    written.
    """
    _write(Verb.APPLY, source)


@click.command(
    epilog="""\b
Examples:
  ocicatctl replace -f pools.yaml
"""
)
@_with_source(is_required=True)
def replace(source: Source) -> None:
    """Replace resources; one that does not exist is an error.

    Otherwise as apply.
    """
    _write(Verb.REPLACE, source)


@click.command(
    epilog="""\b
Examples:
  ocicatctl delete ippool old-pool
  ocicatctl delete wep -n kube-system node--1-k8s-dns-eth0
  ocicatctl delete -f peers.yaml --skip-not-exists
"""
)
@click.argument("kind", required=False)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_with_source(is_required=False)
@click.option(
    "-s", "--skip-not-exists", is_flag=True, help="Resources that do not exist count as deleted."
)
def delete(kind: str | None, names: tuple[str, ...], source: Source, skip_not_exists: bool) -> None:
    """Delete resources, by KIND and NAME or as a file names them.

    A pool is disabled, and the nodes lose its blocks. Addresses in use stay so, but other nodes
    lose their way to them: move the workloads first. A node goes with all that it holds, as with
    "ocicatctl node delete".

    If this is interrupted, call it again: it goes on where it ended.
    """
    from ocicatctl.resources.delete import delete as act

    resources = _deletions(kind, names, source)

    async def run(store: Store) -> Report:
        return await act(store, resources, _say, asyncio.sleep, skip_not_exists=skip_not_exists)

    _tell(with_store(run) if resources else Report(Verb.DELETE, resources))


def _deletions(kind: str | None, names: tuple[str, ...], source: Source) -> Sequence[Resource]:
    if (kind is None) == (source.filename is None):
        raise click.UsageError("Give either KIND and NAME, or --filename.")
    if kind is None:
        return source.resources(Verb.DELETE)
    found = BY_ALIAS.get(kind.lower())
    if found is None:
        raise click.UsageError(f"There is no kind {kind!r}; there are {_KIND_NAMES}.")
    if not names:
        raise click.UsageError("Give at least one NAME.")
    return named(found, names, source.namespace)


def _write(verb: Verb, source: Source, skip_exists: bool = False) -> None:
    from ocicatctl.resources.write import write

    resources = source.resources(verb)

    async def run(store: Store) -> Report:
        return await write(store, verb, resources, _stamp, skip_exists=skip_exists)

    _tell(with_store(run) if resources else Report(verb, resources))


def _stamp() -> Stamp:
    return Stamp(str(uuid.uuid4()), datetime.now(UTC))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _tell(report: Report) -> None:
    if report.text:
        click.echo(report.text)
    if report.wrong:
        raise Invalid(report.errors)
