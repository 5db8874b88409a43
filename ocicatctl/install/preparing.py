"""What an installation consists of on a certain node, and whether the node can use it.

Called by the commands. The files' own content is decided in ``wanted.py`` and ``conflist.py``.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from datamodel.errors import Invalid
from ocicatctl.install import conflist, interpreter, launcher, systemd, templates
from ocicatctl.install.disk import Disk, errors
from ocicatctl.install.manifest import Manifest
from ocicatctl.install.settings import settings
from ocicatctl.install.wanted import Directories, File

# What units do not see of the node: ProtectHome= and PrivateTmp=.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
_OTHER_BIRD = "/etc/systemd/system/multi-user.target.wants/bird.service"


def wants_units(
    asked: bool | None, recorded: Manifest | None, where: Directories, root: Path
) -> bool:
    """Whether units belong to it: as asked, as before, else if systemd runs this very node."""
    if asked is not None:
        return asked
    is_there = recorded is not None and has_units(recorded, where)
    return is_there or (root.resolve() == Path("/") and systemd.is_running())


def has_units(recorded: Manifest, where: Directories) -> bool:
    """Whether units belong to what is installed."""
    return str(PurePosixPath(where.units, templates.TARGET)) in recorded.files


def environment(disk: Disk, where: Directories, *, with_units: bool) -> Mapping[str, str]:
    """The settings of this environment; with units, those of their environment file besides."""
    here = disk.at(templates.environment_file(where), follows=True)
    text = ""
    if with_units:
        with errors(here):
            text = here.read_text(errors="replace") if here.exists() else ""
    return {**settings(text), **os.environ}


def launchers(
    disk: Disk, where: Directories, settings: Mapping[str, str], *, is_waiting: bool = False
) -> tuple[str, tuple[File, ...]]:
    """The launcher, and what starts it if the node has nothing that does.

    Args:
        is_waiting: of ours the node has nothing but launchers.

    Raises:
        Invalid: a setting is wrong, or the node cannot start it: it may have another file system
            than we.
    """
    is_alone = is_waiting or not disk.is_program(sys.executable)
    text = launcher.text(settings, is_waiting=is_alone)
    own = interpreter.choose(disk, text, where.bin, is_tried=is_waiting)
    if own is None:
        return text, ()
    return launcher.text(settings, own.path, is_waiting=is_alone), (own,)


def prover(disk: Disk, own: Sequence[File]) -> Callable[[Sequence[Path]], None]:
    """What proves launchers that are not yet in place, nor is their interpreter."""

    def prove(paths: Sequence[Path]) -> None:
        launcher.prove(paths, *(interpreter.here(disk, file) for file in own))

    return prove


def units(disk: Disk, where: Directories) -> tuple[File, ...]:
    """The units for the Python environment that we run in.

    Raises:
        Invalid: the node does not have it, or units do not see it.
    """
    programs = PurePosixPath(sys.executable).parent
    for service in templates.SERVICES:
        program = str(programs / service.removesuffix(".service"))
        if service != templates.BIRD and not disk.is_program(program):
            raise Invalid(f"{disk.at(program)}: is not there; install the package ocicat in there")
    for path in (sys.executable, os.path.realpath(sys.executable)):
        if any(PurePosixPath(path).is_relative_to(hidden) for hidden in HIDDEN):
            raise Invalid(
                f"{path}: units do not see what is in {', '.join(HIDDEN)}; make the Python "
                "environment elsewhere, as in /opt/ocicat/VERSION, or say --no-systemd"
            )
    return templates.unit_files(where, str(programs))


def warnings(disk: Disk, where: Directories, text: str, called: Iterable[str]) -> Iterator[str]:
    """What is in place and yet not as somebody may expect."""
    name = where.conf_name
    for plugin in conflist.types(text):
        if plugin not in called and not disk.is_program(f"{where.bin}/{plugin}"):
            yield f"{where.bin}/{plugin}: is not there; {name} needs it for every pod"
    first = conflist.first([*disk.names(where.conf), name])
    if first != name:
        yield f"{where.conf}/{first}: comes before {name}; runtimes use only the first"


def launcher_notes(disk: Disk, own: Iterable[File], *, is_waiting: bool) -> Iterator[str]:
    """What launchers need that others do not."""
    for file in own:
        yield f"the node has no python3 that runs the launchers; {file.path} does"
    if not is_waiting and not disk.is_program(sys.executable):
        yield (
            f"warning: {disk.at(sys.executable)}: is not there; while the CNI server is down, "
            "ADD and DEL will wait for it, and then fail"
        )


def unit_warnings(disk: Disk) -> Iterator[str]:
    """What will keep the units from doing their work."""
    if disk.at(_OTHER_BIRD).is_symlink():
        yield (
            "bird.service: is enabled, and two BIRDs do not share a port; "
            "systemctl disable --now bird"
        )
    if not any(disk.is_program(f"{where}/bird") for where in ("/usr/sbin", "/usr/bin")):
        yield "bird: is not there; install the package bird2"
    if not any(disk.is_program(f"{where}/nft") for where in ("/usr/sbin", "/usr/bin")):
        yield "nft: is not there; pools with natOutgoing need the package nftables"
