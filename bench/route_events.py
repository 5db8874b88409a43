"""Listens to the routes of several network namespaces: when each kernel gets one.

Edge: netlink, namespaces. One thread and one clock for all of them.
"""

import os
import selectors
import time
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Self

from cni_plugin import netns
from datamodel.errors import Unavailable
from datamodel.pool import Network
from kernel_api.lookup import parse_route
from kernel_api.netlink import Announcements
from kernel_api.rtnetlink import RTM_NEWROUTE, RTNLGRP_IPV4_ROUTE
from ocicatctl.lab.system import NETNS


class RouteEvents:
    """``with RouteEvents(namespaces) as events:`` hears every new IPv4 route."""

    def __init__(self, namespaces: Iterable[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = {name: _listening(name) for name in namespaces}
        for name, listening in self._sockets.items():
            self._selector.register(listening, selectors.EVENT_READ, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._selector.close()
        for listening in self._sockets.values():
            listening.close()

    def wait(self, wanted: Collection[Network], timeout_s: float) -> dict[str, float]:
        """Return by ``time.monotonic`` when each namespace had got the last of these routes.

        Raises:
            Unavailable: one did not in time.
        """
        missing = {name: set(wanted) for name in self._sockets}
        complete: dict[str, float] = {}
        deadline = time.monotonic() + timeout_s
        while len(complete) < len(missing):
            if (left := deadline - time.monotonic()) <= 0:
                late = ", ".join(sorted(missing.keys() - complete.keys()))
                raise Unavailable(f"routes: not in {late} after {timeout_s:g} s")
            for key, _ in self._selector.select(left):
                name = key.data
                missing[name] -= _new_routes(self._sockets[name])
                if not missing[name]:
                    complete.setdefault(name, time.monotonic())
        return complete


def _listening(namespace: str) -> Announcements:
    fd = os.open(NETNS / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netns.entered(fd):
            return Announcements(RTNLGRP_IPV4_ROUTE)
    finally:
        os.close(fd)


def _new_routes(listening: Announcements) -> set[Network]:
    routes = (
        parse_route(message.payload, {})
        for message in listening.read()
        if message.kind == RTM_NEWROUTE
    )
    return {route.network for route in routes if route}
