"""The story of ``create``, ``apply`` and ``replace``: check everything, then write one by one.

It acts on the store that it is given. What can be known before the first write is a mistake of the
whole command; what only turns out at a write (somebody else's change, an object that exists) is
told for that object, and the others are written all the same, as calicoctl does.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from datamodel.pool import Network, Pool
from datastore import keys
from datastore.codec import Stamp
from datastore.known import Known
from datastore.store import Decision, Store, settle
from ocicatctl.entries import decoded, raise_for
from ocicatctl.resources.change import Outcome, decide_write
from ocicatctl.resources.kinds import POOL
from ocicatctl.resources.manifest import Resource, Verb
from ocicatctl.resources.outcome import Report, one_by_one
from ocicatctl.resources.pools import mistakes_beside
from ocicatctl.resources.rules import pool_of


async def write(
    store: Store,
    verb: Verb,
    resources: Sequence[Resource],
    stamp: Callable[[], Stamp],
    *,
    skip_exists: bool = False,
) -> Report:
    """Write the resources in the order given; those that are refused are in the report.

    Args:
        store: where to.
        verb: what to do with one that exists, or does not.
        resources: what to write.
        stamp: makes the identity of a new object.
        skip_exists: count one that exists as done.

    Raises:
        Invalid: something is wrong with at least one of them, and none was written.
    """
    known = Known()
    blocks: list[Network] = []
    if pools := [resource for resource in resources if resource.kind is POOL]:
        known.take(await store.read(keys.POOLS))
        blocks = await _blocks(store)
        raise_for(_pool_mistakes(verb, pools, known, blocks))

    async def write_one(resource: Resource) -> Outcome:
        decide = partial(_decide, verb, resource, stamp(), known, blocks)
        return await settle(store, known, decide)

    fine = {Outcome.DONE, Outcome.EXISTS} if skip_exists else {Outcome.DONE}
    return await one_by_one(Report(verb, resources), write_one, fine)


async def _blocks(store: Store) -> list[Network]:
    below = await store.read(keys.ALL_BLOCKS, keys_only=True)
    return decoded(below.entries.values(), lambda entry: keys.cidr_of(entry.key))[0]


def _pool_mistakes(
    verb: Verb, pools: Sequence[Resource], known: Known, blocks: Sequence[Network]
) -> list[str]:
    """What is wrong with the pools beside what is stored and beside each other."""
    found: list[str] = []
    earlier: list[Pool] = []
    for resource in pools:
        exists = resource.key in known
        # That one exists, or does not, is told when it is its turn.
        if not (exists if verb is Verb.CREATE else verb is Verb.REPLACE and not exists):
            found += mistakes_beside(resource, known, blocks, earlier)
            earlier.append(pool_of(resource.name, resource.spec))
    return found


def _decide(
    verb: Verb, resource: Resource, stamp: Stamp, known: Known, blocks: Sequence[Network]
) -> Decision[Outcome]:
    """Decide, after another look at what somebody may have changed since all was checked.

    A pool is written only if no other one was meanwhile, since that may overlap with it.
    """
    decision = decide_write(verb, resource, stamp, known)
    change = decision.change
    if not (change.put and resource.kind is POOL):
        return decision
    raise_for(mistakes_beside(resource, known, blocks))
    newest = max((entry.revision for entry in known.below(keys.POOLS)), default=0)
    return replace(decision, change=replace(change, expect={**change.expect, keys.POOLS: newest}))
