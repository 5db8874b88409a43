"""One block of addresses and who holds each of them.

Pure: no I/O. ``ipamd/decision.py`` decides on blocks, the store writes them back only if nobody
changed them meanwhile; on a conflict the decision runs again. Every change is therefore a new
value. Fields and rules are those of Calico's AllocationBlock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from datamodel.errors import Exhausted, Invalid
from datamodel.pool import Network

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Attribute:
    """Who holds an address: the handle and some facts for people (pod, namespace, node, …)."""

    handle_id: str | None
    secondary: Mapping[str, str] | None
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of newer Calicos, kept as read


@dataclass(frozen=True, slots=True)
class Block:
    """A slice of a pool that belongs to one node.

    An ordinal is an offset from the block's first address.
    """

    cidr: Network
    affinity: str | None  # "host:<node>"; None: nobody's, to be deleted when empty
    allocations: tuple[int | None, ...]  # ordinal -> index into attributes; None: free
    unallocated: tuple[int, ...]  # the free ordinals, longest free first
    attributes: tuple[Attribute, ...]
    sequence_number: int  # grows with every write
    # ordinal -> sequence_number of the write that allocated it: tells a new holder from an old one
    sequence_numbers: Mapping[int, int]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def new(cls, cidr: Network, host: str, now_ns: int) -> "Block":
        """Make an empty block of *host*.

        Sequence numbers begin at the time in nanoseconds, so that a block that is deleted and
        made again never repeats one.
        """
        size = cidr.num_addresses
        return cls(
            cidr=cidr,
            affinity=f"host:{host}",
            allocations=(None,) * size,
            unallocated=tuple(range(size)),
            attributes=(),
            sequence_number=now_ns,
            sequence_numbers={},
        )

    @property
    def host(self) -> str | None:
        """The node that owns the block, if a node does."""
        kind, _, name = (self.affinity or "").partition(":")
        return name if kind == "host" and name else None

    @property
    def in_use(self) -> int:
        """How many addresses are not free; counted as calicoctl counts them."""
        return len(self.allocations) - len(self.unallocated)

    def address(self, ordinal: int) -> Address:
        """The address at *ordinal*."""
        return self.cidr.network_address + ordinal

    def held_by(self, handle_id: str) -> tuple[int, ...]:
        """The ordinals that *handle_id* holds, in order."""
        indices = {i for i, a in enumerate(self.attributes) if a.handle_id == handle_id}
        if not indices:
            return ()
        return tuple(o for o, index in enumerate(self.allocations) if index in indices)

    def holder_of(self, address: Address) -> Attribute | None:
        """Who holds *address*; ``None`` if nobody does or it is of another block."""
        ordinal = int(address) - int(self.cidr.network_address)
        if address.version != self.cidr.version or not 0 <= ordinal < len(self.allocations):
            return None
        index = self.allocations[ordinal]
        return None if index is None else self.attributes[index]

    def assign(self, attribute: Attribute) -> tuple["Block", Address]:
        """Give *attribute*'s handle the address that has been free longest.

        Raises:
            Exhausted: every address of the block is held.
        """
        if not self.unallocated:
            raise Exhausted(f"block {self.cidr}: all {len(self.allocations)} addresses are held")
        ordinal, *rest = self.unallocated
        attributes = self.attributes
        if attribute not in attributes:
            attributes = (*attributes, attribute)
        allocations = list(self.allocations)
        allocations[ordinal] = attributes.index(attribute)
        changed = replace(
            self,
            allocations=tuple(allocations),
            unallocated=tuple(rest),
            attributes=attributes,
            sequence_numbers={**self.sequence_numbers, ordinal: self.sequence_number},
        )
        return changed, self.address(ordinal)

    def release(self, handle_id: str) -> tuple["Block", tuple[Address, ...]]:
        """Free whatever *handle_id* holds; nothing held changes nothing.

        Freed ordinals go to the end of the queue, so that an address rests as long as possible
        before another container gets it.
        """
        freed = self.held_by(handle_id)
        if not freed:
            return self, ()
        allocations = [None if o in freed else i for o, i in enumerate(self.allocations)]
        used = sorted({index for index in allocations if index is not None})
        moved = {old: new for new, old in enumerate(used)}
        changed = replace(
            self,
            allocations=tuple(None if i is None else moved[i] for i in allocations),
            unallocated=(*self.unallocated, *freed),
            attributes=tuple(self.attributes[old] for old in used),
            sequence_numbers={o: n for o, n in self.sequence_numbers.items() if o not in freed},
        )
        return changed, tuple(self.address(o) for o in freed)

    def next_write(self) -> "Block":
        """The block as it is to be stored: every write has a sequence number of its own."""
        return replace(self, sequence_number=self.sequence_number + 1)

    def checked(self) -> "Block":
        """Return the block itself if its parts agree with each other.

        Raises:
            Invalid: with every contradiction found.
        """
        size = self.cidr.num_addresses
        if not all(type(o) is int for o in (*self.allocations, *self.unallocated) if o is not None):
            raise Invalid(f"block {self.cidr}: allocations and unallocated are not all integers")
        free = [o for o, index in enumerate(self.allocations) if index is None]
        used = {index for index in self.allocations if index is not None}
        found = []
        if len(self.allocations) != size:
            found.append(f"{len(self.allocations)} allocations for {size} addresses")
        if sorted(self.unallocated) != free:
            found.append("the queue of free addresses is not the set of free addresses")
        if used != set(range(len(self.attributes))):
            found.append("attributes and the allocations that name them differ")
        if found:
            raise Invalid(
                f"block {self.cidr}: {'; '.join(found)}; "
                "somebody else wrote it wrongly, see calicoctl ipam check"
            )
        return self
