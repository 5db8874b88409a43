"""Fixtures that several folders share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from datastore.etcd import EtcdStore
from datastore.store import MAX_OPERATIONS, Change
from tests.etcd_server import EtcdServer

# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("ocicat", deadline=None)
hypothesis.settings.load_profile("ocicat")

# Takes minutes, QEMU or a system of its own: run by hand, `make help` shows how.
BY_HAND = ("image", "systemd", "vm")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is run by hand, unless it is asked for."""
    name = collection_path.name
    if collection_path.parent != Path(__file__).parent or name not in BY_HAND:
        return None
    return None if any(f"tests/{name}" in argument for argument in config.args) else True


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdServer]:
    """A running etcd of one member; whoever uses it leaves it running."""
    with EtcdServer() as server:
        yield server


@pytest.fixture
async def empty_etcd_store(etcd: EtcdServer) -> AsyncIterator[EtcdStore]:
    """A client of the shared etcd, with no keys left of earlier tests."""
    store = EtcdStore(etcd.config)
    keys = list((await store.read("/", keys_only=True)).entries)
    for i in range(0, len(keys), MAX_OPERATIONS):
        await store.commit(Change(delete=frozenset(keys[i : i + MAX_OPERATIONS])))
    yield store
    await store.close()
