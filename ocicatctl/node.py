"""``ocicatctl node``: the BGP sessions of the node we are on.

Edge: the command line and, through ``bird_api``, BIRD's control socket. etcd is not asked.
"""

import json
from collections.abc import Iterable, Sequence

import click

from bird_api import protocols
from bird_api.control import BirdControl
from bird_api.protocols import Session
from ocicatctl.table import box

_HEADER = ("Peer address", "Peer type", "State", "Since", "Info")


@click.group(
    epilog="""\b
Examples:
  ocicatctl node status
"""
)
def node() -> None:
    """Show the BGP sessions of this node."""


@node.command(
    epilog="""\b
Examples:
  ocicatctl node status
  ocicatctl node status --socket /run/bird/bird.ctl -o json
"""
)
@click.option(
    "--socket",
    "path",
    envvar="OCICAT_BIRD_SOCKET",
    default="/run/ocicat/bird.ctl",
    show_default=True,
    show_envvar=True,
    metavar="PATH",
    help="BIRD's control socket.",
)
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True
)
def status(path: str, output: str) -> None:
    """Show whether BIRD has a session with each peer; needs the right to use its socket."""
    with BirdControl(path) as bird:
        sessions = protocols.sessions(bird.command(protocols.SHOW_PROTOCOLS))
    click.echo(as_json(sessions) if output == "json" else as_text(sessions))


def as_text(sessions: Iterable[Session]) -> str:
    """Show the sessions as calicoctl does: one table for each family of addresses."""
    ordered = _ordered(sessions)
    return "\n".join(
        f"IPv{version} BGP status\n"
        + _peers(version, [s for s in ordered if s.peer_address.version == version])
        for version in (4, 6)
    )


def as_json(sessions: Iterable[Session]) -> str:
    """Show the sessions for programs."""
    documents = [
        {
            "name": session.name,
            "peerAddress": str(session.peer_address),
            "peerType": session.peer_type,
            "state": session.state,
            "since": session.since,
            "info": session.info,
        }
        for session in _ordered(sessions)
    ]
    return json.dumps(documents, indent=2)


def _ordered(sessions: Iterable[Session]) -> list[Session]:
    return sorted(sessions, key=lambda s: (s.peer_address.version, int(s.peer_address), s.name))


def _peers(version: int, sessions: Sequence[Session]) -> str:
    if not sessions:
        return f"No IPv{version} peers found.\n"
    return box(
        _HEADER, [(str(s.peer_address), s.peer_type, s.state, s.since, s.info) for s in sessions]
    )
