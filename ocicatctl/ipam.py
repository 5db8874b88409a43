"""``ocicatctl ipam``: how many addresses are in use.

Edge: the command line. ``usage.py`` does the counting.
"""

import json

import click

from datastore import keys
from datastore.codec import decode_block, decode_pool
from datastore.store import Snapshot, Store
from ocicatctl.entries import decoded, raise_for
from ocicatctl.store import with_store
from ocicatctl.table import box
from ocicatctl.usage import HEADER, Usage


@click.group(
    epilog="""\b
Examples:
  ocicatctl ipam show --show-blocks
"""
)
def ipam() -> None:
    """Show how much of each pool and block is in use."""


@ipam.command(
    epilog="""\b
Examples:
  ocicatctl ipam show
  ocicatctl ipam show --show-blocks
  ocicatctl ipam show --show-blocks -o json
"""
)
@click.option("--show-blocks", is_flag=True, help="The blocks of each pool too.")
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True
)
def show(show_blocks: bool, output: str) -> None:
    """Show how many addresses each pool has, has in use and has left."""
    usage, mistakes = usage_in(with_store(_read))
    if output == "json":
        click.echo(json.dumps(usage.document(show_blocks), indent=2))
    else:
        click.echo(box(HEADER, usage.rows(show_blocks)), nl=False)
    raise_for(mistakes)


async def _read(store: Store) -> Snapshot:
    return await store.read(keys.POOLS, keys.ALL_BLOCKS)


def usage_in(snapshot: Snapshot) -> tuple[Usage, list[str]]:
    """Return the usage, and what is wrong with each pool and block that is not counted."""
    entries = [entry for _, entry in sorted(snapshot.entries.items())]
    pools, wrong_pools = decoded(
        (e for e in entries if e.key.startswith(keys.POOLS)),
        lambda e: decode_pool(e.key, e.value),
    )
    blocks, wrong_blocks = decoded(
        (e for e in entries if e.key.startswith(keys.ALL_BLOCKS)),
        lambda e: decode_block(e.key, e.value),
    )
    return Usage.of(pools, blocks), wrong_pools + wrong_blocks
