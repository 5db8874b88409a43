"""BGP sessions, as ``show protocols`` tells of them.

Pure: no I/O. Reads BIRD 2's table and, because only the case of the heading differs, BIRD 1's.
The names are Calico's, given by ``route_distributor/bird/render_session.py``: type, address,
perhaps a port.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from bird_api.reply import Reply
from datamodel.errors import Invalid

SHOW_PROTOCOLS = "show protocols"

_HEADING = 2002
_ROW = 1002
_COLUMNS = ["name", "proto", "table", "state", "since", "info"]
_TYPES = {"Mesh": "node-to-node mesh", "Node": "node specific", "Global": "global"}
_NAME = re.compile(r"(Mesh|Node|Global)_(.+?)(?:_port_\d+)?")


@dataclass(frozen=True, slots=True)
class Session:
    """One BGP session of ours."""

    name: str  # of the protocol in BIRD
    peer_address: IPv4Address | IPv6Address
    peer_type: str  # 'node-to-node mesh', 'node specific' or 'global'
    state: str  # of the protocol: up, start, down
    since: str  # as BIRD writes it
    info: str  # state of the session, and the last thing that went wrong

    @property
    def is_established(self) -> bool:
        """Whether routes are exchanged."""
        return self.info.split(" ")[0] == "Established"


def sessions(replies: Iterable[Reply]) -> list[Session]:
    """Read the answer to ``show protocols``, in BIRD's order, without what is no session of ours.

    Raises:
        Invalid: the table is not the one we know.
    """
    found = []
    for reply in replies:
        if reply.code == _HEADING and reply.text.lower().split() != _COLUMNS:
            raise Invalid(f"BIRD's table of protocols has an unknown heading: {reply.text!r}")
        if reply.code == _ROW and (session := _session(reply.text)) is not None:
            found.append(session)
    return found


def lack_socket(replies: Iterable[Reply]) -> bool:
    """Whether BIRD gave sessions up as it could not listen; only `configure` makes it try again."""
    return any(reply.text.rstrip().endswith("No listening socket") for reply in replies)


def all_started(replies: Iterable[Reply]) -> bool:
    """Whether no protocol is down: then BIRD listens wherever it shall."""
    return not any(reply.code == _ROW and " down " in reply.text for reply in replies)


def _session(row: str) -> Session | None:
    # The last column is the only one with spaces, and it may be empty.
    name, proto, _, state, since, *info = [*row.split(maxsplit=5), "", "", "", "", ""][:6]
    named = _NAME.fullmatch(name)
    if proto != "BGP" or named is None:
        return None
    kind, address = named.groups()
    try:
        # Symbols of BIRD have neither "." nor ":"; an IPv4 address is what has four parts.
        peer = ip_address(address.replace("_", "." if _is_ipv4(address) else ":"))
    except ValueError:
        return None  # an operator's own protocol whose name merely begins as ours do
    return Session(name, peer, _TYPES[kind], state, since, " ".join(info[0].split()))


def _is_ipv4(address: str) -> bool:
    return re.fullmatch(r"\d+(_\d+){3}", address) is not None
