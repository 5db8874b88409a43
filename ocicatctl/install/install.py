"""Puts the files of an installation in place: everything, or the node is as before.

Called by ``command.py``. ``plan.py`` decides, ``disk.py`` acts. Killed at any step, the same call
completes it and ``uninstall.py`` takes it back: the record is written first.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from datamodel.errors import Invalid
from ocicatctl.install.disk import Disk
from ocicatctl.install.manifest import Manifest
from ocicatctl.install.plan import CHANGES, Plan, Putting, original, plan, temporary
from ocicatctl.install.wanted import File

_SAID = {
    Putting.INSTALLED: "installed",
    Putting.RENEWED: "renewed",
    Putting.UNCHANGED: "unchanged",
    Putting.KEPT: "kept: it was changed since it was installed; move it away to get ours",
    Putting.LEFT: "kept: it is the operator's",
}


def install(
    files: Sequence[File],
    disk: Disk,
    prove: Callable[[Sequence[Path]], None],
    *,
    directories: Sequence[str] = (),
    replaces: bool = False,
    is_trial: bool = False,
) -> list[str]:
    """Put *files* in place, in their order; return what is to be said of each.

    Args:
        directories: that have to be there although no file is put into them.
        prove: calls launchers that are written but not yet in place, and raises if one fails.
        replaces: foreign files make way, and are kept until uninstall.
        is_trial: only tell.

    Raises:
        Invalid: it cannot be done; nothing has changed.
    """
    needed = [*(file.path for file in files), *(f"{path}/-" for path in directories)]
    with disk.ours_alone():
        recorded = disk.recall()
        planned = plan(
            files,
            {file.path: disk.look(file.path) for file in files},
            disk.missing_directories(needed),
            recorded or Manifest(),
            replaces=replaces,
        )
        if planned.mistakes:
            raise Invalid("\n".join(planned.mistakes))
        if not is_trial:
            _carry_out(files, needed, planned, recorded, disk, prove)
    return [f"{path}: {_said(path, what)}" for path, what in planned.puttings.items()]


def _carry_out(
    files: Sequence[File],
    needed: Sequence[str],
    planned: Plan,
    recorded: Manifest | None,
    disk: Disk,
    prove: Callable[[Sequence[Path]], None],
) -> None:
    disk.clear_record()
    for path in planned.during.files:
        disk.remove(temporary(path))  # of a killed install
    puts = [file for file in files if planned.puttings[file.path] in CHANGES]
    is_incomplete = recorded is not None and bool(disk.missing_directories(needed))
    if puts or is_incomplete:
        with ExitStack() as undo:
            undo.callback(_as_before, recorded, planned, disk)
            disk.remember(planned.during)
            for directory in disk.missing_directories(needed):
                disk.make_directory(directory)
            staged = [(file, disk.stage(file)) for file in puts]
            prove([path for file, path in staged if file.is_launcher])
            for file in puts:
                if planned.puttings[file.path] is Putting.REPLACED:
                    disk.keep_original(file.path)
            undo.pop_all()  # all that can be refused is done
        for file in puts:
            disk.put(file.path)
    if puts or is_incomplete or (recorded and planned.after != recorded):
        disk.remember(planned.after)


def _as_before(recorded: Manifest | None, planned: Plan, disk: Disk) -> None:
    """Take back what was prepared; nothing is in its place yet."""
    for path in planned.puttings:
        disk.remove(temporary(path))
        if disk.look(path).is_original:
            disk.remove(original(path))
    had = recorded.directories if recorded else ()
    disk.remove_directories(path for path in planned.during.directories if path not in had)
    if recorded:
        disk.remember(recorded)
    else:
        disk.forget(planned.during)
    disk.clear_record()


def _said(path: str, what: Putting) -> str:
    if what is Putting.REPLACED:
        return f"replaced; what was there is kept as {original(path)} until uninstall"
    return _SAID[what]
