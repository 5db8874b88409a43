"""Network namespaces for tests: what runs in them, and waiting for what happens there."""

import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cni_plugin import netns


def ip(*arguments: object) -> str:
    command = ["ip", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def run_in(name: str, *command: str) -> str:
    return ip("netns", "exec", name, *command)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait until *condition* holds; return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "too late"
        time.sleep(0.02)
    return time.monotonic() - started


@contextmanager
def inside(name: str) -> Iterator[None]:
    with open(f"/run/netns/{name}", "rb") as namespace, netns.entered(namespace.fileno()):
        yield


@contextmanager
def namespaces(*whats: str) -> Iterator[list[str]]:
    """Namespaces with lo up; gone behind the block."""
    tag = uuid.uuid4().hex[:6]
    with ExitStack() as undo:
        names = []
        for what in whats:
            names.append(f"netns-{tag}-{what}")
            ip("netns", "add", names[-1])
            undo.callback(ip, "netns", "del", names[-1])
            ip("-n", names[-1], "link", "set", "lo", "up")
        yield names
