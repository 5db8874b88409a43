"""The route distributor: settings, wiring, signals.

Edge: environment, signals, exit status. SIGTERM ends it without touching BIRD or a route.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time

from datamodel.errors import OcicatError
from datastore.mirror import Mirror
from route_distributor.agent import Agent
from route_distributor.bird.daemon import Bird
from route_distributor.config import Config, distributor_config
from route_distributor.snapshot import ranges_of

log = logging.getLogger("route_distributor")


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    logging.basicConfig(stream=sys.stderr, format="level=%(levelname)s logger=%(name)s %(message)s")
    try:
        config = distributor_config(os.environ, socket.gethostname())
        logging.getLogger().setLevel(config.log_level)
        asyncio.run(_serve(config))
    except OcicatError as error:
        log.error("cannot start: %s", error)
        return 1
    return 0


async def _serve(config: Config) -> None:
    # `bird -p` is started as a child; gRPC's fork handlers would only get in the way, and it reads
    # this when it is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from datastore.etcd import EtcdStore

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = EtcdStore(config.etcd)
    ranges = ranges_of(config.node)
    mirror = Mirror(store, lambda _: ranges)
    bird = Bird(config.bird_config, config.bird_socket)
    agent = Agent(config.node, mirror, bird, time.monotonic)
    log.info("started node=%s file=%s", config.node, config.bird_config)
    try:
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(mirror.run()), tasks.create_task(agent.run())]
            await stop.wait()
            for task in work:
                task.cancel()
    finally:
        await store.close()
    log.info("ended node=%s", config.node)


if __name__ == "__main__":
    sys.exit(main())
