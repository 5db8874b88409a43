"""The files of an upgrade from host-local: its directory and lock, configurations, cached results.

Edge: files. Nothing is decided here; ``host_local.py`` knows what the files mean.
"""

import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from datamodel.block import Address
from datamodel.errors import Invalid, Unavailable
from ocicatctl.upgrade.containers import Routes, routes_of
from ocicatctl.upgrade.host_local import CLOSED_CONTENT, TEMPORARY, Closed, Given, Stray, parse_file

LOCK_TIMEOUT_S = 60.0
# What libcni and the runtimes take for a configuration.
_CONFIGURATIONS = (".conf", ".conflist", ".json")


class Directory:
    """What host-local keeps of one network: a file for each address."""

    def __init__(self, path: Path, network: str) -> None:
        self.path = path / network
        self._network = network
        self._lock = self.path / "lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every host-local from this network's addresses; the directory is made if need be.

        With host-local's own lock, flock(2) on ``lock``: its ADD and DEL wait meanwhile. The kernel
        lets it go when this process ends, however it does.
        """
        with _errors(self._lock):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o750)
        try:
            self._wait_for(handle)
            yield
        finally:
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        """Queue up with the host-locals that wait; who only asks now and then never gets it."""
        before = signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, LOCK_TIMEOUT_S)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except TimeoutError as error:
            raise Unavailable(
                f"{self._lock}: is held for {LOCK_TIMEOUT_S:.0f} s; look which host-local hangs"
            ) from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def read(self) -> list[Given | Closed | Stray]:
        """Read every file that says something; nothing if there is no directory."""
        found: list[Given | Closed | Stray] = []
        with _errors(self.path):
            for path in sorted(self.path.iterdir()) if self.path.is_dir() else ():
                if path.is_file():
                    name, time_ns = path.name, path.stat().st_mtime_ns
                    one = parse_file(self._network, name, path.read_bytes(), time_ns)
                else:
                    one = Stray(path.name, "is not a file")
                if one is not None:
                    found.append(one)
        return found

    def write(self, given: Given) -> None:
        """Replace an address's file, as a whole or not at all; it keeps its time."""
        self._replace(given, given.content)

    def write_closed(self, given: Given) -> None:
        """Leave of a container that is gone only that host-local does not get its address."""
        self._replace(given, CLOSED_CONTENT)

    def _replace(self, given: Given, content: bytes) -> None:
        path, temporary = self.path / str(given.address), self.path / TEMPORARY
        with _errors(path):
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.utime(temporary, ns=(given.time_ns, given.time_ns))
            temporary.replace(path)

    def close(self, address: Address) -> bool:
        """Take an address from host-local that nobody has; tell whether it was free."""
        path = self.path / str(address)
        with _errors(path):
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            with os.fdopen(handle, "wb") as file:
                file.write(CLOSED_CONTENT)
        return True

    def remove(self) -> list[str]:
        """Remove the directory and what is known in it; return the names of what is left."""
        with _errors(self.path):
            left = [one.name for one in self.read() if isinstance(one, Stray)]
            for path in self.path.iterdir():
                if path.name not in left and path != self._lock:
                    path.unlink()
            if not left:
                self._lock.unlink()
                self.path.rmdir()
        return left


def _give_up(*_: object) -> None:
    raise TimeoutError


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "; run this as root" if isinstance(error, PermissionError) else ""
        raise Invalid(f"{error.filename or path}: {error.strerror or error}{hint}") from error


def read_file(path: Path) -> bytes:
    """Read a file that must be there.

    Raises:
        Invalid: it cannot be read.
    """
    with _errors(path):
        return path.read_bytes()


def read_if_there(path: Path) -> bytes | None:
    """Read a file; ``None``: there is none."""
    with _errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def configurations(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Path and content of every configuration that a runtime may use."""
    with _errors(directory):
        paths = sorted(directory.iterdir()) if directory.is_dir() else []
    for path in paths:
        if path.suffix in _CONFIGURATIONS and (content := read_if_there(path)) is not None:
            yield str(path), content


def kernel_routes() -> Routes:
    """The routes of this network namespace."""
    texts = [read_if_there(Path(f"/proc/net/{name}")) or b"" for name in ("route", "ipv6_route")]
    return routes_of(texts[0].decode(), texts[1].decode())
