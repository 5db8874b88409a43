"""Notices when somebody else deletes a route that BIRD has put into the kernel.

Edge: netlink. The kernel tells of every route with the socket that asked for the change: what that
of BIRD deletes, BIRD does not want any more.
"""

import asyncio
import contextlib

from kernel_api.netlink import Announcements, Message, attributes
from kernel_api.rtnetlink import (
    ROUTE,
    RTA_DST,
    RTA_PRIORITY,
    RTM_DELROUTE,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_ROUTE,
)
from route_distributor.readable import readable

RTPROT_BIRD = 12

PATIENCE_S = 0.5  # BIRD takes milliseconds to put its routes back

_Key = tuple[int, int, int, bytes, bytes]  # family, prefix length, table, destination, metric


class KernelRoutes:
    """BIRD's routes in the network namespace that the thread is in when it makes this, for good."""

    def __init__(self) -> None:
        self._announcements = Announcements(RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE)
        self._bird: int | None = None  # the socket of BIRD; None: it has made no route so far
        self._missing: set[_Key] = set()  # those that somebody deleted, until BIRD puts them back
        self._has_missed = False  # there was too much to hear
        self._put_back = 0  # how many, since somebody last asked

    def close(self) -> None:
        """Notice nothing more."""
        self._announcements.close()

    def are_missing(self) -> bool:
        """Tell whether somebody has deleted a route that BIRD has not put back yet."""
        self._listen()
        return bool(self._missing) or self._has_missed

    async def disturbed(self) -> None:
        """Wait until somebody has deleted a route of BIRD's. May be cancelled."""
        while not (self.are_missing() or self._put_back):
            await readable(self._announcements.fileno())

    async def put_back(self) -> int:
        """Wait a moment for BIRD to put back what is missing.

        Returns:
            How many routes it has put back since this was last called.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self._missing:
                    await readable(self._announcements.fileno())
                    self._listen()
        self._missing.clear()  # BIRD has withdrawn what is left
        self._has_missed = False
        count, self._put_back = self._put_back, 0
        return count

    def _listen(self) -> None:
        try:
            for message in self._announcements.read():
                self._take(message)
        except OSError:
            self._has_missed = True

    def _take(self, message: Message) -> None:
        if message.kind not in (RTM_NEWROUTE, RTM_DELROUTE):
            return
        family, length, _, _, table, protocol, *_ = ROUTE.unpack_from(message.payload)
        if protocol != RTPROT_BIRD:
            return
        found = attributes(message.payload, ROUTE.size)
        metric = found.get(RTA_PRIORITY, b"")
        key = (family, length, table, found.get(RTA_DST, b""), metric)
        if message.kind == RTM_DELROUTE:
            if message.port != self._bird:
                self._missing.add(key)
            return
        self._bird = message.port
        if key in self._missing:
            self._missing.discard(key)
            self._put_back += 1
