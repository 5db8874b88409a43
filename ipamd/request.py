"""What ipamd is asked, what it knows when it decides, and what it answers.

Pure: no I/O, no behaviour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from datamodel.errors import OcicatError
from datamodel.pool import Network
from datastore.codec import Stamp
from datastore.store import Entry


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the store when a decision is made."""

    node: str
    now: datetime
    # What the mirror follows: pools, IPAM config, this node's affinities and their blocks.
    # A key of that kind that is not here does not exist.
    mirrored: Mapping[str, Entry]
    # Other keys (handles, endpoints, foreign blocks); None: known to be absent.
    facts: Mapping[str, Entry | None]
    # Prefix of one family's blocks -> keys of all the cluster's blocks, once a claim had to know.
    claimed: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Link:
    """The attachment's link, for its WorkloadEndpoint."""

    interface_name: str
    mac: str
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Allocate:
    """Give the attachment one address of a family: the one it holds, or a free one."""

    attachment: Attachment
    pod: Pod | None
    link: Link | None  # None: another plugin wires the container; no endpoint is written
    pools: tuple[str, ...]  # names or CIDRs, in order of preference; empty: any
    stamp: Stamp
    version: int = 4


@dataclass(frozen=True, slots=True)
class Release:
    """Take back whatever the attachment holds."""

    attachment: Attachment
    pod: Pod | None


@dataclass(frozen=True, slots=True)
class Prepare:
    """See to it that the node owns a block, so that its route is known before the first pod."""

    version: int = 4


@dataclass(frozen=True, slots=True)
class Fence:
    """Rewrite the node's blocks, so that a commit that was given up comes too late.

    etcd may carry it out after our deadline; it then finds another revision than it expects.
    """


@dataclass(frozen=True, slots=True)
class Grant:
    """An address and the block it is from."""

    address: Address
    block: Network


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer to ``Allocate`` (and, without addresses, to ``Prepare``)."""

    grants: tuple[Grant, ...] = ()
    superseded: str = ""  # container that had the pod's endpoint before and still holds addresses


@dataclass(frozen=True, slots=True)
class Released:
    """The answer to ``Release``: what was held until now."""

    grants: tuple[Grant, ...] = ()


Request = Allocate | Release | Prepare | Fence
Outcome = Granted | Released | OcicatError
