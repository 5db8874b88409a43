"""A stream of pings through what a test interrupts."""

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

INTERVAL_S = 0.02
NETNS = Path("/run/netns")


class PingStream:
    """Pings from a network namespace to an address all the time; counts what is lost.

    The namespace goes by its name, or by the path of a file that it is.
    """

    def __init__(self, netns: str | Path, address: str) -> None:
        self._process = subprocess.Popen(
            [
                *("nsenter", f"--net={NETNS / netns}", "--"),
                *("ping", "-n", "-i", str(INTERVAL_S), address),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> tuple[int, int]:
        """Return how many were sent and how many came back."""
        time.sleep(2 * INTERVAL_S)
        self._process.send_signal(signal.SIGINT)
        output, _ = self._process.communicate(timeout=10)
        found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
        assert found is not None, output
        return int(found[1]), int(found[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
