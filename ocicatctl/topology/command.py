"""``ocicatctl topology``: the cluster as a picture.

Edge: the command line. ``asking.py`` asks BIRD; everything else is in etcd.
"""

from pathlib import Path

import click

from datastore.store import Snapshot, Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.reading import read_in_portions
from ocicatctl.store import with_store
from ocicatctl.structured import structured
from ocicatctl.topology.asking import ask
from ocicatctl.topology.build import RANGES
from ocicatctl.topology.build import topology as build
from ocicatctl.topology.document import document
from ocicatctl.topology.dot import dot
from ocicatctl.topology.model import Topology
from ocicatctl.topology.outputs import output_option
from ocicatctl.topology.picture import picture
from ocicatctl.topology.svg import svg
from ocicatctl.topology.text import text


@click.command(
    epilog="""\b
Examples:
  ocicatctl topology
  ocicatctl topology -o svg > cluster.svg
  ocicatctl topology --sessions /tmp/sessions -o svg > cluster.svg
  ocicatctl topology -o dot > cluster.dot

\b
Exit status: 0 drawn, 1 something in etcd or a file cannot be read, 2 wrong usage.
"""
)
@output_option
@click.option(
    "--sessions",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Has a file NODE.json of other nodes: what ocicatctl node status -o json printed there.",
)
@arguments.socket("OCICAT_BIRD_SOCKET", "/run/ocicat/bird.ctl", "BIRD's control socket.")
def topology(output: str, directory: Path | None, path: str) -> None:
    """Draw the cluster: nodes, how full their blocks are, BGP sessions, routers, pools, tunnels.

    Which sessions there should be follows from etcd. How they are is known of this node, if it is
    one, and of those in DIR; of the others it is unknown.
    """

    async def read(store: Store) -> Snapshot:
        return await read_in_portions(store, *RANGES)

    entries = with_store(read).entries
    seen = ask(path, directory)
    found = build(entries, seen.sessions, seen.problems)
    click.echo(rendered(found, output), nl=False)
    raise_for([*found.problems])


def rendered(found: Topology, output: str) -> str:
    """The topology in one of ``OUTPUTS``."""
    if output in ("json", "yaml"):
        return structured(document(found), output)
    if output == "text":
        return text(found)
    return (svg if output == "svg" else dot)(picture(found))
