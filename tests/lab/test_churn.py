"""Many containers come and go at once while launchers and the server are killed at random.

Nothing fails that was not killed, nothing is left, and the server does not grow. By default few
enough at once for a slow machine; by hand run it with OCICAT_CHURN_WORKERS=200 OCICAT_CHURN_S=120.
"""

import itertools
import math
import os
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ocicatctl.lab import daemons, show, system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import NodeSpec
from tests.consistency import assert_consistent
from tests.lab.call import CONF, Answer, Call
from tests.lab_store import everything, held

WORKERS = int(os.environ.get("OCICAT_CHURN_WORKERS", "64"))
SECONDS = float(os.environ.get("OCICAT_CHURN_S", "40"))
KILLED_LAUNCHERS = 0.05  # of all calls
SECOND_DELS = 0.3
# Of the whole time: when the server is killed. From the last one on it must not grow.
SERVER_DIES_AT = (0.15, 0.3)
SETTLED_AT = 0.5
GROWTH_MB = 12.0  # of 60: as many threads as calls were served at once
# What is asked is whether calls fail, not how long so many at once take on this machine.
PATIENCE = {"OCICAT_ADD_TIMEOUT_S": "60", "OCICAT_DEL_TIMEOUT_S": "90"}


class Churn:
    """Workers on one node, each with a network namespace of its own."""

    def __init__(self, lab: Lab, node: NodeSpec) -> None:
        self.lab = lab
        self.node = node
        self.begun = 0.0
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._outage_end = 0.0  # of the server's last death; infinite while it is dead
        self._containers = itertools.count(1)
        self._lock = threading.Lock()

    def begin(self) -> None:
        self.begun = time.monotonic()

    @property
    def fraction(self) -> float:
        return (time.monotonic() - self.begun) / SECONDS

    # ---- workers -------------------------------------------------------------------------------

    def work(self, number: int) -> None:
        chance = random.Random(number)
        namespace = self.lab.spec.pod_namespace(f"churn-{number}")
        while self.fraction < 1 and not self.failures:
            call = Call(
                self.node,
                netns=str(system.NETNS / namespace),
                container_id=f"{next(self._containers):x}-churn",
            )
            added = self.call(call, chance)
            if added and added.status == 0 and chance.random() < 0.5:
                self.call(replace(call, command="CHECK", conf=checked(added)), chance)
            self.delete(replace(call, command="DEL"), chance)

    def delete(self, call: Call, chance: random.Random) -> None:
        """Until one DEL was served to its end; some of them are repeated, without a namespace."""
        while not self.failures and self.call(call, chance) is None:
            pass
        if chance.random() < SECOND_DELS:
            self.call(replace(call, netns=chance.choice(["", call.netns])), chance)

    def call(self, call: Call, chance: random.Random) -> Answer | None:
        """Run a call; ``None`` if somebody was killed who served it."""
        begun = time.monotonic()
        kill_after = chance.uniform(0, 0.3) if chance.random() < KILLED_LAUNCHERS else None
        wrapper = ("timeout", "-s", "KILL", f"{kill_after:.3f}") if kill_after is not None else ()
        # The daemons come first: so many runtimes would leave etcd without a processor for seconds.
        answer = replace(call, wrapper=("nice", *wrapper)).run()
        was_killed = answer.status in (-9, 137)
        if answer.status and not was_killed and not self.was_outage(begun):
            self.failures.append(f"{call.command} of {call.container_id}: {answer}")
        with self._lock:
            self.counts[f"{call.command} {'killed' if was_killed else answer.status}"] += 1
        return None if was_killed or answer.status else answer

    # ---- the server ----------------------------------------------------------------------------

    def was_outage(self, begun: float) -> bool:
        """Whether the server was dead at some moment since *begun*."""
        return self._outage_end >= begun

    def kill_server(self) -> None:
        self._outage_end = math.inf
        daemons.kill(self.node, "cni-server")  # until it is back launchers serve themselves
        daemons.start(self.node, "cni-server", settings=PATIENCE)
        self._outage_end = time.monotonic()

    def until(self, fraction: float) -> None:
        while self.fraction < fraction and not self.failures:
            time.sleep(0.1)

    def size(self) -> tuple[float, int]:
        """Resident memory of the server in MB, and how many descriptors it has open."""
        process = Path(f"/proc/{PidFile(self.node.directory, 'cni-server').read()}")
        pages = int((process / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list((process / "fd").iterdir()))


def checked(added: Answer) -> dict:
    return {**CONF, "prevResult": added.document}


@pytest.fixture
def churn(lab, node):
    namespaces = [lab.spec.pod_namespace(f"churn-{i}") for i in range(WORKERS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(system.add_namespace, namespaces))
        churn = Churn(lab, node)
        churn.kill_server()
        yield churn
        daemons.kill(node, "cni-server")
        list(pool.map(lambda name: system.remove_namespaces([name]), namespaces))


def test_containers_come_and_go_while_launchers_and_the_server_are_killed(lab, node, churn, capsys):
    stays = [lab.add_pod(node, f"stays-{i}") for i in (1, 2)]
    churn.begin()
    with ThreadPoolExecutor(WORKERS) as workers:
        work = [workers.submit(churn.work, number) for number in range(WORKERS)]
        for fraction in SERVER_DIES_AT:
            churn.until(fraction)
            churn.kill_server()
        churn.until(SETTLED_AT)
        before_mb, _ = churn.size()
        for worker in work:
            worker.result()
    after_mb, _ = churn.size()
    system.wait_until(lambda: churn.size()[1] < 100, "descriptors of calls to be closed", 10)
    with capsys.disabled():
        sys.stdout.write(f"\n{dict(churn.counts)}; server {before_mb:.1f} → {after_mb:.1f} MB ")

    assert not churn.failures
    assert after_mb - before_mb < GROWTH_MB
    assert show.ping(*map(show.place_of_pod, stays)) is not None
    # A process that was killed may have been heard by ipamd after its DEL: that is reconcile's,
    # which trusts no report without any link.
    system.wait_until(lambda: "-churn" not in str(held(lab)), "reconcile", 60)
    for pod in stays:
        lab.delete_pod(pod.name)
    system.wait_until(lambda: not show.leftovers(lab).found, "nothing to be left", 60)
    assert_consistent(everything(lab))
