"""A problem that the check found: its kind, what it concerns, and what is wrong.

Pure: no I/O, no behaviour.
"""

from dataclasses import KW_ONLY, dataclass, field
from enum import Enum

from datamodel.block import Address
from datamodel.pool import Network


class Kind(Enum):
    """The kinds; the value is the name that programs see."""

    # Those that calicoctl counts.
    LEAKED_ADDRESS = "leaked-address"
    OUTSIDE_POOLS = "address-outside-pools"
    NOT_ALLOCATED = "address-not-allocated"
    LEAKED_HANDLE = "leaked-handle"
    INVALID_BLOCK = "invalid-block"
    # Those that it does not.
    UNREADABLE = "unreadable-value"
    NO_CLUSTER_INFORMATION = "no-cluster-information"
    MISSING_HANDLE = "missing-handle"
    MISCOUNTED_HANDLE = "miscounted-handle"
    HIDDEN_HANDLE = "hidden-handle"
    AFFINITY_WITHOUT_BLOCK = "affinity-without-block"
    BLOCK_WITHOUT_AFFINITY = "block-without-affinity"
    STALE_AFFINITY = "stale-affinity"
    UNCONFIRMED_AFFINITY = "unconfirmed-affinity"
    NO_SUCH_NODE = "block-of-no-node"
    EMPTY_BLOCK = "empty-block-of-nobody"
    BLOCK_OUTSIDE_POOLS = "block-outside-pools"
    WRONG_BLOCK_SIZE = "wrong-block-size"
    USED_TWICE = "address-used-twice"
    HELD_TWICE = "address-held-twice"
    USED_WHILE_COOLING = "address-used-while-cooling"
    NODE_WITHOUT_ADDRESS = "node-without-address"
    SHARED_NODE_ADDRESS = "shared-node-address"
    # Those that only a node's kernel shows.
    NO_LINK = "address-without-link"
    UNRECORDED_LINK = "link-without-record"
    STOLEN_ADDRESS = "link-with-address-of-another"


CALICOCTL = frozenset(
    {
        Kind.LEAKED_ADDRESS,
        Kind.OUTSIDE_POOLS,
        Kind.NOT_ALLOCATED,
        Kind.LEAKED_HANDLE,
        Kind.INVALID_BLOCK,
    }
)
KERNEL = frozenset({Kind.NO_LINK, Kind.UNRECORDED_LINK, Kind.STOLEN_ADDRESS})


@dataclass(frozen=True, slots=True)
class Problem:
    """Equal in two looks if nothing that it rests on has changed between them."""

    kind: Kind
    subject: str  # "address 10.233.64.5", "affinity node-1 10.233.64.0/24"
    what: str = field(compare=False)  # is wrong, and what to do if we cannot
    _: KW_ONLY
    name: str = ""  # the handle or the node that it is about
    cidr: Network | None = None  # the block that it is about
    address: Address | None = None  # the address that it is about
    mark: int = 0  # grows when what it is about is changed

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}"
