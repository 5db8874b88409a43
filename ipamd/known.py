"""What a view of the store means: its values decoded, each at most once.

Pure: no I/O. A value that cannot be read is left out and named in a message, so that one that
somebody spoilt does not stop the others.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from datamodel.block import Block
from datamodel.errors import Invalid, OcicatError
from datamodel.ipam_config import COOLDOWNS_S, IpamConfig
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datamodel.pool_choice import Rejected, Wanted, choose_pools
from datamodel.reservation import Reservations
from datamodel.tunnel import overhead
from datastore import codec, keys, reading
from ipamd.request import View

# Blocks are up to 30 kB of JSON; the ones that a node works with stay decoded.
_BLOCKS_KEPT = 64
_blocks: dict[str, tuple[bytes, Block]] = {}
_CHOICES_KEPT = 256  # one for each namespace with labels of its own


Choice = tuple[list[Pool], list[Rejected]]


def decode_block(key: str, value: bytes) -> Block:
    """Decode a block, or remember it.

    Raises:
        Invalid: it is none.
    """
    known = _blocks.pop(key, None)
    block = known[1] if known and known[0] == value else codec.decode_block(key, value)
    remember_block(key, value, block)
    return block


def remember_block(key: str, value: bytes, block: Block) -> None:
    """Spare the next one to read it the decoding."""
    _blocks[key] = (value, block)
    if len(_blocks) > _BLOCKS_KEPT:
        del _blocks[next(iter(_blocks))]


_decode_pool = lru_cache(maxsize=1024)(codec.decode_pool)
_decode_node = lru_cache(maxsize=4)(codec.decode_node)
_decode_config = lru_cache(maxsize=4)(codec.decode_ipam_config)


_reservations = lru_cache(maxsize=64)(codec.decode_reservations)


def owned(entries: Iterable[str], prefix: str) -> list[Network]:
    """The blocks that affinities below *prefix* name, in key order; what is no block is skipped."""
    cidrs = []
    for key in sorted(key for key in entries if key.startswith(prefix)):
        with contextlib.suppress(Invalid):
            cidrs.append(keys.cidr_of(key))
    return cidrs


@dataclass
class Known:
    """A view, decoded on demand."""

    view: View
    _ordinals: dict[Network, frozenset[int]] = field(default_factory=dict)
    _overheads: dict[Network, int] = field(default_factory=dict)
    _collected: dict[str, Block] = field(default_factory=dict)
    _choices: dict[object, Choice] = field(default_factory=dict)

    def of_blocks(self, view: View) -> "Known":
        """What *view* means, which differs in time and in the values of blocks alone."""
        known = Known(view)
        found_out = {**self.__dict__, "view": view, "_collected": {}}
        known.__dict__.update(found_out)  # cached properties are there, too
        return known

    def block(self, key: str) -> Block | None:
        """What *key* holds, without the cooldowns that are over; ``None``: nothing is known.

        Raises:
            Invalid: it cannot be read.
        """
        if key not in self._collected:
            entry = self.view.mirrored.get(key) or self.view.facts.get(key)
            if entry is None:
                return None
            block = decode_block(key, entry.value).collected(self.view.now, self.cooldown_s)
            self._collected[key] = block
        return self._collected[key]

    @cached_property
    def _pools(self) -> tuple[list[Pool], list[str]]:
        pools, mistakes = [], []
        for key in sorted(k for k in self.view.mirrored if k.startswith(keys.POOLS)):
            try:
                pool = _decode_pool(key, self.view.mirrored[key].value)
                _check_name(key, pool.name)
                pools.append(pool)
            except OcicatError as error:
                mistakes.append(str(error))
        return pools, mistakes

    @property
    def pools(self) -> list[Pool]:
        """Every readable pool of both families, by name."""
        return self._pools[0]

    @property
    def unreadable_pools(self) -> list[str]:
        """What is wrong with each of the others."""
        return self._pools[1]

    def choose_pools(
        self, version: int, names: Sequence[str], use: str, labels: Mapping[str, str]
    ) -> Choice:
        """The pools that serve, and why not the others: see ``pool_choice.choose_pools``.

        Args:
            version: the family.
            names: pools by name or CIDR, in order of preference; none: any that select the node.
            use: what the pools must be for.
            labels: of the pod's namespace.

        Raises:
            Invalid: a requested pool does not exist or is not enabled; the node is not registered.
        """
        question = (version, tuple(names), use, frozenset(labels.items()))
        if question not in self._choices:
            if len(self._choices) >= _CHOICES_KEPT:
                self._choices.clear()
            wanted = Wanted(version, tuple(names), use, labels, self.node.labels)
            self._choices[question] = choose_pools(self.pools, wanted)
        return self._choices[question]

    @cached_property
    def config(self) -> IpamConfig:
        """The IPAM config.

        Raises:
            Invalid: it cannot be read.
        """
        entry = self.view.mirrored.get(keys.IPAM_CONFIG)
        return _decode_config(entry.value if entry else None)

    @cached_property
    def cooldown_s(self) -> int:
        """How long an address rests; as long as can be if nobody can read how long."""
        try:
            return self.config.ip_cooldown_s
        except Invalid:
            return COOLDOWNS_S[-1]

    @cached_property
    def node(self) -> Node:
        """This node.

        Raises:
            Invalid: it is not registered (any more), or cannot be read.
        """
        key = keys.node(self.view.node)
        entry = self.view.mirrored.get(key)
        if entry is None:
            raise Invalid(
                f"node {self.view.node}: has no Node resource, so no peer knows the way to it; "
                "if it was deleted by mistake, restart ipamd to register it again"
            )
        node = _decode_node(key, entry.value)
        _check_name(key, node.name)
        return node

    @cached_property
    def reservations(self) -> Reservations:
        """What no pod may get by itself."""
        return _reservations(self._reservation_values)[0]

    @cached_property
    def _reservation_values(self) -> tuple[tuple[str, bytes], ...]:
        chosen = sorted(k for k in self.view.mirrored if k.startswith(keys.RESERVATIONS))
        return tuple((key, self.view.mirrored[key].value) for key in chosen)

    def reserved(self, block: Network) -> frozenset[int]:
        """The ordinals of *block* that are not given out: reserved, or in use unrecorded."""
        ordinals = self._ordinals.get(block)
        if ordinals is None:
            first = int(block.network_address)
            in_use = {int(address) - first for address in self.view.in_use if address in block}
            ordinals = self._ordinals[block] = self.reservations.ordinals(block) | in_use
        return ordinals

    def overhead(self, block: Network) -> int:
        """How many bytes of a packet the tunnel of the block's pool takes."""
        found = self._overheads.get(block)
        if found is None:
            pool = next((pool for pool in self.pools if pool.contains(block)), None)
            found = self._overheads[block] = overhead(pool) if pool else 0
        return found

    @cached_property
    def affine(self) -> Mapping[int, list[Network]]:
        """The blocks that affinities of this node name, by family, in key order."""
        node, entries = self.view.node, self.view.mirrored
        return {version: owned(entries, keys.affinities(node, version)) for version in (4, 6)}

    @cached_property
    def borrowed(self) -> frozenset[Network]:
        """The blocks of which it is noted that this node's pods hold addresses in them."""
        return frozenset(owned(self.view.mirrored, keys.borrowings(self.view.node)))

    @cached_property
    def mirrored_blocks(self) -> list[Network]:
        """Every block that is followed: this node's, and those that it borrowed from."""
        return owned(self.view.mirrored, keys.ALL_BLOCKS)

    @cached_property
    def mistakes(self) -> list[str]:
        """Every value among these that cannot be read."""
        others = (_mistake(lambda: self.config), _mistake(lambda: self.node))
        return [
            *self.unreadable_pools,
            *_reservations(self._reservation_values)[1],
            *(text for text in others if text),
        ]


# By node what the last decision knew, and what it knew it from, less the values of blocks.
_last: dict[str, tuple[Sequence[object], Known]] = {}


def known_of(view: View) -> Known:
    """What *view* means; pools and the like are looked through again only when they changed."""
    said = [k if k.startswith(keys.ALL_BLOCKS) else e for k, e in view.mirrored.items()]
    basis = (*said, view.in_use)
    before = _last.get(view.node)
    known = before[1].of_blocks(view) if before and before[0] == basis else Known(view)
    _last[view.node] = (basis, known)
    return known


def _check_name(key: str, name: str) -> None:
    """Refuse a resource that says another name than its key: keys are made of names."""
    if name != key.rpartition("/")[2]:
        raise reading.spoilt(key, f"metadata.name is {name!r}")


def _mistake(read: Callable[[], Any]) -> str | None:
    try:
        read()
    except Invalid as error:
        return str(error)
    return None
