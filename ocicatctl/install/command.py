"""``ocicatctl install`` and ``ocicatctl uninstall``: Ocicat's files on a node.

Edge: the command line and the environment. The stories are ``install.py`` and ``uninstall.py``.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import click

from datamodel.errors import Invalid
from ocicatctl.install import conflist, preparing, systemd, templates
from ocicatctl.install.daemons import SystemdDaemons
from ocicatctl.install.disk import Disk, errors
from ocicatctl.install.install import install as put_in_place
from ocicatctl.install.remove import remove
from ocicatctl.install.renew import renew
from ocicatctl.install.wanted import Directories, directories, files, names

_Command = TypeVar("_Command", bound=Callable[..., object])

_DEFAULTS = Directories()


def _absolute(text: str) -> str:
    path = PurePosixPath(os.path.normpath(text))
    if not path.is_absolute():
        raise click.BadParameter(f"{text!r} is not an absolute path")
    return str(path)


def _file_name(_: click.Context, __: click.Parameter, name: str) -> str:
    if PurePosixPath(name).name != name or not name.endswith(conflist.SUFFIXES):
        raise click.BadParameter(f"{name!r} is no name for a configuration; one is {conflist.NAME}")
    return name


def _directory(
    name: str, default: str, text: str, envvar: str | None = None
) -> Callable[[_Command], _Command]:
    option, variable = f"--{name}-dir", name
    return click.option(
        option,
        variable,
        envvar=envvar,
        show_envvar=True,
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
@_directory("bin", _DEFAULTS.bin, "Where the runtime finds plugins.", "CNI_BIN_DIR")
@_directory("conf", _DEFAULTS.conf, "Where the runtime finds configurations.", "CNI_NET_DIR")
@_directory("networkmanager", _DEFAULTS.networkmanager, "NetworkManager's drop-ins.")
@_directory("networkd", _DEFAULTS.networkd, "Files of systemd-networkd and udev.")
@_directory("units", _DEFAULTS.units, "Units of systemd.")
@_directory("etc", _DEFAULTS.etc, "The daemons' environment file.")
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
    "--conf-name",
    callback=_file_name,
    envvar="CNI_CONF_NAME",
    show_envvar=True,
    metavar="NAME",
    default=conflist.NAME,
    show_default=True,
    help="What the configuration is called.",
)
@click.option(
    "--server-only",
    "is_waiting",
    is_flag=True,
    help="The node has nothing of ours but launchers: they wait for a server that is not there.",
)
@click.option(
    "--calico", "for_calico", is_flag=True, help="Also as calico and calico-ipam, for its conflist."
)
@click.option(
    "--replace", "replaces", is_flag=True, help="Replace foreign files; uninstall puts them back."
)
@click.option(
    "--systemd/--no-systemd",
    "asked",
    default=None,
    help="Also units for the daemons.  [default: if systemd runs here, and not with --root]",
)
@_dry_run
def install(
    root: Path,
    template: Path | None,
    is_trial: bool,
    asked: bool | None,
    *,
    for_calico: bool,
    replaces: bool,
    **more: Any,
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
    state, is_waiting = more.pop("state"), more.pop("is_waiting")
    where, disk = Directories(**more), Disk(root, state)
    recorded = disk.recall()
    with_units = preparing.wants_units(asked, recorded, where, root)
    settings = preparing.environment(disk, where, with_units=with_units)
    script, own = preparing.launchers(disk, where, settings, is_waiting=is_waiting)
    text = conflist.render(_template(template), os.environ)
    called = names(where.bin, recorded.files if recorded else (), for_calico=for_calico)
    units = preparing.units(disk, where) if with_units else ()
    said = put_in_place(
        files(where, called, script, text, (*own, *units)),
        disk,
        preparing.prover(disk, own),
        directories=(templates.certificates(where),) if with_units else (),
        replaces=replaces,
        is_trial=is_trial,
    )
    _say(said, is_trial=is_trial)
    for note in preparing.launcher_notes(disk, own, is_waiting=is_waiting):
        click.echo(note, err=True)
    for warning in preparing.warnings(disk, where, text, called):
        click.echo(f"warning: {warning}", err=True)
    if with_units:
        for warning in preparing.unit_warnings(disk):
            click.echo(f"warning: {warning}", err=True)
        click.echo(f"settings: {templates.environment_file(where)}; then, to start the daemons:")
        click.echo(f"  systemctl daemon-reload && systemctl enable --now {templates.TARGET}")


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
@click.option(
    "--with-pods", is_flag=True, help="Although pods are attached; they stay as they are."
)
@click.option("--purge", "purges", is_flag=True, help="Also what the daemons have recorded.")
@_state
@_root
@_dry_run
def uninstall(state: str, root: Path, is_trial: bool, with_pods: bool, purges: bool) -> None:
    """Remove exactly what install has put in place; what it had replaced comes back.

    A file that was changed since is kept, and named. Units are stopped first, if systemd runs. On
    the node itself also goes what is in its kernel: the table "inet ocicat", tunnel devices, the
    routes of tunnels and BIRD.

    As long as pods are attached it is refused: without the launchers nobody takes them off the
    network. --with-pods removes the files alone, and pods keep talking as long as nothing changes.
    """
    said = remove(
        Disk(root, state),
        is_live=root.resolve() == Path("/"),
        with_pods=with_pods,
        purges=purges,
        is_trial=is_trial,
    )
    _say(said, is_trial=is_trial)


def upgrade_node(state: str, timeout_s: float, *, is_trial: bool) -> None:
    """Put the files of this version in place on this node, and restart its daemons with them.

    Raises:
        Invalid: nothing is installed, or it cannot be done; nothing has changed.
        Unavailable: a daemon does not serve with them; the former version is back.
    """
    disk = Disk(Path("/"), state)
    recorded = disk.recall()
    if recorded is None:
        raise Invalid("nothing is installed here; ocicatctl install does that")
    where = directories(recorded.files)
    with_units = preparing.has_units(recorded, where)
    settings = preparing.environment(disk, where, with_units=with_units)
    called = names(where.bin, recorded.files, for_calico=False)
    units = preparing.units(disk, where) if with_units else ()
    daemons = SystemdDaemons(settings) if systemd.is_running() else None
    script, own = preparing.launchers(disk, where, settings)
    wanted = files(where, called, script, None, (*own, *units))
    prove = preparing.prover(disk, own)
    said = renew(disk, wanted, prove, daemons, timeout_s=timeout_s, is_trial=is_trial)
    _say(said, is_trial=is_trial)


def _template(path: Path | None) -> str:
    if path is None:
        return os.environ.get("CNI_NETWORK_CONFIG") or templates.configuration()
    with errors(path):
        try:
            return path.read_text()
        except UnicodeDecodeError as error:
            raise Invalid(f"{path}: is not UTF-8") from error


def _say(lines: Iterable[str], *, is_trial: bool) -> None:
    for line in lines:
        click.echo(line)
    if is_trial:
        click.echo("this was a dry run: nothing has changed", err=True)
