"""Open the store that the environment names, for the time of one command.

Edge: etcd and the process environment.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from datamodel.environment import unknown_names
from datamodel.errors import Invalid
from datastore.store import Store

T = TypeVar("T")


def with_store(
    action: Callable[[Store], Awaitable[T]], environment: Mapping[str, str] = os.environ
) -> T:
    """Run *action* on the cluster's store and close it whatever happens.

    Raises:
        Invalid: the environment is wrong; one line for each mistake.
        Unavailable: no etcd answers.
    """
    # Here, because importing gRPC takes longer than a --help.
    from datastore.config import etcd_config
    from datastore.etcd import EtcdStore

    config, mistakes = etcd_config(environment)
    if mistakes := [*mistakes, *unknown_names(environment)]:
        raise Invalid("\n".join(mistakes))

    async def run() -> T:
        store = EtcdStore(config)
        try:
            return await action(store)
        finally:
            await store.close()

    return asyncio.run(run())
