"""Decide how single addresses of one block are given back, in one transaction with their handles.

Pure: no I/O. A decision runs again when somebody wrote first. What seems to use an address is part
of what the transaction compares, so that no pod can take it into use in between.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from datamodel.attachment import Attachment
from datamodel.attribute import DELEGATED, GATEWAY
from datamodel.block import WINDOWS_HANDLE, Address, Attribute, Block
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datastore import keys
from datastore.codec import (
    decode_block,
    decode_endpoint,
    decode_handle,
    encode_block,
    encode_handle,
)
from datastore.known import Known
from datastore.store import Change, Decision, Entry
from ocicatctl.ipam.tunnels import tunnel_addresses


@dataclass(frozen=True, slots=True)
class Seen:
    """One certain allocation of an address, not a later one of the same."""

    handle_id: str | None
    sequence_number: int

    def is_still(self, holder: Attribute, sequence_number: int) -> bool:
        """Whether it is the one that *holder* has."""
        is_same = _name(self.handle_id) == _name(holder.handle_id)
        return is_same and self.sequence_number == sequence_number


@dataclass(frozen=True, slots=True)
class Target:
    """An address that is to be given back."""

    address: Address
    seen: Seen | None = None  # None: whoever holds it


class Fate(Enum):
    """What becomes of a target."""

    RELEASED = "released"
    NOT_ASSIGNED = "not assigned"
    CHANGED = "held by another or anew"  # not as it was seen
    IN_USE = "in use"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what becomes of it, and who uses it."""

    target: Target
    fate: Fate
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """The conditions under which addresses are given back."""

    now: datetime
    cooldown_s: int = 0
    is_forced: bool = False  # what is in use too
    # Address -> keys of the endpoints that were found to list it.
    endpoints: Mapping[Address, Collection[str]] | None = None


def decide_release(
    block_key: str, targets: Iterable[Target], terms: Terms, known: Known
) -> Decision[tuple[Verdict, ...]]:
    """Give back those of *targets* that are held as they were seen and not used.

    A block that is nobody's goes with its last address, a handle with its last one too.

    Raises:
        Invalid: the block or a handle cannot be read.
    """
    draft = _Draft(known)
    verdicts = _decide(draft, block_key, tuple(targets), terms)
    if draft.missing:
        return Decision((), needs=frozenset(draft.missing))
    change = Change(draft.expect, draft.put, frozenset(draft.delete))
    return Decision(verdicts, change)


class _Draft:
    """The transaction as it grows; it compares whatever was looked at."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.missing: set[str] = set()
        self.expect: dict[str, int] = {}
        self.put: dict[str, bytes] = {}
        self.delete: set[str] = set()

    def look(self, key: str) -> Entry | None:
        if key not in self.known:
            self.missing.add(key)
            return None
        entry = self.known[key]
        self.expect[key] = entry.revision if entry else 0
        return entry


def _decide(
    draft: _Draft, block_key: str, targets: tuple[Target, ...], terms: Terms
) -> tuple[Verdict, ...]:
    entry = draft.look(block_key)
    if entry is None:
        return tuple(Verdict(target, Fate.NOT_ASSIGNED) for target in targets)
    block = decode_block(block_key, entry.value).collected(terms.now, terms.cooldown_s)
    verdicts = tuple(_verdict(draft, block, target, terms) for target in targets)
    released = [v.target.address for v in verdicts if v.fate is Fate.RELEASED]
    for address in released:
        holder = block.holder_of(address)
        assert holder is not None
        if holder.handle_id not in (None, WINDOWS_HANDLE):
            _uncount(draft, _name(holder.handle_id), block)
        ordinal = block.ordinal(address)
        assert ordinal is not None
        block = block.release_ordinals([ordinal], now=terms.now, cooldown_s=terms.cooldown_s)
    if released and block.affinity is None and block.is_unused:
        draft.delete.add(block_key)
    elif released:
        draft.put[block_key] = encode_block(block.next_write())
    return verdicts


def _verdict(draft: _Draft, block: Block, target: Target, terms: Terms) -> Verdict:
    holder = block.holder_of(target.address)
    if holder is None or holder.released_at is not None:
        return Verdict(target, Fate.NOT_ASSIGNED)
    ordinal = block.ordinal(target.address)
    number = block.sequence_numbers.get(ordinal or 0, 0)
    if target.seen and not target.seen.is_still(holder, number):
        return Verdict(target, Fate.CHANGED)
    listed = (terms.endpoints or {}).get(target.address, ())
    users = tuple(_users(draft, target.address, holder, listed))
    is_kept = users and not terms.is_forced
    return Verdict(target, Fate.IN_USE if is_kept else Fate.RELEASED, users)


# ---- who uses it -------------------------------------------------------------------------------


def _users(
    draft: _Draft, address: Address, holder: Attribute, listed: Collection[str]
) -> Iterator[str]:
    if holder.handle_id == WINDOWS_HANDLE:
        yield "a Windows node, which sets it aside,"
    for key in sorted({*listed, *own_endpoint(holder)}):
        entry = draft.look(key)
        if entry and lists(entry, address):
            yield f"workload endpoint {key.removeprefix(keys.ENDPOINTS)}"
    kind = (holder.secondary or {}).get("type", "")
    if holder.node and kind.endswith("TunnelAddress"):
        entry = draft.look(keys.node(holder.node))
        if entry and address in tunnel_addresses(entry):
            yield f"a tunnel of node {holder.node}"
    if holder.node and kind in (DELEGATED, GATEWAY) and draft.look(keys.node(holder.node)):
        yield f"another plugin's interface on node {holder.node}, unless that is gone"


def own_endpoint(holder: Attribute) -> set[str]:
    """The key that the holder's endpoint has if it has one; none for what is no attachment."""
    attachment = Attachment.of_handle(holder.handle_id or "")
    if attachment is None or holder.node is None:
        return set()
    where = EndpointId.of(holder.node, attachment, holder.pod)
    return {keys.endpoint(where.namespace, where.name)}


def lists(entry: Entry, address: Address) -> bool:
    """Whether an endpoint lists the address; one that cannot be read may."""
    try:
        endpoint = decode_endpoint(entry.key, entry.value)
    except Invalid:
        return f'"{address}/'.encode() in entry.value
    return any(address == network.network_address for network in endpoint.networks)


def endpoints_listing(
    addresses: Collection[Address], entries: Iterable[Entry]
) -> dict[Address, list[str]]:
    """Which of the endpoints list which of the addresses."""
    found: dict[Address, list[str]] = {address: [] for address in addresses}
    for entry in entries:
        for address in addresses:
            # Most endpoints need not be decoded. Calico writes addresses in their shortest form.
            if str(address).encode() in entry.value and lists(entry, address):
                found[address].append(entry.key)
    return found


# ---- handles -----------------------------------------------------------------------------------


def _name(handle_id: str | None) -> str:
    """Old migrations wrote rubbish behind a carriage return; the key is without it."""
    return (handle_id or "").partition("\r")[0]


def _uncount(draft: _Draft, handle_id: str, block: Block) -> None:
    """Count one address less for the handle; a count that was wrong already does not matter."""
    key = keys.handle(handle_id)
    entry = draft.look(key)
    if entry is None or key in draft.delete:
        return
    counts = decode_handle(key, draft.put.get(key, entry.value))
    left = counts.pop(block.cidr, 0) - 1
    if left > 0:
        counts[block.cidr] = left
    draft.put.pop(key, None)
    if counts:
        draft.put[key] = encode_handle(counts, entry.value)
    else:
        draft.delete.add(key)


def decide_forget(
    handles: Mapping[str, int], known: Known
) -> Decision[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Delete handles that are as they were seen; return which were, and which were not.

    Args:
        handles: each with the revision of its last write.
        known: what has been read.
    """
    wanted = {keys.handle(handle_id): handle_id for handle_id in handles}
    if missing := {key for key in wanted if key not in known}:
        return Decision(((), ()), needs=frozenset(missing))
    same = {
        key: entry.revision
        for key, handle_id in wanted.items()
        if (entry := known[key]) and entry.revision == handles[handle_id]
    }
    forgotten = tuple(wanted[key] for key in same)
    skipped = tuple(handle_id for key, handle_id in wanted.items() if key not in same)
    return Decision((forgotten, skipped), Change(expect=same, delete=frozenset(same)))
