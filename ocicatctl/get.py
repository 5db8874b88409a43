"""``ocicatctl get``: resources as calicoctl shows them.

Edge: the command line. ``query.py`` decides what is read and what is printed.
"""

from collections.abc import Callable

import click

from datastore.store import Snapshot, Store
from ocicatctl.entries import raise_for
from ocicatctl.query import FORMATS, Query, answer
from ocicatctl.resources import ENDPOINT, NODE, POOL
from ocicatctl.store import with_store

_ALIASES = {
    **dict.fromkeys(("ippool", "ippools", "ipp", "ipps", "pool", "pools"), "ippool"),
    **dict.fromkeys(("node", "nodes", "no", "nos"), "node"),
    **dict.fromkeys(("workloadendpoint", "workloadendpoints", "wep", "weps"), "workloadendpoint"),
}
_DEFAULT_NAMESPACE = "default"


class Kinds(click.Group):
    """The kinds, in every spelling that calicoctl takes."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name.lower(), cmd_name))


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
    """Show pools, nodes and workload endpoints.

    Kinds may be written as calicoctl takes them: ippools, pool, nodes, no, wep, weps, …
    """


@get.command(
    epilog="""\b
Examples:
  ocicatctl get ippool
  ocicatctl get ippool default-ipv4-ippool -o yaml
"""
)
@_common
def ippool(names: tuple[str, ...], output: str) -> None:
    """Show address pools."""
    _show(Query(POOL, names), output)


@get.command(
    epilog="""\b
Examples:
  ocicatctl get node -o wide
  ocicatctl get node node-1 -o json
"""
)
@_common
def node(names: tuple[str, ...], output: str) -> None:
    """Show nodes.

    An AS number in parentheses is the cluster's.
    """
    _show(Query(NODE, names), output)


@get.command(
    epilog="""\b
Examples:
  ocicatctl get workloadendpoint
  ocicatctl get wep -n kube-system -o wide
  ocicatctl get wep --all-namespaces
"""
)
@_common
@click.option(
    "-n",
    "--namespace",
    metavar="NS",
    help=f"Only this namespace; '{_DEFAULT_NAMESPACE}' if none is given.",
)
@click.option("-a", "-A", "--all-namespaces", is_flag=True, help="Those of every namespace.")
def workloadendpoint(
    names: tuple[str, ...], output: str, namespace: str | None, all_namespaces: bool
) -> None:
    """Show the network interfaces of workloads."""
    if all_namespaces and namespace is not None:
        raise click.UsageError("--namespace and --all-namespaces exclude each other.")
    scope = None if all_namespaces else namespace or _DEFAULT_NAMESPACE
    _show(Query(ENDPOINT, names, scope), output)


def _show(query: Query, output: str) -> None:
    async def read(store: Store) -> Snapshot:
        return await store.read(*query.ranges)

    text, mistakes = answer(query, with_store(read), output)
    click.echo(text, nl=False)
    raise_for(mistakes)
