"""A real controller for tests: its own process, settings and log."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.etcd_server import free_ports

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 20.0
PACE = {
    "RECONCILER_PERIOD": "0.5s",
    "OCICAT_CONTROLLERS_NODE_GRACE": "0.3s",
    "OCICAT_CONTROLLERS_LEAK_GRACE": "0.5s",
}


class ControllersProcess:
    """``with ControllersProcess(etcd.endpoint, port) as process:`` runs it and ends it again."""

    def __init__(self, endpoint: str, api_port: int, **environment: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="controllers-test-"))
        kubeconfig = self._directory / "kubeconfig"
        cluster = {"server": f"http://127.0.0.1:{api_port}"}
        kubeconfig.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "c", "cluster": cluster}],
                    "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                    "current-context": "c",
                }
            )
        )
        (self._port,) = free_ports(1)
        self._environment = {
            "PATH": os.environ["PATH"],
            "ETCD_ENDPOINTS": endpoint,
            "KUBECONFIG": str(kubeconfig),
            "OCICAT_CONTROLLERS_METRICS": f"127.0.0.1:{self._port}",
            **PACE,
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with open(self._directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kube_controllers"],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process and self.process.poll() is None:
            self.end(signal.SIGKILL)
        shutil.rmtree(self._directory, ignore_errors=True)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal that ends it, wait, and return how it ended."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT_S)

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def page(self, path: str) -> tuple[int, str]:
        """What it answers; 0: nothing."""
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}") as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()
        return 0, ""

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so."""
        end = time.monotonic() + TIMEOUT_S
        while not is_so():
            assert self.process is not None
            assert self.process.poll() is None, f"it ended:\n{self.log}"
            assert time.monotonic() < end, f"it is not so:\n{self.log}"
            time.sleep(0.02)

    def until_ready(self) -> None:
        self.until(lambda: self.page("/readiness")[0] == 200)
