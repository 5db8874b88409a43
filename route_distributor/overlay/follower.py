"""Follows what other nodes have, in a mirror of its own.

Story. The agent's mirror is for what changes rarely. Here blocks change whenever a pod comes or
goes; only what that means for routes is told on.
"""

import asyncio

from datastore.mirror import Mirror
from datastore.store import Store
from route_distributor.overlay.remote import Remote, RemoteReader, ranges_of


class RemoteFollower:
    """What other nodes have, as etcd says it now."""

    def __init__(self, store: Store) -> None:
        self._reader = RemoteReader()
        self._mirror = Mirror(store, ranges_of, self._reader.observe)
        self._remote: Remote | None = None
        self._change = asyncio.Event()

    @property
    def remote(self) -> Remote | None:
        """What is known; ``None`` before anything was. While etcd is away it stays as it was."""
        return self._remote

    async def changed(self) -> None:
        """Wait until ``remote`` is another one than when this last returned."""
        await self._change.wait()
        self._change.clear()

    async def run(self) -> None:
        """Follow the store; never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mirror.run())
            tasks.create_task(self._tell())

    async def _tell(self) -> None:
        while True:
            await self._mirror.changed()
            if self._mirror.is_ready and self._reader.remote != self._remote:
                self._remote = self._reader.remote
                self._change.set()
