"""What ipamd is asked, what it knows when it decides, and what it answers.

Pure: no I/O, no behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address
from datamodel.endpoint import Workload
from datamodel.errors import OcicatError
from datamodel.pool import Network
from datamodel.tunnel import Tunnel
from datastore.codec import Stamp
from datastore.store import Entry


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the store when a decision is made."""

    node: str
    now: datetime
    # What the mirror follows: pools, reservations, IPAM config, this node, its affinities and their
    # blocks, and blocks it borrowed from. A key of that kind that is not here does not exist.
    mirrored: Mapping[str, Entry]
    # Other keys (handles, endpoints, foreign blocks); None: known to be absent.
    facts: Mapping[str, Entry | None]
    # Prefix of one family's blocks -> keys of all the cluster's blocks, once a claim had to know.
    claimed: Mapping[str, frozenset[str]]
    # Keys of foreign blocks that were read a moment ago and have nothing for us.
    passed: frozenset[str] = frozenset()
    # What links have though nobody recorded it: it is not given out.
    in_use: frozenset[Address] = frozenset()
    may_claim: bool = True  # False: the store was restored, other nodes record their blocks first


@dataclass(frozen=True, slots=True)
class Link:
    """The attachment's link, for its WorkloadEndpoint."""

    interface_name: str
    mac: str
    profiles: tuple[str, ...]
    kernel: Kernel | None = None  # where it was made; None: reconcile leaves the addresses alone
    workload: Workload | None = None  # None: not known; what is recorded of the pod already stays


@dataclass(frozen=True, slots=True)
class Allocate:
    """Give the attachment one address of each family: those it holds, or free ones; all or none."""

    attachment: Attachment
    pod: Pod | None
    link: Link | None  # None: another plugin wires the container; no endpoint is written
    stamp: Stamp
    versions: tuple[int, ...] = (4,)
    # Names or CIDRs by family, in order of preference; none: any pool.
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()  # exactly these, at most one of each family
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    # The kernel has it so already: it is recorded whatever strict affinity and limits say.
    is_recovery: bool = False
    is_delegated: bool = False  # another plugin makes the interface, and wants a gateway for it


@dataclass(frozen=True, slots=True)
class Release:
    """Take back whatever the attachment holds."""

    attachment: Attachment
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Free:
    """Take back what a handle holds, if it still holds exactly what was seen: for reconcile."""

    handle_id: str
    seen: Mapping[Address, int]  # every address it held, and the sequence number of each


@dataclass(frozen=True, slots=True)
class Prepare:
    """See to it that the node owns a block, so that its route is known before the first pod."""

    version: int = 4


@dataclass(frozen=True, slots=True)
class KeepTunnel:
    """See to it that the node has an address for the tunnel if a pool uses it, and else none."""

    tunnel: Tunnel


@dataclass(frozen=True, slots=True)
class Tidy:
    """Mend half-claims, end cooldowns that are over, give back *surplus* blocks that are empty."""

    surplus: frozenset[Network] = frozenset()


@dataclass(frozen=True, slots=True)
class Fence:
    """Rewrite one of the node's blocks, so that a commit that was given up comes too late.

    etcd may carry it out after our deadline; it then finds another revision than it expects.
    """

    block: Network


@dataclass(frozen=True, slots=True)
class Grant:
    """An address and the block it is from."""

    address: Address
    block: Network
    gateway: Address | None = None  # in the same block, for interfaces that others make
    overhead: int = 0  # bytes that the tunnel of its pool takes of each packet


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer to ``Allocate``."""

    grants: tuple[Grant, ...]
    superseded: str = ""  # container that had the pod's endpoint before and still holds addresses


@dataclass(frozen=True, slots=True)
class Released:
    """The answer to ``Release`` and ``Free``: what was held until now."""

    grants: tuple[Grant, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to ``Prepare``, ``KeepTunnel``, ``Tidy`` and ``Fence``."""


Request = Allocate | Release | Free | Prepare | KeepTunnel | Tidy | Fence
Outcome = Granted | Released | Done | OcicatError
