"""The route distributor: settings, wiring, signals.

Edge: environment, signals, exit status. SIGTERM ends it without touching BIRD, a rule or a route.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial

from datamodel.bgp import SecretRef
from datamodel.block import Address
from datamodel.errors import OcicatError, Unavailable
from datamodel.tunnel import IPIP
from datastore.mirror import Mirror
from health_api.web import WebServer, loop_check
from route_distributor.agent import Agent
from route_distributor.bird.daemon import Bird
from route_distributor.bird.desired import BirdConfig, NotYet, Settings, desired
from route_distributor.bird.kernel_routes import KernelRoutes
from route_distributor.bird.look import look
from route_distributor.bird.part import BirdPart
from route_distributor.bird.view import addresses_of
from route_distributor.config import Config, distributor_config
from route_distributor.decoded import Decoded
from route_distributor.health import unreadiness
from route_distributor.ledger import Ledger
from route_distributor.meter import Meter
from route_distributor.metrics import Metrics
from route_distributor.nat.nft import Nft
from route_distributor.nat.part import NatPart
from route_distributor.overlay.follower import RemoteFollower
from route_distributor.overlay.part import OverlayPart
from route_distributor.part import Part
from route_distributor.secrets import SecretFiles
from route_distributor.snapshot import ClusterSnapshot, cluster_snapshot, ranges_of

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
    except PermissionError as error:
        what_to_do = "run this as root, or give it CAP_NET_ADMIN"
        log.error("cannot start: kernel: %s; %s", error.strerror, what_to_do)
        return 1
    return 0


async def _serve(config: Config) -> None:
    # `bird -p` and nft are started as children; gRPC's fork handlers would only get in the way, and
    # it reads this when it is imported.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
    from datastore.etcd import EtcdStore

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = EtcdStore(config.etcd)
    ranges = ranges_of(config.node)
    mirror = Mirror(store, lambda _: ranges)
    secrets = SecretFiles(config.secrets_dir)
    others = RemoteFollower(store)
    try:
        with (
            closing(KernelRoutes()) as routes,
            closing(OverlayPart(lambda: others.remote)) as overlay,
            closing(NatPart(Nft())) as nat,
            _meter(config, mirror) as meter,
        ):
            bird = BirdPart(
                Bird(config.bird_config, config.bird_socket),
                partial(_decide, config),
                secrets.read,
                routes,
            )
            ledger = Ledger(config.status_file, meter, time.monotonic, lambda: datetime.now(UTC))
            # Side by side; within brackets, each needs what those before it make.
            chains: list[list[Part]] = [[overlay, bird], [nat]]
            see = partial(cluster_snapshot, config.node, decoded=Decoded())
            agent = Agent(mirror, see, chains, ledger)
            log.info("started node=%s file=%s", config.node, config.bird_config)
            tasks = [
                mirror.run(),
                others.run(),
                agent.run(),
                _ask_again(agent, BirdPart.name, secrets.changed),
                _ask_again(agent, OverlayPart.name, others.changed),
            ]
            await _run_until(stop, tasks)
    finally:
        await store.close()
    log.info("ended node=%s", config.node)


def _decide(
    config: Config, snapshot: ClusterSnapshot, secrets: Mapping[SecretRef, str]
) -> BirdConfig | NotYet:
    own = addresses_of(snapshot.own) if snapshot.own else ()
    if own and not any(map(_is_here, own)):
        raise Unavailable(
            f"node {config.node}: {own[0]} is on no link here, so BIRD goes on as it is; does "
            "another machine run under this name? Give this one another NODENAME, or the address"
        )
    settings = Settings(
        secrets=secrets,
        router_id=config.router_id,
        free_addresses=config.free_addresses,
        is_ipip_ready=any(name == IPIP.device for _, name in socket.if_nameindex()),
    )
    return desired(snapshot, settings)


def _is_here(address: Address) -> bool:
    kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


async def _run_until(stop: asyncio.Event, tasks: Iterable[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        work = [group.create_task(task) for task in tasks]
        await stop.wait()
        for task in work:
            task.cancel()


async def _ask_again(agent: Agent, part: str, changed: Callable[[], Awaitable[None]]) -> None:
    """Have a part brought up to date when what it depends on besides the cluster has changed."""
    while True:
        await changed()
        agent.again(part)


@contextmanager
def _meter(config: Config, mirror: Mirror) -> Iterator[Meter]:
    """Measure, and show what is measured, if somebody wants to see it."""
    if config.metrics is None:
        yield Meter()
        return
    metrics = Metrics(
        (OverlayPart.name, BirdPart.name, NatPart.name), mirror, partial(look, config.bird_socket)
    )
    started = time.monotonic()

    def readiness() -> str:
        seen = look(config.bird_socket, at_routes=False)
        return unreadiness(seen, time.monotonic() - started)

    checks = {"/liveness": loop_check(asyncio.get_running_loop()), "/readiness": readiness}
    server = WebServer("OCICAT_ROUTES_METRICS", config.metrics, metrics.registry, checks)
    try:
        yield metrics
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
