"""How much of every pool and block is in use, reserved and free.

Pure: no I/O. Counted and written as calicoctl does since 3.33: whatever is not in a block's queue
is in use, also what cools down; a reserved address may be in use too; free is neither. A pool has
as many addresses as its prefix length says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datamodel.block import Block
from datamodel.pool import Network, Pool
from datamodel.reservation import Reservations

HEADER = ("Grouping", "CIDR", "IPs total", "IPs in use", "IPs reserved", "IPs free")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many addresses of a network are what."""

    total: int
    in_use: int = 0
    reserved: int = 0
    free: int = 0
    cooling: int = 0  # part of those in use

    @classmethod
    def of_block(cls, block: Block, reservations: Reservations) -> "Counts":
        """Count a block's addresses."""
        reserved = reservations.ordinals(block.cidr)
        cooling = {i for i, a in enumerate(block.attributes) if a.released_at is not None}
        return cls(
            total=len(block.allocations),
            in_use=block.in_use,
            reserved=len(reserved),
            free=sum(ordinal not in reserved for ordinal in block.unallocated),
            cooling=sum(index in cooling for index in block.allocations) if cooling else 0,
        )

    @property
    def unavailable(self) -> int:
        """How many are in use, reserved, or both."""
        return self.total - self.free

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As calicoctl writes them."""
        return (
            f"{self.total:.5g}",
            self._share(self.in_use),
            self._share(self.reserved),
            self._share(self.free),
        )

    @property
    def document(self) -> dict[str, int]:
        """The same for programs, and exact."""
        return {
            "total": self.total,
            "inUse": self.in_use,
            "reserved": self.reserved,
            "free": self.free,
            "cooling": self.cooling,
        }

    def _share(self, part: int) -> str:
        return f"{part:.5g} ({100 * part / self.total:.0f}%)"


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """A pool and its blocks, in the order of their addresses."""

    pool: Pool
    counts: Counts
    blocks: tuple[tuple[Block, Counts], ...]

    @classmethod
    def of(cls, pool: Pool, blocks: Sequence[Block], reservations: Reservations) -> "PoolUsage":
        """Sum up the blocks; what is in none of them is free unless it is reserved."""
        counted = tuple((block, Counts.of_block(block, reservations)) for block in blocks)
        total, reserved = pool.cidr.num_addresses, _reserved_in(pool.cidr, reservations)
        in_blocks = sum(counts.reserved for _, counts in counted)
        sums = Counts(
            total=total,
            in_use=sum(counts.in_use for _, counts in counted),
            reserved=reserved,
            free=total - sum(c.unavailable for _, c in counted) - (reserved - in_blocks),
            cooling=sum(counts.cooling for _, counts in counted),
        )
        return cls(pool, sums, counted)


@dataclass(frozen=True, slots=True)
class Usage:
    """Every block, under the pool that it was cut from if there is one."""

    pools: tuple[PoolUsage, ...]
    strays: tuple[tuple[Block, Counts], ...]  # in no pool: it was deleted while they were in use

    @classmethod
    def of(
        cls,
        pools: Sequence[Pool],
        blocks: Sequence[Block],
        reservations: Reservations | None = None,
    ) -> "Usage":
        """Put every block where it belongs."""
        reservations = reservations or Reservations()
        ordered = sorted(blocks, key=lambda block: (block.cidr.version, block.cidr))
        found: dict[str, list[Block]] = {pool.name: [] for pool in pools}
        strays = []
        for block in ordered:
            home = next((pool for pool in pools if pool.contains(block.cidr)), None)
            if home is None:
                strays.append((block, Counts.of_block(block, reservations)))
            else:
                found[home.name].append(block)
        used = (PoolUsage.of(pool, found[pool.name], reservations) for pool in pools)
        return cls(tuple(used), tuple(strays))

    def rows(self, with_blocks: bool) -> list[tuple[str, ...]]:
        """The lines of the table; blocks in no pool come last."""
        rows: list[tuple[str, ...]] = []
        for used in self.pools:
            rows.append(("IP Pool", str(used.pool.cidr), *used.counts.cells))
            rows += [_block_row(*counted) for counted in used.blocks if with_blocks]
        return rows + [_block_row(*counted) for counted in self.strays if with_blocks]

    def document(self, with_blocks: bool) -> dict[str, Any]:
        """The same for programs."""
        return {
            "pools": [
                {
                    "name": used.pool.name,
                    **_document(used.pool.cidr, used.counts),
                    **({"blocks": _block_documents(used.blocks)} if with_blocks else {}),
                }
                for used in self.pools
            ],
            **({"blocksInNoPool": _block_documents(self.strays)} if with_blocks else {}),
        }


def _reserved_in(network: Network, reservations: Reservations) -> int:
    """How many addresses of *network* are reserved; too many, perhaps, to look at each."""
    first = int(network.network_address)
    last = first + network.num_addresses - 1
    ranges = reservations.ipv4 if network.version == 4 else reservations.ipv6
    return sum(max(0, min(end, last) - max(start, first) + 1) for start, end in ranges)


def _block_row(block: Block, counts: Counts) -> tuple[str, ...]:
    return ("Block", str(block.cidr), *counts.cells)


def _document(cidr: Network, counts: Counts) -> dict[str, Any]:
    return {"cidr": str(cidr), **counts.document}


def _block_documents(counted: Sequence[tuple[Block, Counts]]) -> list[dict[str, Any]]:
    return [{**_document(block.cidr, counts), "node": block.host} for block, counts in counted]
