"""``ocicatctl ipam history``: who held an address, and what a pod or container held.

Edge: the command line, ipamd's socket and etcd. Every node remembers what was held in its blocks;
ipamd's ``GetHistory`` tells it.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from datamodel.attachment import NAME, Pod
from datamodel.block import Address
from datamodel.errors import OcicatError
from datastore.codec import decode_block
from datastore.store import Store
from ocicatctl import arguments
from ocicatctl.reading import block_keys, keys_with
from ocicatctl.store import with_store
from ocicatctl.structured import structured
from ocicatctl.table import columns

if TYPE_CHECKING:  # importing gRPC takes longer than a --help
    from ipam_api.answers import History, Holding

_HEADER = ("ADDRESS", "HELD BY", "NODE", "FROM", "TO", "HANDLE")


@dataclass(frozen=True, slots=True)
class Answer:
    """What this node remembers, and which node it is."""

    history: "History"
    node: str


def _container(text: str) -> str:
    """A container id; for click's ``type``."""
    if not NAME.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a container id")
    return text


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam history 10.233.77.0
  ocicatctl ipam history default/web-0
  ocicatctl ipam history --container 4f0c9a5d2b -o json
"""
)
@click.argument("target", type=arguments.address_or_pod, required=False, metavar="[IP|POD|NS/POD]")
@click.option("--container", type=_container, metavar="ID", help="What this container held.")
@click.option("--handle", metavar="HANDLE", help="What was held under this handle.")
@arguments.ipamd_socket
@click.option(
    "-o",
    "--output",
    type=click.Choice(("table", "json", "yaml")),
    default="table",
    show_default=True,
)
def history(
    target: Address | Pod | None,
    container: str | None,
    handle: str | None,
    path: str,
    output: str,
) -> None:
    """Show who held an address and when, or what a pod, a container or a handle held.

    Run it on the node whose block has the address: every node remembers its own blocks.
    """
    if sum(what is not None for what in (target, container, handle or None)) != 1:
        raise click.UsageError("Give one of an address, a pod, --container and --handle.")
    answer = _ask(
        path,
        address=None if isinstance(target, Pod) else target,
        pod=target if isinstance(target, Pod) else None,
        container_id=container or "",
        handle_id=handle or "",
    )
    if output == "table":
        click.echo(as_text(answer.history), nl=False)
    else:
        click.echo(structured(as_document(answer), output), nl=False)
    if target is not None and not isinstance(target, Pod):
        click.echo(_hint(target, answer.node), nl=False, err=True)


def _ask(path: str, **what: Any) -> Answer:
    from ipam_api.client import IpamClient

    with closing(IpamClient(path)) as client:
        return Answer(client.get_history(**what), client.status().node)


# ---- what is printed ---------------------------------------------------------------------------


def as_text(found: "History") -> str:
    """The table, oldest first, and how far back it goes."""
    rows = [
        (
            str(holding.address),
            held_by(holding),
            holding.node,
            _time(holding.from_s) if holding.from_s else "earlier",
            _time(holding.to_s) if holding.to_s else "now",
            holding.handle_id,
        )
        for holding in found.holdings
    ]
    begins = f"The history of this node begins at {_time(found.begins_s)}."
    return f"{columns(_HEADER, rows)}\n{begins if found.begins_s else 'There is no history yet.'}\n"


def held_by(holding: "Holding") -> str:
    """The pod; outside Kubernetes the handle."""
    pod = holding.pod
    return str(pod) if pod else holding.handle_id


def as_document(answer: Answer) -> Mapping[str, Any]:
    """The same for programs; times that are not known, or have not come, are null."""
    found = answer.history
    return {
        "node": answer.node,
        "begins": _time_or_none(found.begins_s),
        "holdings": [
            {
                "address": str(holding.address),
                "handle": holding.handle_id,
                "namespace": holding.pod and holding.pod.namespace,
                "pod": holding.pod and holding.pod.name,
                "node": holding.node,
                "from": _time_or_none(holding.from_s),
                "to": _time_or_none(holding.to_s),
            }
            for holding in found.holdings
        ],
    }


def _time(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _time_or_none(unix_s: float) -> str | None:
    return _time(unix_s) if unix_s else None


# ---- another node's address --------------------------------------------------------------------


def _hint(address: Address, here: str) -> str:
    """Where to look, if the address is of another node's block; nothing if etcd does not tell."""

    async def owner(store: Store) -> str | None:
        found = keys_with(address, await block_keys(store, address.version))
        entries = (await store.read(*found)).entries if found else {}
        blocks = [decode_block(key, entry.value) for key, entry in entries.items()]
        return blocks[0].host if blocks else None

    try:
        return hint(address, here, with_store(owner))
    except OcicatError:
        return ""


def hint(address: Address, here: str, owner: str | None) -> str:
    """What to say if the address is of the block of *owner* and this is node *here*."""
    if owner in (None, here):
        return ""
    return (
        f"{address} is of a block of node {owner}, and this is node {here}; "
        f"run ocicatctl ipam history {address} on {owner}\n"
    )
