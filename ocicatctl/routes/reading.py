"""Read of the store what routing is judged by, and no more of its blocks than is asked for.

Story. What cannot be read is noted and left out.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from datamodel.affinity import Affinity
from datamodel.block import Address, Block
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.codec_bgp import decode_bgp_configuration
from datastore.store import Entry, Store
from ocicatctl.entries import decoded
from ocicatctl.ipam.borrowed import Borrowing
from ocicatctl.reading import block_keys, keys_with, read_in_portions
from ocicatctl.routes.facts import Destination

T = TypeVar("T")

_UNREADABLE = "unreadable"
_DEFAULT = f"{keys.BGP_CONFIGURATIONS}default"


@dataclass
class Reader:
    """One command's look at the store, and what it found unreadable."""

    store: Store
    mistakes: list[str] = field(default_factory=list)

    async def cluster(self) -> tuple[dict[str, Node], list[Pool], bool]:
        """The nodes by name, the pools, and whether there is a mesh."""
        entries = (await self.store.read(keys.NODES, keys.POOLS, _DEFAULT)).entries
        nodes = self._below(entries, keys.NODES, _decode_node)
        pools = self._below(entries, keys.POOLS, lambda e: codec.decode_pool(e.key, e.value))
        bgp = self._below(entries, _DEFAULT, lambda e: decode_bgp_configuration(e.key, e.value))
        is_mesh = bgp[0].is_mesh_enabled if bgp else True
        return {node.name: node for node in nodes}, pools, is_mesh

    async def all_blocks(self) -> list[Destination]:
        """Every block that somebody has, or that is there."""
        affinities = await self._affinities(keys.ALL_AFFINITIES)
        known = {affinity.cidr for affinity in affinities}
        listed = [key for v in (4, 6) for key in await block_keys(self.store, v)]
        others = [key for key in listed if _cidr(key) not in known]
        blocks = await self._blocks(others)
        return _in_order(
            [
                *(Destination(a.cidr, a.host, a.state) for a in affinities),
                *(Destination(block.cidr, block.host) for block in blocks),
            ]
        )

    async def of_node(self, name: str) -> list[Destination]:
        """The node's blocks, and the addresses that it has of other nodes' blocks.

        Raises:
            Invalid: there is nothing of such a node.
        """
        affinities = await self._affinities(f"{keys.ALL_AFFINITIES}{name}/")
        stored = await read_in_portions(self.store, keys.ALL_BLOCKS)
        mentioning = [e for e in stored.entries.values() if name.encode() in e.value]
        blocks = self._decoded(mentioning, lambda e: codec.decode_block(e.key, e.value))
        known = {affinity.cidr for affinity in affinities}
        found = _in_order(
            [
                *(Destination(a.cidr, a.host, a.state) for a in affinities),
                *(
                    Destination(b.cidr, name)
                    for b in blocks
                    if b.host == name and b.cidr not in known
                ),
                *_borrowed(blocks, name),
            ]
        )
        if not found and not (await self.store.read(keys.node(name))).entries:
            raise Invalid(f"resource does not exist: Node({name})")
        return found

    async def with_address(
        self, address: Address
    ) -> tuple[Network | None, Block | None, Affinity | None]:
        """The block that has an address, the same as far as it can be read, its node's affinity."""
        found = keys_with(address, await block_keys(self.store, address.version))[:1]
        if not found:
            return None, None, None
        cidr = keys.cidr_of(found[0])
        block = next(iter(await self._blocks(found)), None)
        owned = (
            await self._affinities(keys.affinity(block.host, cidr)) if block and block.host else []
        )
        return cidr, block, next(iter(owned), None)

    async def _affinities(self, wanted: str) -> list[Affinity]:
        entries = (await self.store.read(wanted)).entries
        return [found for _, entry in sorted(entries.items()) if (found := self._affinity(entry))]

    def _affinity(self, entry: Entry) -> Affinity | None:
        """The affinity; one whose value nobody can read is there all the same."""
        found = self._decoded([entry], lambda e: codec.decode_affinity(e.key, e.value))
        cidr = _cidr(entry.key)
        host = entry.key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
        return next(iter(found), Affinity(host, cidr, _UNREADABLE) if cidr else None)

    async def _blocks(self, wanted: Iterable[str]) -> list[Block]:
        listed = sorted(wanted)
        entries = (await self.store.read(*listed)).entries if listed else {}
        return self._decoded(entries.values(), lambda e: codec.decode_block(e.key, e.value))

    def _below(
        self, entries: Mapping[str, Entry], prefix: str, decode: Callable[[Entry], T]
    ) -> list[T]:
        return self._decoded(
            (e for k, e in sorted(entries.items()) if k.startswith(prefix)), decode
        )

    def _decoded(self, entries: Iterable[Entry], decode: Callable[[Entry], T]) -> list[T]:
        values, mistakes = decoded(entries, decode)
        self.mistakes += [text for text in mistakes if text not in self.mistakes]
        return values


def _decode_node(entry: Entry) -> Node:
    """The node; the key is its name, what the value says of that could be anybody's."""
    name = entry.key.removeprefix(keys.NODES)
    return replace(codec.decode_node(entry.key, entry.value), name=name)


def _borrowed(blocks: Iterable[Block], name: str) -> list[Destination]:
    return [
        Destination(
            type(found.block)((int(found.address), found.address.max_prefixlen)),
            name,
            None,
            found.block,
            found.block_owner or None,
        )
        for found in Borrowing.of(blocks).addresses
        if found.node == name
    ]


def _in_order(destinations: Iterable[Destination]) -> list[Destination]:
    return sorted(destinations, key=lambda d: (d.cidr.version, d.cidr, d.node or ""))


def _cidr(key: str) -> Network | None:
    try:
        return keys.cidr_of(key)
    except Invalid:
        return None
