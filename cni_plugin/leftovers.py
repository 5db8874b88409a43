"""Removes the links that killed ADDs left before these could say whose they are.

Such a link is in our group and has no alias. One that is being made looks the same for some
milliseconds, so it must have been seen so for a while.
"""

import logging
import time
from collections.abc import Callable

from cni_plugin import dataplane
from cni_plugin.undo import quietly

log = logging.getLogger(__name__)

AGE_S = 5.0  # on a node that is short of everything an ADD takes its time


class Leftovers:
    """Looks for them again and again."""

    def __init__(self, age_s: float = AGE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._age_s = age_s
        self._clock = clock
        self._seen: dict[int, float] = {}  # index -> when it was seen first

    def collect(self) -> bool:
        """Delete those that have been there long enough; tell whether others may be some.

        Raises:
            Unavailable: the kernel refuses to list the links.
        """
        now = self._clock()
        self._seen = {index: self._seen.get(index, now) for index in dataplane.ownerless()}
        old = [index for index, since in self._seen.items() if now - since >= self._age_s]
        for index in old:
            log.warning("link %d: a killed ADD left it; it is deleted", index)
            quietly(dataplane.delete_ownerless, index)
            del self._seen[index]
        return bool(self._seen)
