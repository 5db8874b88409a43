"""The story of deleting an IPPool: disable it, let its blocks go, delete it.

It acts on the store that it is given. It can be interrupted at every step; the same call then goes
on where the last one ended. As with calicoctl, addresses that are in use stay so: their blocks lose
the node that they belong to, and are gone when the last address is released.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from datamodel.errors import Invalid
from datamodel.pool import Network, Pool
from datastore import keys
from datastore.codec import decode_block, decode_pool, dump, load
from datastore.known import Known
from datastore.store import Change, Decision, Store, settle
from ocicatctl.entries import decoded, raise_for
from ocicatctl.resources.change import Outcome, decide_delete, refusal
from ocicatctl.resources.disown import decide_disown
from ocicatctl.resources.manifest import Resource, Verb

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]

SETTLE_S = 0.5  # Calico's: time for allocations under way to end after the pool is disabled
AT_ONCE = 64  # blocks that are read together; a large one is a megabyte
TOLD_EVERY = 8 * AT_ONCE  # blocks after which it is told how far it has come
_ROUNDS = 10  # how often blocks are let go that nodes have claimed meanwhile

Claims = dict[Network, list[str]]  # a block, and the affinities that name it


async def delete_pool(store: Store, resource: Resource, say: Say, sleep: Sleep) -> Outcome:
    """Delete the pool; say how far it has come if it has many blocks.

    Raises:
        Invalid: the pool or one of its blocks cannot be read, which is looked at first; or nodes
            go on claiming blocks. The pool is not deleted then.
    """
    known = Known()
    await _check_readable(store, resource.key)
    outcome = await settle(store, known, partial(_disable, resource, known))
    entry = known[resource.key]
    if outcome is not Outcome.DONE or entry is None:
        return outcome
    pool = decode_pool(entry.key, entry.value)
    await sleep(SETTLE_S)
    claims = await _claims(store, pool, with_unowned=True)
    for _ in range(_ROUNDS):
        await _disown_all(store, pool, claims, say)
        claims = await _claims(store, pool, with_unowned=False)
        if not claims:
            break
    else:
        raise Invalid(f"{pool}: nodes go on claiming blocks of it; look at their ipamd")
    # The first step has given it another revision than the one that was asked for.
    rest = replace(resource, revision="")
    return await settle(store, known, partial(decide_delete, rest, known))


async def _check_readable(store: Store, key: str) -> None:
    """See that nothing will stand in the way half-way."""
    for entry in (await store.read(key)).entries.values():
        pool = decode_pool(key, entry.value)
        mistakes: list[str] = []
        blocks = [keys.block(cidr) for cidr in await _claims(store, pool, with_unowned=True)]
        for start in range(0, len(blocks), AT_ONCE):
            some = await store.read(*blocks[start : start + AT_ONCE])
            mistakes += decoded(some.entries.values(), lambda e: decode_block(e.key, e.value))[1]
        if mistakes:
            raise_for([*mistakes, f"{pool}: is not deleted; mend these first"])


def _disable(resource: Resource, known: Known) -> Decision[Outcome]:
    key = resource.key
    if key not in known:
        return Decision(Outcome.DONE, needs=frozenset({key}))
    entry = known[key]
    seen = {key: entry.revision if entry else 0}
    refused = refusal(Verb.DELETE, resource, entry)
    if refused or entry is None:
        return Decision(refused or Outcome.MISSING, Change(expect=seen))
    if decode_pool(key, entry.value).disabled:
        return Decision(Outcome.DONE, Change(expect=seen))
    document: dict[str, Any] = load(key, entry.value)
    value = dump({**document, "spec": {**document["spec"], "disabled": True}})
    return Decision(Outcome.DONE, Change(expect=seen, put={key: value}))


async def _claims(store: Store, pool: Pool, *, with_unowned: bool) -> Claims:
    """The pool's blocks that nodes own; or all, since those may hold what nobody uses."""
    pools = await store.read(keys.POOLS)
    others = [
        other
        for other in decoded(pools.entries.values(), lambda e: decode_pool(e.key, e.value))[0]
        if other.name != pool.name
    ]

    def is_ours(cidr: Network) -> bool:
        # Where pools overlap, which Calico lets nobody make, a block may be the other one's.
        return pool.contains(cidr) and not any(other.contains(cidr) for other in others)

    found: Claims = {}
    prefixes = (keys.ALL_BLOCKS, keys.ALL_AFFINITIES) if with_unowned else (keys.ALL_AFFINITIES,)
    below = await store.read(*prefixes, keys_only=True)
    for key, cidr in decoded(below.entries.values(), lambda e: (e.key, keys.cidr_of(e.key)))[0]:
        if is_ours(cidr):
            names = found.setdefault(cidr, [])
            names += [key] if key.startswith(keys.ALL_AFFINITIES) else []
    return found


async def _disown_all(store: Store, pool: Pool, claims: Claims, say: Say) -> None:
    mistakes: list[str] = []
    cidrs = sorted(claims, key=lambda cidr: int(cidr.network_address))
    for start in range(0, len(cidrs), AT_ONCE):
        some = cidrs[start : start + AT_ONCE]
        known = Known()
        wanted = [key for cidr in some for key in (keys.block(cidr), *claims[cidr])]
        snapshot = await store.read(*wanted)
        known.learn(snapshot.revision, {key: snapshot.entries.get(key) for key in wanted})
        for cidr in some:
            try:
                await settle(store, known, partial(decide_disown, cidr, claims[cidr], known))
            except Invalid as error:
                mistakes.append(str(error))
        done, total = start + len(some), len(cidrs)
        if total > TOLD_EVERY and (done % TOLD_EVERY == 0 or done == total):
            say(f"{pool}: {done} of {total} blocks released")
    if mistakes:
        raise_for([*mistakes, f"{pool}: is disabled, but not deleted; mend these first"])
