"""The model of IPAM: see ``machine.py`` for what happens and what must hold.

In memory it runs quickest; on a real etcd, watches, revisions and restores are real ones.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from datastore.memory import MemoryStore
from datastore.store import Entry, Leases, Store
from tests.model.etcd_site import EtcdHost, InEtcd
from tests.model.machine import IpamMachine, Site
from tests.virtual_time import VirtualTimeLoop

SOAK = os.environ.get("OCICAT_MODEL_EXAMPLES")  # so many, of random seeds
STEPS = 50
EVENTS = {"granted", "claimed", "borrowed", "restored", "nodes deleted", "tunnels"}


class InMemory:
    """The store in memory; time takes no time."""

    def __init__(self) -> None:
        self.loop = VirtualTimeLoop()
        self._store = MemoryStore()

    def make_store(self) -> Store:
        return self._store

    @property
    def leases(self) -> Leases:
        return self._store

    async def empty(self) -> None:
        assert self._store.revision == 1

    async def restore(self, revision: int, entries: Mapping[str, Entry]) -> None:
        self._store.restore(revision)

    def close(self) -> None:
        self.loop.close()


@contextlib.contextmanager
def sites(store: str) -> Iterator[Callable[[], Site]]:
    """What makes a site for each example."""
    if store == "memory":
        yield InMemory
    else:
        with contextlib.closing(EtcdHost()) as host:
            yield partial(InEtcd, host)


@pytest.mark.parametrize(("store", "examples"), [("memory", 40), ("etcd", 12)])
def test_whatever_happens_no_address_has_two_holders_and_none_is_lost(store: str, examples: int):
    with sites(store) as site:

        class Machine(IpamMachine):
            make_site = staticmethod(site)
            counts: ClassVar[Counter[str]] = Counter()

        try:
            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=int(SOAK or examples),
                    stateful_step_count=STEPS,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    database=None,
                    phases=[Phase.explicit, Phase.generate],  # a failure is shrunk by hand
                    derandomize=SOAK is None,
                ),
            )
        finally:
            sys.stdout.write(f"on {store}: {dict(Machine.counts)}\n")
    assert {event for event in EVENTS if not Machine.counts[event]} == set(), "never happened"
