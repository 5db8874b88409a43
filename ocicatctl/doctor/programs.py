"""Runs a program of the node that only looks, with a deadline.

Edge: subprocess.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from datamodel.errors import Unavailable

_TIMEOUT_S = 3.0
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(name: str) -> str | None:
    """Where a program is; what an operator's PATH lacks (/usr/sbin) is looked through too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def output(
    command: Sequence[str],
    *,
    timeout_s: float = _TIMEOUT_S,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What a command prints.

    Raises:
        Unavailable: it failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            env={"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except PermissionError as error:
        raise Unavailable(f"{command[0]}: may not be executed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"no answer within {timeout_s:g} s"
        raise Unavailable(f"{command[0]}: {reason}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Unavailable(f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def answers_version(path: str) -> str:
    """Why a plugin does not answer VERSION; "": it does."""
    try:
        text = output([path], environment={"CNI_COMMAND": "VERSION"})
        json.loads(text)["supportedVersions"]
    except Unavailable as error:
        return str(error)
    except (ValueError, KeyError, TypeError):
        return f"{path}: answers VERSION with something else"
    return ""
