"""Passwords of BGP sessions, from files: the key of a secret is a file in the secret's directory.

Edge: the directory, laid out as Kubernetes mounts secrets: ``<name>/<key>``.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from datamodel.bgp import SecretRef

LOOK_S = 10.0
MAX_BYTES = 4096  # a password of BGP has at most 80


class SecretFiles:
    """The secrets below a directory, which need not be there."""

    def __init__(self, directory: Path, look_s: float = LOOK_S) -> None:
        self._directory = directory
        self._look_s = look_s
        self._last: Mapping[SecretRef, str] = {}

    def read(self) -> Mapping[SecretRef, str]:
        """Read all of them, each without the line's end. What cannot be read is not there.

        Whoever needs it says so, and names the object that asks for it.
        """
        found = {}
        for secret in _listed(self._directory):
            for file in _listed(secret):
                text = _text(file)
                if text is not None:
                    found[SecretRef(secret.name, file.name)] = text
        self._last = found
        return found

    async def changed(self) -> None:
        """Wait until they are others than when they were last read."""
        while True:
            await asyncio.sleep(self._look_s)
            last = self._last
            if await asyncio.to_thread(self.read) != last:
                return


def _listed(directory: Path) -> list[Path]:
    # Not glob: it raises when a directory goes while it looks.
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _text(file: Path) -> str | None:
    try:
        if not file.is_file():
            return None
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES).decode().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError):
        return None
