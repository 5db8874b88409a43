"""ADDs and DELs all the time, while a test replaces what serves them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ocicatctl.lab import system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.spec import NodeSpec
from tests.lab.call import Answer, Call

WORKERS = 3


@contextmanager
def load(lab: Lab, node: NodeSpec, executable: Path | None = None) -> Iterator[list[Answer]]:
    """Attach and detach a container per worker within the block; afterwards all is answered."""
    spaces = [lab.spec.pod_namespace(f"load-{i}") for i in range(WORKERS)]
    stop = threading.Event()
    answers: list[Answer] = []

    def work(i: int) -> None:
        netns = str(system.NETNS / spaces[i])
        call = Call(node, netns=netns, container_id=f"load{i}", executable=executable)
        while not stop.is_set():
            answers.extend([replace(call, command=command).run() for command in ("ADD", "DEL")])

    for space in spaces:
        system.add_namespace(space)
    try:
        with ThreadPoolExecutor(WORKERS) as threads:
            working = [threads.submit(work, i) for i in range(WORKERS)]
            try:
                yield answers
            finally:
                stop.set()
            for done in working:
                done.result()
    finally:
        system.remove_namespaces(spaces)
