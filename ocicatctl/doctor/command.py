"""``ocicatctl doctor``: what is wrong with this node, why that matters, and what mends it.

Edge: the command line, the environment. ``looks.py`` looks, ``registry.py`` judges, ``text.py``
tells. Nothing is changed.
"""

import os
import platform
from pathlib import Path

import click

from ocicatctl.doctor.check import run
from ocicatctl.doctor.looking import look
from ocicatctl.doctor.looks import LOOKS
from ocicatctl.doctor.node_files import NodeFiles
from ocicatctl.doctor.registry import CHECKS
from ocicatctl.doctor.settings import ENVIRONMENT_FILE, Settings, read_settings
from ocicatctl.doctor.text import as_text, count, document, list_text
from ocicatctl.install.settings import settings as settings_of
from ocicatctl.structured import structured


@click.command(
    epilog="""\b
Examples:
  ocicatctl doctor
  ocicatctl doctor --brief
  ocicatctl doctor --only bin-dir --only conflist
  ocicatctl doctor --root /host -o json
  ocicatctl doctor --list

\b
Exit status: 0 nothing is wrong (warnings and what could not be looked at do not count), 1 something
is, 2 wrong usage.
"""
)
@click.option(
    "--only",
    "names",
    type=click.Choice([check.name for check in CHECKS]),
    metavar="NAME",
    multiple=True,
    help="Only this check; may be given several times.",
)
@click.option("--list", "is_list", is_flag=True, help="List the checks.")
@click.option("--brief", "is_brief", is_flag=True, help="Do not show what is fine.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    default="/",
    show_default=True,
    help="Where the node's file system is, if it is mounted into a container.",
)
@click.option(
    "--bin-dir", metavar="DIR", help="Where the runtime finds plugins.  [default: by its settings]"
)
@click.option(
    "--conf-dir", metavar="DIR", help="Where it finds configurations.  [default: by its settings]"
)
@click.option(
    "--state-dir",
    metavar="DIR",
    default="/var/lib/ocicat",
    show_default=True,
    help="Where install has recorded what is ours.",
)
@click.option(
    "-o", "--output", type=click.Choice(("text", "json", "yaml")), default="text", show_default=True
)
def doctor(
    names: tuple[str, ...],
    is_list: bool,
    is_brief: bool,
    output: str,
    root: Path,
    **directories: str | None,
) -> None:
    """Check this node for everything that is known to go wrong; it changes nothing.

    Run it on the node, as root. Settings are those of this environment, and below it those that
    /etc/ocicat/ocicat.env has for the daemons. Of each thing it says that it is fine, or what is
    wrong, why that matters and the command that mends it. It takes at most five seconds, whatever
    does not answer.
    """
    if is_list:
        click.echo(list_text(CHECKS), nl=False)
        return
    settings = read_settings(_environment(root), platform.node(), root, **directories)
    checks = [check for check in CHECKS if not names or check.name in names]
    checked = run(checks, look(settings, LOOKS))
    if output == "text":
        click.echo(as_text(checked, is_brief=is_brief), nl=False)
    else:
        click.echo(structured(document(checked, settings.node), output), nl=False)
    click.get_current_context().exit(1 if count(checked, "wrong") else 0)


def _environment(root: Path) -> dict[str, str]:
    text = NodeFiles(Settings(root=root)).text(ENVIRONMENT_FILE) or ""
    return {**settings_of(text), **os.environ}
