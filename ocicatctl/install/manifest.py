"""The record of what was installed: by it alone, uninstall knows what is ours.

Pure: no I/O. It is written before anything else is, so whatever a killed install has left is in it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodel.errors import Invalid

NAME = "installed.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    digests: frozenset[str]  # contents that we put there; while an install is under way, two
    has_original: bool = False  # a foreign file was there and is kept beside it


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is ours."""

    files: Mapping[str, Entry] = field(default_factory=dict)  # path on the node -> ...
    directories: tuple[str, ...] = ()  # made by us, outer ones first


def encode(manifest: Manifest) -> bytes:
    """The file."""
    document = {
        "version": _VERSION,
        "files": {
            path: {"sha256": sorted(entry.digests), "hasOriginal": entry.has_original}
            for path, entry in manifest.files.items()
        },
        "directories": list(manifest.directories),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decode(content: bytes) -> Manifest:
    """Read the file.

    Raises:
        Invalid: it is not one of ours.
    """
    try:
        document: dict[str, Any] = json.loads(content)
        if document["version"] != _VERSION:
            raise Invalid(f"is of version {document['version']}, not {_VERSION}")
        return Manifest(
            {
                path: Entry(frozenset(entry["sha256"]), entry["hasOriginal"])
                for path, entry in document["files"].items()
            },
            tuple(document["directories"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid("is not what ocicatctl install writes") from error
