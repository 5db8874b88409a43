"""What passes through BGP sessions, and whether BIRD is recovering, as BIRD tells of it.

Pure: no I/O. Reads the answers to ``show protocols all`` and ``show status``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bird_api.protocols import Session, sessions
from bird_api.reply import Reply

SHOW_ALL = "show protocols all"
SHOW_STATUS = "show status"

_DETAIL = 1006
_RECOVERY = 24
_CHANNEL = re.compile(r"\s+Channel (?:ipv([46]))?")
_ROUTES = re.compile(r"\s+Routes:\s+(\d+) imported, .*?(\d+) exported")


@dataclass(frozen=True, slots=True)
class Channel:
    """The routes of one family that a session exchanges."""

    session: str  # its name in BIRD
    version: int  # 4 or 6
    imported: int
    exported: int


@dataclass(frozen=True, slots=True)
class Seen:
    """BIRD at one moment."""

    sessions: tuple[Session, ...]
    channels: tuple[Channel, ...]  # of those sessions that are established
    is_recovering: bool  # a graceful restart is under way


def channels(replies: Iterable[Reply]) -> tuple[list[Session], list[Channel]]:
    """Read the answer to ``show protocols all``: our sessions, and their channels that are up.

    Raises:
        Invalid: the table is not the one we know.
    """
    found: list[Session] = []
    up: list[Channel] = []
    session: Session | None = None
    version = 0
    for reply in replies:
        if reply.code != _DETAIL:
            rows = sessions([reply])
            session, version = (rows[0] if rows else None), 0
            found += rows
        elif channel := _CHANNEL.fullmatch(reply.text):
            version = int(channel[1] or 0)
        elif session and version and (routes := _ROUTES.match(reply.text)):
            up.append(Channel(session.name, version, int(routes[1]), int(routes[2])))
    return found, up


def is_recovering(replies: Iterable[Reply]) -> bool:
    """Read from the answer to ``show status`` whether a graceful restart is under way."""
    return any(reply.code == _RECOVERY for reply in replies)
