"""Takes Ocicat off a node: units are stopped, then go files and what is in the kernel.

Called by ``command.py``. Killed at any step, the same call goes on: the record is removed last.
"""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from datamodel.errors import Invalid
from ocicatctl.install import live, systemd
from ocicatctl.install.disk import Disk
from ocicatctl.install.manifest import Manifest
from ocicatctl.install.templates import SERVICES, TARGET
from ocicatctl.install.uninstall import uninstall

_RUNTIME = ("/run/ocicat", "/run/ocicat-ipamd")
_STATE = {
    "releases that ipamd was not told": ("/var/lib/ocicat/releases",),
    # The first is a link to where systemd keeps what belongs to users of its making.
    "who held which address": ("/var/lib/ocicat-ipamd", "/var/lib/private/ocicat-ipamd"),
}
_MANY = 5


def remove(
    disk: Disk, *, is_live: bool, with_pods: bool, purges: bool, is_trial: bool = False
) -> Iterator[str]:
    """Remove an installation; say what is done while it is done.

    Args:
        is_live: the file system is that of the node that we are on.
        with_pods: the files go although pods are attached, and of the kernel nothing does.
        purges: what the daemons have recorded goes, too.

    Raises:
        Invalid: pods are attached, the record is not one of ours, or the file system refuses.
        Unavailable: systemd or the kernel refuses.
    """
    recorded = disk.recall() or Manifest()
    if is_live and recorded.files and not with_pods:
        _refuse_pods(live.pods())
    units = [path for path in recorded.files if PurePosixPath(path).name in (*SERVICES, TARGET)]
    has_systemd = bool(units) and is_live and systemd.is_running()
    if has_systemd:
        names = sorted(PurePosixPath(path).name for path in units)
        if not is_trial:
            systemd.stop(names)
        yield f"{', '.join(names)}: stopped"
    for link in _enabling(disk, units):
        if not is_trial:
            disk.remove(link)
            disk.remove_directories([str(PurePosixPath(link).parent)])
        yield f"{link}: removed"
    if is_live and recorded.files and not with_pods and not is_trial:
        yield from live.clean()
    yield from _state(disk, purges=purges, is_trial=is_trial)
    yield from uninstall(disk, is_trial=is_trial)
    if has_systemd and not is_trial:
        systemd.reload()
        disk.remove_trees(_RUNTIME)


def _refuse_pods(attached: Sequence[str]) -> None:
    if attached:
        more = ", …" if len(attached) > _MANY else ""
        raise Invalid(
            f"pods: {len(attached)} are attached: {', '.join(attached[:_MANY])}{more}; drain the "
            "node first, or call this with --with-pods"
        )


def _enabling(disk: Disk, units: Sequence[str]) -> Iterator[str]:
    """The links by which units are enabled."""
    for directory in sorted({str(PurePosixPath(path).parent) for path in units}):
        for name in sorted(disk.names(directory)):
            if name.endswith((".wants", ".requires")):
                inside = disk.names(f"{directory}/{name}")
                ours = [path for path in units if PurePosixPath(path).name in inside]
                yield from (f"{directory}/{name}/{PurePosixPath(path).name}" for path in ours)


def _state(disk: Disk, *, purges: bool, is_trial: bool) -> Iterator[str]:
    """What the daemons have recorded; directories in which nothing is say nothing."""
    for what, paths in _STATE.items():
        full = [path for path in paths if disk.has_content(path)]
        if full and not purges:
            yield f"{full[0]}: kept: {what}; --purge removes it"
        elif not is_trial:
            disk.remove_trees(paths)
        if full and purges:
            yield f"{full[0]}: removed"
