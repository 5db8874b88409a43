"""``ocicatctl get``: resources as calicoctl shows them.

Edge: the command line. ``query.py`` decides what is read and what is printed.
"""

from collections.abc import Callable

import click

from datamodel.endpoint import DEFAULT_NAMESPACE
from datastore.store import Snapshot, Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.resources.kinds import BY_ALIAS, KINDS, Kind
from ocicatctl.resources.query import FORMATS, Query, answer
from ocicatctl.store import with_store


class Kinds(click.Group):
    """The kinds, in every spelling that calicoctl takes."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        kind = BY_ALIAS.get(cmd_name.lower())
        if kind is None:
            known = ", ".join(k.name for k in KINDS)
            raise click.UsageError(f"There is no kind {cmd_name!r}; there are {known}.", ctx)
        return super().get_command(ctx, kind.aliases[0])


def _common(command: Callable[..., None]) -> Callable[..., None]:
    names = click.argument("names", nargs=-1, metavar="[NAME]...")
    output = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="ps",
        show_default=True,
        help="ps and wide are tables; json and yaml show what is stored.",
    )
    return names(output(command))


@click.group(
    cls=Kinds,
    subcommand_metavar="KIND [NAME]...",
    epilog="""\b
Examples:
  ocicatctl get ippool -o wide
  ocicatctl get node node-1 -o yaml
  ocicatctl get wep -a
""",
)
def get() -> None:
    """Show resources.

    Kinds may be written as calicoctl takes them: ippools, pool, nodes, no, wep, weps, …
    """


def _command(kind: Kind) -> click.Command:
    """``get`` for one kind."""

    def show(
        names: tuple[str, ...],
        output: str,
        namespace: str | None = None,
        all_namespaces: bool = False,
    ) -> None:
        if all_namespaces and namespace is not None:
            raise click.UsageError("--namespace and --all-namespaces exclude each other.")
        is_scoped = kind.is_namespaced and not all_namespaces
        scope = (namespace or DEFAULT_NAMESPACE) if is_scoped else None
        has_column = kind.is_namespaced and (all_namespaces or namespace is not None)
        _show(Query(kind, names, scope, shows_namespace=has_column), output)

    word = kind.aliases[0]
    examples = [f"get {word}", f"get {word} NAME -o yaml"]
    examples += [f"get {word} --all-namespaces"] if kind.is_namespaced else []
    lines = "".join(f"\n  ocicatctl {example}" for example in examples)
    make = click.command(name=word, help=f"Show {kind.help}.", epilog=f"\b\nExamples:{lines}\n")
    return make(_common(_namespaces(show) if kind.is_namespaced else show))


def _namespaces(command: Callable[..., None]) -> Callable[..., None]:
    one = click.option(
        "-n",
        "--namespace",
        type=arguments.namespace,
        metavar="NS",
        help=f"Only this namespace; '{DEFAULT_NAMESPACE}' if none is given.",
    )
    every = click.option(
        "-a", "-A", "--all-namespaces", is_flag=True, help="Those of every namespace."
    )
    return one(every(command))


for _kind in KINDS:
    get.add_command(_command(_kind))


def _show(query: Query, output: str) -> None:
    async def read(store: Store) -> Snapshot:
        return await store.read(*query.ranges)

    text, mistakes = answer(query, with_store(read), output)
    click.echo(text, nl=False)
    raise_for(mistakes)
