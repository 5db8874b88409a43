"""How much of every pool and block is in use.

Pure: no I/O. Counted and written as calicoctl does: whatever is not in a block's queue of free
addresses is in use, and a pool has as many addresses as its prefix length says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datamodel.block import Block
from datamodel.pool import Network, Pool

HEADER = ("Grouping", "CIDR", "IPs total", "IPs in use", "IPs free")


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """A pool and its blocks, in the order of their addresses."""

    pool: Pool
    blocks: tuple[Block, ...]

    @property
    def in_use(self) -> int:
        """How many addresses of the pool are not free."""
        return sum(block.in_use for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Usage:
    """Every block, under the pool that it was cut from if there is one."""

    pools: tuple[PoolUsage, ...]
    strays: tuple[Block, ...]  # in no pool: it was deleted or changed while they were in use

    @classmethod
    def of(cls, pools: Sequence[Pool], blocks: Sequence[Block]) -> "Usage":
        """Put every block where it belongs."""
        ordered = sorted(blocks, key=lambda block: (block.cidr.version, block.cidr))
        found: dict[str, list[Block]] = {pool.name: [] for pool in pools}
        strays: list[Block] = []
        for block in ordered:
            home = next((pool for pool in pools if _contains(pool, block)), None)
            (strays if home is None else found[home.name]).append(block)
        used = (PoolUsage(pool, tuple(found[pool.name])) for pool in pools)
        return cls(tuple(used), tuple(strays))

    def rows(self, with_blocks: bool) -> list[tuple[str, ...]]:
        """The lines of the table; blocks in no pool come last."""
        rows: list[tuple[str, ...]] = []
        for used in self.pools:
            cidr = used.pool.cidr
            rows.append(("IP Pool", str(cidr), *_counts(cidr.num_addresses, used.in_use)))
            rows += [_block_row(block) for block in used.blocks if with_blocks]
        return rows + [_block_row(block) for block in self.strays if with_blocks]

    def document(self, with_blocks: bool) -> dict[str, Any]:
        """The same for programs."""
        return {
            "pools": [
                {
                    "name": used.pool.name,
                    **_document(used.pool.cidr, used.in_use),
                    **({"blocks": _block_documents(used.blocks)} if with_blocks else {}),
                }
                for used in self.pools
            ],
            **({"blocksInNoPool": _block_documents(self.strays)} if with_blocks else {}),
        }


def _contains(pool: Pool, block: Block) -> bool:
    first = block.cidr.network_address
    return first in pool.cidr and block.cidr.prefixlen >= pool.cidr.prefixlen


def _block_row(block: Block) -> tuple[str, ...]:
    return ("Block", str(block.cidr), *_counts(block.cidr.num_addresses, block.in_use))


def _counts(total: int, in_use: int) -> tuple[str, str, str]:
    return f"{total:.5g}", _share(in_use, total), _share(total - in_use, total)


def _share(part: int, total: int) -> str:
    return f"{part:.5g} ({100 * part / total:.0f}%)"


def _document(cidr: Network, in_use: int) -> dict[str, Any]:
    total = cidr.num_addresses
    return {"cidr": str(cidr), "total": total, "inUse": in_use, "free": total - in_use}


def _block_documents(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    return [{**_document(b.cidr, b.in_use), "node": b.host} for b in blocks]
