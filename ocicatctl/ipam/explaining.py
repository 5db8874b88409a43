"""What is read of the store to explain an address, a pod or a node.

Story: it acts on the store that it is given. Only what the answer needs is read: a node's own
blocks are few, all blocks of a large cluster are 100 MB.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import ip_network
from typing import TypeVar

from datamodel.affinity import Affinity
from datamodel.attachment import Pod
from datamodel.block import Address
from datamodel.endpoint import WorkloadEndpoint
from datamodel.errors import Invalid
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import keys
from datastore.codec import decode_affinity, decode_endpoint, decode_node
from datastore.store import Entry, Store
from ocicatctl.entries import decoded
from ocicatctl.ipam.explain_address import AddressFacts, explain_address
from ocicatctl.ipam.explain_node import Document, explain_node, no_such_node
from ocicatctl.ipam.next_address import Next, Request, Step
from ocicatctl.ipam.plan import RANGES, Plan
from ocicatctl.ipam.release_plan import lists
from ocicatctl.reading import block_keys, keys_with, read_in_portions

T = TypeVar("T")
Entries = dict[str, Entry]


@dataclass
class Explainer:
    """One command's look at the store, and what it found unreadable."""

    store: Store
    now: datetime
    mistakes: list[str] = field(default_factory=list)
    _endpoints: Entries | None = None  # all of them, once they were needed

    # ---- a node --------------------------------------------------------------------------------

    async def node(
        self,
        name: str,
        *,
        versions: Sequence[int] = (4, 6),
        pools: tuple[str, ...] = (),
        namespace_labels: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """Explain the node's next address of each family for which there are pools.

        Raises:
            Invalid: a pool that is asked for by name does not exist.
        """
        key = keys.node(name)
        own = [keys.affinities(name, version) for version in (4, 6)]
        entries = await self._read(*RANGES, key, *own)
        affinities = [
            affinity
            for k, entry in sorted(entries.items())
            if k.startswith(tuple(own)) and (affinity := self._affinity(entry))
        ]
        entries |= await self._read(*(keys.block(affinity.cidr) for affinity in affinities))
        nodes = self._all([entries[key]] if key in entries else [], _decode_node)
        if not nodes:
            return [no_such_node(name, is_spoilt=key in entries)]
        plan = self._plan(entries)
        documents = []
        for version, names in _families(plan.pools, versions, pools):
            request = Request(
                node=nodes[0],
                now=self.now,
                version=version,
                plan=plan,
                affinities=[a for a in affinities if a.cidr.version == version],
                claimed=frozenset(_cidrs(await block_keys(self.store, version))),
                looked_at=frozenset(affinity.cidr for affinity in affinities),
                pool_names=names,
                namespace_labels=namespace_labels or {},
            )
            documents.append(explain_node(*await self._settled(request, entries)))
        return documents

    async def _settled(self, request: Request, entries: Entries) -> tuple[Request, Next]:
        """Read other nodes' blocks too if only they can tell."""
        found = request.next()
        if found.step is Step.UNKNOWN:
            others = await self._read(*(keys.block(cidr) for cidr in found.blocks))
            looked_at = request.looked_at.union(found.blocks)
            request = replace(request, plan=self._plan(entries | others), looked_at=looked_at)
            found = request.next()
        return request, found

    # ---- an address ----------------------------------------------------------------------------

    async def address(self, address: Address) -> Document:
        """Explain who holds the address, or why nobody does, and the node concerned."""
        entries = await self._read(*RANGES)
        found = keys_with(address, await block_keys(self.store, address.version))[:1]
        entries |= await self._read(*found)
        block = keys.cidr_of(found[0]) if found else None
        facts = AddressFacts(
            address=address,
            plan=self._plan(entries),
            block=block,
            affinity=None,
            endpoints=await self._listing(address),
        )
        if facts.read and facts.read.host:
            key = keys.affinity(facts.read.host, facts.read.cidr)
            owned = (await self._read(key)).get(key)
            facts = replace(facts, affinity=self._affinity(owned) if owned else None)
        document = explain_address(facts)
        if facts.concerned:
            document["nodes"] = await self.node(facts.concerned, versions=(address.version,))
        return document

    def _affinity(self, entry: Entry) -> Affinity | None:
        """The affinity; as for ipamd, one whose value nobody can read is there all the same."""
        found = self._all([entry], lambda e: decode_affinity(e.key, e.value))
        cidrs = _cidrs([entry.key])
        host = entry.key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
        return next(iter(found), Affinity(host, cidrs[0], "unreadable") if cidrs else None)

    async def _listing(self, address: Address) -> list[WorkloadEndpoint]:
        """The endpoints that list it. It is looked for as text first: decoding takes seconds."""
        if self._endpoints is None:
            snapshot = await read_in_portions(self.store, keys.ENDPOINTS)
            self._endpoints = dict(snapshot.entries)
        text = str(address).encode()
        return self._all(
            (e for e in self._endpoints.values() if text in e.value and lists(e, address)),
            _decode_endpoint,
        )

    # ---- a pod ---------------------------------------------------------------------------------

    async def pod(self, pod: Pod) -> list[Document]:
        """Explain every address of the pod.

        Raises:
            Invalid: it has none.
        """
        below = await read_in_portions(self.store, f"{keys.ENDPOINTS}{pod.namespace}/")
        name = pod.name.encode()
        endpoints = [
            endpoint
            for endpoint in self._all(
                (e for e in below.entries.values() if name in e.value), _decode_endpoint
            )
            if endpoint.id.workload == pod.name
        ]
        listed = [network.network_address for e in endpoints for network in e.networks]
        nodes = {endpoint.id.node for endpoint in endpoints}
        held = await self._held_by(pod, nodes)
        if not (listed or held):
            raise Invalid(
                f"pod {pod}: has neither a workload endpoint nor an address; "
                "ocicatctl ipam explain --node NODE says what it would get there"
            )
        return [await self.address(address) for address in dict.fromkeys([*listed, *held])]

    async def _held_by(self, pod: Pod, nodes: set[str]) -> list[Address]:
        """What the pod holds in the blocks of these nodes; in all blocks if no node is known."""
        wanted = [keys.ALL_BLOCKS]
        if nodes:
            ranges = [keys.affinities(node, version) for node in nodes for version in (4, 6)]
            own = await self.store.read(*ranges, keys_only=True)
            wanted = [keys.block(cidr) for cidr in _cidrs(own.entries)]
        blocks = await read_in_portions(self.store, *wanted) if wanted else None
        plan = self._plan(dict(blocks.entries)) if blocks else Plan()
        return [
            block.address(ordinal)
            for block in plan.blocks
            for ordinal, index in enumerate(block.allocations)
            if index is not None and _is_of(block.attributes[index].secondary or {}, pod)
        ]

    # ---- reading -------------------------------------------------------------------------------

    async def _read(self, *ranges: str) -> Entries:
        return dict((await self.store.read(*ranges)).entries) if ranges else {}

    def _plan(self, entries: Mapping[str, Entry]) -> Plan:
        plan = Plan.of(entries, self.now)
        self._note(plan.mistakes)
        return plan

    def _all(self, entries: Iterable[Entry], decode: Callable[[Entry], T]) -> list[T]:
        values, mistakes = decoded(entries, decode)
        self._note(mistakes)
        return values

    def _note(self, mistakes: Iterable[str]) -> None:
        self.mistakes += [text for text in mistakes if text not in self.mistakes]


def _decode_node(entry: Entry) -> Node:
    return decode_node(entry.key, entry.value)


def _decode_endpoint(entry: Entry) -> WorkloadEndpoint:
    return decode_endpoint(entry.key, entry.value)


def _cidrs(found: Iterable[str]) -> list[Network]:
    return decoded((Entry(key, b"", 0) for key in found), lambda e: keys.cidr_of(e.key))[0]


def _is_of(facts: Mapping[str, str], pod: Pod) -> bool:
    return (facts.get("namespace"), facts.get("pod")) == (pod.namespace, pod.name)


def _families(
    pools: Sequence[Pool], versions: Sequence[int], names: tuple[str, ...]
) -> list[tuple[int, tuple[str, ...]]]:
    """The families to explain, each with the pools that are asked for by name."""
    if names:
        by_version = {
            version: tuple(n for n in names if _names(n, pools, version)) for version in versions
        }
        unknown = tuple(n for n in names if not any(_names(n, pools, v) for v in versions))
        by_version[versions[0]] += unknown  # choosing will say what is wrong with them
        return [(version, chosen) for version, chosen in by_version.items() if chosen]
    there = [version for version in versions if any(p.cidr.version == version for p in pools)]
    return [(version, ()) for version in there or versions[:1]]


def _names(name: str, pools: Sequence[Pool], version: int) -> bool:
    def is_it(pool: Pool) -> bool:
        try:
            return name == pool.name or ("/" in name and ip_network(name) == pool.cidr)
        except ValueError:
            return False

    return any(pool.cidr.version == version and is_it(pool) for pool in pools)
