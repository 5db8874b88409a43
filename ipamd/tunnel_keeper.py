"""Keeps the addresses of the node's tunnels right: asks for them whenever something changes.

Story. The decision is ``tunnels.py``; the writing is the allocator's, like all writing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from datamodel.block import Address, Block
from datamodel.errors import OcicatError
from datamodel.tunnel import TUNNELS, Tunnel
from datastore import keys
from datastore.mirror import Mirror
from ipamd.allocator import Allocator
from ipamd.request import KeepTunnel

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
RETRY_PAUSE_S = 10.0

# How often the store turned out to be another one; the revisions of pools and Node; what is held.
_State = tuple[int, frozenset[tuple[str, int]], frozenset[Address]]


class TunnelKeeper:
    """See the module.

    Args:
        blocks: every readable block that the mirror follows.
    """

    def __init__(
        self,
        mirror: Mirror,
        allocator: Allocator,
        node: str,
        blocks: Callable[[], Iterable[Block]],
    ) -> None:
        self._mirror = mirror
        self._allocator = allocator
        self._node = node
        self._blocks = blocks
        self._handles = tuple(tunnel.handle_id(node) for tunnel in TUNNELS)
        self._troubles: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Ask at first, after every change of what matters, and again if that was in vain."""
        while True:
            while not self._mirror.is_ready:
                await self._mirror.ready_changed()
            state = self._state()
            await self._ask()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_PAUSE_S if self._troubles else None):
                    while self._state() == state:
                        await self._mirror.changed()

    async def _ask(self) -> None:
        found = await asyncio.gather(*(self._keep(tunnel) for tunnel in TUNNELS))
        troubles = frozenset(filter(None, found))
        for text in sorted(troubles - self._troubles):
            log.warning("%s", text)
        self._troubles = troubles

    async def _keep(self, tunnel: Tunnel) -> str:
        """Have one tunnel's address decided; return what stands in the way."""
        try:
            await self._allocator.submit(KeepTunnel(tunnel), TIMEOUT_S)
        except OcicatError as error:
            return f"{tunnel} of node {self._node}: {error}"
        return ""

    def _state(self) -> _State:
        """What the decision depends on. Pods change none of it, and ask for no decision."""
        own = keys.node(self._node)
        rules = frozenset(
            (key, entry.revision)
            for key, entry in self._mirror.entries.items()
            if key == own or key.startswith(keys.POOLS)
        )
        held = frozenset(
            address
            for block in self._blocks()
            for handle_id in self._handles
            for address in block.sequences_of(handle_id)
        )
        return self._mirror.restorations, rules, held
