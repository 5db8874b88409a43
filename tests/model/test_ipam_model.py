"""The model of IPAM: see ``machine.py`` for what happens and what must hold."""

import asyncio
import os
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from datastore.memory import MemoryStore
from datastore.store import Entry, Store
from tests.model.faulty_store import Wire
from tests.model.machine import IpamMachine
from tests.virtual_time import VirtualTimeLoop


class InMemory:
    """The store in memory; time takes no time."""

    pauses = (0, 0, 0.001, 0.01, 0.1)

    def __init__(self) -> None:
        self.loop = VirtualTimeLoop()
        self._store = MemoryStore()

    def make_store(self) -> Store:
        return self._store

    async def empty(self) -> None:
        assert self._store.revision == 1

    async def pass_time(self, seconds: float, in_flight: Callable[[], int]) -> None:
        await asyncio.sleep(seconds)

    async def restore(self, revision: int, entries: dict[str, Entry], wire: Wire) -> None:
        self._store.restore(revision)

    def close(self) -> None:
        self.loop.close()


class MemoryMachine(IpamMachine):
    make_site = InMemory


EXAMPLES = int(os.environ.get("OCICAT_MODEL_EXAMPLES", "40"))  # more of them for a soak
STEPS = 50


def test_whatever_happens_no_address_has_two_holders_and_none_is_lost():
    run_state_machine_as_test(
        MemoryMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.explicit, Phase.generate],  # a failure is shrunk by hand, not in CI
            derandomize="OCICAT_MODEL_EXAMPLES" not in os.environ,
        ),
    )
