"""An event loop whose clock jumps instead of waiting: a test with pauses in it takes no time.

It cannot know of answers from outside the process: who waits for such tells it so.
"""

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_S = 30.0  # of real time, for one answer from outside


class _JumpingSelector(selectors.DefaultSelector):
    """Where others wait for the next timer, it only looks and lets the clock jump there."""

    def __init__(self, is_awaited: Callable[[], bool]) -> None:
        super().__init__()
        self.now = 0.0
        self._is_awaited = is_awaited
        self._waits_since = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            self._waits_since = 0.0
        if ready or timeout == 0:
            return ready
        if self._is_awaited():
            return self._wait(timeout)
        self._waits_since = 0.0
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.now += timeout
        return ready

    def _wait(self, timeout: float | None) -> list[Any]:
        """Wait as others do for what comes from outside."""
        begun = time.monotonic()
        self._waits_since = self._waits_since or begun
        if begun - self._waits_since > PATIENCE_S:
            raise RuntimeError("nothing comes from outside that is waited for")
        ready = super().select(PATIENCE_S if timeout is None else min(timeout, PATIENCE_S))
        self.now += time.monotonic() - begun
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. ``is_awaited`` tells whether somebody waits for an answer from outside."""

    def __init__(self, is_awaited: Callable[[], bool] = lambda: False) -> None:
        self._clock = _JumpingSelector(is_awaited)
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* to its end, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async test one that runs in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return wrapper
