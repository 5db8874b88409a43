"""Releases that could not be delivered to ipamd: the only local state there is.

Edge: files. One file per attachment, written whole or not at all. A container that is added again
takes its entry back first, so that a late delivery never frees an address in use.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from datamodel.attachment import Attachment, Pod


class Spool:
    """A directory of undelivered releases."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def _entry(self, attachment: Attachment) -> Path:
        return self._directory / f"{attachment.digest}.json"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep delivery and taking back apart, across processes."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with open(self._directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def put(self, attachment: Attachment, pod: Pod | None) -> None:
        """Remember to release the attachment. On disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        entry = self._entry(attachment)
        names = [attachment.network, attachment.container_id, attachment.ifname]
        document = {"attachment": names, "pod": [pod.namespace, pod.name] if pod else None}
        with self._locked():
            temporary = entry.with_suffix(".new")
            with open(temporary, "w") as f:
                json.dump(document, f)
                f.flush()
                os.fsync(f.fileno())
            temporary.replace(entry)

    def take_back(self, attachment: Attachment) -> None:
        """Forget the attachment's release: it is being added again."""
        entry = self._entry(attachment)
        if not entry.exists():  # the usual case, without the lock
            return
        with self._locked():
            entry.unlink(missing_ok=True)

    def deliver(self, release: Callable[[Attachment, Pod | None], None]) -> int:
        """Hand every entry to *release* and drop it; stop at the first that fails.

        Returns:
            How many were delivered.

        Raises:
            Unavailable: ipamd does not answer; the rest stays.
        """
        delivered = 0
        for entry in sorted(self._directory.glob("*.json")):
            with self._locked():
                try:
                    document = json.loads(entry.read_text())
                    attachment = Attachment(*document["attachment"])
                    pod = Pod(*document["pod"]) if document["pod"] else None
                except FileNotFoundError:
                    continue  # taken back meanwhile
                except (ValueError, KeyError, TypeError):
                    entry.rename(entry.with_suffix(".unreadable"))
                    continue
                release(attachment, pod)
                entry.unlink(missing_ok=True)
                delivered += 1
        return delivered
