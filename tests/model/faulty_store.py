"""A client's way to the store on which everything happens that may happen to a commit.

The dangerous fault is ``LATE``: the caller was told that there is no answer, has gone on, and then
the store carries the commit out all the same, if its comparisons still hold.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from random import Random
from typing import Any, TypeVar

from datamodel.errors import Unavailable
from datastore.store import Change, Committed, Doubt, Events, Leases, Rejected, Snapshot, Store

T = TypeVar("T")


class Fault(Enum):
    """What becomes of a commit."""

    LOST = "never arrives"
    SILENT = "is carried out, the answer is lost"
    LATE = "is carried out after its caller has given up"
    REPEATED = "is carried out; the client sends it again, as if it had not been"
    OVERTAKEN = "somebody else rewrites what it expects just before"


class Wire:
    """What all clients of one store share: how long things take, and what is still under way."""

    def __init__(self, random: Random, pauses: Sequence[float]) -> None:
        self.random = random
        self.counts: Counter[str] = Counter()
        self._pauses = pauses
        self._late: set[asyncio.Task[None]] = set()
        self._broken = asyncio.Event()  # set, and replaced, when every watch ends

    async def pause(self) -> None:
        """Take a while, or no time."""
        await asyncio.sleep(self.random.choice(self._pauses))

    def end_watches(self) -> None:
        """End every watch of every client."""
        broken, self._broken = self._broken, asyncio.Event()
        broken.set()

    @property
    def broken(self) -> asyncio.Event:
        """Set when the watches that are there now end."""
        return self._broken

    def later(self, delay_s: float, work: Coroutine[Any, Any, None]) -> None:
        """Have something arrive at the store after a while, whoever has sent it."""

        async def wait() -> None:
            try:
                await asyncio.sleep(delay_s)
            except asyncio.CancelledError:
                work.close()
                raise
            await work

        task = asyncio.get_running_loop().create_task(wait())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def lose_late(self) -> None:
        """Have nothing arrive any more that is still under way."""
        late = list(self._late)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


class FaultyStore:
    """One client of a store. ``faults`` says what becomes of its next commits, in their order."""

    def __init__(
        self,
        store: Store,
        wire: Wire,
        overtake: Callable[[Change], Awaitable[None]],
        leases: Leases,
    ) -> None:
        self.faults: deque[Fault] = deque()
        self.is_silent = False  # nothing is answered, nothing arrives
        self.epoch = store.epoch  # as the last answer showed it
        self._store = store
        self._leases = leases
        self._wire = wire
        self._overtake = overtake
        # Called with every change before it is sent.
        self.inspect: Callable[[Change], None] = lambda change: None

    async def read(self, *ranges: str, keys_only: bool = False) -> Snapshot:
        await self._wire.pause()
        self._check()
        answer = await self._store.read(*ranges, keys_only=keys_only)
        await self._wire.pause()
        self._check()
        self.epoch = self._store.epoch
        return answer

    async def commit(self, change: Change) -> Committed | Rejected:
        self.inspect(change)
        fault = self.faults.popleft() if self.faults else None
        try:
            await self._wire.pause()
        except asyncio.CancelledError:  # the client was killed while it was sending
            if self._wire.random.random() < 0.7:
                self._send_later(change, self._wire.random.choice((0, 0.1, 5, 40)))
            raise
        self._check()
        answer = await self._commit(change, fault)
        await self._wire.pause()
        self._check()
        self.epoch = self._store.epoch
        return answer

    async def _commit(self, change: Change, fault: Fault | None) -> Committed | Rejected:
        random = self._wire.random
        if fault:
            self._wire.counts[fault.name.lower()] += 1
        match fault:
            case Fault.LOST:
                await self._give_up()
            case Fault.LATE:
                silence_s = random.choice((0.1, 1.0, 5.0))
                self._send_later(change, silence_s + random.choice((0.01, 1, 20, 100)))
                await asyncio.sleep(silence_s)
                raise Unavailable("faulty store: does not answer yet")
            case Fault.SILENT:
                await self._store.commit(change)
                await self._give_up()
            case Fault.REPEATED:
                await self._store.commit(change)
            case Fault.OVERTAKEN:
                await self._overtake(change)
        return await self._store.commit(change)

    async def _give_up(self) -> None:
        await asyncio.sleep(self._wire.random.choice((0.1, 5.0)))
        raise Unavailable("faulty store: does not answer")

    def _send_later(self, change: Change, delay_s: float) -> None:
        async def carry_out() -> None:
            answer = await self._store.commit(change)
            is_done = isinstance(answer, Committed) and (change.put or change.delete)
            self._wire.counts["late and done" if is_done else "late in vain"] += 1

        self._wire.later(delay_s, carry_out())

    async def watch(self, ranges: frozenset[str], after: int) -> AsyncGenerator[Events, None]:
        self._check_watch()
        broken = self._wire.broken
        end = asyncio.ensure_future(broken.wait())
        events = self._store.watch(ranges, after)
        try:
            while True:
                step = asyncio.ensure_future(anext(events))
                try:
                    await asyncio.wait({step, end}, return_when=asyncio.FIRST_COMPLETED)
                    if not step.done():
                        raise Doubt("faulty store: the watch ended")
                    some = step.result()
                finally:
                    if not step.done():
                        step.cancel()
                        await asyncio.gather(step, return_exceptions=True)
                await self._wire.pause()
                if end.done():
                    raise Doubt("faulty store: the watch ended")
                yield some
        finally:
            end.cancel()
            await asyncio.gather(end, return_exceptions=True)
            await events.aclose()

    async def grant(self, ttl_s: int) -> int:
        return await self._ask(self._leases.grant(ttl_s))

    async def keep_alive(self, lease: int) -> bool:
        return await self._ask(self._leases.keep_alive(lease))

    async def kept_alive_s(self, lease: int) -> float | None:
        return await self._ask(self._leases.kept_alive_s(lease))

    async def _ask(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            await self._wire.pause()
            self._check()
        except BaseException:
            call.close()
            raise
        answer = await call
        await self._wire.pause()
        self._check()
        return answer

    async def close(self) -> None:
        await self._store.close()

    def _check(self) -> None:
        if self.is_silent:
            raise Unavailable("faulty store: nothing is answered")

    def _check_watch(self) -> None:
        if self.is_silent:
            raise Doubt("faulty store: nothing is answered")
