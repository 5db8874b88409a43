"""What the controller asks of the Kubernetes API, without holding up the event loop.

Edge: threads, in which the blocking client waits.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from kube_api.answer import Document, Event, Refused
from kube_api.client import ApiClient, Listing
from kube_api.watch import Watch

T = TypeVar("T")

TIMEOUT_S = 10.0  # for one answer, or one page of a list


class Api(Protocol):
    """As ``KubeApi`` has it. Every call raises what ``kube_api.client`` does."""

    async def list_all(self, kind: str, field_selector: str = "") -> Listing:
        """All resources of a kind, not from a cache."""

    async def get(self, kind: str, name: str, namespace: str = "") -> Document | None:
        """One resource, not from a cache; ``None``: the API itself says that there is none."""

    async def watch(self, kind: str, after: str) -> Watch:
        """Begin to follow a kind."""

    async def read(self, watch: Watch, timeout_s: float) -> list[Event] | None:
        """What a watch tells next; ``None``: it has ended."""


def _close(begun: "asyncio.Future[Watch]") -> None:
    """Close a watch that nobody wants any more."""
    if not begun.cancelled() and begun.exception() is None:
        begun.result().close()


class KubeApi:
    """One API server."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.waiting = 0  # calls that wait for an answer; those of watches are not counted

    async def list_all(self, kind: str, field_selector: str = "") -> Listing:
        """See ``Api``."""
        return await self._call(
            lambda: self._client.list_all(kind, field_selector=field_selector, timeout_s=TIMEOUT_S)
        )

    async def get(self, kind: str, name: str, namespace: str = "") -> Document | None:
        """See ``Api``."""
        try:
            return await self._call(
                lambda: self._client.get(kind, name, namespace=namespace, timeout_s=TIMEOUT_S)
            )
        except Refused as error:
            if error.says_there_is_no(kind, name):
                return None
            raise

    async def watch(self, kind: str, after: str) -> Watch:
        """See ``Api``."""
        begun = asyncio.ensure_future(
            self._call(lambda: self._client.watch(kind, after, timeout_s=TIMEOUT_S))
        )
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(_close)
            raise

    async def read(self, watch: Watch, timeout_s: float) -> list[Event] | None:
        """See ``Api``."""
        return await asyncio.to_thread(watch.read, timeout_s)

    async def _call(self, work: Callable[[], T]) -> T:
        self.waiting += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self.waiting -= 1
