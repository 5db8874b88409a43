"""What the allocator knows of the store: what its mirror follows, and what it learnt besides.

No I/O of its own; ``datastore/store.py`` tells it what it reads and writes.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from datamodel.errors import Invalid
from datastore import keys
from datastore.codec import decode_ipam_config, is_held
from datastore.mirror import Mirror
from datastore.store import Entry
from ipamd.foreign_blocks import serves_nobody_else
from ipamd.known import decode_block, owned

# How long what was read of other nodes' blocks in vain is not read again: a full pool is asked for
# an address by every pod that waits for one.
FOREIGN_FACTS_S = 1.0


def configuration(node: str) -> frozenset[str]:
    """What operators write that decides which addresses a node gives out."""
    return frozenset({keys.POOLS, keys.RESERVATIONS, keys.IPAM_CONFIG, keys.node(node)})


def ranges_of(node: str) -> Callable[[Mapping[str, Entry]], frozenset[str]]:
    """What ipamd's mirror follows: see ``View.mirrored``."""
    noted = keys.borrowings(node)
    base = configuration(node) | {keys.affinities(node, 4), keys.affinities(node, 6), noted}
    naming = (f"{keys.ALL_AFFINITIES}{node}/", noted)

    def ranges(entries: Mapping[str, Entry]) -> frozenset[str]:
        named = frozenset(_blocks_of(tuple(key for key in entries if key.startswith(naming))))
        not_noted = {
            key
            for key, entry in entries.items()
            if key.startswith(keys.ALL_BLOCKS)
            and key not in named
            and has_addresses_of(node, key, entry.value)
        }
        return base | named | not_noted

    return ranges


@lru_cache(maxsize=16)
def _blocks_of(naming: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of the blocks that affinities and notes name: asked at every news of any key."""
    return tuple(keys.block(cidr) for cidr in owned(naming, ""))


def has_addresses_of(node: str, key: str, value: bytes) -> bool:
    """Whether pods of *node* hold addresses in a block."""
    if f'"{node}"'.encode() not in value:  # spares decoding nearly all of them
        return False
    try:
        return any(attribute.node == node for attribute in decode_block(key, value).attributes)
    except Invalid:
        return False


class Facts:
    """See the module; ``View`` says what each part means to a decision."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.entries: dict[str, Entry | None] = {}
        self.claimed: dict[str, frozenset[str]] = {}
        self.passed: set[str] = set()
        self._passing: set[str] = set()  # of the entries, those that are soon forgotten
        self._foreign_since = 0.0
        self._is_strict = False

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        """Remember what the store was heard to hold: what the mirror follows there, else here."""
        self._mirror.learn(revision, entries)
        for key, entry in entries.items():
            self._learn_claim(key, entry)
            if key in self._mirror.entries:
                continue
            if key not in self.passed and entry and _is_useless(entry, self._is_strict):
                self.passed.add(key)  # whoever wants it all the same asks once more
                self._foreign_since = _clock_s()
            else:
                self.entries[key] = entry
                if entry is None or key.startswith(keys.ALL_BLOCKS):
                    self._passing.add(key)

    def _learn_claim(self, key: str, entry: Entry | None) -> None:
        """Keep the list of all blocks right where it is heard to be wrong."""
        if not self.claimed:
            return
        prefix = f"{key.rpartition('/')[0]}/"
        if prefix in self.claimed and (key in self.claimed[prefix]) != (entry is not None):
            self.claimed[prefix] ^= {key}

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        """Remember all blocks of the cluster for a moment."""
        self.claimed[prefix] = frozenset(found)
        self._foreign_since = _clock_s()

    def expire(self) -> None:
        """Forget what costs much to read again, once it is too old to refuse anybody over it."""
        was_strict, self._is_strict = self._is_strict, _is_strict(self._mirror)
        is_old = _clock_s() - self._foreign_since >= FOREIGN_FACTS_S
        if is_old or was_strict != self._is_strict:
            self.claimed.clear()
            self.passed.clear()
            self._foreign_since = _clock_s()

    def forget(self) -> None:
        """Keep what only we write: nobody tells us when a foreign block or absent key changes."""
        for key in self._passing:
            self.entries.pop(key, None)
        self._passing.clear()


def _is_useless(entry: Entry, is_strict: bool) -> bool:
    """Whether it is a block of which other nodes can make nothing."""
    if not entry.key.startswith(keys.ALL_BLOCKS):
        return False
    if is_strict and is_held(entry.value):
        return True
    try:
        return serves_nobody_else(decode_block(entry.key, entry.value))
    except Invalid:
        return True


def _is_strict(mirror: Mirror) -> bool:
    entry = mirror.entries.get(keys.IPAM_CONFIG)
    try:
        return decode_ipam_config(entry.value if entry else None).strict_affinity
    except Invalid:
        return False


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
