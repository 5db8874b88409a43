"""Runs plugin executables as a container runtime does and measures each from spawn to exit.

Edge: processes. Both sides go through this one function, alone or many at once. A process starts in
the network namespace of the calling thread.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Call:
    """One execution of a plugin."""

    program: Path
    environment: Mapping[str, str]
    stdin: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    exit_code: int
    output: bytes  # stdout, and whatever came on stderr: nothing, from a plugin that succeeds
    took_s: float  # from before the first spawn of all until its process was reaped
    cpu_s: float  # processor time, of what it executed itself as well


@dataclass(frozen=True, slots=True)
class Ends:
    """How calls that were made at once ended, in their order."""

    ended: tuple[Ended, ...]

    @property
    def wall_s(self) -> float:
        """From before the first spawn until the last process was reaped."""
        return max(ended.took_s for ended in self.ended)

    @property
    def cpu_s(self) -> float:
        """Processor time of all."""
        return sum(ended.cpu_s for ended in self.ended)


@dataclass(slots=True)
class _Process:
    stdin: int
    stdout: int
    output: int  # where we read its output
    end: float = 0.0
    status: int = 0
    cpu_s: float = 0.0


def execute(calls: Sequence[Call]) -> Ends:
    """Start all calls, then wait for all.

    The clock of every call starts before the first spawn: what is wanted at once has also waited
    while the others were started. Counted from its own spawn, a call would seem the faster the
    more its side slows down the spawning of the rest.

    The pipes are there and stdin is written before the clock starts, and output is read after it
    stops, so that between spawns and exits we take as little of the processor as possible. What a
    plugin reads and prints fits in a pipe.
    """
    with ExitStack() as fds:
        processes = [_prepare(call, fds) for call in calls]
        running: dict[int, _Process] = {}
        begun = time.perf_counter()
        for call, process in zip(calls, processes, strict=True):
            running[_spawn(call, process)] = process
            while _reap(running, os.WNOHANG):
                pass
        while running:
            _reap(running, 0)
        return Ends(tuple(_ended(process, begun) for process in processes))


def _prepare(call: Call, fds: ExitStack) -> _Process:
    stdin, stdin_end = os.pipe()
    output, stdout = os.pipe()
    for fd in (stdin, output, stdout):
        fds.callback(os.close, fd)
    os.write(stdin_end, call.stdin)
    os.close(stdin_end)
    return _Process(stdin, stdout, output)


def _spawn(call: Call, process: _Process) -> int:
    return os.posix_spawn(
        call.program,
        [str(call.program)],
        call.environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, process.stdin, 0),
            (os.POSIX_SPAWN_DUP2, process.stdout, 1),
            (os.POSIX_SPAWN_DUP2, process.stdout, 2),
        ],
    )


def _reap(running: dict[int, _Process], options: int) -> bool:
    """Note the end of one process; tell whether there was one."""
    if not running:
        return False
    pid, status, used = os.wait4(-1, options)
    if pid in running:  # else: a daemon of the lab, which is our child as well
        process = running.pop(pid)
        process.end = time.perf_counter()
        process.status = status
        process.cpu_s = used.ru_utime + used.ru_stime
    return pid != 0


def _ended(process: _Process, begun: float) -> Ended:
    os.set_blocking(process.output, False)
    try:
        output = os.read(process.output, 1 << 16)
    except BlockingIOError:
        output = b""  # it printed nothing
    exit_code = os.waitstatus_to_exitcode(process.status)
    return Ended(exit_code, output, process.end - begun, process.cpu_s)
