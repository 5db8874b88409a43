"""One block of addresses and who holds each of them.

Pure: no I/O. ``ipamd/decision.py`` decides on blocks, the store writes them back only if nobody
changed them meanwhile; on a conflict the decision runs again. Every change is therefore a new
value. Fields and rules are those of Calico's AllocationBlock.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from datamodel.attribute import Attribute as Attribute
from datamodel.errors import Exhausted, Invalid
from datamodel.pool import Network

Address = IPv4Address | IPv6Address

# Calico sets the first and last addresses of a Windows node's block aside under this name, for
# which there is no handle key. Such a block counts as empty.
WINDOWS_HANDLE = "windows-reserved-ipam-handle"
CLAIM_AGE_S = 60  # Calico's: a block that was claimed a moment ago is about to be used


@dataclass(frozen=True)  # no slots: what is computed from a value is kept with it
class Block:
    """A slice of a pool that belongs to one node; an ordinal is an offset from its beginning."""

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

    @property
    def is_empty(self) -> bool:
        """Whether nobody holds an address; one that cools down counts as held."""
        return all(a.handle_id == WINDOWS_HANDLE for a in self.attributes)

    @property
    def is_unused(self) -> bool:
        """As ``is_empty``, or some cool down: nobody's block goes then, for who would end that?"""
        return all(a.handle_id == WINDOWS_HANDLE or a.released_at for a in self.attributes)

    def may_be_reclaimed(self, node: str, now: datetime) -> bool:
        """Whether *node* may take the block over: nobody holds anything, or is about to."""
        if not self.is_empty or (self.affinity and not self.host):  # a load balancer's stays so
            return False
        is_settled = now.timestamp() * 1e9 - self.sequence_number > CLAIM_AGE_S * 1e9
        return is_settled or self.host in (None, node)

    def ordinal(self, address: Address) -> int | None:
        """Where *address* is in the block; ``None`` if it is of another one."""
        offset = int(address) - int(self.cidr.network_address)
        is_inside = address.version == self.cidr.version and 0 <= offset < len(self.allocations)
        return offset if is_inside else None

    def held_by(self, handle_id: str) -> tuple[int, ...]:
        """The ordinals that *handle_id* holds, in order."""
        indices = self._indices.get(handle_id)
        return self._at(indices) if indices else ()

    @cached_property
    def _indices(self) -> Mapping[str | None, set[int]]:
        """Handle -> its attributes' indices; without a handle the ones that cool down, too."""
        found: dict[str | None, set[int]] = {}
        for index, attribute in enumerate(self.attributes):
            found.setdefault(attribute.handle_id, set()).add(index)
        return found

    def sequences_of(self, handle_id: str) -> dict[Address, int]:
        """What *handle_id* holds, each with the number that tells this holding from a later one."""
        return {self.address(o): self.sequence_numbers.get(o, 0) for o in self.held_by(handle_id)}

    def holder_of(self, address: Address) -> Attribute | None:
        """Who holds *address*; ``None`` if nobody does or it is of another block."""
        ordinal = self.ordinal(address)
        index = None if ordinal is None else self.allocations[ordinal]
        return None if index is None else self.attributes[index]

    def free(self, reserved: Container[int] = ()) -> int | None:
        """The ordinal that has been free longest, of those that are not *reserved*."""
        return next((o for o in self.unallocated if o not in reserved), None)

    def assign(
        self, attribute: Attribute, reserved: Container[int] = ()
    ) -> tuple["Block", Address]:
        """Give *attribute*'s handle the address that has been free longest.

        Ordinals that are *reserved* are not given out; they keep their place in the queue.

        Raises:
            Exhausted: every address of the block is held or reserved.
        """
        ordinal = self.free(reserved)
        if ordinal is None:
            raise Exhausted(f"block {self.cidr}: all {len(self.allocations)} addresses are held")
        return self._assigned(ordinal, attribute), self.address(ordinal)

    def assign_address(self, address: Address, attribute: Attribute) -> "Block":
        """Give *attribute*'s handle exactly *address*, reserved or not.

        Raises:
            Invalid: somebody holds it, or it cools down; or it is of another block.
        """
        if holder := self.holder_of(address):
            raise Invalid(f"address {address}: is {_description(holder)}; ask for another one")
        ordinal = self.ordinal(address)
        if ordinal is None:
            raise Invalid(f"address {address}: is not in block {self.cidr}")
        return self._assigned(ordinal, attribute)

    def _assigned(self, ordinal: int, attribute: Attribute) -> "Block":
        attributes = self.attributes
        similar = self._indices.get(attribute.handle_id, ())
        index = next((i for i in similar if attributes[i] == attribute), len(attributes))
        if index == len(attributes):
            attributes = (*attributes, attribute)
        allocations, queue = list(self.allocations), self.unallocated
        allocations[ordinal] = index
        is_first = queue[:1] == (ordinal,)  # it nearly always is
        assigned = Block(
            self.cidr,
            self.affinity,
            allocations=tuple(allocations),
            unallocated=queue[1:] if is_first else tuple(o for o in queue if o != ordinal),
            attributes=attributes,
            sequence_number=self.sequence_number,
            sequence_numbers={**self.sequence_numbers, ordinal: self.sequence_number},
            extra=self.extra,
        )
        return assigned._knowing({**self._indices, attribute.handle_id: {*similar, index}})

    def _knowing(self, indices: Mapping[str | None, set[int]]) -> "Block":
        """The block itself, spared to find out what ``_indices`` are."""
        self.__dict__["_indices"] = indices
        return self

    def renewed(self, handle_id: str, facts: Mapping[str, str]) -> "Block":
        """The block in which *handle_id* holds what it held, as if it had got it just now.

        *facts* are from then on among those that are known of it.
        """
        attributes = list(self.attributes)
        for index in self._indices.get(handle_id, ()):
            known = attributes[index].secondary or {}
            attributes[index] = replace(attributes[index], secondary={**known, **facts})
        numbers = dict.fromkeys(self.held_by(handle_id), self.sequence_number)
        return replace(
            self,
            attributes=tuple(attributes),
            sequence_numbers={**self.sequence_numbers, **numbers},
        )

    def release(
        self, handle_id: str, *, now: datetime, cooldown_s: int = 0
    ) -> tuple["Block", tuple[Address, ...]]:
        """Free whatever *handle_id* holds; nothing held changes nothing.

        Freed ordinals go to the end of the queue, so that an address rests as long as possible
        before another container gets it; with *cooldown_s* they come there only after that time.
        """
        freed = self.held_by(handle_id)
        addresses = tuple(self.address(o) for o in freed)
        return self.release_ordinals(freed, now=now, cooldown_s=cooldown_s), addresses

    def release_ordinals(
        self, ordinals: Collection[int], *, now: datetime, cooldown_s: int = 0
    ) -> "Block":
        """Free exactly these, which are held, whatever else their holders hold; as ``release``."""
        if not ordinals:
            return self
        if not cooldown_s:
            return self._freed(ordinals)
        cooling = Attribute(None, None, released_at=now.replace(microsecond=0))
        block = self
        for ordinal in ordinals:
            block = block._assigned(ordinal, cooling)
        return block._compacted()

    def collected(self, now: datetime, cooldown_s: int) -> "Block":
        """The block without the cooldowns that are over."""
        limit = now - timedelta(seconds=cooldown_s)
        over = set()
        for index in self._indices.get(None, ()):
            released_at = self.attributes[index].released_at
            if released_at is not None and (released_at < limit or not cooldown_s):
                over.add(index)
        return self._freed(self._at(over)) if over else self

    def _at(self, indices: set[int]) -> tuple[int, ...]:
        return tuple(o for o, index in enumerate(self.allocations) if index in indices)

    def _freed(self, ordinals: Collection[int]) -> "Block":
        gone = set(ordinals)
        return replace(
            self,
            allocations=tuple(None if o in gone else i for o, i in enumerate(self.allocations)),
            unallocated=(*self.unallocated, *ordinals),
            sequence_numbers={o: n for o, n in self.sequence_numbers.items() if o not in gone},
        )._compacted()

    def _compacted(self) -> "Block":
        """Without attributes that no allocation names any more."""
        used = sorted({index for index in self.allocations if index is not None})
        moved = {old: new for new, old in enumerate(used)}
        return replace(
            self,
            allocations=tuple(None if i is None else moved[i] for i in self.allocations),
            attributes=tuple(self.attributes[old] for old in used),
        )

    def next_write(self) -> "Block":
        """The block as it is to be stored: every write has a sequence number of its own."""
        written = Block(
            self.cidr,
            self.affinity,
            self.allocations,
            self.unallocated,
            self.attributes,
            self.sequence_number + 1,
            self.sequence_numbers,
            self.extra,
        )
        return written._knowing(self._indices)

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
        if not used <= set(range(len(self.attributes))):
            found.append("allocations name attributes that are not there")
        if found:
            raise Invalid(f"block {self.cidr}: {'; '.join(found)}; see ocicatctl ipam check")
        return self


def _description(holder: Attribute) -> str:
    if holder.released_at is not None:
        return f"cooling down since {holder.released_at:%Y-%m-%dT%H:%M:%SZ}"
    pod = f" (pod {holder.pod})" if holder.pod else ""
    return f"held by {holder.handle_id or 'somebody without a handle'}{pod}"
