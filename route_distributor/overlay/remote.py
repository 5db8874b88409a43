"""What the addresses of other nodes' pods are: their blocks, and what they borrowed of any.

Pure: no I/O. It is of interest only while a pool uses VXLAN, since nobody else tells the kernel
then; ``ranges_of`` names no more than that. Of a change one key is read again: pods come and go
in blocks all the time, and nearly never does that change what other nodes have to know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from datamodel.errors import Invalid
from datastore import keys
from datastore.codec import decode_affinity, decode_block, decode_pool, may_hold_for_others
from datastore.store import Entry
from kernel_api.rtnetlink import Address, Network

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Remote:
    """Who has what; this node too."""

    blocks: tuple[tuple[Network, str], ...] = ()  # confirmed, with their nodes; in order
    borrowed: tuple[tuple[Address, str], ...] = ()  # in a block of another node or of nobody
    skipped: tuple[str, ...] = ()  # what was left out, and why


def ranges_of(entries: Mapping[str, Entry]) -> frozenset[str]:
    """Name the ranges of the store that have to be followed, given what they hold."""
    versions = set()
    for key, entry in entries.items():
        if key.startswith(keys.POOLS):
            try:
                pool = decode_pool(key, entry.value)
            except Invalid:
                continue
            if pool.has_vxlan:
                versions.add(pool.cidr.version)
    affinities = {keys.ALL_AFFINITIES} if versions else set()
    return frozenset({keys.POOLS, *affinities, *map(keys.blocks, versions)})


@dataclass(slots=True)
class RemoteReader:
    """Reads keys one by one as they change, and puts together what they say."""

    _blocks: dict[str, tuple[Network, str]] = field(default_factory=dict)  # by affinity's key
    _borrowed: dict[str, tuple[tuple[Address, str], ...]] = field(default_factory=dict)
    _skipped: dict[str, str] = field(default_factory=dict)
    _remote: Remote | None = None  # None: to be put together

    def observe(self, key: str, before: Entry | None, now: Entry | None) -> None:
        """Take note of what *key* holds now."""
        del before
        self._take(self._skipped, key, None)
        block: tuple[Network, str] | None = None
        borrowed: tuple[tuple[Address, str], ...] = ()
        if now is not None:
            try:
                if key.startswith(keys.ALL_AFFINITIES):
                    block = _confirmed(now)
                elif key.startswith(keys.ALL_BLOCKS):
                    borrowed = _borrowed(now)
            except Invalid as error:
                self._take(self._skipped, key, str(error))
        self._take(self._blocks, key, block)
        self._take(self._borrowed, key, borrowed or None)

    def _take(self, known: dict[str, T], key: str, value: T | None) -> None:
        if known.get(key) == value:
            return
        self._remote = None
        known.pop(key, None)
        if value is not None:
            known[key] = value

    @property
    def remote(self) -> Remote:
        """What all keys say; the same value as long as they say the same."""
        if self._remote is None:
            self._remote = Remote(
                tuple(sorted(self._blocks.values(), key=_by_address)),
                tuple(
                    sorted((b for some in self._borrowed.values() for b in some), key=_by_address)
                ),
                tuple(self._skipped[key] for key in sorted(self._skipped)),
            )
        return self._remote


def _confirmed(entry: Entry) -> tuple[Network, str] | None:
    affinity = decode_affinity(entry.key, entry.value)
    return (affinity.cidr, affinity.host) if affinity.is_confirmed else None


def _borrowed(entry: Entry) -> tuple[tuple[Address, str], ...]:
    if not may_hold_for_others(entry.value):
        return ()
    block = decode_block(entry.key, entry.value)
    strangers = {
        index: attribute.node
        for index, attribute in enumerate(block.attributes)
        if attribute.node and attribute.node != block.host
    }
    if not strangers:
        return ()
    return tuple(
        (block.address(ordinal), strangers[index])
        for ordinal, index in enumerate(block.allocations)
        if index is not None and index in strangers
    )


def _by_address(pair: tuple[Network, str] | tuple[Address, str]) -> tuple[int, int, int, str]:
    where, node = pair
    if isinstance(where, Network):
        return (where.version, int(where.network_address), where.prefixlen, node)
    return (where.version, int(where), where.max_prefixlen, node)
