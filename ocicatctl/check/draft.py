"""What the store will hold as repairs go on, and the transactions that make it so.

Pure: no I/O. Every transaction expects each key that it rests on to be as the check found it, or
as an earlier repair left it (``Run``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from datamodel.block import Block
from datamodel.pool import Network
from datastore import codec, keys
from datastore.store import Change, Committed, Rejected
from ocicatctl.check.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Action:
    """One repair: its transaction, what it does, and why that is safe."""

    change: Change
    text: str
    proof: str


class Draft:
    """The blocks and handles as the actions so far leave them."""

    def __init__(self, cluster: Cluster, now: datetime) -> None:
        self.cluster = cluster
        self.now = now
        self._blocks: dict[Network, Block | None] = {}
        self.released: set[str] = set()  # handles

    def block(self, cidr: Network) -> Block | None:
        """The block as it is by now; ``None``: there is none."""
        if cidr not in self._blocks:
            read = self.cluster.blocks.get(cidr)
            self._blocks[cidr] = (
                read.block.collected(self.now, self.cluster.cooldown_s) if read else None
            )
        return self._blocks[cidr]

    def is_sound(self, cidr: Network) -> bool:
        """Whether the block may be rewritten, or is not there."""
        read = self.cluster.blocks.get(cidr)
        return keys.block(cidr) not in self.cluster.unreadable and (read is None or read.is_sound)

    def counts(self, handle_id: str) -> dict[Network, int]:
        """How many addresses the handle holds in each block by now."""
        if handle_id in self.released:
            return {}
        found = {}
        for cidr in self.cluster.counts(handle_id):
            block = self.block(cidr)
            if block and (held := len(block.held_by(handle_id))):
                found[cidr] = held
        return found

    def change(
        self,
        *,
        blocks: Iterable[Block] = (),
        drop: Iterable[Network] = (),
        put: Mapping[str, bytes] | None = None,
        delete: Iterable[str] = (),
        guards: Iterable[str] = (),
    ) -> Change:
        """The transaction that makes it so, and expects every key that is named.

        Args:
            blocks: to write; one that is nobody's and unused is deleted.
            drop: blocks to delete.
            put: other keys to write.
            delete: other keys to delete, if they are there.
            guards: keys that are to stay as they are.
        """
        values, gone = dict(put or {}), set(delete)
        changed: dict[Network, Block | None] = dict.fromkeys(drop)
        for block in blocks:
            is_over = block.affinity is None and block.is_unused
            changed[block.cidr] = None if is_over else block.next_write()
        for cidr, written in changed.items():
            self._blocks[cidr] = written
            if written is None:
                gone.add(keys.block(cidr))
            else:
                values[keys.block(cidr)] = codec.encode_block(written)
        expected = sorted({*values, *gone, *guards})
        return Change(
            {key: self.cluster.revision(key) for key in expected},
            values,
            frozenset(key for key in gone if self.cluster.revision(key)),
        )


@dataclass
class Run:
    """How far the actions of one plan have come: later ones build on earlier ones."""

    ours: dict[str, int] = field(default_factory=dict)  # key -> revision of our own write
    lost: set[str] = field(default_factory=set)  # keys that an action was to write and did not

    def next(self, change: Change) -> Change | None:
        """The change to commit; ``None`` if what it builds on did not come about."""
        if self.lost & change.expect.keys():
            self.lost |= change.put.keys() | change.delete
            return None
        expect = {key: self.ours.get(key, revision) for key, revision in change.expect.items()}
        return replace(change, expect=expect)

    def answered(self, change: Change, answer: Committed | Rejected) -> bool:
        """Take note of the answer; return whether the change is made."""
        if isinstance(answer, Rejected) and _is_made(change, answer):
            self.ours |= {key: e.revision for key, e in answer.actual.items() if e is not None}
        elif isinstance(answer, Rejected):
            self.lost |= change.put.keys() | change.delete
            return False
        else:
            self.ours |= dict.fromkeys(change.put, answer.revision)
        self.ours |= dict.fromkeys(change.delete, 0)
        return True


def _is_made(change: Change, answer: Rejected) -> bool:
    """Whether the store is what the change would make it: an attempt of ours had no answer."""
    puts = ((answer.actual.get(key), value) for key, value in change.put.items())
    is_put = all(entry is not None and entry.value == value for entry, value in puts)
    return is_put and all(answer.actual.get(key) is None for key in change.delete)
