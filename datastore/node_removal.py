"""The story of deleting a node: the node first, then all that it leaves behind.

It acts on the store that it is given. Its peers stop using its routes before its addresses and
blocks are free for others. It can be interrupted at every step: the same call then goes on where
the last one ended.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.pool import Network
from datastore import codec, keys
from datastore.codec_claim import decode_claim
from datastore.departed import Alive, Departed, decide_block, decide_resources
from datastore.known import Known
from datastore.store import Change, Committed, Decision, Entry, Events, Snapshot, Store, settle
from datastore.taken import Deleted, Taken

Say = Callable[[str], None]

AT_ONCE = 100  # small values that are read, or deleted, together
BLOCKS_AT_ONCE = 32  # a large block is a megabyte
LONG = 1000  # of so many blocks it is told how far it has come


async def delete_node(
    store: Store,
    name: str,
    say: Say,
    *,
    is_trial: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Deleted:
    """Delete the node, release what it holds, let its blocks go, delete what is meant for it.

    A value that cannot be read is left, and named in the result.

    Args:
        store: where.
        name: the node's; only what it left behind may be there.
        say: told how far it has come if that takes long.
        is_trial: write nothing, only find out what would be done.
        now: the time.

    Raises:
        Invalid: there is nothing of the node, or it has registered again meanwhile.
        Unavailable: the store does not answer; call again.
    """
    store = Trial(store) if is_trial else store
    known, done = Known(), Deleted(name, is_trial)
    await _warn_of_ipamd(store, name, say)
    await _learn(store, known, keys.node(name), keys.IPAM_CONFIG)
    done.had_node = known[keys.node(name)] is not None
    await settle(store, known, partial(_decide_node, name, known))
    done.mistakes += await take_back(store, known, Departed(name, {}, now()), done.add, say)
    if done.is_empty:
        raise Invalid(f"resource does not exist: Node({name})")
    return done


async def take_back(
    store: Store, known: Known, gone: Departed, told: Callable[[Taken], None], say: Say
) -> list[str]:
    """Take back all that a node has left whose resource is gone; return what cannot be read.

    Args:
        store: where.
        known: what was read already.
        gone: the node; its endpoints and the cooldown are found out.
        told: of each transaction when it is made.
        say: told how far it has come if that takes long.

    Raises:
        Alive: the node is there again.
        Unavailable: the store does not answer; call again.
    """
    await _learn(store, known, keys.node(gone.name), keys.IPAM_CONFIG)
    endpoints, endpoint_keys = await _endpoints(store, gone.name, known)
    node = replace(gone, endpoints=endpoints, cooldown_s=_cooldown_s(known))
    mistakes: list[str] = []
    for cidr in await _blocks(store, node, known, say, mistakes):
        try:
            await _let_go(store, node, cidr, known, told)
        except Alive:
            raise
        except Invalid as error:
            mistakes.append(str(error))
    await _learn(store, known, *node.belongings)
    others = [*endpoint_keys, *await _mentioned(store, node, known), *node.belongings]
    for some in _portions(others, AT_ONCE):
        told(await settle(store, known, partial(decide_resources, node, some, known)))
    return mistakes


class Trial:
    """A store to which nothing is written: every change seems to be made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def epoch(self) -> int:
        """That of the real one."""
        return self._store.epoch

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Return what the ranges hold in earnest."""
        return await self._store.read(*ranges, keys_only=keys_only)

    async def commit(self, change: Change) -> Committed:
        """Say that it was made."""
        return Committed(0)

    def watch(self, ranges: frozenset[str], after: int) -> AsyncIterator[Events]:
        """Yield what others change."""
        return self._store.watch(ranges, after)

    async def close(self) -> None:
        """Close the real one."""
        await self._store.close()


async def _warn_of_ipamd(store: Store, name: str, say: Say) -> None:
    """Say so if the node's ipamd runs, or has only just ended."""
    key = keys.claim(name)
    with contextlib.suppress(Invalid):  # whoever may not see it deletes as if it were not there
        if entry := (await store.read(key)).entries.get(key):
            machine = decode_claim(key, entry.value).machine
            say(
                f"node {name}: its ipamd runs, or did a moment ago ({machine}); stop that node, "
                "else its pods lose their addresses to others"
            )


def _decide_node(name: str, known: Known) -> Decision[None]:
    key = keys.node(name)
    entry = known[key]
    if entry is None:
        return Decision(None)
    return Decision(None, Change({key: entry.revision}, delete=frozenset({key})))


async def _let_go(
    store: Store, node: Departed, cidr: Network, known: Known, told: Callable[[Taken], None]
) -> None:
    """Take back all that the node has in a block, in as many transactions as that needs."""
    while (
        taken := await settle(store, known, partial(decide_block, node, cidr, known))
    ) != Taken():
        told(taken)


# ---- what there is of the node -----------------------------------------------------------------


async def _endpoints(store: Store, name: str, known: Known) -> tuple[dict[Address, str], list[str]]:
    """The node's workload endpoints by their addresses, and all of their keys."""
    listed = await store.read(keys.ENDPOINTS, keys_only=True)
    own = [key for key in listed.entries if _is_named_after(key, name)]
    found: dict[Address, str] = {}
    async for entry in _values(store, own, AT_ONCE):
        known.learn(0, {entry.key: entry})
        with contextlib.suppress(Invalid):
            endpoint = codec.decode_endpoint(entry.key, entry.value)
            if endpoint.id.node == name:
                found |= {network.network_address: entry.key for network in endpoint.networks}
    return found, [key for key in own if key in known]


def _is_named_after(key: str, name: str) -> bool:
    """Whether an endpoint's name begins with the node's, in which a dash is written twice."""
    prefix = f"{name.replace('-', '--')}-"
    rest = key.rpartition("/")[2]
    return rest.startswith(prefix) and not rest.startswith(f"{prefix}-")


async def _blocks(
    store: Store, node: Departed, known: Known, say: Say, mistakes: list[str]
) -> list[Network]:
    """The blocks that the node owns, or holds something in: of the whole cluster's each is read."""
    listed = await store.read(keys.ALL_BLOCKS, keys_only=True)
    ties = (f"{keys.ALL_AFFINITIES}{node.name}/", keys.borrowings(node.name))
    found = {}
    for key in (await store.read(*ties, keys_only=True)).entries:
        try:
            tied = keys.cidr_of(key)
            found[keys.block(tied)] = tied
        except Invalid as error:
            mistakes.append(f"{error}; delete it")
    seen = 0
    async for entry in _values(store, sorted(listed.entries), BLOCKS_AT_ONCE):
        cidr = _cidr(entry.key)
        is_mentioned = node.name.encode() in entry.value or entry.key in found
        if cidr and (is_mentioned or _has_any(cidr, node.endpoints)):
            known.learn(0, {entry.key: entry})
            found[entry.key] = cidr
        seen += 1
        if seen % LONG == 0:
            say(f"node {node.name}: {seen} of {len(listed.entries)} blocks looked at")
    return list(found.values())


def _cidr(key: str) -> Network | None:
    with contextlib.suppress(Invalid):
        return keys.cidr_of(key)
    return None


def _has_any(cidr: Network, addresses: Iterable[Address]) -> bool:
    return any(address in cidr for address in addresses)


async def _mentioned(store: Store, node: Departed, known: Known) -> list[str]:
    """The keys of the peers and host endpoints that mention the node."""
    listed = await store.read(keys.BGP_PEERS, keys.HOST_ENDPOINTS, keys_only=True)
    found = []
    async for entry in _values(store, sorted(listed.entries), AT_ONCE):
        if node.name.encode() in entry.value:
            known.learn(0, {entry.key: entry})
            found.append(entry.key)
    return found


def _cooldown_s(known: Known) -> int:
    entry = known[keys.IPAM_CONFIG]
    with contextlib.suppress(Invalid):
        return codec.decode_ipam_config(entry.value if entry else None).ip_cooldown_s
    return 0


async def _learn(store: Store, known: Known, *wanted: str) -> None:
    """Read the keys that are not known; in a trial the others are as they would be."""
    if missing := [key for key in wanted if key not in known]:
        snapshot = await store.read(*missing)
        known.learn(snapshot.revision, {key: snapshot.entries.get(key) for key in missing})


async def _values(store: Store, wanted: Sequence[str], at_once: int) -> AsyncIterator[Entry]:
    """What the keys hold, a portion at a time; those that are gone meanwhile are left out."""
    for some in _portions(wanted, at_once):
        for entry in (await store.read(*some)).entries.values():
            yield entry


def _portions(wanted: Sequence[str], size: int) -> list[Sequence[str]]:
    return [wanted[i : i + size] for i in range(0, len(wanted), size)]
