"""The launcher, from the package that has it: its text, and the proof that it works.

Edge: subprocess. That package is no part of this one, so it is run, not imported.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodel.errors import Invalid

_TIMEOUT_S = 60


def text(environment: Mapping[str, str]) -> str:
    """The launcher with the OCICAT_ settings of *environment*.

    Raises:
        Invalid: a setting is wrong.
    """
    return _run("--print", environment=environment)


def prove(paths: Sequence[Path]) -> None:
    """Call each of these launchers.

    Raises:
        Invalid: one does not answer.
    """
    if paths:
        _run("--prove", *map(str, paths))


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
