"""What the commands act through, made once by the server or by a process of its own.

The interfaces are declared by their use in ``cmd_add.py``, ``cmd_del.py`` and ``cmd_check.py``.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cni_plugin import dataplane
from cni_plugin.dataplane import DeleteLink
from cni_plugin.spool import Spool
from ipam_api.client import IpamClient

ADD_TIMEOUT_S = 10.0  # for an ADD as a whole
RELEASE_TIMEOUT_S = 3.0  # then the release is spooled


class Locks:
    """One lock per name, so that calls for the same thing wait for each other."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users: defaultdict[str, int] = defaultdict(int)
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold the lock of *name* within the block."""
        with self._guard:
            self._users[name] += 1
            lock = self._locks.setdefault(name, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._guard:
                self._users[name] -= 1
                if not self._users[name]:
                    del self._users[name], self._locks[name]


@dataclass(frozen=True, slots=True)
class Parts:
    """The outside world of a command."""

    ipam: IpamClient
    spool: Spool
    add_timeout_s: float = ADD_TIMEOUT_S
    locks: Locks = field(default_factory=Locks)
    delete_link: DeleteLink = dataplane.delete_link

    @property
    def allocate_timeout_s(self) -> float:
        """How long an ADD waits for ipamd; the rest is for taking it back if that was in vain."""
        return 0.7 * self.add_timeout_s

    @property
    def release_timeout_s(self) -> float:
        """How long a release may take before it is spooled."""
        return min(RELEASE_TIMEOUT_S, 0.3 * self.add_timeout_s)
