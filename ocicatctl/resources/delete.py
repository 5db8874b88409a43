"""The story of ``delete``: each resource in its own way, in the order given.

It acts on the store that it is given.
"""

from collections.abc import Sequence
from functools import partial

from datamodel.errors import Invalid
from datastore.known import Known
from datastore.store import Store, settle
from ocicatctl.entries import raise_for
from ocicatctl.resources.change import Outcome, decide_delete, refusal
from ocicatctl.resources.kinds import NODE, POOL
from ocicatctl.resources.manifest import Resource, Verb
from ocicatctl.resources.outcome import Report, one_by_one
from ocicatctl.resources.pool_delete import Say, Sleep, delete_pool


async def delete(
    store: Store,
    resources: Sequence[Resource],
    say: Say,
    sleep: Sleep,
    *,
    skip_not_exists: bool = False,
) -> Report:
    """Delete the resources in the order given; those that are refused are in the report."""
    fine = {Outcome.DONE, Outcome.MISSING} if skip_not_exists else {Outcome.DONE}
    report = Report(Verb.DELETE, resources)
    return await one_by_one(report, lambda resource: _delete(store, resource, say, sleep), fine)


async def _delete(store: Store, resource: Resource, say: Say, sleep: Sleep) -> Outcome:
    if resource.kind is POOL:
        return await delete_pool(store, resource, say, sleep)
    if resource.kind is NODE:
        return await _delete_node(store, resource, say)
    known = Known()
    return await settle(store, known, partial(decide_delete, resource, known))


async def _delete_node(store: Store, resource: Resource, say: Say) -> Outcome:
    """Delete a node as ``ocicatctl node delete`` does; what is left of one that is gone, too."""
    from datastore.node_removal import delete_node

    if resource.revision:
        entry = (await store.read(resource.key)).entries.get(resource.key)
        if refused := refusal(Verb.DELETE, resource, entry):
            return refused
    try:
        deleted = await delete_node(store, resource.name, say)
    except Invalid as error:
        if str(error) == f"{Outcome.MISSING.value}: {resource.title}":
            return Outcome.MISSING
        raise
    say(deleted.text.rstrip())
    raise_for(deleted.mistakes)
    return Outcome.DONE
