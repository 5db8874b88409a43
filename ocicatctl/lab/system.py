"""Namespaces, links and processes of a lab.

Edge: ip(8), nsenter(1), /proc. A process belongs to the lab if it is in one of the lab's network
namespaces: the kernel knows that after any crash, so nothing is left behind.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from datamodel.errors import Unavailable

Done = subprocess.CompletedProcess[str]

NETNS = Path("/run/netns")
END_TIMEOUT_S = 5.0
POLL_S = 0.02

# What every process of a lab gets, and nothing else of the caller's environment.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


def run(
    *command: str | Path,
    namespace: str | None = None,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    timeout_s: float = 60,
) -> Done:
    """Run a command to its end, in a namespace if one is named, and catch what it prints.

    Raises:
        Unavailable: it failed (unless *check* is off) or took longer than *timeout_s*.
    """
    line = [*_inside(namespace), *map(str, command)]
    try:
        done = subprocess.run(
            line,
            input=stdin,
            env={**BASE_ENVIRONMENT, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(line)}: {error}") from error
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Unavailable(f"{' '.join(line)}: exit status {done.returncode}: {said}")
    return done


def start(*command: str | Path, namespace: str, environment: Mapping[str, str], log: Path) -> int:
    """Start a daemon in a namespace; it outlives us. What it prints is appended to *log*.

    Returns:
        Its process id.
    """
    line = [*_inside(namespace), *map(str, command)]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        "/usr/bin/nsenter",
        line,
        {**BASE_ENVIRONMENT, **environment},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def _inside(namespace: str | None) -> list[str]:
    return ["nsenter", f"--net={NETNS / namespace}", "--"] if namespace else []


def add_namespace(name: str) -> None:
    """Make a network namespace with its loopback up; one that exists stays as it is."""
    if not (NETNS / name).exists():
        run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def remove_namespaces(names: Iterable[str]) -> None:
    """End every process inside and remove the namespaces; absent ones are skipped."""
    present = [name for name in names if (NETNS / name).exists()]
    end(pids_in(present))
    for name in present:
        # A name whose mount is gone (an `ip netns add` that was killed) is only a file.
        if run("ip", "netns", "del", name, check=False).returncode:
            (NETNS / name).unlink(missing_ok=True)


def pids_in(names: Iterable[str]) -> list[int]:
    """Every process in one of the namespaces."""
    wanted = {_identity(NETNS / name) for name in names}
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal() and int(directory.name) != os.getpid():
            identity = _identity(directory / "ns/net")
            if identity is not None and identity in wanted:
                found.append(int(directory.name))
    return found


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None  # ended meanwhile
    return status.st_dev, status.st_ino


def end(pids: Sequence[int]) -> None:
    """Ask processes to end, wait, and kill those that do not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            signal_process(pid, number)
        deadline = time.monotonic() + END_TIMEOUT_S
        while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def signal_process(pid: int, number: int) -> None:
    """Send a signal; a process that is gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended but was not waited for does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it is our child
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    # A dead main thread is not the end: other threads may hold the sockets for a moment longer.
    with contextlib.suppress(FileNotFoundError):
        return state not in ("Z", "X") or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    return False


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float) -> float:
    """Wait for something to become true; return how many seconds that took.

    Raises:
        Unavailable: it did not in *timeout_s*.
    """
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > timeout_s:
            raise Unavailable(f"{what}: not so after {timeout_s:g} s; see the lab's log files")
        time.sleep(POLL_S)
    return time.monotonic() - begun
