"""The systemd that runs this node: reload, stop, restart.

Edge: systemctl(1).
"""

from collections.abc import Sequence
from pathlib import Path

from datamodel.errors import Unavailable
from ocicatctl.install import programs

RUNS = Path("/run/systemd/system")  # as sd_booted(3) tells it


def is_running() -> bool:
    """Whether systemd is this machine's init."""
    return RUNS.is_dir()


def is_active(unit: str) -> bool:
    """Whether it runs, or waits for being started again."""
    state = programs.run("systemctl", "is-active", unit).stdout.strip()
    return state in ("active", "activating", "reloading")


def reload() -> None:
    """Have the unit files read again.

    Raises:
        Unavailable: systemd refuses.
    """
    _do("daemon-reload")


def restart(unit: str) -> None:
    """Stop it and start it, and wait until that is done.

    Raises:
        Unavailable: it could not be started.
    """
    _do("restart", unit)


def stop(units: Sequence[str]) -> None:
    """Stop units and wait until they have ended; one that does not run is fine.

    Raises:
        Unavailable: systemd refuses.
    """
    _do("stop", *units)


def _do(verb: str, *units: str) -> None:
    done = programs.run("systemctl", verb, *units)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise Unavailable(f"systemctl {' '.join((verb, *units))}: {said}")
