"""The transaction that a decision is putting together, on top of what is known.

Pure: no I/O. Every key that is looked at is expected to be unchanged when the transaction runs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from datamodel.affinity import Affinity
from datamodel.block import Block
from datamodel.errors import Invalid
from datamodel.pool import Network
from datastore import codec, keys
from datastore.store import Change
from ipamd.known import Known, remember_block

_NOTE = b"{}"  # the key says it all


class Unknown(Exception):
    """The decision must know these keys (or, with a final "/", the keys below) first."""

    def __init__(self, needs: Iterable[str]) -> None:
        super().__init__()
        self.needs = frozenset(needs)


@dataclass
class Draft:
    """What is to be written so far. ``fork`` it to try a request that may fail half-way."""

    known: Known
    expect: dict[str, int] = field(default_factory=dict)
    put: dict[str, bytes] = field(default_factory=dict)
    delete: set[str] = field(default_factory=set)
    blocks: dict[Network, Block] = field(default_factory=dict)  # changed ones, not encoded yet

    def fork(self) -> "Draft":
        """Copy the draft."""
        return Draft(
            self.known, dict(self.expect), dict(self.put), set(self.delete), dict(self.blocks)
        )

    @property
    def node(self) -> str:
        """This node."""
        return self.known.view.node

    @property
    def operations(self) -> int:
        """At most so many operations or comparisons will the transaction have."""
        return max(len(self.expect), len(self.put) + len(self.delete) + len(self.blocks))

    # ---- single keys ---------------------------------------------------------------------------

    def value(self, key: str, *, assume_absent: bool = False) -> bytes | None:
        """What *key* will hold once the draft is written; ``None``: nothing.

        Args:
            key: not of a block that the draft changes (``block``).
            assume_absent: guess that an unknown key does not exist; if that is wrong, the
                transaction is rejected and tells what the key holds.

        Raises:
            Unknown: it must be read first.
        """
        if key in self.put:
            return self.put[key]
        if key in self.delete:
            return None
        view = self.known.view
        entry = view.mirrored.get(key) or view.facts.get(key)
        if entry is None and not assume_absent and not self._is_known(key):
            raise Unknown([key])
        self.expect[key] = entry.revision if entry else 0
        return entry.value if entry else None

    def _is_known(self, key: str) -> bool:
        node = self.node
        return (
            key in self.known.view.facts
            or key == keys.node(node)
            or key.startswith(
                (
                    keys.POOLS,
                    keys.RESERVATIONS,
                    keys.IPAM_CONFIG,
                    f"{keys.ALL_AFFINITIES}{node}/",
                    keys.borrowings(node),
                )
            )
        )

    def write(self, key: str, value: bytes) -> None:
        """Have *key* hold *value*. Look at it first (``value``)."""
        self.delete.discard(key)
        self.put[key] = value

    def remove(self, key: str) -> None:
        """Have *key* deleted. Look at it first (``value``)."""
        if self.put.pop(key, None) is None or self.expect[key]:
            self.delete.add(key)

    # ---- blocks --------------------------------------------------------------------------------

    def own_blocks(self, version: int) -> Iterator[Block]:
        """The blocks that are this node's, by affinity and by their own word, in key order."""
        affine = self.known.affine[version]
        fresh = [c for c in self.blocks if c.version == version and c not in affine]
        for cidr in (*affine, *fresh):
            block = self.peek(cidr)
            if block is not None and block.host == self.node:
                yield block

    def followed_blocks(self) -> Iterator[Block]:
        """Every block of which we are told: own ones and those that the node borrowed from."""
        followed = self.known.mirrored_blocks
        for cidr in (*followed, *(c for c in self.blocks if c not in followed)):
            block = self.peek(cidr)
            if block is not None:
                yield block

    def peek(self, cidr: Network) -> Block | None:
        """A block without expecting it to stay as it is: one that is only looked at.

        ``None`` if there is none, or if somebody wrote it wrongly: the others serve on.
        """
        if cidr in self.blocks:
            return self.blocks[cidr]
        try:
            return self.known.block(keys.block(cidr))
        except Invalid:
            return None

    def block(self, cidr: Network) -> Block | None:
        """Any node's block; ``None`` if there is none.

        Raises:
            Unknown: it must be read first.
            Invalid: somebody wrote it wrongly.
        """
        if cidr in self.blocks:
            return self.blocks[cidr]
        key = keys.block(cidr)
        return None if self.value(key) is None else self.known.block(key)

    def change(self, block: Block) -> None:
        """Have the block stored as *block*; once, however often it changes in this draft."""
        if block.cidr not in self.blocks:  # else it was looked at before
            self.value(keys.block(block.cidr))
        self.blocks[block.cidr] = block
        self._note(block.cidr, block)

    def check_note(self, cidr: Network) -> None:
        """Have it noted right whether the node's pods hold addresses in a block of another's.

        By the notes they are found again after a restart. What this node changes is noted with it;
        but a block may become another's by other hands.
        """
        block = self.peek(cidr)
        if block is None and keys.block(cidr) in self.known.view.mirrored:
            return  # nobody can read it
        if self._is_borrowed(block) != (cidr in self.known.borrowed):
            self._note(cidr, self.block(cidr))

    def _note(self, cidr: Network, block: Block | None) -> None:
        if block is not None and block.host == self.node and cidr not in self.known.borrowed:
            return  # nearly always
        key, is_borrowed = keys.borrowed(self.node, cidr), self._is_borrowed(block)
        if not is_borrowed and cidr not in self.known.borrowed and key not in self.put:
            return
        is_noted = self.value(key) is not None
        if is_borrowed and not is_noted:
            self.write(key, _NOTE)
        elif is_noted and not is_borrowed:
            self.remove(key)

    def _is_borrowed(self, block: Block | None) -> bool:
        if block is None or block.host == self.node:
            return False
        return any(attribute.node == self.node for attribute in block.attributes)

    # ---- affinities ----------------------------------------------------------------------------

    def confirm(self, cidr: Network) -> None:
        """Finish a claim of *cidr* that broke off, or undo a release that is under way.

        As Calico does before it uses a block, since nobody is told of an unconfirmed one. Change
        the block, too: whoever is releasing it then finds that he was too late.
        """
        key = keys.affinity(self.node, cidr)
        entry = self.known.view.mirrored.get(key)
        if key not in self.put and not (entry and _is_confirmed(key, entry.value)):
            stored = self.value(key)
            self.write(key, codec.encode_affinity(Affinity(self.node, cidr), stored))

    def claim(self, cidr: Network, pool: str) -> Block:
        """Make *cidr* a block of this node: affinity and block in the one transaction.

        It fails if the pool or the node is changed meanwhile: neither a pool that was disabled nor
        a node that was deleted may get a new block.

        Raises:
            Invalid: the node is not registered.
        """
        for guard in (keys.pool(pool), keys.node(self.known.node.name)):
            self.value(guard)
        self._write_affinity(cidr)
        self.value(keys.block(cidr), assume_absent=True)
        now_ns = int(self.known.view.now.timestamp() * 1e6) * 1000
        self.blocks[cidr] = Block.new(cidr, self.node, now_ns)
        return self.blocks[cidr]

    def take_over(self, block: Block) -> Block:
        """Make an empty block of somebody else, or of nobody, a block of this node.

        Its sequence numbers go on above the old ones.

        Raises:
            Unknown: the old affinity must be read first.
        """
        if block.host is not None and block.host != self.node:
            old = keys.affinity(block.host, block.cidr)
            if self.value(old) is not None:
                self.remove(old)
        now_ns = int(self.known.view.now.timestamp() * 1e6) * 1000
        self._write_affinity(block.cidr)
        fresh = Block.new(block.cidr, self.node, max(now_ns, block.sequence_number + 1))
        self.change(fresh)
        return self.blocks[block.cidr]

    def _write_affinity(self, cidr: Network) -> None:
        key = keys.affinity(self.node, cidr)
        stored = self.value(key)
        self.write(key, codec.encode_affinity(Affinity(self.node, cidr), stored))

    def give_up(self, cidr: Network) -> None:
        """End this node's affinity to *cidr*; an empty block goes, a used one becomes nobody's."""
        key = keys.affinity(self.node, cidr)
        if self.value(key) is not None:
            self.remove(key)
        block = self.block(cidr)
        if block is not None and block.host == self.node:
            self.change(replace(block, affinity=None))

    def finish(self) -> Change:
        """The draft as one transaction."""
        put, delete = dict(self.put), set(self.delete)
        for cidr, block in self.blocks.items():
            key = keys.block(cidr)
            is_new = not self.expect[key]
            if block.affinity is None and block.is_unused:
                if not is_new:
                    delete.add(key)  # as Calico does with one that is empty
                continue
            stored = block if is_new and not block.in_use else block.next_write()
            put[key] = codec.encode_block(stored)
            remember_block(key, put[key], stored)
        return Change(self.expect, put, frozenset(delete))


@lru_cache(maxsize=256)
def _is_confirmed(key: str, value: bytes) -> bool:
    try:
        return codec.decode_affinity(key, value).is_confirmed
    except Invalid:
        return False  # whatever it was to mean, the block says whose it is
