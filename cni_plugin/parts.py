"""What the commands act through, made once by the server or by a process of its own.

The interfaces are declared by their use in the commands' files.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from cni_plugin import dataplane
from cni_plugin.dataplane import DeleteLink
from cni_plugin.meter import Meter
from cni_plugin.pod_facts import PodFacts
from cni_plugin.spool import Spool
from datamodel.attachment import Pod
from datamodel.errors import Unavailable
from ipam_api.client import IpamClient

ADD_TIMEOUT_S = 10.0  # for an ADD as a whole
DEL_TIMEOUT_S = 15.0  # for any other call; more than an ADD that a DEL may have to wait for
RELEASE_TIMEOUT_S = 3.0  # then the release is spooled
UPLINK_MTU_S = 10.0  # so long it is remembered
STATUS_TIMEOUT_S = 1.0  # runtimes ask often, and some start nothing while they wait


class Locks:
    """One lock per name, so that calls for the same thing wait for each other."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users: defaultdict[str, int] = defaultdict(int)
        self._locks: dict[str, threading.Lock] = {}
        self._watchers: list[set[str]] = []

    @contextmanager
    def held(self, name: str, timeout_s: float = -1) -> Iterator[None]:
        """Hold the lock of *name* within the block.

        Raises:
            Unavailable: others had it all the time.
        """
        with self._guard:
            lock = self._enter(name)
            for watcher in self._watchers:
                watcher.add(name)
        with self._entered(name, lock, timeout_s):
            yield

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """Collect the names that are in use at the beginning of the block or at any time in it."""
        with self._guard:
            seen = set(self._users)
            self._watchers.append(seen)
        try:
            yield seen
        finally:
            with self._guard:
                self._watchers = [watcher for watcher in self._watchers if watcher is not seen]

    @contextmanager
    def held_if_unused(self, name: str, seen: set[str]) -> Iterator[bool]:
        """Hold the lock within the block if *name* is not among *seen*; tell whether it is so."""
        with self._guard:
            lock = None if name in seen else self._enter(name)
        if lock is None:
            yield False
        else:
            with self._entered(name, lock, -1):
                yield True

    def _enter(self, name: str) -> threading.Lock:
        self._users[name] += 1
        return self._locks.setdefault(name, threading.Lock())

    @contextmanager
    def _entered(self, name: str, lock: threading.Lock, timeout_s: float) -> Iterator[None]:
        try:
            if not lock.acquire(timeout=timeout_s):
                raise Unavailable(f"{name}: another call for it takes too long; try again")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._guard:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name], self._locks[name]


class UplinkMtu:
    """The MTU of the node's uplink, asked for now and then: a table of routes may be long."""

    def __init__(self) -> None:
        self._mtu: int | None = None
        self._until = 0.0

    def get(self) -> int | None:
        """The MTU that pods get when nobody says otherwise; ``None``: the kernel's default."""
        if time.monotonic() >= self._until:
            self._mtu = dataplane.default_mtu()
            self._until = time.monotonic() + UPLINK_MTU_S
        return self._mtu


class Pods(Protocol):
    """Who knows what pods ask for."""

    def read(
        self, pod: Pod, timeout_s: float, *, is_first_link: bool, has_floating_ips: bool
    ) -> PodFacts: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """The outside world of a command."""

    ipam: IpamClient
    spool: Spool
    add_timeout_s: float = ADD_TIMEOUT_S
    del_timeout_s: float = DEL_TIMEOUT_S
    locks: Locks = field(default_factory=Locks)
    delete_link: DeleteLink = dataplane.delete_link
    uplink_mtu: UplinkMtu = field(default_factory=UplinkMtu)
    pods: Pods | None = None  # None: they are not asked what they want
    meter: Meter = field(default_factory=Meter)

    def deadline_of(self, command: str) -> float:
        """When a call that begins now has to be over, by the clock of ``time.monotonic``."""
        return time.monotonic() + (self.add_timeout_s if command == "ADD" else self.del_timeout_s)

    def allocate_timeout_s(self, deadline: float) -> float:
        """How long an ADD waits for ipamd; the rest is for taking it back if that was in vain."""
        return max(0.1, left_s(deadline) - 0.3 * self.add_timeout_s)

    def pod_timeout_s(self, deadline: float) -> float:
        """How long an ADD waits for Kubernetes before it asks ipamd."""
        return 0.5 * self.allocate_timeout_s(deadline)

    @property
    def release_timeout_s(self) -> float:
        """How long a release may take before it is spooled."""
        return min(RELEASE_TIMEOUT_S, 0.3 * self.add_timeout_s)


def left_s(deadline: float) -> float:
    """How much time there is left."""
    return max(0.0, deadline - time.monotonic())
