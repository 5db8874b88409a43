"""Takes an installation back: what install put in place goes, what it replaced comes back.

Called by ``command.py``. ``plan.py`` decides, ``disk.py`` acts. Killed at any step, the same call
goes on: the record is removed last.
"""

from ocicatctl.install.disk import Disk
from ocicatctl.install.plan import Removing, original, removing, temporary


def uninstall(disk: Disk, *, is_trial: bool = False) -> list[str]:
    """Remove exactly what was installed; return what is to be said.

    The last file that was put in place goes first: the configuration, so that no runtime uses what
    is not there any more.

    Raises:
        Invalid: the record is not one of ours, or the file system refuses.
    """
    said = []
    with disk.ours_alone():
        manifest = disk.recall()
        if not is_trial:
            disk.clear_record()
        if manifest is None:
            return ["nothing is installed"]
        for path, entry in reversed(list(manifest.files.items())):
            found = disk.look(path)
            what = removing(entry, found)
            if not is_trial:
                disk.remove(temporary(path))
                if what is Removing.REMOVED:
                    disk.remove(path)
                elif what is Removing.RESTORED:
                    disk.restore(path)
                elif found.is_original:
                    disk.remove(original(path))
            said += _said(path, what, has_copy=found.has_original and entry.has_original)
        if not is_trial:
            disk.remove_directories(manifest.directories)
            disk.forget(manifest)
    return said


def _said(path: str, what: Removing, *, has_copy: bool) -> list[str]:
    if what is Removing.REMOVED:
        return [f"{path}: removed"]
    if what is Removing.RESTORED:
        return [f"{path}: removed; what was there before is back"]
    if what is Removing.KEPT:
        beside = f"; what was there before us is {original(path)}" if has_copy else ""
        return [f"{path}: kept: it was changed since it was installed{beside}"]
    return []
