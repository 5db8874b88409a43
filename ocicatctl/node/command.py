"""``ocicatctl node``: the BGP sessions of the node we are on; a node that is gone.

Edge: the command line, the route distributor's status file and, through ``bird_api``, BIRD's
control socket. ``status`` does not ask etcd, and ``delete`` nobody else.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from bird_api import protocols
from bird_api.control import BirdControl
from bird_api.protocols import Session
from datamodel.errors import Invalid, OcicatError
from datamodel.routing_status import parse_routing_status
from datastore.store import Store
from datastore.taken import Deleted
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.store import with_store
from ocicatctl.table import box

_HEADER = ("Peer address", "Peer type", "State", "Since", "Info")


@click.group(
    epilog="""\b
Examples:
  ocicatctl node status
  ocicatctl node delete node-9
"""
)
def node() -> None:
    """Show the BGP sessions of this node; delete a node."""


@node.command(
    epilog="""\b
Examples:
  ocicatctl node status
  ocicatctl node status --socket /run/bird/bird.ctl -o json
"""
)
@arguments.socket("OCICAT_BIRD_SOCKET", "/run/ocicat/bird.ctl", "BIRD's control socket.")
@click.option(
    "--routes",
    "file",
    envvar="OCICAT_ROUTES_STATUS",
    default="/run/ocicat/routes.json",
    show_default=True,
    show_envvar=True,
    metavar="PATH",
    help="Status file of this node's route distributor.",
)
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True
)
def status(path: str, file: str, output: str) -> None:
    """Show whether BIRD has a session with each peer; needs the right to use its socket.

    Below the tables it shows what the route distributor had to leave out, and what does not work.
    """
    problems = "" if output == "json" else as_problems(_complaints(Path(file)))
    try:
        with BirdControl(path) as bird:
            sessions = protocols.sessions(bird.command(protocols.SHOW_PROTOCOLS))
    except OcicatError:
        click.echo(problems, nl=False)  # they may tell why
        raise
    click.echo(as_json(sessions) if output == "json" else as_text(sessions))
    click.echo(problems, nl=False)


@node.command(
    epilog="""\b
Examples:
  ocicatctl node delete node-9 --dry-run
  ocicatctl node delete node-9
"""
)
@click.argument("name", type=arguments.node)
@click.option("--dry-run", "is_trial", is_flag=True, help="Only show what would be done.")
def delete(name: str, is_trial: bool) -> None:
    """Delete a node that is gone, and all that it left behind.

    Its addresses are released, also those that it borrowed; its blocks go, or are left to the
    nodes that borrow from them; workload and host endpoints, BGP peers and settings of this node
    alone are deleted. Stop the node first: pods that still run there lose their addresses to
    others.

    If this is interrupted, call it again: it goes on where it ended.
    """
    from datastore.node_removal import delete_node

    async def run(store: Store) -> Deleted:
        return await delete_node(store, name, _say, is_trial=is_trial)

    deleted = with_store(run)
    click.echo(deleted.text, nl=False)
    raise_for(deleted.mistakes)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _complaints(file: Path) -> tuple[str, ...]:
    """What the route distributor complains of; nothing if it has not run since the boot."""
    try:
        return parse_routing_status(file.read_text()).complaints
    except FileNotFoundError:
        return ()
    except (Invalid, OSError, UnicodeDecodeError) as error:
        return (f"file {file}: {error}",)


def as_problems(complaints: Sequence[str]) -> str:
    """Show what is wrong, a line for each; nothing if nothing is."""
    if not complaints:
        return ""
    # They may hold anything that somebody wrote into etcd.
    lines = [f"  {''.join(c if c.isprintable() else ' ' for c in text)}\n" for text in complaints]
    return "".join(["Problems\n", *lines])


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
