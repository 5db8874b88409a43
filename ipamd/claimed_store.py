"""A store to which only the machine writes that runs under the node's name.

No I/O of its own. The claim is compared in the same transaction: it costs no call of its own, and
however long this process has slept since it last looked, what it writes then is not written.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from datamodel.errors import Unavailable
from datastore.store import MAX_OPERATIONS, Change, Committed, Events, Rejected, Snapshot, Store
from ipamd.claim import NameClaim

ROOM = MAX_OPERATIONS - 1  # for other operations than comparing the claim


_LOST = "ipamd: its claim on the node's name has changed meanwhile; try again"


class NameLost(Unavailable):
    """Nothing is written: another machine may run under the name."""


class ClaimedStore:
    """Another store, with every change bound to the claim."""

    def __init__(self, store: Store, claim: NameClaim) -> None:
        self._store = store
        self._claim = claim

    @property
    def epoch(self) -> int:
        """As of the other store."""
        return self._store.epoch

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        """Read from the other store."""
        return await self._store.read(*ranges, keys_only=keys_only)

    async def commit(self, change: Change) -> Committed | Rejected:
        """Make the change if, besides, the name is this machine's.

        Raises:
            NameLost: it is not.
        """
        claim = self._claim
        key, revision = claim.key, claim.revision
        if not revision:
            raise NameLost(claim.trouble or _LOST)
        answer = await self._store.commit(replace(change, expect={**change.expect, key: revision}))
        if isinstance(answer, Committed):
            return answer
        actual = dict(answer.actual)
        found = actual.pop(key, None)
        if found is None or found.revision != revision:
            claim.lose(revision)
            raise NameLost(claim.trouble or _LOST)
        return Rejected(answer.revision, actual)

    def watch(self, ranges: frozenset[str], after: int) -> AsyncIterator[Events]:
        """Watch the other store."""
        return self._store.watch(ranges, after)

    async def close(self) -> None:
        """Close the other store."""
        await self._store.close()
