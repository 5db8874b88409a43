"""Which sessions BIRDs have: this node's is asked, of others there are files.

Edge: BIRD's control socket, files. A BIRD that is not there is none; one that does not answer is
named.
"""

import json
import os
import platform
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bird_api import protocols
from bird_api.control import BirdControl
from bird_api.protocols import Session
from datamodel.environment import node_name
from datamodel.errors import Invalid, OcicatError

_FIELDS = ("name", "peerAddress", "peerType", "state", "since", "info")


@dataclass
class Seen:
    """The sessions by node, and what went wrong."""

    sessions: dict[str, list[Session]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def ask(socket: str, directory: Path | None) -> Seen:
    """Ask this node's BIRD, and read of the others what ``node status -o json`` printed there.

    Args:
        socket: of this node's BIRD.
        directory: has a file NODE.json for each node of which something is known.

    Raises:
        Invalid: NODENAME is no node's name, or the directory cannot be read.
    """
    seen = Seen()
    if Path(socket).exists():
        name, mistakes = node_name(os.environ, platform.node())
        if mistakes:
            raise Invalid("\n".join(mistakes))
        try:
            with BirdControl(socket) as bird:
                seen.sessions[name] = protocols.sessions(bird.command(protocols.SHOW_PROTOCOLS))
        except OcicatError as error:
            seen.problems.append(str(error))
    try:
        files = sorted(directory.glob("*.json")) if directory else []
    except OSError as error:
        raise Invalid(f"directory {directory}: {error.strerror}") from error
    for path in files:
        try:
            seen.sessions[path.stem] = _read(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError) as error:
            seen.problems.append(
                f"file {path}: {error}; put there what ocicatctl node status -o json prints"
            )
    return seen


def _read(document: Any) -> list[Session]:
    if not isinstance(document, list):
        raise TypeError("is not a list of sessions")
    found = []
    for one in document:
        name, address, *rest = (one[field] for field in _FIELDS)
        if not all(isinstance(part, str) for part in (name, address, *rest)):
            raise TypeError("has a field that is not text")
        found.append(Session(name, ip_address(address), *rest))
    return found
