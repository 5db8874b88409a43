"""A node of the model: a real ipamd, and around it the plugin and the CNI server as in cni_plugin.

The plugin's steps are those of ``cmd_add.py`` and ``cmd_del.py``, in their order; it may die after
each of them, and everything else goes on meanwhile.
"""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Address
from typing import Any

from cni_plugin.podnet import host_names
from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Address
from datamodel.claim import Machine
from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable
from datamodel.report import Report
from datastore.codec import Stamp
from datastore.mirror import Mirror
from ipamd.allocator import Allocator
from ipamd.claim import NameClaim
from ipamd.claimed_store import ClaimedStore
from ipamd.config import read_config
from ipamd.facts import ranges_of
from ipamd.reconciler import Pace, Reconciler
from ipamd.registration import Registration
from ipamd.request import Allocate, Granted, Link, Outcome, Prepare, Release, Request
from ipamd.tunnel_keeper import TunnelKeeper
from tests.model.faulty_store import FaultyStore
from tests.model.kernel import MAC
from tests.model.kernel import Link as KernelLink
from tests.model.kernel import Machine as KernelMachine

ALLOCATE_TIMEOUT_S = 7.0
RELEASE_TIMEOUT_S = 3.0
REPORT_TIMEOUT_S = 10.0
ANSWER_MARGIN_S = 0.2
PACE = Pace(period_s=60.0, grace_s=60.0)


class Crash(Exception):
    """The plugin is killed; nobody cleans up behind it."""


class Step(Enum):
    """Where a plugin may be killed."""

    LINKED = 1  # the link is made, nothing is asked
    ASKED = 2  # ipamd has the request
    ANSWERED = 3  # the link has no address yet
    DONE = 4  # of an ADD: nobody receives the result. Of a DEL: before the release


class OddReport(Enum):
    """What is wrong with a report."""

    EMPTY = "the kernel is said to have no link"
    CUT = "the kernel's answer was cut short"
    ELSEWHERE = "it is about another network namespace"
    SLOW = "it takes long to arrive"


@dataclass(frozen=True)
class Wanted:
    """What an ADD asks for."""

    versions: tuple[int, ...] = (4,)
    pools: tuple[str, ...] = ()
    address: Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        return (self.address,) if self.address else ()


class Ipamd:
    """One process: killed with whatever it is doing."""

    def __init__(
        self, name: str, faulty: FaultyStore, kernel: Kernel, clock: Callable[[], datetime]
    ) -> None:
        self.claim = NameClaim(faulty, faulty, name, Machine(kernel), clock=clock)
        store = ClaimedStore(faulty, self.claim)
        self.mirror = Mirror(store, ranges_of(name))
        self.allocator = Allocator(store, self.mirror, name, clock, self.claim)
        self.reconciler = Reconciler(self.mirror, self.allocator, name, PACE, clock)
        self.tunnels = TunnelKeeper(self.mirror, self.allocator, name, self.reconciler.blocks)
        self._registration = Registration(store, _config(name), _no_detection)
        self._calls: set[asyncio.Task[Outcome]] = set()
        self.is_alive = True
        self.task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        """As ``ipamd/__main__.py``."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.claim.run())
            await self.claim.held()
            await _until_done(self._registration.register)
            tasks.create_task(self.mirror.run())
            tasks.create_task(self.allocator.run())
            tasks.create_task(self.reconciler.run())
            tasks.create_task(self.tunnels.run())
            tasks.create_task(self._register_again())
            with contextlib.suppress(Exhausted):
                await _until_done(lambda: self.allocator.submit(Prepare(), timeout_s=60))

    async def _register_again(self) -> None:
        registered_in = 0
        while True:
            if (era := self.allocator.era) != registered_in:
                await _until_done(self._registration.register)
                registered_in = era
            await asyncio.sleep(1)

    async def kill(self) -> None:
        self.is_alive = False
        self.task.cancel()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(self.task, *self._calls, return_exceptions=True)

    async def call(self, request: Request, timeout_s: float) -> Outcome:
        """Ask over the socket."""
        return await self._served(self.allocator.submit(request, timeout_s - ANSWER_MARGIN_S))

    async def report(self, report: Report) -> None:
        async def take() -> None:
            try:
                async with asyncio.timeout(REPORT_TIMEOUT_S):
                    await self.reconciler.take(report)
            except TimeoutError as error:
                raise Unavailable("ipamd: not done in time") from error

        await self._served(take())

    async def _served(self, work: Coroutine[Any, Any, Any]) -> Any:
        call = asyncio.get_running_loop().create_task(work)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await call
        except asyncio.CancelledError:
            if not self.is_alive:
                raise Unavailable("ipamd: is gone") from None
            raise


async def _until_done(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    while True:
        try:
            await work()
            return
        except Exhausted:
            raise
        except OcicatError:
            await asyncio.sleep(1)


def _config(name: str):
    number = int(name.rpartition("-")[2])
    environment = {
        "ETCD_ENDPOINTS": "http://127.0.0.1:2379",
        "IP": f"{IPv4Address('172.18.0.0') + number}/24",
        "NO_DEFAULT_POOLS": "true",
        "OCICAT_HISTORY_DIR": "none",
    }
    return read_config(environment, name)


async def _no_detection(version: int) -> Any:
    raise AssertionError("the address is given")


class Node:
    """See the module."""

    def __init__(
        self,
        name: str,
        store: FaultyStore,
        clock: Callable[[], datetime],
        pause: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.name = name
        self.store = store
        self.machine = KernelMachine(name)
        self.ipamd: Ipamd | None = None
        self.spool: dict[Attachment, Pod | None] = {}
        self.odd_reports: deque[OddReport] = deque()
        self.granted: Callable[[Node, Allocate, Granted], None] = lambda *_: None
        self._clock = clock
        self._pause = pause
        self._server: list[asyncio.Task[None]] = []
        self._delivering: dict[Attachment, asyncio.Lock] = {}

    # ---- processes -----------------------------------------------------------------------------

    def start_ipamd(self) -> None:
        if self.ipamd is None:
            self.ipamd = Ipamd(self.name, self.store, self.machine.kernel, self._clock)

    async def kill_ipamd(self) -> None:
        ipamd, self.ipamd = self.ipamd, None
        if ipamd:
            await ipamd.kill()

    def start_server(self) -> None:
        if not self._server:
            loop = asyncio.get_running_loop()
            self._server = [loop.create_task(self._report()), loop.create_task(self._drain())]

    async def kill_server(self) -> None:
        tasks, self._server = self._server, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def has_server(self) -> bool:
        return bool(self._server)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that never end by themselves."""
        return [*self._server, *([self.ipamd.task] if self.ipamd else [])]

    # ---- the CNI server ------------------------------------------------------------------------

    async def _report(self) -> None:
        """As ``cni_plugin/reporter.py``."""
        while True:
            ipamd = self.ipamd
            if ipamd:
                with contextlib.suppress(Unavailable):
                    async for _ in ipamd.reconciler.wanted():
                        if ipamd is not self.ipamd:
                            break
                        await self.report_once()
            await asyncio.sleep(0.5)

    async def report_once(self, odd: OddReport | None = None) -> None:
        """Read what the kernel has and tell ipamd."""
        odd = odd or (self.odd_reports.popleft() if self.odd_reports else None)
        report = self.machine.report()
        match odd:
            case OddReport.EMPTY:
                report = replace(report, links=())
            case OddReport.CUT:
                report = replace(report, is_complete=False, links=report.links[::2])
            case OddReport.ELSEWHERE:
                report = replace(report, kernel=Kernel(report.kernel.boot_id, "2"), links=())
            case OddReport.SLOW:
                await asyncio.sleep(5)
        await self._pause()
        if self.ipamd is None:
            raise Unavailable("ipamd: is not there")
        await self.ipamd.report(report)

    async def _drain(self) -> None:
        """As ``cni_plugin/spool.py`` and its caller."""
        while True:
            with contextlib.suppress(OcicatError):
                for attachment in list(self.spool):
                    await self._deliver(attachment)
            await asyncio.sleep(5)

    async def _deliver(self, attachment: Attachment) -> None:
        async with self._delivering.setdefault(attachment, asyncio.Lock()):
            if attachment not in self.spool:
                return
            pod = self.spool[attachment]
            try:
                await self._call(Release(attachment, pod), RELEASE_TIMEOUT_S)
            except Unavailable:
                raise
            except OcicatError:
                return
            self.spool.pop(attachment, None)

    async def _take_back(self, attachment: Attachment) -> bool:
        if attachment not in self.spool:
            return False
        async with self._delivering.setdefault(attachment, asyncio.Lock()):
            return self.spool.pop(attachment, _MISSING) is not _MISSING

    # ---- the plugin ----------------------------------------------------------------------------

    async def add(
        self, attachment: Attachment, pod: Pod | None, wanted: Wanted, crash: Step | None
    ) -> None:
        """ADD of our interface plugin.

        Raises:
            OcicatError: refused, and taken back.
            Crash: the plugin died at *crash*.
        """
        beside = None
        if not self.has_server:  # a plugin that runs by itself reports, too
            beside = asyncio.get_running_loop().create_task(self._report_quietly())
        try:
            await self._add(attachment, pod, wanted, crash)
        finally:
            if beside:
                beside.cancel()
                await asyncio.gather(beside, return_exceptions=True)

    async def _report_quietly(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self.report_once()
                return
            await asyncio.sleep(0.5)

    async def _add(  # noqa: PLR0915
        self, attachment: Attachment, pod: Pod | None, wanted: Wanted, crash: Step | None
    ) -> None:
        if self.machine.link_of(attachment):
            raise Invalid("is attached already")
        link = await self._make_link(attachment, pod)
        _die(crash, Step.LINKED)
        was_asked = False
        try:
            was_spooled = await self._take_back(attachment)
            await self._pause()
            was_asked = was_spooled or self.ipamd is not None
            granted = await self._ask(attachment, pod, wanted, crash)
            _die(crash, Step.ANSWERED)
            await self._pause()
            if not self.machine.has(link):
                raise Unavailable("the link is gone")
            link.addresses = tuple(grant.address for grant in granted.grants)
        except OcicatError:
            self._remove_same(link)
            await self._pause()
            if was_asked:
                await self._give_back(attachment, pod)
            raise
        if granted.superseded:
            older = replace(attachment, container_id=granted.superseded)
            self.machine.remove(older)
            await self._give_back(older, pod)
        if crash is Step.DONE:  # nobody receives the result: the server takes the ADD back
            await self._pause()
            if self.machine.link_of(attachment) in (link, None):
                self.machine.remove(attachment)
                await self._pause()
                await self._give_back(attachment, pod)

    async def _make_link(self, attachment: Attachment, pod: Pod | None) -> KernelLink:
        """Make the pair; the pod's previous sandbox is in the way and goes."""
        while older := self._in_the_way(attachment, pod):
            self.machine.remove(older)
            await self._give_back(older, pod)
        return self.machine.make(attachment, pod)

    def _in_the_way(self, attachment: Attachment, pod: Pod | None) -> Attachment | None:
        link = self.machine.links.get(host_names(attachment, pod)[0])
        return link.attachment if link else None

    def _remove_same(self, link: KernelLink) -> None:
        if self.machine.has(link):
            del self.machine.links[link.name]

    async def _ask(
        self, attachment: Attachment, pod: Pod | None, wanted: Wanted, crash: Step | None
    ) -> Granted:
        name = self.machine.link_of(attachment)
        profile = f"kns.{pod.namespace}" if pod else attachment.network
        link = Link(name.name if name else "gone", MAC, (profile,), self.machine.kernel)
        timeout_s = ALLOCATE_TIMEOUT_S
        if crash is Step.ASKED:  # ipamd sees that the connection is closed
            timeout_s = 0.005
        request = self._request(attachment, pod, link, wanted)
        try:
            async with asyncio.timeout(timeout_s):
                granted = await self._call(request, ALLOCATE_TIMEOUT_S)
        except (TimeoutError, OcicatError) as error:
            _die(crash, Step.ASKED)
            if isinstance(error, TimeoutError):
                raise Unavailable("ipamd: no answer in time") from error
            raise
        _die(crash, Step.ASKED)
        assert isinstance(granted, Granted)
        self.granted(self, request, granted)
        return granted

    def _request(
        self, attachment: Attachment, pod: Pod | None, link: Link | None, wanted: Wanted
    ) -> Allocate:
        return Allocate(
            attachment=attachment,
            pod=pod,
            link=link,
            stamp=Stamp(str(uuid.uuid4()), self._clock()),
            versions=wanted.versions,
            pools={4: wanted.pools, 6: ()},
            addresses=wanted.addresses,
        )

    async def delete(self, attachment: Attachment, pod: Pod | None, crash: Step | None) -> None:
        """DEL: the link first, then the release."""
        self.machine.remove(attachment)
        await self._pause()
        _die(crash, Step.DONE)
        await self._give_back(attachment, pod)

    async def _give_back(self, attachment: Attachment, pod: Pod | None) -> None:
        try:
            await self._call(Release(attachment, pod), RELEASE_TIMEOUT_S)
        except OcicatError:
            self.spool.setdefault(attachment, pod)

    async def _call(self, request: Request, timeout_s: float) -> Outcome:
        if self.ipamd is None:
            raise Unavailable("ipamd: is not there")
        return await self.ipamd.call(request, timeout_s)

    # ---- the IPAM role: another plugin makes the link --------------------------------------------

    async def lend(self, attachment: Attachment, wanted: Wanted) -> None:
        """ADD of ``ocicat-ipam``; again for the same attachment it gives the same addresses."""
        request = self._request(attachment, None, None, wanted)
        await self._take_back(attachment)
        try:
            granted = await self._call(request, ALLOCATE_TIMEOUT_S)
        except OcicatError:
            if self.machine.link_of(attachment) is None:
                await self._give_back(attachment, None)
            raise
        assert isinstance(granted, Granted)
        self.granted(self, request, granted)
        link = self.machine.link_of(attachment) or self.machine.make(
            attachment, None, is_ours=False
        )
        link.addresses = tuple(grant.address for grant in granted.grants)


_MISSING = object()


def _die(crash: Step | None, here: Step) -> None:
    if crash is here:
        raise Crash
