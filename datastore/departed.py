"""What a node that is gone has left in the store, and how it is taken back.

Pure: no I/O. Every decision expects the node to be gone, so that nothing is taken from one that has
registered again under the name. ``node_removal.py`` makes them again when somebody wrote first.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from datamodel.block import WINDOWS_HANDLE, Address, Attribute, Block
from datamodel.errors import Invalid
from datamodel.pool import Network
from datamodel.tunnel import tunnel_handles
from datastore import codec, keys
from datastore.known import Known
from datastore.store import MAX_OPERATIONS, Change, Decision, Entry
from datastore.taken import Freed, Taken

_HANDLES_AT_ONCE = 60  # of which each needs a comparison for itself and one for its endpoint
_ALTERNATE = "alternateOwnerAttrs"  # Calico: of a virtual machine that is moving to another node


class Alive(Invalid):
    """The node is not gone after all; what it holds must stay."""


@dataclass(frozen=True, slots=True)
class Departed:
    """A node that is gone."""

    name: str
    endpoints: Mapping[Address, str]  # what its workload endpoints list, and the endpoint's key
    now: datetime
    cooldown_s: int = 0  # of addresses that go back to other nodes' blocks
    # What it held, with sequence numbers, when it was found to be gone: nothing else is its own.
    # None: whatever seems to be.
    seen: Mapping[Address, int] | None = None

    @property
    def tunnel_handles(self) -> list[str]:
        """Under which the addresses of its tunnels are held."""
        return tunnel_handles(self.name)

    @property
    def belongings(self) -> list[str]:
        """The keys that are about it by their names: settings, tunnels, an old Calico's mark."""
        settings = (keys.BGP_CONFIGURATIONS, keys.FELIX_CONFIGURATIONS)
        return [
            *(f"{prefix}node.{self.name}" for prefix in settings),
            *(keys.handle(handle) for handle in self.tunnel_handles),
            f"{keys.ALL_AFFINITIES}{self.name}",
        ]

    def holds(self, attribute: Attribute, address: Address) -> bool:
        """Whether the node or a pod on it holds the address, and nobody elsewhere does."""
        other = (attribute.extra.get(_ALTERNATE) or {}).get("node")
        if _is_nobodys(attribute) or other not in (None, self.name):
            return False
        if attribute.handle_id in self.tunnel_handles or attribute.node == self.name:
            return True
        return attribute.node is None and address in self.endpoints and self.seen is None

    def held_in(self, block: Block) -> dict[int, Attribute]:
        """What it holds in the block: ordinals, and the attribute of each.

        Raises:
            Alive: something that it did not hold when it was found to be gone.
        """
        found = ((o, block.attributes[i]) for o, i in enumerate(block.allocations) if i is not None)
        held = {o: a for o, a in found if self.holds(a, block.address(o))}
        if self.seen is None:
            return held
        for ordinal in held:
            address = block.address(ordinal)
            if self.seen.get(address) != block.sequence_numbers.get(ordinal, 0):
                raise Alive(f"node {self.name}: {address} was given out after the node had gone")
        return held

    def is_meant_by(self, entry: Entry) -> bool:
        """Whether a resource is about this node; of an endpoint its name says so already."""
        try:
            node = (codec.load(entry.key, entry.value).get("spec") or {}).get("node")
        except (Invalid, AttributeError):
            node = self.name if entry.key.startswith(keys.ENDPOINTS) else None
        return node == self.name or entry.key in self.belongings


def gone(name: str, known: Known) -> dict[str, int]:
    """What a change must expect so that it is made only while the node is gone.

    Raises:
        Alive: it is there.
    """
    key = keys.node(name)
    if known[key] is not None:
        raise Alive(
            f"node {name}: has registered again while it was being deleted; "
            "stop its ipamd, then delete it once more"
        )
    return {key: 0}


def decide_resources(node: Departed, some: Iterable[str], known: Known) -> Decision[Taken]:
    """Delete those of the known resources that are about the node.

    Raises:
        Alive: the node has registered again.
    """
    found = [entry for key in some if (entry := known[key]) and node.is_meant_by(entry)]
    if not found:
        return Decision(Taken())
    expect = gone(node.name, known) | {entry.key: entry.revision for entry in found}
    names = tuple(entry.key for entry in found)
    return Decision(Taken(resources=names), Change(expect, delete=frozenset(names)))


def decide_block(node: Departed, cidr: Network, known: Known) -> Decision[Taken]:
    """Take back what the node holds in a block, as much as fits; with the last of it the block.

    Blocks, handles and endpoints change together, so that no address is ever half released.

    Raises:
        Alive: the node has registered again.
        Invalid: the block cannot be read.
    """
    draft = Draft(node, known, gone(node.name, known))
    ties = (keys.affinity(node.name, cidr), keys.borrowed(node.name, cidr))
    if needs := {key for key in (keys.block(cidr), *ties) if key not in known}:
        return Decision(Taken(), needs=frozenset(needs))
    for key in ties:
        draft.look(key)
    block = draft.block(cidr)
    if block is None:
        draft.remove(*ties)  # a claim or a release that broke off
        return draft.finish()
    units = _by_handle(node.held_in(block))
    some = units[:_HANDLES_AT_ONCE]
    wanted = {keys.handle(handle) for handle, _ in some if handle}
    if all(key in known for key in wanted):
        wanted = {keys.block(c) for handle, _ in some for c in _counts(known, handle)}
    if needs := {key for key in wanted if key not in known}:
        return Decision(Taken(), needs=frozenset(needs))
    taken = 0
    while taken < len(some) and draft.release(cidr, *some[taken]):
        taken += 1
    if taken == len(units):
        draft.remove(*ties)
        draft.let_go(cidr)
    return draft.finish()


def _by_handle(held: Mapping[int, Attribute]) -> list[tuple[str, list[int]]]:
    """The ordinals of each handle; of those without one, each by itself under ""."""
    units: dict[str, list[int]] = {}
    lone = []
    for ordinal, attribute in held.items():
        if handle := _handle(attribute):
            units.setdefault(handle, []).append(ordinal)
        else:
            lone.append(("", [ordinal]))
    return [*units.items(), *lone]


@dataclass
class Draft:
    """The transaction that takes something back. What it looks at it expects to stay."""

    node: Departed
    known: Known
    expect: dict[str, int]
    blocks: dict[Network, Block] = field(default_factory=dict)  # as they will be
    put: dict[str, bytes] = field(default_factory=dict)
    delete: set[str] = field(default_factory=set)
    addresses: list[Freed] = field(default_factory=list)
    borrowed: list[Freed] = field(default_factory=list)
    disowned: list[str] = field(default_factory=list)

    def look(self, key: str) -> bytes | None:
        """What the key holds, which must be known."""
        entry = self.known[key]
        self.expect[key] = entry.revision if entry else 0
        return entry.value if entry else None

    def remove(self, *doomed: str) -> None:
        """Delete the keys that are there."""
        self.delete.update(key for key in doomed if self.look(key) is not None)

    def block(self, cidr: Network) -> Block | None:
        """The block as it will be."""
        if cidr not in self.blocks:
            key = keys.block(cidr)
            value = self.look(key)
            if value is None:
                return None
            self.blocks[cidr] = codec.decode_block(key, value)
        return self.blocks[cidr]

    def release(self, cidr: Network, handle: str, ordinals: list[int]) -> bool:
        """Free what the node holds under the handle, here and elsewhere; ``False``: no room."""
        counts = dict(_counts(self.known, handle))
        parts = {cidr: ordinals}
        for other in counts.keys() - {cidr}:
            with contextlib.suppress(Invalid):  # then it holds what the handle says
                block = self.block(other)
                counts[other] = 0
                if block:
                    held = self.node.held_in(block)
                    parts[other] = [o for o, a in held.items() if _handle(a) == handle]
        addresses = [self.blocks[c].address(o) for c, some in parts.items() for o in some]
        endpoints = {self.node.endpoints[a] for a in addresses if a in self.node.endpoints}
        if self.addresses and len(self.expect.keys() | endpoints) >= MAX_OPERATIONS:
            return False
        for part, some in parts.items():
            self._free(part, some)
            counts[part] = _count(self.blocks[part], handle)
        left = {c: n for c, n in counts.items() if n > 0}
        if handle and left:
            stored = self.look(keys.handle(handle))
            self.put[keys.handle(handle)] = codec.encode_handle(left, stored)
        elif handle:
            self.remove(keys.handle(handle))
        for key in endpoints:
            self.remove(key)
        return True

    def _free(self, cidr: Network, ordinals: list[int]) -> None:
        block = self.blocks[cidr]
        is_borrowed = block.host not in (None, self.node.name)
        for ordinal in ordinals:
            address = block.address(ordinal)
            holder = block.holder_of(address)
            freed = Freed(address, _handle(holder), holder.pod) if holder else Freed(address, "")
            self.addresses.append(freed)
            self.borrowed += [freed] if is_borrowed else []
        cooldown_s = self.node.cooldown_s if is_borrowed else 0
        self.blocks[cidr] = block.release_ordinals(
            ordinals, now=self.node.now, cooldown_s=cooldown_s
        )

    def let_go(self, cidr: Network) -> None:
        """Have the block no longer belong to the node."""
        block = self.blocks[cidr]
        if block.host == self.node.name:
            self.blocks[cidr] = replace(block, affinity=None)
            self.disowned += [] if block.is_unused else [str(cidr)]

    def finish(self) -> Decision[Taken]:
        """The transaction, and what it does; nothing if it changes nothing."""
        deleted = []
        for cidr, block in self.blocks.items():
            key = keys.block(cidr)
            if block.affinity is None and block.is_unused:
                self.delete.add(key)
                deleted.append(str(cidr))
            elif block != self._stored(key):
                self.put[key] = codec.encode_block(block.next_write())
        resources = [key for key in self.delete if key.startswith(keys.RESOURCES)]
        taken = Taken(
            addresses=tuple(self.addresses),
            borrowed=tuple(self.borrowed),
            resources=tuple(sorted(resources)),
            blocks=tuple(deleted),
            disowned=tuple(self.disowned),
        )
        if not (self.put or self.delete):
            return Decision(taken)
        return Decision(taken, Change(self.expect, self.put, frozenset(self.delete)))

    def _stored(self, key: str) -> Block | None:
        entry = self.known[key]
        return codec.decode_block(key, entry.value) if entry else None


def _handle(attribute: Attribute) -> str:
    # Old migrations wrote rubbish after a carriage return.
    return (attribute.handle_id or "").partition("\r")[0]


def _counts(known: Known, handle: str) -> dict[Network, int]:
    """What the handle says that it holds; one that nobody can read says nothing."""
    key = keys.handle(handle)
    entry = known[key] if handle else None
    try:
        return codec.decode_handle(key, entry.value) if entry else {}
    except Invalid:
        return {}


def _count(block: Block, handle: str) -> int:
    indices = {i for i, a in enumerate(block.attributes) if _handle(a) == handle}
    return sum(index in indices for index in block.allocations)


def _is_nobodys(attribute: Attribute) -> bool:
    """Whether it only keeps an address from being given out."""
    return attribute.handle_id == WINDOWS_HANDLE or attribute.released_at is not None
