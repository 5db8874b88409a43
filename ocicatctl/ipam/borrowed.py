"""Which addresses are used on a node that does not own their block.

Pure: no I/O. As calicoctl counts them: what is held in a block without an owner is borrowed too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from datamodel.block import Address, Attribute, Block
from datamodel.pool import Network

HEADER = ("IP", "Borrowing-node", "Block", "Block owner", "Type", "Allocated-to")


@dataclass(frozen=True, slots=True)
class Borrowed:
    """One such address."""

    address: Address
    node: str
    block: Network
    block_owner: str  # "" if it has none
    kind: str  # "pod", "vmi" or a tunnel's; "" if nobody said
    allocated_to: str

    @property
    def row(self) -> tuple[str, ...]:
        """The line of the table."""
        return (
            str(self.address),
            self.node,
            str(self.block),
            self.block_owner,
            self.kind,
            self.allocated_to,
        )

    @property
    def document(self) -> dict[str, str]:
        """The same for programs."""
        names = ("ip", "borrowingNode", "block", "blockOwner", "type", "allocatedTo")
        return dict(zip(names, self.row, strict=True))


@dataclass(frozen=True, slots=True)
class Borrowing:
    """All of them, and how many allocations do not say on which node they are."""

    addresses: tuple[Borrowed, ...]
    without_node: int

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> "Borrowing":
        """Find them, in the order of their addresses."""
        found: list[Borrowed] = []
        without_node = 0
        for block in sorted(blocks, key=lambda block: (block.cidr.version, block.cidr)):
            for ordinal, index in enumerate(block.allocations):
                holder = None if index is None else block.attributes[index]
                if holder is None or holder.released_at is not None:
                    continue
                if holder.node is None:
                    without_node += 1
                elif holder.node != block_owner(block):
                    found.append(_borrowed(block, ordinal, holder))
        return cls(tuple(found), without_node)

    @property
    def note(self) -> str:
        """What calicoctl says about allocations without a node; empty if there are none."""
        if not self.without_node:
            return ""
        return (
            f"\nNote: found {self.without_node} IP allocations without an explicit node "
            "association. Unable to determine if they are borrowed.\n"
        )

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "borrowed": [borrowed.document for borrowed in self.addresses],
            "allocationsWithoutNode": self.without_node,
        }


def block_owner(block: Block) -> str:
    """Whose the block is, a node's or a load balancer's; "" if it is nobody's."""
    return (block.affinity or "").partition(":")[2]


def _borrowed(block: Block, ordinal: int, holder: Attribute) -> Borrowed:
    facts = holder.secondary or {}
    namespace = facts.get("namespace", "")
    if "vmi-name" in facts:
        kind, whose = "vmi", f"{namespace}/{facts['vmi-name']}"
    elif "pod" in facts:
        kind, whose = "pod", f"{namespace}/{facts['pod']}"
    else:
        kind, whose = facts.get("type", ""), ""
    owner = block_owner(block)
    return Borrowed(block.address(ordinal), facts["node"], block.cidr, owner, kind, whose)
