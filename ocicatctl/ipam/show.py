"""``ocicatctl ipam show``: how many addresses are in use, and who uses one or borrows them.

Edge: the command line and the clock.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from datamodel.block import Address
from datamodel.ipam_config import IpamConfig
from datastore import keys
from datastore.store import Snapshot, Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.ipam import borrowed, usage
from ocicatctl.ipam.borrowed import Borrowing
from ocicatctl.ipam.holder import Holder
from ocicatctl.ipam.plan import RANGES, Plan
from ocicatctl.ipam.usage import Usage
from ocicatctl.reading import block_keys, keys_with, read_in_portions
from ocicatctl.store import with_store
from ocicatctl.structured import structured
from ocicatctl.table import box


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer in both forms."""

    text: str
    document: Any


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam show
  ocicatctl ipam show --show-blocks
  ocicatctl ipam show --ip=10.233.77.0
  ocicatctl ipam show --show-borrowed
  ocicatctl ipam show --show-configuration -o yaml
"""
)
@click.option("--show-blocks", is_flag=True, help="The blocks of each pool too.")
@click.option("--show-borrowed", is_flag=True, help="Addresses of blocks that are not the node's.")
@click.option("--show-configuration", is_flag=True, help="The settings of `ipam configure`.")
@click.option(
    "--ip", "address", type=arguments.address, help="Whether this address is in use, and whose."
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "json", "yaml")),
    default="table",
    show_default=True,
)
def show(
    show_blocks: bool,
    show_borrowed: bool,
    show_configuration: bool,
    address: Address | None,
    output: str,
) -> None:
    """Show how many addresses each pool has, has in use, has reserved and has left."""
    if sum((show_blocks, show_borrowed, show_configuration, address is not None)) > 1:
        raise click.UsageError(
            "--show-blocks, --show-borrowed, --show-configuration and --ip exclude each other."
        )
    now = datetime.now(UTC)
    if show_configuration:
        plan = Plan.of(with_store(_read_config).entries, now)
        raise_for(plan.mistakes)
        shown = configuration(plan.config)
    elif address is not None:
        found = address
        entries = with_store(lambda store: _read_one(store, found)).entries
        plan = Plan.of(entries, now)
        has_block = any(key.startswith(keys.ALL_BLOCKS) for key in entries)
        holder = Holder.of(address, plan, is_unknown=has_block and not plan.blocks)
        shown = Shown(holder.text, holder.document)
    else:
        plan = Plan.of(with_store(_read_all).entries, now)
        shown = borrowing(plan) if show_borrowed else utilization(plan, show_blocks)
    text = shown.text if output == "table" else structured(shown.document, output)
    click.echo(text, nl=False)
    raise_for(plan.mistakes)


async def _read_config(store: Store) -> Snapshot:
    return await store.read(keys.IPAM_CONFIG)


async def _read_one(store: Store, address: Address) -> Snapshot:
    blocks = keys_with(address, await block_keys(store, address.version))
    return await store.read(*RANGES, *blocks)


async def _read_all(store: Store) -> Snapshot:
    return await read_in_portions(store, *RANGES, keys.ALL_BLOCKS)


def utilization(plan: Plan, show_blocks: bool) -> Shown:
    """How full pools and blocks are."""
    found = Usage.of(plan.pools, plan.blocks, plan.reservations)
    return Shown(box(usage.HEADER, found.rows(show_blocks)), found.document(show_blocks))


def borrowing(plan: Plan) -> Shown:
    """Which addresses are borrowed."""
    found = Borrowing.of(plan.blocks)
    table = box(borrowed.HEADER, [address.row for address in found.addresses])
    return Shown(f"{table}{found.note}", found.document)


def configuration(config: IpamConfig) -> Shown:
    """The settings by calicoctl's names; what is not stored has Calico's default."""
    properties: dict[str, bool | int | str] = {
        "StrictAffinity": config.strict_affinity,
        "AutoAllocateBlocks": config.auto_allocate_blocks,
        "MaxBlocksPerHost": config.max_blocks_per_host,
        "KubeVirtVMAddressPersistence": str(
            config.extra.get("kubeVirtVMAddressPersistence") or "Disabled"
        ),
        "IPCooldownSeconds": config.ip_cooldown_s,
    }
    rows = [(name, _go(value)) for name, value in properties.items()]
    return Shown(box(("Property", "Value"), rows), properties)


def _go(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
