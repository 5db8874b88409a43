"""What a node puts into the store when it starts: cluster information, default pools, itself.

Story. Several nodes may start at once on an empty store: everything is written only where nothing
is, in the compare-and-swap loop of ``datastore/store.py``.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv6Interface

from datamodel.block import Address
from datamodel.errors import Invalid, OcicatError
from datamodel.node import Node
from datastore import codec, keys
from datastore.codec import Stamp
from datastore.store import Change, Decision, Entry, Store, settle
from ipamd.autodetect import Interface
from ipamd.config import ALWAYS, NEVER, AddressSource, Config

log = logging.getLogger(__name__)

Addresses = Mapping[int, Interface | None]  # by family
Detect = Callable[[int], Awaitable[Interface]]  # of a family: 4 or 6
Vouch = Callable[[], Awaitable[None]]  # raises Invalid if others do not know this node

NODES_AT_ONCE = 100


class _Facts:
    """What was read, and found out, for one registration."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry | None] = {}
        self.pools: frozenset[str] | None = None
        self.detected: dict[int, Interface | None] = {}
        self.checked: frozenset[Address] = frozenset()  # no other node had them…
        self.checked_at = 0  # …at this revision

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        self.entries.update(entries)

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        self.pools = frozenset(found)

    @property
    def pools_found(self) -> list[Entry]:
        return [entry for k, entry in self.entries.items() if entry and k.startswith(keys.POOLS)]


@dataclass(frozen=True, slots=True)
class _Step:
    """What must be found out before anything can be written; nothing: it is written."""

    detect: frozenset[int] = frozenset()  # families
    check: frozenset[Address] = frozenset()  # that no other node has them


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Addresses that we wrote, or may have written, without having looked again since."""

    addresses: frozenset[Address]
    before: bytes | None  # our Node resource as it was


class Registration:
    """One node in the store. What failed may be called again."""

    def __init__(
        self, store: Store, config: Config, detect: Detect, vouch: Vouch | None = None
    ) -> None:
        self._store = store
        self._config = config
        self._detect = detect
        self._vouch = vouch
        self._key = keys.node(config.node)
        self._doubt: _Doubt | None = None

    async def register(self) -> None:
        """Write what is missing, and this node's addresses and AS number.

        An address that is new is compared with those of all other nodes, before and after it is
        written: of two nodes that register the same one at once, at least one finds the other and
        takes its own back.

        Raises:
            Unavailable: the store, or who must tell the address, does not answer.
            Invalid: the node has no address, another node has it, or nobody knows a new node.
        """
        if self._vouch and self._key not in (await self._store.read(self._key)).entries:
            await self._vouch()
        await self._write(creates=True)
        log.info("registered node=%s", self._config.node)

    async def follow_address(self) -> None:
        """Keep the Node resource up to date with the addresses that are always detected.

        Returns only if there are none. A Node resource that was deleted stays deleted.
        """
        while any(source.detected == ALWAYS for source in self._config.sources):
            await asyncio.sleep(self._config.poll_interval_s)
            try:
                await self._write(creates=False)
            except OcicatError as error:
                log.warning("node's address is not followed: %s", error)

    async def _write(self, *, creates: bool) -> None:
        stamp = Stamp(str(uuid.uuid4()), datetime.now(UTC))
        facts = _Facts()
        while True:
            step = await settle(
                self._store, facts, lambda: self._decide(facts, stamp, creates=creates)
            )
            if step.detect:
                await self._find(facts, step.detect)
            elif step.check:
                await self._check(facts, step.check)
            else:
                break
        if facts.checked:
            await self._check(facts, facts.checked)
        self._doubt = None

    def _decide(self, facts: _Facts, stamp: Stamp, *, creates: bool) -> Decision[_Step]:
        config = self._config
        defaults = _defaults(config, stamp) if creates else {}
        if needs := _needs(facts, [self._key, *defaults], with_pools=creates):
            return Decision(_Step(), needs=needs)
        entry = facts.entries[self._key]
        if entry is None and not creates:
            return Decision(_Step())
        known = _addresses(entry)
        to_detect = {s.version for s in config.sources if _is_missing(s, known, facts.detected)}
        if to_detect:
            return Decision(_Step(detect=frozenset(to_detect)))
        chosen = {s.version: s.given or facts.detected.get(s.version) for s in config.sources}
        unchecked = self._new(chosen, known) - facts.checked
        if unchecked and config.checks_addresses:
            return Decision(_Step(check=unchecked))
        put = {key: value for key, value in defaults.items() if facts.entries[key] is None}
        pools = _missing_pools(facts, config, stamp) if creates else {}
        put |= pools
        value = codec.encode_node(
            _node(config, chosen),
            stamp,
            entry.value if entry else None,
            kubernetes_name=config.kubernetes_name,
        )
        if entry is None or entry.value != value:
            put[self._key] = value
        expect = {key: entry.revision if (entry := facts.entries.get(key)) else 0 for key in put}
        if pools:  # an operator's that comes at the same moment may overlap with them
            expect[keys.POOLS] = max((entry.revision for entry in facts.pools_found), default=0)
        return Decision(_Step(), Change(expect, put))

    def _new(self, chosen: Addresses, known: Addresses) -> frozenset[Address]:
        """The addresses that this node has not had so far, or not for certain."""
        doubtful = self._doubt.addresses if self._doubt else frozenset()
        old = _ips(known) - doubtful
        return _ips({version: chosen[version] or known[version] for version in known}) - old

    async def _find(self, facts: _Facts, versions: Iterable[int]) -> None:
        known = _addresses(facts.entries[self._key])
        for version in versions:
            try:
                facts.detected[version] = await self._detect(version)
            except OcicatError as error:
                if not known[version]:
                    raise
                log.warning("%s; the node keeps %s", error, known[version])
                facts.detected[version] = None

    async def _check(self, facts: _Facts, wanted: frozenset[Address]) -> None:
        """See that no other node has the addresses; if one does, and we wrote ours, take it back.

        Again, only nodes are read that changed since.

        Raises:
            Invalid: naming the other node.
        """
        listed = await self._store.read(keys.NODES, keys_only=True)
        is_again = wanted <= facts.checked and facts.checked_at <= listed.revision
        since = facts.checked_at if is_again else 0
        others = [k for k, e in listed.entries.items() if e.revision > since and k != self._key]
        for i in range(0, len(others), NODES_AT_ONCE):
            page = await self._store.read(*others[i : i + NODES_AT_ONCE])
            for entry in page.entries.values():
                if taken := wanted & _others(entry):
                    await self._take_back(facts)
                    raise Invalid(
                        f"node {self._config.node}: its address {min(taken, key=int)} is that of "
                        f"node {entry.key.removeprefix(keys.NODES)}; set IP or IP6, or delete "
                        "that node if it is gone"
                    )
        facts.checked |= wanted
        facts.checked_at = facts.checked_at or listed.revision
        own = facts.entries[self._key]
        doubt = self._doubt or _Doubt(wanted, own.value if own else None)
        self._doubt = _Doubt(doubt.addresses | wanted, doubt.before)

    async def _take_back(self, facts: _Facts) -> None:
        if doubt := self._doubt:
            await settle(self._store, facts, lambda: _taking_back(facts, self._key, doubt))
            self._doubt = None


def _needs(facts: _Facts, wanted: Iterable[str], *, with_pools: bool) -> frozenset[str]:
    pools = (facts.pools or ()) if with_pools else ()
    needs = {key for key in (*wanted, *pools) if key not in facts.entries}
    if with_pools and facts.pools is None:
        needs.add(keys.POOLS)
    return frozenset(needs)


def _defaults(config: Config, stamp: Stamp) -> dict[str, bytes]:
    """What every cluster has once, whichever node writes it."""
    guid = uuid.UUID(stamp.uid).hex
    return {
        keys.CLUSTER_INFORMATION: codec.encode_cluster_information(guid, stamp),
        keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG,
        keys.KUBE_CONTROLLERS_CONFIGURATION: codec.encode_kube_controllers_configuration(stamp),
    }


def _missing_pools(facts: _Facts, config: Config, stamp: Stamp) -> dict[str, bytes]:
    """The default pools of families that have none; one that nobody can read may be of either."""
    families: set[int] = set()
    for entry in facts.pools_found:
        try:
            families.add(codec.decode_pool(entry.key, entry.value).cidr.version)
        except Invalid:
            families |= {4, 6}
    missing = [pool for pool in config.default_pools if pool.cidr.version not in families]
    return {keys.pool(pool.name): codec.encode_pool(pool, stamp) for pool in missing}


def _is_missing(source: AddressSource, known: Addresses, detected: Addresses) -> bool:
    """Whether the address is still to be detected."""
    if source.given or source.detected == NEVER or source.version in detected:
        return False
    return source.detected == ALWAYS or not known[source.version]


def _addresses(entry: Entry | None) -> Addresses:
    node = codec.decode_node(entry.key, entry.value) if entry else Node("")
    return {4: node.ipv4, 6: node.ipv6}


def _ips(addresses: Addresses) -> frozenset[Address]:
    return frozenset(address.ip for address in addresses.values() if address)


def _others(entry: Entry) -> frozenset[Address]:
    """Another node's addresses; of a Node that nobody can read none."""
    try:
        return _ips(_addresses(entry))
    except Invalid as error:
        log.warning("node's address is not compared: %s", error)
        return frozenset()


def _node(config: Config, chosen: Addresses) -> Node:
    ipv4, ipv6 = chosen[4], chosen[6]
    assert not isinstance(ipv4, IPv6Interface)
    assert not isinstance(ipv6, IPv4Interface)
    return Node(config.node, ipv4, ipv6, config.as_number)


def _taking_back(facts: _Facts, key: str, doubt: _Doubt) -> Decision[None]:
    """Have the Node as it was before the addresses in doubt; one that was made for them goes."""
    entry = facts.entries[key]
    if entry is None or not doubt.addresses & _others(entry):
        return Decision(None)
    expect = {key: entry.revision}
    if doubt.before is None:
        return Decision(None, Change(expect, delete=frozenset({key})))
    document, before = codec.load(key, entry.value), codec.load(key, doubt.before)
    spec = document.get("spec") or {}
    ours = {k: v for k, v in _bgp(before).items() if k in _OURS}
    others = {k: v for k, v in _bgp(document).items() if k not in _OURS}
    document["spec"] = {**spec, "bgp": {**ours, **others}}
    return Decision(None, Change(expect, {key: codec.dump(document)}))


_OURS = ("asNumber", "ipv4Address", "ipv6Address")  # the others may have been written meanwhile


def _bgp(document: codec.Document) -> codec.Document:
    return (document.get("spec") or {}).get("bgp") or {}
