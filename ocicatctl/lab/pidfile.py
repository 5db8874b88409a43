"""Which process a daemon of the lab is.

Edge: a file with the process id, /proc, signals.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

from datamodel.errors import Invalid
from ocicatctl.lab import system

END_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class PidFile:
    """``<directory>/<daemon>.pid``. Only a convenience: ``down`` goes by namespaces instead."""

    directory: Path
    daemon: str

    @property
    def _path(self) -> Path:
        return self.directory / f"{self.daemon}.pid"

    def write(self, pid: int) -> None:
        """Remember the process."""
        self._path.write_text(str(pid))

    def read(self) -> int | None:
        """The process's id, whether it still runs or not."""
        try:
            return int(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def is_running(self) -> bool:
        """Whether the process runs."""
        pid = self.read()
        return pid is not None and system.is_alive(pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal and, unless the process only pauses or goes on, wait for its end.

        Raises:
            Invalid: it does not run.
        """
        pid = self.read()
        if pid is None or not system.is_alive(pid):
            raise Invalid(f"{self.directory.name}: {self.daemon} does not run")
        system.signal_process(pid, number)
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            system.wait_until(
                lambda: not system.is_alive(pid), f"end of {self.daemon}", END_TIMEOUT_S
            )
