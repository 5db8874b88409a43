"""ipamd is killed at every call that it makes to etcd: the store agrees with itself at once, and
with the kernel after the next reconcile.

Every scenario lists the calls of its act; a test of its own sees to it that these are all. Each
call is struck: ipamd dies before etcd has the request, or after etcd has answered; or, if it is to
write, before, and etcd carries it out late, when the next ipamd has long been at work.
"""

import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

import grpc
import pytest

from datamodel.pool import Pool
from datamodel.tunnel import IPIP
from datastore import codec, keys
from tests.consistency import assert_consistent
from tests.etcd_proxy import AFTER, BEFORE, LATE, EtcdProxy, LoopThread, Strike
from tests.etcd_server import EtcdServer
from tests.faults.node import PACE, DirectStore, Node, handle_of
from tests.ipam import NODE, STAMP, a_foreign_block, a_store, an_allocate, an_attachment, settled
from tests.ipamd_process import IpamdProcess

ABANDONED, REPEATED, ADDED_AGAIN, STARTED = "abandoned", "repeated", "added again", "started"
OBEYED = "the pool's mode is obeyed"
ADD = (ABANDONED, REPEATED)
DEL = (ABANDONED, REPEATED, ADDED_AGAIN)
FREE = (ABANDONED, ADDED_AGAIN)

WORKERS = 16
STRIKE_TIMEOUT_S = 10
QUIET_S = 0.2


@dataclass(frozen=True)
class Scenario:
    """What is done, and from which state."""

    name: str
    calls: tuple[str, ...]  # their kinds (tests/etcd_proxy.py), in the order in which etcd is asked
    afterwards: tuple[str, ...]  # what may follow the kill
    act: Callable[[Node], object]
    prepare: Callable[[Node], object] | None = None  # None: ipamd does not run yet
    stored: Mapping[str, bytes] = field(default_factory=dict)  # before ipamd starts
    environment: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()  # handles of other nodes
    unwired: tuple[str, ...] = ()  # containers whose endpoint a newer one may have
    has_cooldown: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Point:
    """One kill, and what comes after it."""

    scenario: Scenario
    number: int
    side: str
    afterwards: str

    def __str__(self) -> str:
        kind = self.scenario.calls[self.number - 1]
        where = f"call {self.number}, {kind}, {self.side}"
        return f"{self.scenario.name}: {where}: {self.afterwards}"


Trial = Scenario | Point


# ---- from which state --------------------------------------------------------------------------


def bystander(node: Node) -> None:
    """A pod that has nothing to do with it."""
    node.add("bystander")


def full_block(node: Node) -> None:
    bystander(node)
    node.add("bystander-2")


def attached(node: Node) -> None:
    bystander(node)
    node.add("new")


def dead_sandbox(node: Node) -> None:
    """The pod's sandbox is gone with its link, and nobody said DEL."""
    bystander(node)
    node.add("old", pod="web")
    del node.links["old"]


def leaked(node: Node) -> None:
    """The plugin was killed when the link was gone and the release neither sent nor spooled."""
    attached(node)
    del node.links["new"]


def after_a_restart(prepare: Callable[[Node], None]) -> Callable[[Node], None]:
    """An ipamd that remembers nothing of what it wrote."""

    def prepare_and_restart(node: Node) -> None:
        prepare(node)
        node.ipamd.kill()
        node.start()

    return prepare_and_restart


# Two blocks of two addresses, so that the third pod needs the second block.
SMALL = Pool("small", IPv4Network("10.77.0.0/30"), block_size=31)
FIRST, SECOND = SMALL.blocks_for(NODE)
STORED = a_store(SMALL, nodes=(NODE, "node-2"))
COOLDOWN = b'{"strict_affinity":true,"auto_allocate_blocks":true,"ipCooldownSeconds":100}'
BORROWING = b'{"strict_affinity":false,"auto_allocate_blocks":true}'
THEIRS, _ = settled(
    STORED.having(**{keys.IPAM_CONFIG: BORROWING}),
    an_allocate("theirs", addresses=(SECOND[0],)),
    node="node-2",
)

TUNNELLED = replace(SMALL, ipip_mode="Always")
TUNNEL = IPIP.handle_id(NODE)

# ---- what is done ------------------------------------------------------------------------------


def add(**how: object) -> Callable[[Node], object]:
    return lambda node: node.add("new", **how)


def delete(node: Node) -> None:
    node.delete("new")


def start(node: Node) -> None:
    node.ipamd.spawn()


def set_mode(pool: Pool) -> Callable[[Node], object]:
    """An operator changes the pool."""
    return lambda node: node.store.put({keys.pool(pool.name): codec.encode_pool(pool, STAMP)})


def restart(node: Node) -> None:
    node.ipamd.kill()
    node.ipamd.spawn()


CLAIM = ("read", "LeaseGrant", "write")  # a name that nobody has

SCENARIOS = [
    Scenario("ADD that claims a block", ("write", "read"), ADD, add(), full_block, STORED.values),
    Scenario("ADD from an own block", ("write",), ADD, add(), bystander),
    Scenario("ADD that is repeated", ("write",), ADD, add(), attached),
    Scenario(
        "ADD that supersedes a sandbox",
        ("write", "write"),
        ADD,
        add(pod="web"),
        dead_sandbox,
        unwired=("old",),
    ),
    Scenario(
        "ADD of both families",
        ("write", "read"),
        ADD,
        add(ipv6=True),
        bystander,
        environment={"CALICO_IPV6POOL_CIDR": "fd00:77::/64"},
    ),
    Scenario(
        "ADD of a requested address",
        ("write",),
        ADD,
        add(address=str(FIRST[1])),
        bystander,
        STORED.values,
    ),
    Scenario(
        "ADD of a requested address in a new block",
        ("read", "write", "read"),
        ADD,
        add(address=str(SECOND[1])),
        bystander,
        STORED.values,
    ),
    Scenario(
        "ADD that reclaims an empty block",
        ("write", "read", "read", "write", "read"),
        ADD,
        add(),
        full_block,
        STORED.having(**a_foreign_block(SECOND)).values,
    ),
    Scenario(
        "ADD that borrows",
        ("write", "read", "write", "read"),
        ADD,
        add(),
        full_block,
        THEIRS.values,
        others=(an_attachment("theirs").handle_id,),
    ),
    Scenario("DEL", ("write",), DEL, delete, attached),
    Scenario(
        "DEL after a restart", ("read", "read", "write"), DEL, delete, after_a_restart(attached)
    ),
    Scenario(
        "DEL with cooldown",
        ("write",),
        (ABANDONED, REPEATED),  # what cools down cannot be had again at once
        delete,
        attached,
        STORED.having(**{keys.IPAM_CONFIG: COOLDOWN}).values,
        has_cooldown=True,
    ),
    Scenario("reconcile that frees", ("write",), FREE, Node.reconcile, leaked),
    Scenario(
        "reconcile that frees after a restart",
        ("read", "read", "write"),
        FREE,
        Node.reconcile,
        after_a_restart(leaked),
    ),
    Scenario(
        "pool that begins to be tunnelled",
        ("write", "check"),
        (OBEYED,),
        set_mode(TUNNELLED),
        bystander,
        STORED.values,
        others=(TUNNEL,),
    ),
    Scenario(
        "pool that ends to be tunnelled",
        ("write", "check"),
        (OBEYED,),
        set_mode(SMALL),
        bystander,
        a_store(TUNNELLED).values,
        others=(TUNNEL,),
    ),
    Scenario(
        "first start",
        (*CLAIM, "read", "read", "read", "write", "read", "read", "write", "read"),
        (STARTED,),
        start,
    ),
    Scenario(
        "start with blocks",
        ("read", "read", "read", "read", "read", "read", "write"),
        (STARTED,),
        restart,
        full_block,
        STORED.values,
    ),
]


def points_of(scenario: Scenario) -> Iterator[Point]:
    """Every call on every side; what follows a read that was lost is the same, whatever it is."""
    for number, kind in enumerate(scenario.calls, 1):
        sides = (BEFORE, AFTER, LATE) if kind == "write" else (BEFORE, AFTER)
        for side in sides:
            for afterwards in scenario.afterwards if kind != "read" else scenario.afterwards[-1:]:
                yield Point(scenario, number, side, afterwards)


POINTS = [point for scenario in SCENARIOS for point in points_of(scenario)]


# ---- where it is done --------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """An etcd, the way to it that ipamd takes, and the one past it."""

    proxy: EtcdProxy
    store: DirectStore

    @contextlib.contextmanager
    def node(self, scenario: Scenario) -> Iterator[Node]:
        """A node in the state from which the scenario acts."""
        self.store.empty()
        if scenario.stored:
            self.store.put(scenario.stored)
        environment = {**PACE, **scenario.environment}
        ipamd = IpamdProcess([self.proxy.endpoint], NODE, environment=environment)
        with contextlib.ExitStack() as undo:
            undo.callback(ipamd.__exit__)
            node = Node(ipamd, self.store)
            if scenario.prepare is not None:
                node.start()
                scenario.prepare(node)
                node.settle()
            yield node


class Worlds:
    """Several worlds, in which the chosen points are run side by side: most of it is waiting."""

    def __init__(self, loop: LoopThread, undo: contextlib.ExitStack) -> None:
        self._idle: queue.SimpleQueue[World] = queue.SimpleQueue()
        count = 2 * (os.cpu_count() or 1)
        for _ in range(count):
            etcd = undo.enter_context(EtcdServer(flags=["--unsafe-no-fsync"]))
            proxy = undo.enter_context(EtcdProxy(etcd.endpoint, loop))
            self._idle.put(World(proxy, undo.enter_context(DirectStore(etcd.config, loop))))
        self._executor = ThreadPoolExecutor(count)
        undo.callback(self._executor.shutdown, cancel_futures=True)
        self._outcomes: dict[str, Future[None]] = {}

    def begin(self, trials: Iterable[Trial]) -> None:
        """Run *trials* in the background."""
        for trial in trials:
            self._outcomes[str(trial)] = self._executor.submit(self._run, trial)

    def outcome(self, trial: Trial) -> None:
        """Wait for the end of *trial*; raise what it raised."""
        self._outcomes[str(trial)].result()

    @contextlib.contextmanager
    def one(self) -> Iterator[World]:
        """Have a world for oneself."""
        world = self._idle.get()
        try:
            yield world
        finally:
            self._idle.put(world)

    def _run(self, trial: Trial) -> None:
        with self.one() as world:
            if isinstance(trial, Scenario):
                count_calls(world, trial)
            else:
                kill(world, trial)


@pytest.fixture(scope="module")
def worlds(request: pytest.FixtureRequest) -> Iterator[Worlds]:
    specs = [getattr(item, "callspec", None) for item in request.session.items]
    with contextlib.ExitStack() as undo:
        found = Worlds(undo.enter_context(LoopThread()), undo)
        found.begin(spec.params["trial"] for spec in specs if spec and "trial" in spec.params)
        yield found


@pytest.mark.parametrize("trial", SCENARIOS, ids=str)
def test_the_kill_points_are_all_of_them(worlds, trial):
    worlds.outcome(trial)


@pytest.mark.parametrize("trial", POINTS, ids=str)
def test_a_kill_at_any_call_is_mended(worlds, trial):
    worlds.outcome(trial)


def count_calls(world: World, scenario: Scenario) -> None:
    with world.node(scenario) as node:
        world.proxy.mark()
        scenario.act(node)
        wait_until(lambda: len(world.proxy.calls) >= len(scenario.calls))
        time.sleep(QUIET_S)
        kinds = tuple(call.kind for call in world.proxy.calls)
        node.report()
        go_on(node)

        node.check(scenario.others)
        assert kinds == scenario.calls


def kill(world: World, point: Point) -> None:
    scenario = point.scenario
    with world.node(scenario) as node:
        strike = Strike(point.number, point.side, lambda: node.ipamd.process.kill())
        world.proxy.mark(strike)
        with contextlib.suppress(grpc.RpcError):
            scenario.act(node)
        assert strike.has_struck.wait(STRIKE_TIMEOUT_S), (
            f"only {[call.kind for call in world.proxy.calls]} came\n{node.ipamd.log}"
        )
        node.ipamd.kill()
        world.proxy.mark()
        unwired = [handle_of(container) for container in scenario.unwired]
        assert_consistent(world.store.content, unwired=unwired)

        def deliver_late() -> bool:
            if strike.held_back is not None:
                world.proxy.deliver(strike.held_back)
                assert_consistent(world.store.content, unwired=unwired)
            return strike.held_back is not None

        AFTERWARDS[point.afterwards](node, scenario, deliver_late)
        node.check(scenario.others)
        go_on(node)
        node.check(scenario.others)
        if scenario.has_cooldown:
            assert node.given["next"] != node.given["new"]


def test_what_was_in_flight_when_ipamd_was_killed_is_neither_lost_nor_leaked(worlds):
    """Many requests leave in one transaction here: not every kill point, but some of theirs."""
    stop = threading.Event()

    def churn(worker: int) -> None:
        for i in itertools.count():
            if stop.is_set():
                return
            try:
                node.add(f"c{worker}x{i}", timeout_s=2)
            except grpc.RpcError:
                time.sleep(0.05)
            if i % 2:
                node.delete(f"c{worker}x{i}", timeout_s=2)

    load = Scenario("load", (), (), bystander, bystander)
    with worlds.one() as world, world.node(load) as node:
        with ThreadPoolExecutor(WORKERS) as executor:
            workers = [executor.submit(churn, i) for i in range(WORKERS)]
            try:
                for _ in range(3):
                    time.sleep(0.3)
                    node.ipamd.process.kill()
                    node.ipamd.process.wait()
                    node.start()
                time.sleep(0.3)
            finally:
                stop.set()
            for worker in workers:
                worker.result()
        node.deliver()

        node.check()
        node.reconcile()
        node.check()


# ---- what comes afterwards ---------------------------------------------------------------------


def abandon(node: Node, scenario: Scenario, deliver_late: Callable[[], bool]) -> None:
    """The plugin was killed, too: nobody knows of the call any more but reconcile."""
    node.spool.clear()
    node.start()
    deliver_late()
    node.reconcile()


def repeat(node: Node, scenario: Scenario, deliver_late: Callable[[], bool]) -> None:
    """The same call comes again, and what else was spooled is delivered."""
    node.start()
    scenario.act(node)
    node.deliver()
    if deliver_late():
        node.check(scenario.others)  # it came too late
    node.reconcile()


def add_again(node: Node, scenario: Scenario, deliver_late: Callable[[], bool]) -> None:
    """The container gets the network back from which it was to be removed."""
    node.start()
    node.add("new")
    if deliver_late():
        node.check(scenario.others)  # it came too late
    node.reconcile()


def start_again(node: Node, scenario: Scenario, deliver_late: Callable[[], bool]) -> None:
    """ipamd is started once more."""
    node.start()
    deliver_late()
    content = node.store.content
    assert len([key for key in content if key.startswith(keys.POOLS)]) == 1
    assert keys.node(NODE) in content
    owned = [key for key in content if key.startswith(keys.affinities(NODE, 4))]
    assert len(owned) == 1


def obey(node: Node, scenario: Scenario, deliver_late: Callable[[], bool]) -> None:
    """ipamd is started once more, and the node has a tunnel's address if the pool wants one."""
    node.start()
    deliver_late()
    content = node.store.content
    key = keys.pool(SMALL.name)
    is_tunnelled = IPIP.is_used_by(codec.decode_pool(key, content[key]))
    address = codec.decode_node(keys.node(NODE), content[keys.node(NODE)]).ipip_address
    assert (address is not None) == is_tunnelled
    assert (keys.handle(TUNNEL) in content) == is_tunnelled


AFTERWARDS = {
    ABANDONED: abandon,
    REPEATED: repeat,
    ADDED_AGAIN: add_again,
    STARTED: start_again,
    OBEYED: obey,
}


def go_on(node: Node) -> None:
    """Whatever came of it: the container can be removed, and the next one added."""
    node.delete("new")
    node.deliver()
    node.add("next")


def wait_until(is_so: Callable[[], bool], timeout_s: float = STRIKE_TIMEOUT_S) -> None:
    end = time.monotonic() + timeout_s
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
