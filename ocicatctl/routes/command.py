"""``ocicatctl routes``: who tells of a block or an address, and what this node does with it.

Edge: the command line, this node's name. ``reading.py`` asks etcd, ``here.py`` BIRD and the
kernel; ``explain.py`` and ``explain_address.py`` judge.
"""

import os
import platform
from collections.abc import Sequence
from typing import Any

import click

from datamodel.block import Address
from datamodel.environment import node_name
from datamodel.errors import Invalid
from datastore.store import Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.routes import text
from ocicatctl.routes.explain import Finding, explain
from ocicatctl.routes.explain_address import AddressFacts, explain_address
from ocicatctl.routes.facts import Bird, Kernel, View
from ocicatctl.routes.here import ask_bird, ask_kernel
from ocicatctl.routes.reading import Reader
from ocicatctl.store import with_store
from ocicatctl.structured import structured

Answer = tuple[str, text.Document, bool]  # for people, for programs, whether something is wrong


@click.command(
    epilog="""\b
Examples:
  ocicatctl routes
  ocicatctl routes node-2
  ocicatctl routes 10.233.88.0
  ocicatctl routes fd00:10:233::88:0 -o json

\b
Exit status: 0 all is as it should be, 1 something is missing or wrong, 2 wrong usage.
"""
)
@click.argument("target", type=arguments.address_or_node, required=False, metavar="[NODE|IP]")
@arguments.socket("OCICAT_BIRD_SOCKET", "/run/ocicat/bird.ctl", "BIRD's control socket.")
@click.option(
    "-o", "--output", type=click.Choice(("text", "json", "yaml")), default="text", show_default=True
)
@click.pass_context
def routes(context: click.Context, target: Address | str | None, path: str, output: str) -> None:
    """Show what this node's BIRD and kernel do with every block, and what is wrong with that.

    With NODE: with what that node has, borrowed addresses too, and the sessions with it.
    With IP: who has the address, who tells of it, and by which way a packet gets there.
    """
    reader_mistakes: list[str] = []

    async def look(store: Store) -> Answer:
        reader = Reader(store, reader_mistakes)
        if target is None or isinstance(target, str):
            return await _destinations(reader, target, path)
        return await _address(reader, target, path)

    shown, document, is_wrong = with_store(look)
    click.echo(shown if output == "text" else structured(document, output), nl=False)
    raise_for(reader_mistakes)
    context.exit(1 if is_wrong else 0)


async def _destinations(reader: Reader, name: str | None, path: str) -> Answer:
    wanted = await (reader.of_node(name) if name else reader.all_blocks())
    bird, _ = ask_bird(path)
    kernel, _, _ = ask_kernel()
    view = await _view(reader, bird, kernel)
    findings = [explain(destination, view) for destination in wanted]
    document = text.document(findings, view)
    shown = text.table(findings, view)
    if name:
        sessions = view.sessions_with(name) if name != view.node else view.bird.sessions
        document["sessions"] = [text.session_document(session) for session in sessions]
        shown = "".join(f"{text.session_line(session)}\n" for session in sessions) + shown
    return shown, document, _is_wrong(findings, view)


def _is_wrong(findings: Sequence[Finding], view: View) -> bool:
    return bool(text.common_problems(view)) or any(finding.problems for finding in findings)


async def _address(reader: Reader, address: Address, path: str) -> Answer:
    block, read, affinity = await reader.with_address(address)
    bird, paths = ask_bird(path, address)
    kernel, used, refusal = ask_kernel(address)
    view = await _view(reader, bird, kernel)
    found = explain_address(
        AddressFacts(address, view, block, read, affinity, paths, used, refusal)
    )
    document: dict[str, Any] = text.address_document(found)
    return text.address_text(found), document, bool(document["problems"])


async def _view(reader: Reader, bird: Bird, kernel: Kernel) -> View:
    here, mistakes = node_name(os.environ, platform.node())
    if mistakes:
        raise Invalid("\n".join(mistakes))
    nodes, pools, is_mesh = await reader.cluster()
    return View(here, nodes, pools, is_mesh, bird, kernel)
