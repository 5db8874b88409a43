"""The IPReservation that keeps ipamd from giving out what host-local may still give out.

Edge: etcd.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from datastore.codec import Stamp
from datastore.known import Known
from datastore.store import Store, settle
from ocicatctl.resources.manifest import Resource
from ocicatctl.store import with_store
from ocicatctl.upgrade.host_local import Configuration
from ocicatctl.upgrade.plan import (
    decide_reserve,
    decide_unreserve,
    reservation,
    reserved_during,
)

Say = Callable[[str], None]


def reserve(node: str, configuration: Configuration, say: Say) -> int:
    """Have no ipamd give out addresses of the ranges by itself; return the revision of that."""
    cidrs = reserved_during(configuration.ranges)
    revision = with_store(
        partial(write_reservation, reservation(node, configuration.network, cidrs))
    )
    say(f"IPReservation host-local-{node} reserves {', '.join(cidrs)}")
    return revision


async def write_reservation(resource: Resource, store: Store) -> int:
    """Write it, whether it is there or not; return the revision."""
    known = Known()
    stamp = Stamp(str(uuid.uuid4()), datetime.now(UTC))
    await settle(store, known, partial(decide_reserve, resource, stamp, known))
    entry = known[resource.key]
    return entry.revision if entry else 0


async def delete_reservation(resource: Resource, store: Store) -> None:
    """Delete it; none is success."""
    known = Known()
    await settle(store, known, partial(decide_unreserve, resource, known))
