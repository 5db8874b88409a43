"""The plugin is killed at every call it makes of the kernel; what follows leaves nothing of it.

``strace`` finds the calls (netlink, sockets, namespaces, files) of one ADD or DEL and then kills
whoever makes the n-th of a kind, before the kernel carries it out: once for every n. Killed are the
launcher, the plugin in a process of its own, and the resident server. After each, one of the things
happens that a runtime does next; which one takes turns, so that each follows calls of every kind.
"""

import itertools
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ocicatctl.doctor.cni_socket import ask_version
from ocicatctl.lab import daemons, show, system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import NodeSpec
from tests.consistency import assert_consistent
from tests.lab.call import CONF, Answer, Call
from tests.lab_store import everything, held

# What has an effect outside of the process, or waits for one.
CALLS = (
    *("connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "setns", "write", "pwrite64"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "fsync", "mkdir"),
)
LINE = re.compile(r"(\d+) +(\w+)\(")
ATTACHED = re.compile(r"strace: Process \d+ attached( with \d+ threads)?")
SOON_S = 10.0
HEAL_S = 40.0
VERSION_1_1 = {**CONF, "cniVersion": "1.1.0"}


@dataclass(frozen=True)
class Point:
    """The moment before some thread's *number*-th call of a kind."""

    call: str
    number: int

    @property
    def injection(self) -> str:
        return f"inject={self.call}:signal=KILL:when={self.number}"


def points(log: Path) -> list[Point]:
    """Every moment of a run that strace wrote down."""
    lines = log.read_text(errors="replace").splitlines()
    counts = Counter(found.groups() for line in lines if (found := LINE.match(line)))
    most: dict[str, int] = {}
    for (_, call), count in counts.items():
        most[call] = max(count, most.get(call, 0))
    return [Point(call, i + 1) for call, count in sorted(most.items()) for i in range(count)]


# ---- who is killed -----------------------------------------------------------------------------


class Launcher:
    """The executable, or with no server the plugin in its process: a new one for each call."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def watched(self, call: Call) -> list[Point]:
        answer = self._run(call, f"trace={','.join(CALLS)}")
        assert answer.status == 0, answer
        return points(self._log)

    def killed(self, call: Call, point: Point) -> bool:
        """Whether it was: it may have come through without that call."""
        return self._run(call, f"trace={point.call}", "-e", point.injection).status < 0

    def _run(self, call: Call, expression: str, *options: str) -> Answer:
        return replace(
            call, wrapper=("strace", "-qq", "-f", "-o", str(self._log), "-e", expression, *options)
        ).run()


class Server:
    """The resident server: a new one for each call, with its first thread at work already."""

    def __init__(self, node: NodeSpec, log: Path) -> None:
        self._node = node
        self._log = log

    def watched(self, call: Call) -> list[Point]:
        with self._traced(f"trace={','.join(CALLS)}"):
            answer = call.run()
        assert answer.status == 0, answer
        return points(self._log)

    def killed(self, call: Call, point: Point) -> bool:
        with self._traced(f"trace={point.call}", "-e", point.injection) as tracer:
            answer = call.run()
            if answer.status:  # an ADD that its server left, and strace ends when that is gone
                tracer.wait(10)
        # Nobody kills it any more, but one that was killed may not have ended yet.
        server = PidFile(self._node.directory, "cni-server")
        path = self._node.environment["OCICAT_CNI_SOCKET"]
        system.wait_until(
            lambda: not server.is_running() or not ask_version(path, 1.0), "the server's end", 10
        )
        is_killed = not server.is_running()
        assert is_killed or answer.status == 0, answer
        daemons.start(self._node, "cni-server")
        return is_killed

    def _traced(self, *expressions: str) -> "Tracer":
        """Trace the server, which has served one call before; up to then its calls do not count."""
        pid_file = PidFile(self._node.directory, "cni-server")
        if pid_file.is_running():
            daemons.kill(self._node, "cni-server")
        daemons.start(self._node, "cni-server")
        assert Call(self._node, "VERSION").run().status == 0
        return Tracer(pid_file.read(), self._log, expressions)


class Tracer:
    """strace, attached to a process for the length of a block."""

    def __init__(self, pid: int, log: Path, expressions: tuple[str, ...]) -> None:
        self._command = ["strace", "-f", "-o", str(log), "-p", str(pid), "-e", *expressions]

    def __enter__(self) -> subprocess.Popen:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if ATTACHED.match(line):
                break
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # asked to end, it may wait for ever for a thread that was killed
        self._process.communicate()  # closes the pipe as well


# ---- what follows ------------------------------------------------------------------------------


def delete(lab: Lab, call: Call, namespace: str) -> None:
    assert replace(call, command="DEL").run().status == 0


def delete_without_namespace(lab: Lab, call: Call, namespace: str) -> None:
    assert replace(call, command="DEL", netns="").run().status == 0


def collect_garbage(lab: Lab, call: Call, namespace: str) -> None:
    """As CRI-O does when it starts: every container of this node that lives is named."""
    living = [
        {"containerID": pod.container.id, "ifname": pod.container.ifname}
        for pod in lab.pods()
        if pod.node == call.node.name
    ]
    conf = {**VERSION_1_1, "cni.dev/valid-attachments": living}
    answer = replace(call, command="GC", netns="", ifname="", container_id="", conf=conf).run()
    assert answer.status == 0, answer


def forget(lab: Lab, call: Call, namespace: str) -> None:
    """The runtime loses every record of the container; its namespace goes with its processes."""
    system.remove_namespaces([namespace])


FOLLOWING = (delete, delete_without_namespace, collect_garbage, forget)


# ---- the trials --------------------------------------------------------------------------------


class Trials:
    """Containers of one node that are killed over, beside pods that nothing may happen to."""

    def __init__(self, lab: Lab, node: NodeSpec, log: Path) -> None:
        self.lab = lab
        self.node = node
        self.log = log
        self.executable: Path | None = None  # None: as the plugin that makes the interface
        self.following = FOLLOWING
        self._numbers = itertools.count(1)
        self._forgotten: list[Call] = []
        self.killed = 0
        self.missed: list[Point] = []

    def container(self) -> tuple[Call, str]:
        name = f"k{next(self._numbers)}"
        namespace = self.lab.spec.pod_namespace(name)
        system.add_namespace(namespace)
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"
        call = Call(
            self.node,
            netns=str(system.NETNS / namespace),
            container_id=f"{name}-of-{self.node.name}",
            conf=VERSION_1_1,
            environment={"CNI_ARGS": args},
            executable=self.executable,
        )
        return call, namespace

    def run(self, victim: Launcher | Server, command: str, at_least: int) -> None:
        """Kill *victim* once at every call it makes; fail if that are not so many."""
        call, namespace = self._prepared(command)
        found = victim.watched(call)
        delete(self.lab, call, namespace)
        system.remove_namespaces([namespace])
        before = self.kernel()
        for point, follow in zip(found, itertools.cycle(self.following)):
            call, namespace = self._prepared(command)
            if victim.killed(call, point):
                self.killed += 1
            else:
                self.missed.append(point)
            follow(self.lab, call, namespace)
            if follow is forget:
                self._forgotten.append(call)
                continue
            what = f"{follow.__name__} after {point}"
            self.wait(lambda: self.kernel() - before, what, SOON_S)
            self.wait(lambda call=call: self.mentions([call]), what, SOON_S)
            system.remove_namespaces([namespace])
        calls, self._forgotten = self._forgotten, []
        daemons.start(self.node, "cni-server")  # who tells ipamd of the kernel
        self.wait(lambda: (self.kernel() ^ before) | self.mentions(calls), "reconcile", HEAL_S)
        assert self.killed >= at_least
        assert len(self.missed) <= self.killed / 2  # gRPC's threads share their work as it comes

    def _prepared(self, command: str) -> tuple[Call, str]:
        call, namespace = self.container()
        if command == "DEL":
            answer = call.run()
            assert answer.status == 0, answer
            call = replace(call, command="DEL")
        return call, namespace

    @staticmethod
    def wait(left: Callable[[], set[str]], what: str, timeout_s: float) -> None:
        """Wait until nothing is left."""
        deadline = time.monotonic() + timeout_s
        while found := left():
            assert time.monotonic() < deadline, f"{what}: left are {found}"
            time.sleep(system.POLL_S)

    def kernel(self) -> set[str]:
        """The node's links, addresses, routes and neighbours."""
        found: set[str] = set()
        for what in ("link", "addr", "-4 route", "-6 route", "neigh show nud permanent"):
            text = system.run("ip", "-o", *what.split(), namespace=self.node.namespace).stdout
            # Link-local addresses come by themselves, a moment after their link, and entries of
            # neighbours age.
            lines = (line.partition(" extern_learn")[0] for line in text.splitlines())
            found.update(f"{what}: {line}" for line in lines if "fe80::" not in line)
        return found

    def mentions(self, calls: list[Call]) -> set[str]:
        """What the store or the spool still has of these containers."""
        text = json.dumps(held(self.lab))
        spooled = (self.node.directory / "releases").glob("*")
        return {c.container_id for c in calls if c.container_id in text} | set(map(str, spooled))


@pytest.fixture
def trials(lab, node, tmp_path) -> Iterator[Trials]:
    bystanders = [lab.add_pod(node, f"bystander-{i}") for i in (1, 2)]
    found = Trials(lab, node, tmp_path / "strace")
    yield found
    daemons.start(node, "cni-server")
    for pod in bystanders:
        lab.runtime(node).check(pod.container, pod.result)
    assert show.ping(*map(show.place_of_pod, bystanders)) is not None
    assert_consistent(everything(lab))


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_the_launcher_may_be_killed_at_any_call(trials, command):
    trials.run(Launcher(trials.log), command, at_least=4)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_the_plugin_in_its_own_process_may_be_killed_at_any_call(trials, command):
    daemons.kill(trials.node, "cni-server")

    trials.run(Launcher(trials.log), command, at_least=15)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
@pytest.mark.parametrize(("has_server", "at_least"), [(True, 4), (False, 8)])
def test_the_ipam_role_may_be_killed_at_any_call(trials, command, has_server, at_least):
    trials.executable = trials.node.bin / "ocicat-ipam"
    trials.following = (delete, delete_without_namespace)  # no link tells whether it is in use
    if not has_server:
        daemons.kill(trials.node, "cni-server")

    trials.run(Launcher(trials.log), command, at_least)


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_the_server_may_be_killed_at_any_call(trials, command):
    trials.run(Server(trials.node, trials.log), command, at_least=4)
