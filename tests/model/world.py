"""The truth of the model: what the store holds at every revision, and what must hold of it.

``World`` follows the store past all faults. Every revision is checked as a whole by
``tests/consistency.py``, and every address that changes hands against the kernels.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime

from datamodel.block import Address, Block
from datamodel.errors import Invalid
from datamodel.ipam_config import IpamConfig
from datamodel.pool import Network, Pool
from datamodel.reservation import Reservations
from datastore import codec, keys
from datastore.mirror import Mirror
from datastore.store import Change, Doubt, Entry, Events, Store
from ipamd.request import Allocate, Granted
from tests.consistency import Excuse, problems
from tests.model.kernel import Machine, in_use
from tests.model.node import Node

Entries = Mapping[str, Entry]


class World:
    """See the module."""

    def __init__(self, store: Store, clock: Callable[[], datetime], counts: Counter[str]) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.violations: list[str] = []
        self.counts = counts
        self.nodes: dict[str, Node] = {}
        self.unwired: set[str] = set()  # see Excuse
        self.half_done: set[str] = set()
        self.leaving: set[str] = set()
        self.departed: set[str] = set()  # deleted, and not registered again
        self.asked: dict[str, set[Address]] = {}  # handle -> the very addresses it ever wanted
        # Handles whose ADD is refused, though it may be written until it is taken back: when the
        # very answer to it is the first sign that the store was restored.
        self.refused: set[str] = set()
        self.families: dict[str, set[int]] = {}  # handle -> those it ever wanted
        self._store = store
        self._clock = clock
        self._sequences: dict[str, int] = {}  # block key -> the highest that was ever stored
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- following -----------------------------------------------------------------------------

    async def follow(self) -> None:
        """Begin, or begin anew with a store that was restored."""
        await self.stop()
        snapshot = await self._store.read("/")
        self.entries, self.revision = dict(snapshot.entries), snapshot.revision
        self._sequences = {}
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(Doubt):
                async for events in self._store.watch(frozenset({"/"}), self.revision):
                    self._learn(events)
                    news, self._news = self._news, asyncio.Event()
                    news.set()

    async def catch_up(self) -> None:
        """Wait until everything that the store holds now is known."""
        revision = (await self._store.read()).revision
        while self.revision < revision:
            await self._news.wait()

    def _learn(self, events: Events) -> None:
        before = {key: self.entries.get(key) for key in events.entries}
        for key, entry in events.entries.items():
            if entry is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry
        self.revision = events.revision
        self.fail(*self.problems())
        for key, entry in events.entries.items():
            if key.startswith(keys.ALL_BLOCKS):
                self._check_block(key, before[key], entry)
            elif key.startswith(keys.ALL_AFFINITIES) and entry and not before[key]:
                self._check_claim(key)

    def fail(self, *what: str) -> None:
        self.violations += [f"revision {self.revision}: {text}" for text in what]

    def problems(self, *, strictly: bool = False) -> list[str]:
        """What is inconsistent; *strictly*: that nothing under way explains."""
        excuse = Excuse(
            unwired=self.unwired,
            half_done=() if strictly else self.half_done,
            leaving=self.leaving,
            may_drain=not strictly,
            now=self._clock(),
        )
        return problems({key: e.value for key, e in self.entries.items()}, excuse=excuse)

    # ---- what the store says -------------------------------------------------------------------

    @property
    def config(self) -> IpamConfig | None:
        """None: nobody can read it."""
        entry = self.entries.get(keys.IPAM_CONFIG)
        return _config(entry)

    @property
    def pools(self) -> list[Pool]:
        return pools_in(self.entries)

    def blocks(self) -> Iterator[Block]:
        for key, entry in sorted(self.entries.items()):
            if key.startswith(keys.ALL_BLOCKS):
                yield codec.decode_block(key, entry.value)

    def held(self) -> dict[str, set[Address]]:
        """What every handle holds."""
        found: dict[str, set[Address]] = {}
        for block in self.blocks():
            for handle in {a.handle_id for a in block.attributes if a.handle_id}:
                found.setdefault(handle, set()).update(block.sequences_of(handle))
        return found

    def below(self, prefix: str) -> list[str]:
        return sorted(key for key in self.entries if key.startswith(prefix))

    @property
    def machines(self) -> list[Machine]:
        return [node.machine for node in self.nodes.values()]

    # ---- every address that changes hands ------------------------------------------------------

    def _check_block(self, key: str, before: Entry | None, after: Entry | None) -> None:
        old = codec.decode_block(key, before.value) if before else None
        if after is None:
            return
        new = codec.decode_block(key, after.value)
        if new.sequence_number <= self._sequences.get(key, 0):
            self.fail(f"{key}: sequence number {new.sequence_number} is not above the last one")
        self._sequences[key] = max(new.sequence_number, self._sequences.get(key, 0))
        for address, handle, node in gained(old, new):
            self._check_gain(new, address, handle, node)

    def _check_gain(self, block: Block, address: Address, handle: str, node: str) -> None:
        machine = self.nodes[node].machine if node in self.nodes else None
        is_recovery = False
        for used, where, link in in_use(self.machines):
            is_others = used == address and link.attachment.handle_id != handle
            if is_others and handle not in self.refused:
                self.fail(f"{address} is given to {handle}, but link {link.name} of {where} has it")
            is_recovery |= used == address and where is machine
        is_tunnels = "-tunnel-addr-" in handle
        kind = "tunnels" if is_tunnels else "recovered" if is_recovery else "allocated"
        self.counts[kind] += 1
        if not (is_recovery or node in self.leaving or keys.node(node) in self.entries):
            self.fail(f"{address} is given to {handle} on {node}, which does not exist")
        if block.host != node and not is_recovery:
            self.counts["borrowed"] += 1
            config = self.config
            if config and config.strict_affinity and node in self.nodes:
                self.fail(f"{address} of {block.affinity} is given to {node}: affinity is strict")

    def _check_claim(self, key: str) -> None:
        node = key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
        if node not in self.nodes:
            return
        cidr = keys.cidr_of(key)
        self.counts["claimed"] += 1
        if keys.node(node) not in self.entries:
            self.fail(f"{cidr} is claimed by {node}, which does not exist")
        block = self.entries.get(keys.block(cidr))
        if block is None or self._is_unlimited(codec.decode_block(block.key, block.value)):
            return
        pool = next((p for p in self.pools if p.contains(cidr)), None)
        if pool is None or pool.disabled:
            self.fail(f"{cidr} of {pool} is claimed by {node}: the pool is not enabled")
            return
        config = self.config
        owned = [
            k
            for k in self.below(keys.affinities(node, cidr.version))
            if pool.contains(keys.cidr_of(k))
        ]
        if config and len(owned) > config.block_limit:
            self.fail(f"{node} owns {len(owned)} blocks of {pool}; it may own {config.block_limit}")
        if config and not config.auto_allocate_blocks:
            self.fail(f"{cidr} is claimed by {node} though auto_allocate_blocks is off")

    def _is_unlimited(self, block: Block) -> bool:
        """Whether a block was claimed for an address that was asked for or that a link has."""
        used = {address for address, _, _ in in_use(self.machines)}
        return any(
            address in used or address in self.asked.get(handle, ())
            for address, handle, _ in gained(None, block)
        )

    # ---- every decision, before it is sent -----------------------------------------------------

    def inspect(self, node: Node, change: Change) -> None:
        """Compare what a node is about to write with what it knows of the operator's wishes."""
        if node.ipamd is None:
            return
        known = node.ipamd.mirror
        for key, value in change.put.items():
            if not key.startswith(keys.ALL_BLOCKS):
                continue
            before = self.entries.get(key)
            if (before.revision if before else 0) != change.expect.get(key):
                continue  # it will be refused, or we are late
            old = codec.decode_block(key, before.value) if before else None
            for address, handle, _ in gained(old, codec.decode_block(key, value)):
                if not any(a == address and m is node.machine for a, m, _ in in_use(self.machines)):
                    self.fail(*self._wrong(node.name, known, address, old, handle))

    def _wrong(
        self, node: str, known: Mirror, address: Address, old: Block | None, handle: str
    ) -> Iterator[str]:
        what = f"{address} is to be given to {handle} on {node}, but"
        if not any(address in p.cidr and not p.disabled for p in pools_in(known.entries)):
            yield f"{what} is in no enabled pool"
        if address in _reservations(known.entries) and address not in self.asked.get(handle, ()):
            yield f"{what} is reserved"
        config = _config(known.entries.get(keys.IPAM_CONFIG))
        holder = old.holder_of(address) if old else None
        if holder and holder.released_at and config and config.ip_cooldown_s:
            rested_s = (self._clock() - holder.released_at).total_seconds()
            if rested_s <= config.ip_cooldown_s:
                yield f"{what} has rested for {rested_s} s only"

    # ---- every answer --------------------------------------------------------------------------

    def answered(self, request: Allocate, granted: Granted) -> None:
        """An answer is what was asked for."""
        who = request.attachment.handle_id
        if tuple(g.address.version for g in granted.grants) != request.versions:
            self.fail(f"{who} asked for {request.versions} and was given {granted.grants}")
        for grant in granted.grants:
            if grant.address not in grant.block:
                self.fail(f"{who} was given {grant}")
        given = {grant.address for grant in granted.grants}
        if not given.issuperset(request.addresses):
            self.fail(f"{who} asked for {request.addresses} and was given {given}")

    # ---- the kernels ---------------------------------------------------------------------------

    def check_links(self) -> None:
        """No two links have one address, on whatever node."""
        users: dict[Address, str] = {}
        for address, machine, link in in_use(self.machines):
            who = f"{link.attachment.handle_id} on {machine.node}"
            if address in users:
                self.fail(f"{address} is used by {users[address]} and by {who}")
            users[address] = who

    async def check_held(self, busy: Collection[str]) -> None:
        """What a link has is held for it. Links of *busy* handles are left out."""
        links = list(in_use(self.machines))
        await self.catch_up()
        held = self.held()
        for address, machine, link in links:
            handle = link.attachment.handle_id
            is_there = machine.has(link) and address in link.addresses
            if is_there and handle not in busy and address not in held.get(handle, ()):
                self.fail(f"link {link.name} of {machine.node} has {address}, not held: {handle}")


def gained(old: Block | None, new: Block) -> Iterator[tuple[Address, str, str]]:
    """Every address that somebody holds now and did not before: handle, node."""
    for ordinal, index in enumerate(new.allocations):
        if index is None or new.attributes[index].released_at is not None:
            continue
        address, holder = new.address(ordinal), new.attributes[index]
        before = old.holder_of(address) if old else None
        if before is None or before.handle_id != holder.handle_id:
            yield address, holder.handle_id or "", holder.node or ""


def pools_in(entries: Entries) -> list[Pool]:
    return [codec.decode_pool(k, e.value) for k, e in entries.items() if k.startswith(keys.POOLS)]


def _reservations(entries: Entries) -> Reservations:
    values = [(k, e.value) for k, e in entries.items() if k.startswith(keys.RESERVATIONS)]
    return codec.decode_reservations(values)[0]


def _config(entry: Entry | None) -> IpamConfig | None:
    try:
        return codec.decode_ipam_config(entry.value if entry else None)
    except Invalid:
        return None


def capacity(networks: Collection[Network]) -> int:
    return sum(network.num_addresses for network in networks)
