"""Releases that could not be delivered to ipamd: the only local state there is.

Edge: files. One file per attachment, written whole or not at all. A container that is added again
takes its entry back first, so that a late delivery never frees an address in use.
"""

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from datamodel.attachment import Attachment, Pod
from datamodel.errors import OcicatError, Unavailable

log = logging.getLogger(__name__)

_UNFINISHED = ".unfinished"
_UNFINISHED_S = 60


class Spool:
    """A directory of undelivered releases."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def _entry(self, attachment: Attachment) -> Path:
        return self._directory / f"{attachment.digest}.json"

    def __len__(self) -> int:
        """How many releases wait."""
        return sum(1 for _ in self._directory.glob("*.json"))

    def put(self, attachment: Attachment, pod: Pod | None) -> None:
        """Remember to release the attachment. On disk when this returns.

        Raises:
            OSError: it could not be written.
        """
        entry = self._entry(attachment)
        if entry.exists():
            return  # says the same; a new file would not be covered by the lock on the old one
        names = [attachment.network, attachment.container_id, attachment.ifname]
        document = {"attachment": names, "pod": [pod.namespace, pod.name] if pod else None}
        self._directory.mkdir(parents=True, exist_ok=True)
        self._remove_unfinished()
        with tempfile.NamedTemporaryFile(
            "w", dir=self._directory, suffix=_UNFINISHED, delete=False
        ) as temporary:
            json.dump(document, temporary)
            temporary.flush()
            os.fsync(temporary.fileno())
        os.replace(temporary.name, entry)
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _remove_unfinished(self) -> None:
        """Remove what writers left that were killed; one at work needs milliseconds."""
        for path in self._directory.glob(f"*{_UNFINISHED}"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _UNFINISHED_S:
                    path.unlink()

    def take_back(self, attachment: Attachment) -> bool:
        """Forget the attachment's release, since it is being added again; tell if there was one.

        If it is being delivered at this moment, wait until it is.
        """
        entry = self._entry(attachment)
        with contextlib.suppress(FileNotFoundError), _locked(entry):
            entry.unlink()
            return True
        return False

    def deliver(self, release: Callable[[Attachment, Pod | None], None]) -> int:
        """Hand every entry to *release* and drop it; one that is refused waits for a later try.

        Returns:
            How many were delivered.

        Raises:
            Unavailable: ipamd does not answer; the rest stays.
        """
        delivered = 0
        for entry in sorted(self._directory.glob("*.json")):
            with contextlib.suppress(FileNotFoundError), _locked(entry) as file:
                try:
                    attachment, pod = _read(file)
                except (ValueError, KeyError, TypeError):
                    entry.rename(entry.with_suffix(".unreadable"))
                    continue
                try:
                    release(attachment, pod)
                except Unavailable:
                    raise
                except OcicatError as error:  # what the store has is wrong; mending it mends this
                    log.warning("release of %s is refused: %s", attachment.handle_id, error)
                    continue
                entry.unlink(missing_ok=True)
                delivered += 1
        return delivered


@contextlib.contextmanager
def _locked(entry: Path) -> Iterator[IO[str]]:
    """Keep delivery and taking back of one entry apart, across processes.

    Raises:
        FileNotFoundError: there is no entry, or none any more.
    """
    while True:
        with open(entry) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While we waited it may have been taken back, and put again as another file.
            if os.path.samestat(os.fstat(file.fileno()), entry.stat()):
                yield file
                return


def _read(file: IO[str]) -> tuple[Attachment, Pod | None]:
    document = json.load(file)
    pod = document["pod"]
    return Attachment(*document["attachment"]), Pod(*pod) if pod else None
