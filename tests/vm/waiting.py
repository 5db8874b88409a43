"""Waits for a condition, tells that it still does, and says what there was when it gives up."""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from datamodel.errors import Unavailable

POLL_S = 0.3
TELL_S = 20.0

Found = TypeVar("Found")


def say(text: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"vm: {text}\n")
    sys.stderr.flush()


def until(
    look: Callable[[], Found | None], what: str, limit_s: float, why: Callable[[], str] = str
) -> Found:
    """What *look* returns as soon as that is true.

    Raises:
        Unavailable: it is not in time; *why* tells what there is instead.
    """
    begun = told = time.monotonic()
    while not (found := look()):
        now = time.monotonic()
        if now - begun > limit_s:
            raise Unavailable(f"{what}: not so after {limit_s:g} s; there is:\n{why()}")
        if now - told > TELL_S:
            told = now
            say(f"{what}: waiting for {now - begun:.0f} s")
        time.sleep(POLL_S)
    return found
