"""What starts the launchers of a node: its own python3, or the one of our image beside them.

Edge: the file of that. It is one file that needs nothing of the node (deploy/interpreter); an
installation outside of the image has none.
"""

import sys
from pathlib import Path, PurePosixPath

from datamodel.errors import Invalid
from ocicatctl.install import launcher, plan
from ocicatctl.install.disk import Disk
from ocicatctl.install.wanted import File

NAME = "ocicat-python3"
OURS = Path(sys.prefix, "libexec/python3")


def choose(
    disk: Disk, script: str, directory: str, *, is_tried: bool, ours: Path = OURS
) -> File | None:
    """The interpreter to put beside the launchers; ``None`` if the node has the one they name.

    Args:
        script: a launcher; its first line names the interpreter.
        directory: of the launchers.
        is_tried: not only that the node's is there counts, but that it runs.

    Raises:
        Invalid: the node has none, and we have none to give.
    """
    path = script.partition("\n")[0].removeprefix("#!").split(" ")[0]
    is_there = disk.is_program(path)
    if is_there and (not is_tried or launcher.can_run(disk.root, path)):
        return None
    if not ours.is_file():
        what = "cannot run the launcher" if is_there else "is not there"
        raise Invalid(f"{disk.at(path)}: {what}; install python3 on the node")
    return File(str(PurePosixPath(directory, NAME)), ours.read_bytes(), 0o755, is_interpreter=True)


def here(disk: Disk, file: File) -> str:
    """Where the interpreter can be called before it is in its place: staged, or as it was."""
    staged = disk.at(plan.temporary(file.path))
    return str(staged if staged.exists() else disk.at(file.path))
