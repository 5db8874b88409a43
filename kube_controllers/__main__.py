"""The controller: settings, wiring, signals.

Edge: environment, signals, exit status. SIGTERM ends it at any moment: what was begun the next one
finishes.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine, Iterable
from typing import Any

from datamodel.errors import OcicatError
from datastore.etcd import EtcdStore
from datastore.mirror import Mirror
from kube_api.client import ApiClient
from kube_controllers.api import KubeApi
from kube_controllers.config import Config, controllers_config
from kube_controllers.controller import Controller, Pace
from kube_controllers.follower import Follower
from kube_controllers.survey import RANGES

log = logging.getLogger("kube_controllers")


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(stream=sys.stderr, format="level=%(levelname)s logger=%(name)s %(message)s")
    try:
        config = controllers_config(os.environ)
        logging.getLogger().setLevel(config.log_level)
        asyncio.run(_serve(config))
    except OcicatError as error:
        log.error("cannot start: %s", error)
        return 1
    return 0


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store, client = EtcdStore(config.etcd), ApiClient(config.kubernetes)
    mirror, api = Mirror(store, lambda _: RANGES), KubeApi(client)
    pace = Pace(config.period_s, config.node_grace_s, config.leak_grace_s)
    controller = Controller(store, mirror, api, pace)
    followers: list[Follower[Any, Any]] = [
        Follower(api, controller.nodes, controller.node_lost),
        Follower(api, controller.pods, controller.pod_lost),
    ]
    web = None
    try:
        if config.metrics:
            from kube_controllers.metrics import show

            web = show(config.metrics, controller, followers, mirror)
        log.info("started kubernetes=%s etcd=%s", client, ",".join(config.etcd.endpoints))
        await _run_until(stop, [mirror.run(), controller.run(), *(f.run() for f in followers)])
    finally:
        if web:
            web.stop()
        client.close()
        await store.close()
    log.info("ended")


async def _run_until(stop: asyncio.Event, tasks: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        work = [group.create_task(task) for task in tasks]
        await stop.wait()
        for task in work:
            task.cancel()


if __name__ == "__main__":
    sys.exit(main())
