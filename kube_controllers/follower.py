"""Keeps a copy of one kind of resources: list, watch, list again on any doubt.

Story. What it hears goes into ``cluster.py``, which knows since when there was no gap.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Generic, TypeVar

from datamodel.errors import OcicatError
from kube_api.answer import Expired, Refused
from kube_controllers.api import Api
from kube_controllers.cluster import Copy

log = logging.getLogger(__name__)

K = TypeVar("K")
T = TypeVar("T")

MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0
SILENCE_S = 120.0  # a watch that has told nothing for so long leads nowhere
_SOCKET_GRACE_S = 30.0  # the event loop's clock decides first
_REMEDIES = {
    401: "the controller's token is not valid",
    403: 'the controller\'s account needs "get", "list" and "watch" of "nodes" and "pods"',
}


class Follower(Generic[K, T]):
    """One kind, followed."""

    def __init__(self, api: Api, copy: Copy[K, T], lost: Callable[[], None]) -> None:
        """*lost* is called when a resource that was there is gone."""
        self._api = api
        self._copy = copy
        self._lost = lost
        self.trouble = "Kubernetes API: has not answered yet"  # why it is not known; "": it is
        self.lists = 0
        self.failures = 0

    @property
    def kind(self) -> str:
        """What is followed, in the plural."""
        return self._copy.kind

    @property
    def count(self) -> int:
        """How many are known."""
        return len(self._copy.items)

    async def run(self) -> None:
        """Follow; never returns."""
        pause_s = MIN_PAUSE_S
        while True:
            begun_s = _clock_s()
            try:
                if not self._copy.version:
                    await self._list()
                await self._watch()
                pause_s = MIN_PAUSE_S
            except OcicatError as error:
                if isinstance(error, Expired):
                    log.info("%s are listed again: %s", self._copy.kind, error)
                else:
                    self.failures += 1
                    self._complain(_with_remedy(error))
                self._copy.version = ""
                is_new = _clock_s() - begun_s > MAX_PAUSE_S
                pause_s = MIN_PAUSE_S if is_new else min(2 * pause_s, MAX_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _list(self) -> None:
        asked_s = _clock_s()
        listing = await self._api.list_all(self._copy.kind)
        losses = self._copy.losses
        self._copy.take_list(listing.items, listing.version, asked_s)
        self.lists += 1
        if self.trouble:
            log.info("%s are known: %d", self._copy.kind, len(self._copy.items))
        self.trouble = ""
        self._tell(losses)

    async def _watch(self) -> None:
        """Follow from where we are until the API ends the watch, as it does after a while."""
        with closing(await self._api.watch(self._copy.kind, self._copy.version)) as watch:
            while True:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        events = await self._api.read(watch, SILENCE_S + _SOCKET_GRACE_S)
                except TimeoutError:
                    log.info("watch of %s tells nothing; listing again", self._copy.kind)
                    self._copy.version = ""
                    return
                if events is None:
                    return
                losses = self._copy.losses
                self._copy.take_events(events, _clock_s())
                self._tell(losses)

    def _tell(self, losses: int) -> None:
        if self._copy.losses != losses:
            self._lost()

    def _complain(self, trouble: str) -> None:
        """Say once what is wrong, and again only if it is something else."""
        if trouble != self.trouble:
            log.warning("%s are not followed: %s", self._copy.kind, trouble)
        self.trouble = trouble


def _with_remedy(error: OcicatError) -> str:
    remedy = _REMEDIES.get(error.status) if isinstance(error, Refused) else None
    return f"{error}; {remedy}" if remedy else str(error)


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
