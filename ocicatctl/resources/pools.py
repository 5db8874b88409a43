"""What is wrong with an IPPool because of the pools and blocks that are there.

Pure: no I/O. The rules themselves are the model's (``datamodel/pool.py``).
"""

from collections.abc import Iterable

from datamodel.errors import Invalid
from datamodel.pool import Network, Pool, mistakes_against
from datastore import keys
from datastore.codec import decode_pool
from datastore.known import Known
from datastore.store import Entry
from ocicatctl.resources.manifest import Resource
from ocicatctl.resources.rules import pool_of


def mistakes_beside(
    resource: Resource, known: Known, blocks: Iterable[Network], earlier: Iterable[Pool] = ()
) -> list[str]:
    """What Calico would refuse about the pool because of what is stored, or stands before it.

    Args:
        resource: the pool.
        known: the stored pools.
        blocks: every block of the cluster.
        earlier: the pools that the same command writes before this one.
    """
    others = {pool.name: pool for pool in map(_stored, known.below(keys.POOLS)) if pool}
    before = others.get(resource.name)
    others |= {pool.name: pool for pool in earlier}
    found = mistakes_against(
        pool_of(resource.name, resource.spec), [*others.values()], blocks, before
    )
    return [resource.wrong(f"spec: {what}") for what in found]


def _stored(entry: Entry) -> Pool | None:
    """A stored pool; one that nobody can read forbids nothing."""
    try:
        return decode_pool(entry.key, entry.value)
    except Invalid:
        return None
