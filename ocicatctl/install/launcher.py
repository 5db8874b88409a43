"""The launcher, from the package that has it: its text, and the proof that it works.

Edge: subprocess. That package is no part of this one, so it is run, not imported.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodel.errors import Invalid

_TIMEOUT_S = 60


def text(
    environment: Mapping[str, str], interpreter: str | None = None, *, is_waiting: bool = False
) -> str:
    """The launcher with the OCICAT_ settings of *environment*.

    Args:
        interpreter: what the node starts it with; else what it finds here.
        is_waiting: it waits for a server that is not there, instead of serving the call.

    Raises:
        Invalid: a setting is wrong.
    """
    waits = ["--waits"] if is_waiting else []
    return _run("--print", *_with(interpreter), *waits, environment=environment)


def prove(paths: Sequence[Path], interpreter: str | None = None) -> None:
    """Call each of these launchers, by *interpreter* if that is not yet where they look for it.

    Raises:
        Invalid: one does not answer.
    """
    if paths:
        _run(*_with(interpreter), "--prove", *map(str, paths))


def can_run(root: Path, interpreter: str) -> bool:
    """Whether a launcher runs on an interpreter of the node whose file system is at *root*.

    Without the capability to look (CAP_SYS_CHROOT), that it is there has to do.
    """
    command = ["chroot", str(root), interpreter, "-ISc", _PROBE]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    return done.returncode in (0, _NO_CHROOT)


# What launcher.py needs; Python 3.10 is the first that reads it.
_PROBE = "import _socket, posix, sys, time; sys.exit(sys.version_info < (3, 10))"
_NO_CHROOT = 125  # chroot(1) itself failed


def _with(interpreter: str | None) -> list[str]:
    return [] if interpreter is None else ["--interpreter", interpreter]


def _run(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    command = [sys.executable, "-I", "-m", "cni_plugin.install", *arguments]
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise Invalid(done.stderr.decode(errors="replace").strip())
    return done.stdout.decode()
