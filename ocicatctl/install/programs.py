"""Runs a program of the node we are on: ip, nft, systemctl.

Edge: subprocess.
"""

import shutil
import subprocess

from datamodel.errors import Unavailable

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT_S = 120  # longer than any unit of ours may take to end


def is_there(program: str) -> bool:
    """Whether the node has it."""
    return shutil.which(program, path=_PATH) is not None


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """What came of it, a failure too.

    Raises:
        Unavailable: it is not there, or does not end.
    """
    try:
        return subprocess.run(
            command,
            env={"PATH": _PATH, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
