"""Deletes links for many DELs at once, and lets each return when the kernel has let its link go.

Edge: threads, netlink. The kernel announces that a link is gone within a millisecond: by then it
has no address and no route, and no packet passes. The acknowledgement comes 15 ms later, when
nothing refers to the memory any more; our threads wait for that. DELs that come meanwhile wait for
a thread and share the next deletion, which costs the kernel hardly more than one link's.

What shares a deletion is put into a link group of its own, and that is deleted, as one message.
Should the server be killed between: the group's number is drawn anew for each deletion, so nobody
deletes what has been left in it, and a link is known by its alias, whatever its group.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from cni_plugin import pod_rtnetlink
from datamodel.errors import Unavailable
from kernel_api import rtnetlink
from kernel_api.netlink import Netlink

log = logging.getLogger(__name__)

# One after the other, DELs come every few milliseconds and shall not wait for acknowledgements; of
# many at once the more share a deletion the fewer threads there are.
THREADS = 8
TIMEOUT_S = 10.0  # of the 15 s that a DEL may take
# Above the numbers that people give to groups, and never podnet's LINK_GROUP.
BATCH_GROUPS = 1 << 30


@dataclass(slots=True, eq=False)
class _Deletion:
    """What became of one link, once ``is_over``."""

    is_over: threading.Event = field(default_factory=threading.Event)
    error: OSError | None = None


class Deletions:
    """The deletions of one process, in the network namespace in which this is made."""

    def __init__(self, count: Callable[[int], None] = lambda links: None) -> None:
        """Begin; *count* is told how many links go together, each time some do."""
        self._count = count
        self._changed = threading.Condition()  # guards the next three
        self._waiting: list[int] = []
        self._unannounced: dict[int, _Deletion] = {}  # by the link's index
        self._is_closed = False
        self._announcements = Netlink(timeout_s=None)
        # The threads are in the namespace of the one that starts them.
        self._threads = [
            threading.Thread(target=run, daemon=True)
            for run in (*[self._work] * THREADS, self._listen)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Deletions":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for what is under way."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._announcements.wake()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def delete(self, index: int) -> bool:
        """Delete a link and return as soon as it is gone; tell whether there was one.

        Raises:
            OSError: the kernel refuses.
            Unavailable: it does not come to it.
        """
        with self._changed:
            deletion = self._unannounced.get(index)
            if deletion is None:
                if not self._unannounced:
                    self._announcements.listen(rtnetlink.RTNLGRP_LINK, True)
                deletion = self._unannounced[index] = _Deletion()
                self._waiting.append(index)
                self._changed.notify()
        if not deletion.is_over.wait(TIMEOUT_S):
            raise Unavailable(f"link {index}: is not deleted after {TIMEOUT_S:g} s; try again")
        if deletion.error is None:
            return True
        if deletion.error.errno == errno.ENODEV:
            return False
        raise deletion.error

    def _work(self) -> None:
        with Netlink() as netlink:
            while batch := self._next_batch():
                self._count(len(batch))
                errors = _delete(netlink, batch)
                for index in batch:
                    self._end(index, errors.get(index))

    def _next_batch(self) -> list[int]:
        """All that wait; nothing once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            batch, self._waiting = self._waiting, []
            return batch

    def _listen(self) -> None:
        with self._announcements:
            while not self._is_closed:
                try:
                    for message in self._announcements.receive():
                        self._end(pod_rtnetlink.deleted_link(message), None)
                except OSError as error:
                    # Some went missing, more than the socket takes: acknowledgements do as well.
                    log.info("announcements of links: %s", error)

    def _end(self, index: int | None, error: OSError | None) -> None:
        with self._changed:
            if index is None or index not in self._unannounced:
                return
            deletion = self._unannounced.pop(index)
            deletion.error = error
            deletion.is_over.set()
            if not self._unannounced:  # what becomes of others' links is no concern of ours
                self._announcements.listen(rtnetlink.RTNLGRP_LINK, False)


def _delete(netlink: Netlink, batch: Sequence[int]) -> dict[int, OSError]:
    """Delete all links of *batch* at once; return what was wrong, by index."""
    if len(batch) == 1:
        requests = [rtnetlink.delete_link(batch[0])]
    else:
        group = BATCH_GROUPS | int.from_bytes(os.urandom(4), "big") >> 2
        requests = [pod_rtnetlink.set_link(index, group=group) for index in batch]
        requests.append(pod_rtnetlink.delete_group(group))
    try:
        refusals = {refused.request: refused for refused in netlink.refusals(requests)}
    except OSError as error:
        return dict.fromkeys(batch, error)
    # A link that could not be put into the group, or all, if the group could not be deleted.
    last = refusals.get(requests[-1])
    errors = {
        index: refusals.get(request, last) for index, request in zip(batch, requests, strict=False)
    }
    return {index: error for index, error in errors.items() if error}
