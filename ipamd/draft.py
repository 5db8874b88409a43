"""The transaction that a decision is putting together, on top of what is known.

Pure: no I/O. Every key that is looked at is expected to be unchanged when the transaction runs.
"""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache

from datamodel.affinity import Affinity
from datamodel.block import Block
from datamodel.errors import Invalid
from datamodel.pool import Network
from datastore import codec, keys
from datastore.store import Change
from ipamd.request import View


class Unknown(Exception):
    """The decision must know these keys (or, with a final "/", the keys below) first."""

    def __init__(self, needs: Iterable[str]) -> None:
        super().__init__()
        self.needs = frozenset(needs)


def owned(entries: Iterable[str], prefix: str) -> list[Network]:
    """The blocks that affinities below *prefix* name, in key order; what is no block is skipped."""
    cidrs = []
    for key in sorted(entries):
        if key.startswith(prefix):
            with contextlib.suppress(Invalid):
                cidrs.append(keys.cidr_of(key))
    return cidrs


@lru_cache(maxsize=256)
def _decode_block(key: str, value: bytes) -> Block:
    return codec.decode_block(key, value)


@dataclass
class Draft:
    """What is to be written so far. ``fork`` it to try a request that may fail half-way."""

    view: View
    expect: dict[str, int] = field(default_factory=dict)
    put: dict[str, bytes] = field(default_factory=dict)
    delete: set[str] = field(default_factory=set)
    blocks: dict[Network, Block] = field(default_factory=dict)  # changed ones, not encoded yet

    def fork(self) -> "Draft":
        """Copy the draft."""
        return replace(
            self,
            expect=dict(self.expect),
            put=dict(self.put),
            delete=set(self.delete),
            blocks=dict(self.blocks),
        )

    def value(self, key: str, *, assume_absent: bool = False) -> bytes | None:
        """What *key* will hold once the draft is written; ``None``: nothing.

        Args:
            assume_absent: guess that an unknown key does not exist; if that is wrong, the
                transaction is rejected and tells what the key holds.

        Raises:
            Unknown: it must be read first.
        """
        if key in self.put:
            return self.put[key]
        if key in self.delete:
            return None
        entry = self.view.mirrored.get(key) or self.view.facts.get(key)
        if entry is None and not assume_absent and not self._is_known(key):
            raise Unknown([key])
        self.expect[key] = entry.revision if entry else 0
        return entry.value if entry else None

    def _is_known(self, key: str) -> bool:
        return key in self.view.facts or key.startswith(
            (keys.POOLS, keys.IPAM_CONFIG, f"{keys.ALL_AFFINITIES}{self.view.node}/")
        )

    def write(self, key: str, value: bytes) -> None:
        """Have *key* hold *value*. Look at it first (``value``)."""
        self.delete.discard(key)
        self.put[key] = value

    def remove(self, key: str) -> None:
        """Have *key* deleted. Look at it first (``value``)."""
        if self.put.pop(key, None) is None or self.expect[key]:
            self.delete.add(key)

    def own_blocks(self, version: int) -> list[Block]:
        """The blocks that are this node's, by affinity and by their own word, in key order."""
        cidrs = owned(self.view.mirrored, keys.affinities(self.view.node, version))
        fresh = [c for c in self.blocks if c.version == version and c not in cidrs]
        blocks = [self._peek(cidr) for cidr in (*cidrs, *fresh)]
        return [block for block in blocks if block and block.host == self.view.node]

    def _peek(self, cidr: Network) -> Block | None:
        """A block without expecting it to stay as it is: one that is only looked at.

        ``None`` if there is none, or if somebody wrote it wrongly: the others serve on.
        """
        if cidr in self.blocks:
            return self.blocks[cidr]
        key = keys.block(cidr)
        entry = self.view.mirrored.get(key)
        try:
            return _decode_block(key, entry.value) if entry else None
        except Invalid:
            return None

    def block(self, cidr: Network) -> Block | None:
        """Any node's block; ``None`` if there is none.

        Raises:
            Unknown: it must be read first.
        """
        if cidr in self.blocks:
            return self.blocks[cidr]
        key = keys.block(cidr)
        value = self.value(key)
        return None if value is None else _decode_block(key, value)

    def change(self, block: Block) -> None:
        """Have the block stored as *block*; once, however often it changes in this draft."""
        if block.cidr not in self.blocks:  # else it was looked at before
            self.value(keys.block(block.cidr))
        self.blocks[block.cidr] = block

    def confirm(self, cidr: Network) -> None:
        """Finish a claim of *cidr* that broke off, or undo a release that is under way.

        As Calico does before it uses a block, since nobody is told of an unconfirmed one. Change
        the block, too: whoever is releasing it then finds that he was too late.
        """
        key = keys.affinity(self.view.node, cidr)
        entry = self.view.mirrored.get(key)
        if (
            entry
            and key not in self.put
            and not codec.decode_affinity(key, entry.value).is_confirmed
        ):
            self.value(key)
            self.write(key, codec.encode_affinity(Affinity(self.view.node, cidr)))

    def claim(self, cidr: Network) -> Block:
        """Make *cidr* a block of this node: affinity and block in the one transaction."""
        node, now = self.view.node, self.view.now
        affinity = Affinity(node, cidr)
        affinity_key = keys.affinity(node, cidr)
        self.value(affinity_key)
        self.write(affinity_key, codec.encode_affinity(affinity))
        self.value(keys.block(cidr), assume_absent=True)
        self.blocks[cidr] = Block.new(cidr, node, int(now.timestamp() * 1e6) * 1000)
        return self.blocks[cidr]

    def finish(self) -> Change:
        """The draft as one transaction."""
        put, delete = dict(self.put), set(self.delete)
        for cidr, block in self.blocks.items():
            key = keys.block(cidr)
            is_new = not self.expect[key]
            if block.affinity is None and not block.in_use:
                delete.add(key)  # nobody's and empty: Calico deletes it too
            elif is_new and not block.in_use:
                put[key] = codec.encode_block(block)
            else:
                put[key] = codec.encode_block(block.next_write())
        return Change(self.expect, put, frozenset(delete))
