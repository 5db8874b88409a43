"""The state machine: everything that happens to a cluster's addresses, in any order.

Every rule begins something and lets a drawn time pass, so that rules overlap: what was begun goes
on while the next rule runs. After each of them the truth of ``world.py`` is compared with what
must hold. At the end everything is healed, and not one address may be missing.
"""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_network
from random import Random
from typing import Any, ClassVar, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable
from datamodel.ipam_config import IpamConfig
from datamodel.node import Node as NodeResource
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.node_removal import delete_node
from datastore.store import Change, Committed, Entry, Leases, Rejected, Store
from ocicatctl.check.findings import check_store
from ocicatctl.check.problem import Kind
from tests.ipam import NOW, STAMP, a_pool
from tests.model.faulty_store import Fault, FaultyStore, Wire
from tests.model.node import Crash, Node, OddReport, Step, Wanted
from tests.model.world import World

NODES = ("node-1", "node-2", "node-3")
STRANGER = "stranger"  # a node on which a Calico runs
_STRANGER = NodeResource(STRANGER, IPv4Interface("172.18.0.100/24"))
CONFIG = b'{"strict_affinity":true,"auto_allocate_blocks":true}'
FREE_FOR_ALL = b'{"auto_allocate_blocks":true}'
PAUSES_S = (0, 0, 0.001, 0.01, 0.1)  # how long a step of anything takes
ROUNDS = 40  # until what is repeated must have worked


class Site(Protocol):
    """Where the model runs: its store and its clock."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def make_store(self) -> Store:
        """A client of the one store; may be called again for another one."""

    @property
    def leases(self) -> Leases:
        """Those of the store, in the time of the loop."""

    async def empty(self) -> None:
        """Begin with an empty store."""

    async def restore(self, revision: int, entries: Mapping[str, Entry]) -> None:
        """Have the store as it was at an earlier revision."""

    def close(self) -> None: ...


@dataclass
class Slot:
    """A place for containers on a node: of one pod one after the other, or without a pod."""

    number: int
    node: str
    generation: int = 0
    adding: asyncio.Task[None] | None = None
    deleting: list[asyncio.Task[None]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)

    # The pods' containers; one pod's second interface; a container without a pod, and one whose
    # name does not fit in an alias; one that another plugin wires.
    KINDS = ("pod", "pod", "interface", "container", "long", "lent")

    @property
    def kind(self) -> str:
        return self.KINDS[self.number]

    @property
    def pod(self) -> Pod | None:
        if self.kind in ("pod", "interface"):
            return Pod("default", f"{self.node}-p{self.number}")
        return None

    @property
    def is_busy(self) -> bool:
        """Whether the runtime has not heard the end of an ADD, or of a DEL."""
        return any(not task.done() for task in (self.adding, *self.deleting) if task)

    @property
    def is_lent(self) -> bool:
        return self.kind == "lent"

    def attachment(self) -> Attachment:
        name = f"{self.number}g{self.generation}-{self.node}"
        if self.kind == "long":
            name = f"{name}-{'x' * 230}"
        ifname = "net1" if self.kind == "interface" else "eth0"
        found = Attachment("k8s-pod-network", name, ifname)
        if found not in self.attachments:
            self.attachments.append(found)
        return found


nodes = st.sampled_from(NODES)
numbers = st.integers(0, len(Slot.KINDS) - 1)
short = st.sampled_from((0.0, 0.0, 0.002, 0.03, 0.5))
versions = st.sampled_from(((4,), (4,), (4,), (4, 6), (6,)))
crashes = st.none() | st.none() | st.none() | st.sampled_from(Step)


class IpamMachine(RuleBasedStateMachine):
    """See the module."""

    make_site: Callable[[], Site]
    counts: ClassVar[Counter[str]] = Counter()  # of all runs

    def __init__(self) -> None:
        super().__init__()
        self.site = self.make_site()
        self.loop = self.site.loop
        self.begun = self.loop.time()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.slots = {
            (node, number): Slot(number, node)
            for node in NODES
            for number in range(len(Slot.KINDS))
        }
        self.serial = itertools.count(1)
        self.stranger: list[Coroutine[Any, Any, None]] = []
        self.past: list[tuple[int, dict[str, Entry]]] = []
        self.is_broken = False

    # ---- the plumbing --------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any], then_s: float = 0.0) -> Any:
        async def both() -> Any:
            result = await work
            await asyncio.sleep(then_s)
            return result

        self.counts["steps"] += 1
        return self.loop.run_until_complete(both())

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done while other things happen."""

        async def quietly() -> None:
            with contextlib.suppress(Crash):
                try:
                    await work
                except OcicatError as error:
                    self.counts[type(error).__name__.lower()] += 1

        task = self.loop.create_task(quietly())
        self.tasks.add(task)
        return task

    async def settle_down(self) -> None:
        """Wait for all that was begun."""
        while self.tasks:
            await asyncio.sleep(1.0)
            self.collect()

    def collect(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.discard(task)
            if not task.cancelled():
                task.result()

    def now(self):
        return NOW + timedelta(seconds=self.loop.time() - self.begun)

    # ---- the beginning -------------------------------------------------------------------------

    @initialize(
        seed=st.integers(0, 1 << 16),
        cidr=st.sampled_from(("10.0.0.0/28", "10.0.0.0/29", "10.0.0.0/27")),
        size=st.sampled_from((30, 30, 29)),
        mode=st.sampled_from(("Never", "Never", "Always")),
    )
    def make_cluster(self, seed: int, cidr: str, size: int, mode: str):
        self.random = Random(seed)
        self.run(self._make_cluster(cidr, size, mode), 1.0)

    async def _make_cluster(self, cidr: str, size: int, mode: str) -> None:
        await self.site.empty()
        self.wire = Wire(self.random, PAUSES_S)
        self.wire.counts = self.counts
        self.inner = self.site.make_store()
        self.world = World(self.inner, self.now, self.counts)
        first = a_pool("pool-a", cidr, block_size=size, ipip_mode=mode)
        self.spare = a_pool("pool-b", "10.0.1.0/29", block_size=30)
        six = Pool("pool-six", IPv6Network("fd00::/125"), 127, vxlan_mode=mode)
        values = {
            keys.IPAM_CONFIG: CONFIG,
            keys.CLUSTER_INFORMATION: codec.encode_cluster_information("0" * 32, STAMP),
            keys.node(STRANGER): codec.encode_node(_STRANGER, STAMP),
            **{keys.pool(p.name): codec.encode_pool(p, STAMP) for p in (first, six)},
        }
        assert isinstance(await self.inner.commit(Change(put=values)), Committed)
        await self.world.follow()
        self.operator = self.client()
        self.clients = [self.operator]
        for name in NODES:
            store = self.client()
            node = Node(name, store, self.now, self.wire.pause)
            node.granted = self.granted
            store.inspect = lambda change, node=node: self.world.inspect(node, change)
            self.clients.append(store)
            self.world.nodes[name] = node
            node.start_ipamd()
            node.start_server()

    def client(self) -> FaultyStore:
        return FaultyStore(self.site.make_store(), self.wire, self.overtake, self.site.leases)

    def granted(self, node: Node, request, granted) -> None:
        self.counts["granted"] += 1
        self.world.answered(request, granted)

    def node(self, name: str) -> Node:
        return self.world.nodes[name]

    async def overtake(self, change: Change) -> None:
        """Rewrite one of the blocks that a change expects, as Calico does to fend off others."""
        for key in change.expect:
            entry = self.world.entries.get(key)
            if entry and key.startswith(keys.ALL_BLOCKS):
                block = codec.decode_block(key, entry.value).next_write()
                await self.inner.commit(
                    Change({key: entry.revision}, {key: codec.encode_block(block)})
                )
                return

    # ---- pods ----------------------------------------------------------------------------------

    @rule(node=nodes, number=numbers, versions=versions, crash=crashes, then_s=short)
    def add(self, node: str, number: int, versions, crash, then_s: float):
        self._add(self.slots[node, number], Wanted(versions), crash)
        self.run(_nothing(), then_s)

    @rule(node=nodes, several=st.sets(numbers, min_size=2), crash=crashes, then_s=short)
    def add_several(self, node: str, several: set[int], crash, then_s: float):
        for number in sorted(several):
            self._add(self.slots[node, number], Wanted(), crash)
        self.run(_nothing(), then_s)

    @rule(node=nodes, number=numbers, crash=crashes, then_s=short)
    def restart(self, node: str, number: int, crash, then_s: float):
        """A new container of the same pod."""
        slot = self.slots[node, number]
        if not slot.is_busy:
            if slot.attachments:
                self.world.unwired.add(slot.attachments[-1].handle_id)
            slot.generation += 1
            self._add(slot, Wanted(), crash)
        self.run(_nothing(), then_s)

    @rule(node=nodes, number=numbers, pool=st.sampled_from(("pool-a", "pool-b")), then_s=short)
    def add_from(self, node: str, number: int, pool: str, then_s: float):
        self._add(self.slots[node, number], Wanted(pools=(pool,)), None)
        self.run(_nothing(), then_s)

    @rule(node=nodes, number=numbers, offset=st.integers(0, 19), then_s=short)
    def add_exactly(self, node: str, number: int, offset: int, then_s: float):
        address = IPv4Network("10.0.0.0/16").network_address + offset
        self._add(self.slots[node, number], Wanted(address=address), None)
        self.run(_nothing(), then_s)

    def _add(self, slot: Slot, wanted: Wanted, crash: Step | None) -> None:
        if slot.is_busy:
            return  # the runtime waits
        node, attachment = self.node(slot.node), slot.attachment()
        handle = attachment.handle_id
        self.world.asked.setdefault(handle, set()).update(wanted.addresses)
        self.world.families.setdefault(handle, set()).update(wanted.versions)
        if slot.is_lent:
            self.world.unwired.add(handle)
            slot.adding = self.begin(node.lend(attachment, wanted))
        else:
            slot.adding = self.begin(node.add(attachment, slot.pod, wanted, crash))

    @rule(
        node=nodes,
        number=numbers,
        age=st.sampled_from((1, 1, 1, 2)),
        crash=st.none() | st.none() | st.just(Step.DONE),
        then_s=short,
    )
    def delete(self, node: str, number: int, age: int, crash, then_s: float):
        """DEL, perhaps a second one, of the container or of the one before."""
        slot = self.slots[node, number]
        attachment = slot.attachments[-age] if len(slot.attachments) >= age else slot.attachment()
        self._delete(slot, attachment, crash)
        self.run(_nothing(), then_s)

    def _delete(self, slot: Slot, attachment: Attachment, crash: Step | None) -> None:
        slot.deleting = [task for task in slot.deleting if not task.done()]
        if slot.is_lent and slot.is_busy:
            return  # nothing is known of what the other plugin would do
        work = self.node(slot.node).delete(attachment, slot.pod, crash)
        slot.deleting.append(self.begin(work))

    @rule(node=nodes, number=numbers)
    def vanish(self, node: str, number: int):
        """The sandbox dies and takes its link along; no DEL ever comes."""
        slot = self.slots[node, number]
        if slot.attachments and not slot.is_lent:
            self.node(node).machine.remove(slot.attachments[-1])
        self.run(_nothing())

    # ---- time and reports ----------------------------------------------------------------------

    @rule(seconds=st.sampled_from((0.2, 2, 8, 31, 61, 61, 125, 1000)))
    def wait(self, seconds: float):
        self.run(_nothing(), seconds)

    @rule(node=nodes, odd=st.none() | st.sampled_from(OddReport), then_s=short)
    def report(self, node: str, odd: OddReport | None, then_s: float):
        self.begin(self.node(node).report_once(odd))
        self.run(_nothing(), then_s)

    @rule(node=nodes, odd=st.lists(st.sampled_from(OddReport), min_size=1, max_size=3))
    def report_oddly(self, node: str, odd: list[OddReport]):
        """The next ones that are wanted."""
        self.node(node).odd_reports.extend(odd)
        self.run(_nothing())

    # ---- the operator --------------------------------------------------------------------------

    @rule(
        strict=st.booleans(),
        auto=st.sampled_from((True, True, True, False)),
        limit=st.sampled_from((0, 0, 0, 1, 2)),
        cooldown_s=st.sampled_from((0, 0, 5, 90)),
        compares=st.booleans(),
    )
    def configure(self, strict: bool, auto: bool, limit: int, cooldown_s: int, compares: bool):
        value = codec.encode_ipam_config(
            IpamConfig(
                strict_affinity=strict,
                auto_allocate_blocks=auto,
                max_blocks_per_host=limit,
                ip_cooldown_s=cooldown_s,
            ),
            None,
        )
        self._edit(keys.IPAM_CONFIG, value, compares=compares)

    @rule(value=st.sampled_from((None, b"{", b"{}", FREE_FOR_ALL)))
    def apply_config(self, value: bytes | None):
        self._edit(keys.IPAM_CONFIG, value)

    @rule(
        which=st.sampled_from("xy"),
        first=st.integers(0, 15),
        length=st.sampled_from((32, 30, None)),
    )
    def reserve(self, which: str, first: int, length: int | None):
        if length is None:
            self._edit(f"{keys.RESERVATIONS}{which}", None)
            return
        cidr = ip_network((int(IPv4Network("10.0.0.0/8").network_address) + first, 32))
        cidr = cidr.supernet(new_prefix=length)
        value = _resource("IPReservation", which, {"reservedCIDRs": [str(cidr)]})
        self._edit(f"{keys.RESERVATIONS}{which}", value)

    @rule(
        name=st.sampled_from(("pool-a", "pool-b", "pool-six")),
        disabled=st.booleans(),
        selector=st.sampled_from(("all()", "all()", "has(nothing)")),
    )
    def edit_pool(self, name: str, disabled: bool, selector: str):
        """Edit a pool; add the second one."""
        if name == "pool-b" and keys.pool(name) not in self.world.entries:
            self._edit(keys.pool(name), codec.encode_pool(self.spare, STAMP))
        else:
            self._change_pool(name, {"disabled": disabled, "nodeSelector": selector})

    @rule(
        name=st.sampled_from(("pool-a", "pool-b", "pool-six")),
        ipip=st.sampled_from(("Never", "Never", "Always")),
        vxlan=st.sampled_from(("Never", "CrossSubnet")),
        then_s=short,
    )
    def tunnel_pool(self, name: str, ipip: str, vxlan: str, then_s: float):
        """What goes to a pool's addresses shall go through tunnels, or no longer."""
        self._change_pool(name, {"ipipMode": ipip, "vxlanMode": vxlan})
        self.run(_nothing(), then_s)

    def _change_pool(self, name: str, fields: dict[str, Any]) -> None:
        key = keys.pool(name)
        if entry := self.world.entries.get(key):
            document = codec.load(key, entry.value)
            self._edit(key, codec.dump({**document, "spec": {**document["spec"], **fields}}))

    def _edit(self, key: str, value: bytes | None, *, compares: bool = False) -> None:
        async def write() -> None:
            entry = self.world.entries.get(key)
            expect = {key: entry.revision if entry else 0} if compares else {}
            change = (
                Change(expect, delete=frozenset({key}))
                if value is None
                else Change(expect, {key: value})
            )
            await self.inner.commit(change)

        self.run(write())

    # ---- faults --------------------------------------------------------------------------------

    @rule(node=nodes, faults=st.lists(st.sampled_from(Fault), min_size=1, max_size=3))
    def break_commits(self, node: str, faults: list[Fault]):
        self.node(node).store.faults.extend(faults)
        self.run(_nothing())

    @rule(node=nodes, fault=st.sampled_from(Fault), number=numbers, then_s=short)
    def delete_badly(self, node: str, fault: Fault, number: int, then_s: float):
        """A DEL whose release goes wrong."""
        slot = self.slots[node, number]
        if slot.attachments:
            self.node(node).store.faults.append(fault)
            self._delete(slot, slot.attachments[-1], None)
        self.run(_nothing(), then_s)

    @rule(node=st.none() | nodes, seconds=st.sampled_from((0.5, 6, 40)))
    def fall_silent(self, node: str | None, seconds: float):
        """Every watch ends; one node gets no answer from the store for a while."""

        async def silence(store: FaultyStore) -> None:
            store.is_silent = True
            await asyncio.sleep(seconds)
            store.is_silent = False

        if node:
            self.begin(silence(self.node(node).store))
        self.wire.end_watches()
        self.run(_nothing())

    # ---- processes and machines ----------------------------------------------------------------

    @rule(node=nodes, stays_down=st.booleans(), then_s=short)
    def kill_ipamd(self, node: str, stays_down: bool, then_s: float):
        """Kill it if it runs; start it again, perhaps with the next call only."""

        async def kill() -> None:
            was_there = self.node(node).ipamd is not None
            await self.node(node).kill_ipamd()
            if not (stays_down and was_there):
                self._start(node)

        self.run(kill(), then_s)

    def _start(self, node: str) -> None:
        if node not in self.world.leaving and self.node(node).ipamd is None:
            self.world.departed.discard(node)
            self.node(node).start_ipamd()

    @rule(node=nodes)
    def switch_server(self, node: str):
        """The CNI server ends, or comes again."""

        async def switch() -> None:
            if self.node(node).has_server:
                await self.node(node).kill_server()
            else:
                self.node(node).start_server()

        self.run(switch())

    @rule(node=nodes, then_s=short)
    def reboot(self, node: str, then_s: float):
        async def reboot() -> None:
            await self._switch_off(node)
            self._start(node)
            self.node(node).start_server()

        self.run(reboot(), then_s)

    async def _switch_off(self, name: str) -> None:
        """Everything on the machine ends at once; its disk, with the spool, stays."""
        node = self.node(name)
        slots = [slot for slot in self.slots.values() if slot.node == name]
        for slot in slots:
            for task in filter(None, (slot.adding, *slot.deleting)):
                task.cancel()
        await node.kill_server()
        await node.kill_ipamd()
        node.machine.reboot()
        node.odd_reports.clear()

    @rule(node=nodes, is_off=st.booleans(), then_s=short)
    def delete_node(self, node: str, is_off: bool, then_s: float):
        """The operator deletes a node that is gone; or one that is drained and still runs."""
        self.run(self._delete_node(node, is_off), then_s)

    async def _delete_node(self, name: str, is_off: bool) -> None:
        node, world = self.node(name), self.world
        await self.settle_down()
        if is_off:
            await self._switch_off(name)
        node.machine.links.clear()
        node.spool.clear()
        world.leaving.add(name)
        before = world.entries.get(keys.node(name))
        for _ in range(3):
            try:
                await delete_node(self.operator, name, lambda text: None, now=self.now)
            except Unavailable:
                continue
            except Invalid as error:
                if "has registered again" in str(error):
                    continue  # what its ipamd had sent before it was killed
                if "does not exist" not in str(error):
                    raise
            await world.catch_up()
            world.leaving.discard(name)
            self.counts["nodes deleted"] += 1
            if after := world.entries.get(keys.node(name)):  # its ipamd had sent that before
                if after == before:
                    world.fail(f"{name} was deleted and is still there")
                return
            world.departed.add(name)
            if left := self._left_of(name):
                world.fail(f"{name} was deleted and left {left}")
            return

    def _left_of(self, name: str) -> list[str]:
        endpoints = [
            key
            for key in self.world.below(keys.ENDPOINTS)
            if codec.decode_endpoint(key, self.world.entries[key].value).id.node == name
        ]
        held = [
            f"{block.cidr}: {attribute}"
            for block in self.world.blocks()
            for attribute in block.attributes
            if attribute.node == name or block.host == name
        ]
        affinities = self.world.below(f"{keys.ALL_AFFINITIES}{name}/")
        return [*endpoints, *held, *affinities, *self.world.below(keys.borrowings(name))]

    # ---- a restored store ----------------------------------------------------------------------

    @rule(back=st.integers(1, 12))
    def restore(self, back: int):
        """A backup is restored; no pod is added before every node has told what it has."""
        if self.past:
            self.run(self._restore(self.past[-min(back, len(self.past))]))

    async def _restore(self, backup: tuple[int, dict[str, Entry]]) -> None:
        self.counts["restored"] += 1
        await self.settle_down()
        await self.wire.lose_late()
        self._calm()
        while self.stranger:
            await self.stranger.pop().aclose()
        await self.world.stop()
        await self.site.restore(*backup)
        await self.world.follow()
        self.past.clear()
        self._end_what_no_report_shows()
        await self._refuse_everything()
        await asyncio.sleep(3)
        for name in NODES:
            if name in self.world.departed | self.world.leaving:
                await self._delete_node(name, True)
                continue
            if keys.node(name) not in self.world.entries:
                await self.node(name).kill_ipamd()
            self._start(name)
            self.node(name).start_server()
        await asyncio.sleep(10)
        await self._restart_what_is_in_conflict()

    def _end_what_no_report_shows(self) -> None:
        """The operator ends containers of other plugins that the backup does not know."""
        held = self.world.held()
        for node in self.world.nodes.values():
            for link in list(node.machine.links.values()):
                own = held.get(link.attachment.handle_id, set())
                if not (link.is_ours or own.issuperset(link.addresses)):
                    node.machine.remove(link.attachment)

    async def _refuse_everything(self) -> None:
        """No node that runs gives out an address before it has reported."""
        for name in NODES:
            await self.node(name).kill_server()
        for name in NODES:
            if ipamd := self.node(name).ipamd:
                attachment = Attachment("k8s-pod-network", f"early-{next(self.serial)}", "eth0")
                self.world.unwired.add(attachment.handle_id)
                self.world.refused.add(attachment.handle_id)
                with contextlib.suppress(OcicatError):
                    request = self.node(name)._request(attachment, None, None, Wanted())
                    await ipamd.call(request, 2.0)
                    self.world.fail(f"{name} gives out addresses before its first report")
                self.node(name).spool[attachment] = None  # it may be written all the same

    async def _restart_what_is_in_conflict(self) -> None:
        """The operator restarts the pods that ipamd names: their address is another's by now."""
        await self.world.catch_up()
        held = self.world.held()
        for node in self.world.nodes.values():
            for link in list(node.machine.links.values()):
                own = held.get(link.attachment.handle_id, set())
                if link.addresses and not own.issuperset(link.addresses):
                    self.counts["conflicts"] += 1
                    told = node.ipamd.reconciler.findings if node.ipamd else ()
                    if link.is_ours and not any(link.name in text for text in told):
                        self.world.fail(f"link {link.name} of {node.name} is not told: {told}")
                    await node.delete(link.attachment, link.pod, None)

    # ---- a Calico on another node, and Calico's garbage collector --------------------------------

    @rule()
    def calico_goes_on(self):
        """The next write of whatever Calico is doing; it may as well never come."""
        self.run(self._calico_step())

    async def _calico_step(self) -> None:
        if self.stranger and not await anext(self.stranger[0], False):
            self.stranger.pop(0)

    @rule(host=st.sampled_from((None, STRANGER, *NODES)), which=st.integers(0, 7))
    def calico_begins(self, host: str | None, which: int):
        """It claims a block; or gives up an empty one, its own or as garbage collector."""
        if host is None:
            cidrs = [c for pool in self.world.pools for c in pool.blocks_for(STRANGER)]
            self._begin_calico(self._calico_claim(cidrs[which % len(cidrs)]))
        elif owned := self.world.below(f"{keys.ALL_AFFINITIES}{host}/"):
            key = owned[which % len(owned)]
            self._begin_calico(self._calico_release(host, keys.cidr_of(key)))

    @rule(which=st.none() | st.integers(0, 3))
    def calico_pod(self, which: int | None):
        """A pod of the Calico node gets an address, or gives one back."""
        self.run(self._calico_free() if which is None else self._calico_hold(which))

    def _begin_calico(self, work) -> None:
        if len(self.stranger) > 2:
            self.stranger.pop(0)  # killed half-way
        self.stranger.append(work)
        self.run(self._calico_step())

    async def _calico_claim(self, cidr: Network):
        block_key, key = keys.block(cidr), keys.affinity(STRANGER, cidr)
        if block_key in self.world.entries or key in self.world.entries:
            return
        self.world.half_done.add(key)
        pending, confirmed = (
            codec.dump({"state": state, "deleted": False}) for state in ("pending", "confirmed")
        )
        made = await self.inner.commit(Change({key: 0}, {key: pending}))
        if isinstance(made, Rejected):
            return
        yield True
        block = Block.new(cidr, STRANGER, int(self.now().timestamp() * 1e9))
        value = codec.encode_block(block)
        taken = await self.inner.commit(Change({block_key: 0}, {block_key: value}))
        if isinstance(taken, Rejected):
            gone = frozenset({key})
            await self.inner.commit(Change({key: made.revision}, delete=gone))
            return
        yield True
        await self.inner.commit(Change({key: made.revision}, {key: confirmed}))

    async def _calico_release(self, host: str, cidr: Network):
        block_key, key = keys.block(cidr), keys.affinity(host, cidr)
        affinity, entry = self.world.entries.get(key), self.world.entries.get(block_key)
        block = codec.decode_block(block_key, entry.value) if entry else None
        if affinity is None or entry is None or block is None:
            return
        if block.host != host or not block.is_empty:
            return
        self.world.half_done.add(key)
        state = codec.dump({"state": "pendingDeletion", "deleted": False})
        marked = await self.inner.commit(Change({key: affinity.revision}, {key: state}))
        if isinstance(marked, Rejected):
            return
        yield True
        gone = await self.inner.commit(
            Change({block_key: entry.revision}, delete=frozenset({block_key}))
        )
        if isinstance(gone, Rejected):
            return
        self.world._sequences.pop(block_key, None)
        yield True
        await self.inner.commit(Change({key: marked.revision}, delete=frozenset({key})))

    async def _calico_hold(self, which: int) -> None:
        await self.world.catch_up()
        blocks = [b for b in self.world.blocks() if b.host == STRANGER and b.unallocated]
        if not blocks:
            return
        block = blocks[which % len(blocks)]
        key, handle = keys.block(block.cidr), f"calico.{next(self.serial)}"
        self.world.unwired.add(handle)
        attribute = Attribute(handle, {"node": STRANGER, "pod": handle, "namespace": "default"})
        changed, _ = block.assign(attribute)
        await self.inner.commit(
            Change(
                {key: self.world.entries[key].revision, keys.handle(handle): 0},
                {
                    key: codec.encode_block(changed.next_write()),
                    keys.handle(handle): codec.encode_handle({block.cidr: 1}),
                },
            )
        )

    async def _calico_free(self) -> None:
        await self.world.catch_up()
        for block in self.world.blocks():
            for attribute in block.attributes:
                handle = attribute.handle_id or ""
                if not handle.startswith("calico."):
                    continue
                config = self.world.config
                cooldown_s = config.ip_cooldown_s if config else 0
                changed, _ = block.release(handle, now=self.now(), cooldown_s=cooldown_s)
                key, handle_key = keys.block(block.cidr), keys.handle(handle)
                entries = self.world.entries
                expect = {key: entries[key].revision, handle_key: entries[handle_key].revision}
                put, gone = {key: codec.encode_block(changed.next_write())}, {handle_key}
                if changed.affinity is None and changed.is_empty:
                    put, gone = {}, {handle_key, key}
                await self.inner.commit(Change(expect, put, frozenset(gone)))
                return

    # ---- what must hold at any time ------------------------------------------------------------

    @invariant()
    def nothing_is_wrong(self):
        if not hasattr(self, "world"):
            return
        self.run(self._look())
        self.counts["steps"] -= 1  # that was none

    async def _look(self) -> None:
        self.collect()
        self.world.check_links()
        busy = {
            slot.attachment().handle_id
            for slot in self.slots.values()
            if slot.is_lent and slot.is_busy
        }
        await self.world.check_held(busy)
        for node in self.world.nodes.values():
            for task in node.tasks:
                if task.done():
                    task.result()
                    raise AssertionError(f"{node.name}: {task} ended by itself")
        self.past.append((self.world.revision, dict(self.world.entries)))
        self._assert_right()

    def _assert_right(self) -> None:
        if self.world.violations:
            self.is_broken = True
            raise AssertionError("\n".join(dict.fromkeys(self.world.violations)))

    # ---- the end -------------------------------------------------------------------------------

    def teardown(self):
        try:
            if hasattr(self, "world") and not self.is_broken:
                self.run(self._heal())
        finally:
            self.loop.run_until_complete(self._close())
            self.site.close()

    def _calm(self) -> None:
        """No more faults."""
        for client in self.clients:
            client.faults.clear()
            client.is_silent = False
        for node in self.world.nodes.values():
            node.odd_reports.clear()

    async def _heal(self) -> None:
        world = self.world
        self._calm()
        await self.settle_down()
        await asyncio.sleep(130)  # what is late has come
        if world.config is None:
            await self.inner.commit(Change(put={keys.IPAM_CONFIG: CONFIG}))
        for name in sorted(world.leaving):
            await self._delete_node(name, True)
        for name in NODES:
            if name not in world.departed:
                self._start(name)
                self.node(name).start_server()
        await asyncio.sleep(5)
        await self._delete_what_never_came_up()
        await self._delete_stranger()
        await asyncio.sleep(300)
        await world.catch_up()
        self._compare_store_and_kernels()
        self._assert_right()
        await self._let_all_be_used()
        await self._use_all()

    async def _delete_stranger(self) -> None:
        while self.stranger:
            await self.stranger.pop().aclose()
        self.world.leaving.add(STRANGER)
        await delete_node(self.operator, STRANGER, lambda text: None, now=self.now)
        await self.world.catch_up()
        self.world.leaving.clear()
        if left := self._left_of(STRANGER):
            self.world.fail(f"{STRANGER} was deleted and left {left}")

    async def _delete_what_never_came_up(self) -> None:
        """As a runtime does; and one link stays, so that no node looks as if it had lost all."""
        for node in self.world.nodes.values():
            for link in list(node.machine.links.values()):
                if not link.addresses:
                    await node.delete(link.attachment, link.pod, None)
            for slot in self.slots.values():
                if slot.node == node.name:
                    await self._delete_remnants(node, slot)
            node.machine.make(Attachment("k8s-pod-network", f"stays-{node.name}", "eth0"), None)

    async def _delete_remnants(self, node: Node, slot: Slot) -> None:
        """A sandbox that is there beside the pod's last one; what reconcile leaves to others."""
        for attachment in slot.attachments:
            is_there = node.machine.link_of(attachment) is not None
            is_older = slot.pod is not None and attachment != slot.attachments[-1]
            if is_there if is_older else (slot.is_lent and not is_there):
                await node.delete(attachment, slot.pod, None)

    def _compare_store_and_kernels(self) -> None:
        world = self.world
        world.unwired = {
            attachment.handle_id
            for slot in self.slots.values()
            if slot.is_lent
            for attachment in slot.attachments
        } | {handle for handle in world.unwired if handle.startswith("calico.")}
        held = {h: a for h, a in world.held().items() if not _is_no_containers(h)}
        used = {
            link.attachment.handle_id: set(link.addresses)
            for machine in world.machines
            for link in machine.links.values()
            if link.addresses
        }
        for handle in sorted(held.keys() | used.keys()):
            has, uses = held.get(handle, set()), used.get(handle, set())
            # It may have asked for another family before, and DEL has not come.
            before = world.families.get(handle, set()) - {address.version for address in uses}
            rest = {address for address in has if address.version not in before}
            if rest != uses or not uses:
                world.fail(f"{handle} holds {has}, its link has {uses}")
        for cluster_problem in world.problems():
            world.fail(f"healed, but {cluster_problem}")
        for node in world.nodes.values():
            if node.name in world.departed:
                continue
            borrowed = [
                keys.borrowed(node.name, block.cidr)
                for block in world.blocks()
                if block.host != node.name and any(a.node == node.name for a in block.attributes)
            ]
            if (noted := world.below(keys.borrowings(node.name))) != sorted(borrowed):
                world.fail(f"healed, but {node.name} has borrowed {borrowed} and noted {noted}")
            findings = check_store(world.entries, node.machine.report(), node.name, self.now())
            for problem in findings.problems:
                # What cools down in a block of nobody is there until somebody needs the block.
                if problem.name not in world.unwired and problem.kind is not Kind.EMPTY_BLOCK:
                    world.fail(f"healed, but ipam check says: {problem}")

    async def _let_all_be_used(self) -> None:
        """The operator removes what keeps addresses from being given out."""
        changes = {keys.IPAM_CONFIG: FREE_FOR_ALL}
        for pool in self.world.pools:
            key = keys.pool(pool.name)
            document = codec.load(key, self.world.entries[key].value)
            document["spec"] = {**document["spec"], **_FOR_PODS_ALONE}
            changes[key] = codec.dump(document)
        gone = frozenset(self.world.below(keys.RESERVATIONS))
        await self.inner.commit(Change(put=changes, delete=gone))
        for name in sorted(self.world.departed):
            await self.node(name).kill_ipamd()
            self._start(name)
            self.node(name).start_server()
        await asyncio.sleep(200)

    async def _use_all(self) -> None:
        """Fill every pool: not one address is lost. Then empty them: nothing is left."""
        world = self.world
        await world.catch_up()
        for problem in world.problems(strictly=True):
            world.fail(f"healed, but {problem}")
        total = sum(pool.cidr.num_addresses for pool in world.pools)
        for version in (4, 6):
            for node in world.nodes.values():
                while await self._add_many(node, version):
                    pass
        await world.catch_up()
        held = [address for addresses in world.held().values() for address in addresses]
        if len(held) != total or len(set(held)) != total:
            states = "\n".join(map(str, world.blocks()))
            world.fail(f"{total} addresses, but only {len(set(held))} are given out:\n{states}")
        world.check_links()
        await world.check_held(())
        self._assert_right()
        deletes = [
            node.delete(link.attachment, link.pod, None)
            for node in world.nodes.values()
            for link in list(node.machine.links.values())
        ]
        await asyncio.gather(*deletes)
        await world.catch_up()
        for prefix in (keys.ALL_HANDLES, keys.ENDPOINTS):
            if left := world.below(prefix):
                world.fail(f"everything is released, but there is {left}")
        self._assert_right()

    async def _add_many(self, node: Node, version: int) -> bool:
        """Ask for some addresses; return whether there may be more."""

        async def add() -> bool:
            attachment = Attachment("k8s-pod-network", f"last-{next(self.serial)}", "eth0")
            for _ in range(ROUNDS):
                try:
                    await node.add(attachment, None, Wanted((version,)), None)
                except Exhausted:
                    return False
                except Unavailable:
                    await asyncio.sleep(1)
                else:
                    return True
            self.world.fail(f"{node.name} gives out nothing any more")
            return False

        return all(await asyncio.gather(*(add() for _ in range(4))))

    async def _close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for work in self.stranger:
            await work.aclose()
        if not hasattr(self, "world"):
            return
        for node in self.world.nodes.values():
            await node.kill_server()
            await node.kill_ipamd()
        await self.wire.lose_late()
        await self.world.stop()
        for client in self.clients:
            await client.close()
        await self.inner.close()


_FOR_PODS_ALONE = {
    "disabled": False,
    "nodeSelector": "all()",
    "ipipMode": "Never",
    "vxlanMode": "Never",
}


def _is_no_containers(handle: str) -> bool:
    """Whether a handle is one of the Calico's pods, or of a node's tunnel."""
    return handle.startswith("calico.") or "-tunnel-addr-" in handle


async def _nothing() -> None:
    """Let time pass."""


def _resource(kind: str, name: str, spec: dict[str, Any]) -> bytes:
    metadata = {"name": name, "uid": STAMP.uid, "creationTimestamp": STAMP.text}
    return json.dumps(
        {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec}
    ).encode()
