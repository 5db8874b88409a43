"""The node's file system, as far as installing goes: look, write, rename, remove, remember.

Edge: files. Nothing is decided here. Each change is one system call that happens or does not, and
may be repeated; what a killed call leaves has a name by which the next one removes it.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from datamodel.errors import Invalid, Unavailable
from ocicatctl.install import manifest, plan
from ocicatctl.install.manifest import Manifest
from ocicatctl.install.plan import Found
from ocicatctl.install.wanted import File, digest

_MAX_LINKS = 40  # as many as the kernel follows


class Disk:
    """A node's file system, mounted at *root*. Paths are those on the node."""

    def __init__(self, root: Path, state_dir: str) -> None:
        self._root = root
        self._record = str(PurePosixPath(state_dir, manifest.NAME))

    @property
    def root(self) -> Path:
        """Where the node's file system is."""
        return self._root

    def at(self, path: str, *, follows: bool = False) -> Path:
        """Where a path of the node is for us.

        Links are followed as the node itself follows them, so that none leads out of *root*; a
        link at the very end only if *follows*.
        """
        here, left, links = self._root, [*reversed(PurePosixPath(path).parts[1:])], 0
        while left:
            part = left.pop()
            if part == "..":
                here = here if here == self._root else here.parent
                continue
            here /= part
            if (left or follows) and here.is_symlink():
                links += 1
                if links > _MAX_LINKS:
                    raise Invalid(f"{path}: its links lead round in a circle; mend them")
                target = PurePosixPath(here.readlink())
                here = self._root if target.is_absolute() else here.parent
                left += [part for part in reversed(target.parts) if part != "/"]
        return here

    @contextlib.contextmanager
    def ours_alone(self) -> Iterator[None]:
        """Keep every other install and uninstall out; new files get the modes that they shall have.

        The lock is on the root directory, so that it leaves no file behind.
        """
        with errors(self._root):
            handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        before = os.umask(0o022)
        try:
            _lock(handle, self._root)
            yield
        finally:
            os.umask(before)
            os.close(handle)

    def look(self, path: str) -> Found:
        """Tell what is there; links are not followed."""
        here = self.at(path)
        with errors(here):
            status = _status(here)
            kept = _status(self.at(plan.original(path)))
            if status is None:
                return Found(has_original=kept is not None)
            is_file = stat.S_ISREG(status.st_mode)
            return Found(
                exists=True,
                is_directory=stat.S_ISDIR(status.st_mode),
                digest=digest(here.read_bytes()) if is_file else None,
                mode=stat.S_IMODE(status.st_mode),
                has_original=kept is not None,
                is_original=kept is not None and os.path.samestat(status, kept),
            )

    def read(self, file: File) -> File | None:
        """What is in the place of a file, as one that can be put there again."""
        here = self.at(file.path)
        with errors(here):
            status = _status(here)
            if status is None or not stat.S_ISREG(status.st_mode):
                return None
            return replace(file, content=here.read_bytes(), mode=stat.S_IMODE(status.st_mode))

    def missing_directories(self, paths: Iterable[str]) -> list[str]:
        """Which directories are not there that files and record need, outer ones first."""
        found = dict.fromkeys(
            str(directory)
            for path in (*paths, self._record)
            for directory in reversed(PurePosixPath(path).parents)
        )
        with errors(self._root):
            return [path for path in found if not self.at(path, follows=True).exists()]

    def names(self, directory: str) -> list[str]:
        """What is in a directory; nothing if there is none."""
        here = self.at(directory, follows=True)
        with errors(here):
            return os.listdir(here) if here.is_dir() else []

    def is_program(self, path: str) -> bool:
        """Whether something can be executed there."""
        here = self.at(path, follows=True)
        return here.is_file() and os.access(here, os.X_OK)

    def has_content(self, directory: str) -> bool:
        """Whether any file is in a directory, or in one in it."""
        here = self.at(directory, follows=True)
        with errors(here):
            return any(names for _, _, names in os.walk(here))

    def make_directory(self, path: str) -> None:
        """Make a directory; it may be there."""
        with errors(self.at(path)):
            self.at(path).mkdir(exist_ok=True)

    def stage(self, file: File) -> Path:
        """Write a file beside its place."""
        return _write(self.at(plan.temporary(file.path)), file.content, file.mode)

    def keep_original(self, path: str) -> None:
        """Give what is there a second name; there is no moment without the first."""
        here = self.at(path)
        with errors(here), contextlib.suppress(FileExistsError):
            os.link(here, self.at(plan.original(path)), follow_symlinks=False)

    def put(self, path: str) -> None:
        """Put what is staged in its place."""
        with errors(self.at(path)):
            self.at(plan.temporary(path)).replace(self.at(path))

    def restore(self, path: str) -> None:
        """Put the original back in its place."""
        with errors(self.at(path)):
            self.at(plan.original(path)).replace(self.at(path))

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone."""
        with errors(self.at(path)):
            if _status(self.at(path)):  # a read-only file system refuses even what is not there
                self.at(path).unlink(missing_ok=True)

    def remove_directories(self, paths: Iterable[str]) -> None:
        """Remove directories, given outer ones first, as far as nothing is in them."""
        for path in reversed(list(paths)):
            with contextlib.suppress(OSError):
                self.at(path).rmdir()

    def remove_trees(self, paths: Iterable[str]) -> None:
        """Remove directories with all that is in them; a link is only removed itself."""
        for path in paths:
            here = self.at(path)
            with errors(here):
                if here.is_dir() and not here.is_symlink():
                    shutil.rmtree(here)
                elif _status(here):
                    here.unlink()

    def recall(self) -> Manifest | None:
        """Read the record; ``None``: nothing is installed.

        Raises:
            Invalid: it is not one of ours.
        """
        here = self.at(self._record)
        with errors(here):
            try:
                return manifest.decode(here.read_bytes())
            except FileNotFoundError:
                return None
            except Invalid as error:
                raise Invalid(f"{here}: {error}; move it away") from error

    def remember(self, what: Manifest) -> None:
        """Write the record, in one step with the directories that it needs."""
        whole, staged = self._staged_record()
        inside = self.at(self._record).relative_to(self.at(whole))
        with errors(staged):
            (staged / inside).parent.mkdir(parents=True, exist_ok=True)
            _write(staged / inside, manifest.encode(what), 0o644)
            staged.replace(self.at(whole))

    def forget(self, what: Manifest) -> None:
        """Remove the record, and in the same step the directories that were made for it."""
        made = [
            path for path in what.directories if PurePosixPath(self._record).is_relative_to(path)
        ]
        with errors(self.at(self._record)):
            if _status(self.at(self._record)) and made and self._only_the_record_is_in(made):
                self.at(made[0]).replace(self.at(plan.temporary(made[0])))
                self._discard(made[0])
            else:
                self.remove(self._record)

    def clear_record(self) -> None:
        """Remove what a killed ``remember`` or ``forget`` has left."""
        for path in [self._record, *map(str, PurePosixPath(self._record).parents[:-1])]:
            self._discard(path)

    def _discard(self, whole: str) -> None:
        """Remove the record where *whole* is made, and nothing else that may be there."""
        inside = PurePosixPath(self._record).relative_to(whole)
        here = self.at(plan.temporary(whole)) / inside
        with errors(here):
            if _status(here):
                here.unlink()
        for _ in inside.parts:
            here = here.parent
            with contextlib.suppress(OSError):
                here.rmdir()

    def _staged_record(self) -> tuple[str, Path]:
        """What has to be put in place for the record, and where it is made before."""
        whole = next(iter(self.missing_directories(())), self._record)
        return whole, self.at(plan.temporary(whole))

    def _only_the_record_is_in(self, directories: list[str]) -> bool:
        inner = [*directories[1:], self._record]
        return all(
            os.listdir(self.at(directory)) == [PurePosixPath(path).name]
            for directory, path in zip(directories, inner, strict=True)
        )


def _lock(handle: int, root: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Unavailable(
            f"{root}: another install or uninstall is running; wait for it"
        ) from error


def _write(path: Path, content: bytes, mode: int) -> Path:
    """Write a file so that it is whole on the disk before it can be renamed."""
    with errors(path):
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return path


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def errors(path: Path) -> Iterator[None]:
    """Tell of what the file system refuses by the file and the reason."""
    try:
        yield
    except OSError as error:
        hint = "; run this as root" if isinstance(error, PermissionError) else ""
        raise Invalid(f"{error.filename or path}: {error.strerror or error}{hint}") from error
