"""``ocicatctl install`` and ``ocicatctl uninstall``: Ocicat's files on a node.

Edge: the command line and the environment. The stories are ``install.py`` and ``uninstall.py``.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import TypeVar

import click

from datamodel.errors import Invalid
from ocicatctl.install import conflist, launcher
from ocicatctl.install.disk import Disk, errors
from ocicatctl.install.install import install as put_in_place
from ocicatctl.install.uninstall import uninstall as take_back
from ocicatctl.install.wanted import Directories, files, names

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = Directories()


def _absolute(text: str) -> str:
    path = PurePosixPath(os.path.normpath(text))
    if not path.is_absolute():
        raise click.BadParameter(f"{text!r} is not an absolute path")
    return str(path)


def _directory(name: str, default: str, text: str) -> Callable[[_Command], _Command]:
    option, variable = f"--{name}-dir", name
    return click.option(
        option,
        variable,
        type=_absolute,
        metavar="DIR",
        default=default,
        show_default=True,
        help=text,
    )


_root = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    default="/",
    show_default=True,
    help="Where the node's file system is: of an image, or mounted into a container.",
)
_state = _directory("state", "/var/lib/ocicat", "Where it is recorded what is ours.")
_dry_run = click.option("--dry-run", "is_trial", is_flag=True, help="Only say what would be done.")


@click.command(
    epilog="""\b
Examples:
  ocicatctl install --dry-run
  ocicatctl install
  ocicatctl install --calico --replace
  CNI_MTU=1400 ocicatctl install --bin-dir /usr/lib/cni
  ocicatctl install --root /host --conf my.conflist.template

\b
Exit status: 0 in place, 1 not done and the node as before, 2 wrong usage.
"""
)
@_directory("bin", _DEFAULTS.bin, "Where the runtime finds plugins.")
@_directory("conf", _DEFAULTS.conf, "Where the runtime finds configurations.")
@_directory("networkmanager", _DEFAULTS.networkmanager, "NetworkManager's drop-ins.")
@_directory("networkd", _DEFAULTS.networkd, "Files of systemd-networkd and udev.")
@_state
@_root
@click.option(
    "--conf",
    "template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CNI_NETWORK_CONFIG_FILE",
    show_envvar=True,
    metavar="FILE",
    help="A configuration, or a template as Calico's.  [default: ours]",
)
@click.option(
    "--calico", "for_calico", is_flag=True, help="Also as calico and calico-ipam, for its conflist."
)
@click.option(
    "--replace", "replaces", is_flag=True, help="Replace foreign files; uninstall puts them back."
)
@_dry_run
def install(
    state: str,
    root: Path,
    template: Path | None,
    is_trial: bool,
    *,
    for_calico: bool,
    replaces: bool,
    **directories: str,
) -> None:
    """Put Ocicat's files in place on this node.

    They are the launchers ocicat and ocicat-ipam; 10-ocicat.conflist; and what keeps
    NetworkManager, systemd-networkd and udev off cali* and tunnel links. What is in place already
    stays as it is: call it again after every upgrade, or if it was interrupted.

    The launchers carry the OCICAT_ settings of this environment. The template is --conf, else
    CNI_NETWORK_CONFIG, else ours; __CNI_MTU__, __LOG_LEVEL__ and Calico's other variables in it
    are filled in from this environment.

    NetworkManager and systemd-networkd read their files at the next reload: "systemctl reload
    NetworkManager", "networkctl reload".
    """
    where, disk = Directories(**directories), Disk(root, state)
    script = launcher.text()
    _check_interpreter(disk, script)
    text = conflist.render(_template(template), os.environ)
    recorded = disk.recall()
    called = names(where.bin, recorded.files if recorded else (), for_calico=for_calico)
    said = put_in_place(
        files(where, called, script, text),
        disk,
        launcher.prove,
        replaces=replaces,
        is_trial=is_trial,
    )
    _say(said, is_trial=is_trial)
    for warning in _warnings(disk, where, text, called):
        click.echo(f"warning: {warning}", err=True)


@click.command(
    epilog="""\b
Examples:
  ocicatctl uninstall --dry-run
  ocicatctl uninstall
  ocicatctl uninstall --root /host

\b
Exit status: 0 done, also if nothing was installed; 1 not done; 2 wrong usage.
"""
)
@_state
@_root
@_dry_run
def uninstall(state: str, root: Path, is_trial: bool) -> None:
    """Remove exactly what install has put in place; what it had replaced comes back.

    A file that was changed since is kept, and named. Remove the node's pods first: without the
    launchers nobody takes them off the network.
    """
    _say(take_back(Disk(root, state), is_trial=is_trial), is_trial=is_trial)


def _template(path: Path | None) -> str:
    if path is None:
        ours = resources.files("ocicatctl.install").joinpath(conflist.NAME)
        return os.environ.get("CNI_NETWORK_CONFIG") or ours.read_text()
    with errors(path):
        try:
            return path.read_text()
        except UnicodeDecodeError as error:
            raise Invalid(f"{path}: is not UTF-8") from error


def _check_interpreter(disk: Disk, script: str) -> None:
    """See to it that the node can start the launcher: it may have another file system than we."""
    interpreter = script.partition("\n")[0].removeprefix("#!").split(" ")[0]
    if not disk.is_program(interpreter):
        raise Invalid(f"{disk.at(interpreter)}: is not there; install python3 on the node")


def _warnings(disk: Disk, where: Directories, text: str, called: Iterable[str]) -> Iterator[str]:
    """What is in place and yet not as somebody may expect."""
    if not disk.is_program(sys.executable):
        yield (
            f"{disk.at(sys.executable)}: is not there; while the CNI server is down, "
            "ADD and DEL will fail"
        )
    for plugin in conflist.types(text):
        if plugin not in called and not disk.is_program(f"{where.bin}/{plugin}"):
            yield f"{where.bin}/{plugin}: is not there; {conflist.NAME} needs it for every pod"
    first = conflist.first([*disk.names(where.conf), conflist.NAME])
    if first != conflist.NAME:
        yield f"{where.conf}/{first}: comes before {conflist.NAME}; runtimes use only the first"


def _say(lines: Iterable[str], *, is_trial: bool) -> None:
    for line in lines:
        click.echo(line)
    if is_trial:
        click.echo("this was a dry run: nothing has changed", err=True)
