"""Where a node's next address would come from, or why it would get none.

Pure: no I/O. It foretells what ``ipamd/block_choice.py`` decides, with the same words where that
refuses; ``tests/unit/ocicatctl/test_next_address.py`` lets both decide and compares.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from itertools import islice

from datamodel import refusal
from datamodel.affinity import Affinity
from datamodel.block import Block
from datamodel.node import Node
from datamodel.pool import MAX_SKIPPED, Network, Pool
from datamodel.pool_choice import Rejected, Wanted, choose_pools
from ocicatctl.ipam.plan import Plan


class Step(Enum):
    """What the node would do, in the order in which it tries; the value is for programs."""

    OWN = "own"
    RESUME = "resume"  # a claim of its own that broke off
    CLAIM = "claim"
    RECLAIM = "reclaim"  # an empty block of somebody else
    BORROW = "borrow"
    NONE = "none"
    UNKNOWN = "unknown"  # blocks must be read first


@dataclass(frozen=True, slots=True)
class Next:
    """The first of these steps that leads to an address."""

    step: Step
    blocks: tuple[Network, ...] = ()  # the one, or all that may be the one, or those to be read
    reasons: tuple[str, ...] = ()  # why none

    @property
    def error(self) -> str:
        """What a request is told; empty if it gets an address."""
        return refusal.no_addresses(self.reasons) if self.reasons else ""


@dataclass(frozen=True)
class Request:
    """A request for an address of one family, and everything that decides over it."""

    node: Node
    now: datetime
    version: int
    plan: Plan  # with the node's own blocks
    affinities: Sequence[Affinity]  # the node's, of this family, in the order of their keys
    claimed: frozenset[Network]  # every block of this family that anybody has
    looked_at: frozenset[Network]  # those of them that were read, with the unreadable ones
    pool_names: tuple[str, ...] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def pools(self) -> tuple[list[Pool], list[Rejected]]:
        """The pools that serve, in the order in which they are tried, and the others.

        Raises:
            Invalid: a pool that is asked for by name does not exist.
        """
        wanted = Wanted(
            version=self.version,
            names=self.pool_names,
            namespace_labels=self.namespace_labels,
            node_labels=self.node.labels,
        )
        return choose_pools(self.plan.pools, wanted)

    @property
    def owned(self) -> int:
        """How many blocks count towards the limit: those in pools that serve."""
        return sum(self._serves(affinity.cidr) for affinity in self.affinities)

    @cached_property
    def read(self) -> Mapping[Network, Block]:
        """The blocks that were read, by CIDR."""
        return {block.cidr: block for block in self.plan.blocks}

    def next(self) -> Next:
        """What the node would do.

        Raises:
            Invalid: as ``pools``.
        """
        chosen, rejected = self.pools
        if own := self._own_with_room():
            return Next(Step.OWN, (own,))
        refused = [*self.plan.wrong_pools, *(f"{r.pool}: {r.reason}" for r in rejected)]
        if not chosen:
            return Next(Step.NONE, reasons=tuple(refused or [refusal.no_pool(self.version)]))
        if self.plan.wrong_config:
            return Next(Step.NONE, reasons=self.plan.wrong_config)
        if reason := refusal.may_not_claim(self.node.name, self.plan.config, self.owned):
            return Next(Step.NONE, reasons=(*refused, reason))
        found = self._another(chosen)
        return found or Next(Step.NONE, reasons=(*refused, *map(self._full, chosen)))

    def _another(self, chosen: Sequence[Pool]) -> Next | None:
        if half := next(self._half_claimed(chosen), None):
            return Next(Step.RESUME, (half,))
        if fresh := next((c for pool in chosen for c in self._unclaimed(pool)), None):
            return Next(Step.CLAIM, (fresh,))
        foreign = self._foreign(chosen)
        if unread := tuple(c for c in foreign if c not in self.looked_at):
            return Next(Step.UNKNOWN, unread)
        blocks = [self.read[cidr] for cidr in foreign if cidr in self.read]
        with_room = [block for block in blocks if self._has_room(block)]
        node = self.node.name
        if empty := tuple(b.cidr for b in with_room if b.may_be_reclaimed(node, self.now)):
            return Next(Step.RECLAIM, empty)
        if with_room and not self.plan.config.strict_affinity:
            return Next(Step.BORROW, tuple(block.cidr for block in with_room))
        return None

    # ---- the parts -----------------------------------------------------------------------------

    def _serves(self, cidr: Network) -> bool:
        return any(pool.contains(cidr) for pool in self.pools[0])

    def _has_room(self, block: Block) -> bool:
        return block.free(self.plan.reservations.ordinals(block.cidr)) is not None

    def _own(self) -> Iterator[Block]:
        """The blocks that are the node's, by affinity and by their own word."""
        for affinity in self.affinities:
            block = self.read.get(affinity.cidr)
            if block is not None and block.host == self.node.name:
                yield block

    def _own_with_room(self) -> Network | None:
        serving = (b.cidr for b in self._own() if self._serves(b.cidr) and self._has_room(b))
        return next(serving, None)

    def _half_claimed(self, chosen: Sequence[Pool]) -> Iterator[Network]:
        for affinity in self.affinities:
            cidr = affinity.cidr
            pool = next((pool for pool in chosen if pool.contains(cidr)), None)
            is_half = cidr not in self.claimed and not self.plan.reservations.covers(cidr)
            if pool and is_half and cidr.prefixlen == pool.block_size:
                yield cidr

    def _unclaimed(self, pool: Pool) -> Iterator[Network]:
        for cidr in islice(pool.blocks_for(self.node.name), len(self.claimed) + MAX_SKIPPED):
            if cidr not in self.claimed and not self.plan.reservations.covers(cidr):
                yield cidr

    def _foreign(self, chosen: Sequence[Pool]) -> list[Network]:
        own = {affinity.cidr for affinity in self.affinities}
        others = sorted(self.claimed - own)
        return [c for pool in chosen for c in others if pool.contains(c)]

    def _full(self, pool: Pool) -> str:
        own = sum(pool.contains(block.cidr) for block in self._own())
        plan = self.plan
        return refusal.full(pool, self.node.name, own, plan.config, plan.reservations)
