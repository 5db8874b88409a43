"""Starts ipamd: settings, wiring, signals."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from datamodel.claim import Machine
from datamodel.errors import Exhausted, OcicatError
from datastore.etcd import EtcdStore
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipamd.allocator import Allocator
from ipamd.claim import TTL_S, NameClaim
from ipamd.config import Config, read_config
from ipamd.daemon import Daemon
from ipamd.interfaces import detector
from ipamd.kubernetes import voucher
from ipamd.machine import this_machine
from ipamd.metrics_state import show
from ipamd.registration import Registration
from ipamd.request import Prepare
from ipamd.server import IpamServicer

log = logging.getLogger("ipamd")

SERVICE = ipam_pb2.DESCRIPTOR.services_by_name["Ipam"].full_name
RETRY_PAUSE_S = 1.0
GRACE_S = 2.0  # for requests under way when we are asked to end


def main() -> None:
    """Run ipamd until SIGTERM or SIGINT."""
    try:
        config = read_config(os.environ, socket.gethostname())
    except OcicatError as error:
        sys.exit(f"ipamd: {error}")
    logging.basicConfig(level=config.log_level, format="%(levelname)s %(name)s %(message)s")
    try:
        # Takes 3 % less than asyncio's own loop, with 64 requests at once 6 % (docs/benchmarks.md).
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, this_machine()))
    except OcicatError as error:
        sys.exit(f"ipamd: {error}")


async def serve(config: Config, machine: Machine, ttl_s: int = TTL_S) -> None:
    """Serve the socket at once; allocate when the name is this machine's, the node is registered
    and its blocks are loaded.

    Args:
        config: the settings.
        machine: who we are.
        ttl_s: how long a machine that says nothing more keeps the name.
    """
    store = EtcdStore(config.etcd)
    daemon = Daemon.of(config, store, NameClaim(store, store, config.node, machine, ttl_s))
    if config.metrics_address:
        show(config.metrics_address, daemon)
    server = grpc.aio.server()
    servicer = IpamServicer(daemon)
    ipam_pb2_grpc.add_IpamServicer_to_server(servicer, server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    await _set_health(health_servicer, False)  # the library begins with SERVING
    temporary = _listen(server, config.socket)
    await server.start()
    os.rename(temporary, config.socket)
    stop, prepared = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        work = [
            tasks.create_task(_work(config, daemon, prepared)),
            tasks.create_task(_report_health(daemon, prepared, health_servicer)),
        ]
        log.info("serving socket=%s node=%s", config.socket, config.node)
        await stop.wait()
        daemon.reconciler.close()
        await server.stop(GRACE_S)
        for task in work:
            task.cancel()
    await daemon.store.close()


def _listen(server: grpc.aio.Server, path: str) -> str:
    """Bind a socket for root alone: whoever can write to it can take addresses.

    It has a name of this process's own, and gets its real one when it serves: gRPC removes the name
    that it bound when it ends, which by then may be a successor's.
    """
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    before = os.umask(0o177)
    try:
        only_local = grpc.local_server_credentials(grpc.LocalConnectionType.UDS)
        server.add_secure_port(f"unix:{temporary}", only_local)
    finally:
        os.umask(before)
    return temporary


async def _work(config: Config, daemon: Daemon, prepared: asyncio.Event) -> None:
    """Claim the node's name, register it, load its blocks, own one, serve: in this order.

    Nothing is written while another machine runs under the name. No address is given out before
    the node is registered (without its Node resource no peer would learn the way to it), nor
    before what registering wrote, the default pool, has been listed.
    """
    vouch = voucher(config.kubernetes)
    registration = Registration(daemon.store, config, detector(config), vouch)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(daemon.claim.run())
        await daemon.claim.held()
        await _register(registration, daemon.allocator)
        tasks.create_task(daemon.mirror.run())
        tasks.create_task(daemon.allocator.run())
        tasks.create_task(daemon.reconciler.run())
        tasks.create_task(daemon.tunnels.run())
        tasks.create_task(daemon.history.run(daemon.store, daemon.mirror))
        tasks.create_task(registration.follow_address())
        tasks.create_task(_register_again(registration, daemon))
        await _claim_first_block(daemon.allocator)
        prepared.set()


async def _register(registration: Registration, allocator: Allocator) -> None:
    """Register the node, as often as etcd makes it necessary."""
    while True:
        try:
            await registration.register()
            allocator.trouble = ""
            return
        except OcicatError as error:
            allocator.trouble = str(error)
            log.warning("node is not registered yet: %s", error)
            await asyncio.sleep(RETRY_PAUSE_S)


async def _register_again(registration: Registration, daemon: Daemon) -> None:
    """Register in a store that turned out to be another one: it may not know the node.

    Or another machine may have registered under its name.
    """
    registered_in = 0
    while True:
        if (era := daemon.allocator.era) != registered_in:
            await _register(registration, daemon.allocator)
            registered_in = era
        await asyncio.sleep(RETRY_PAUSE_S)


async def _claim_first_block(allocator: Allocator) -> None:
    """Own a block before the first pod comes, so that its peers know the route by then."""
    while True:
        try:
            await allocator.submit(Prepare(), timeout_s=60)
            return
        except Exhausted as error:
            log.warning("no block for this node yet: %s", error)
            return
        except OcicatError as error:
            log.warning("no block for this node yet: %s", error)
            await asyncio.sleep(RETRY_PAUSE_S)


async def _report_health(
    daemon: Daemon, prepared: asyncio.Event, servicer: health.aio.HealthServicer
) -> None:
    """SERVING once the node is prepared, as long as the name is this machine's and its blocks are
    known and followed."""
    mirror, claim = daemon.mirror, daemon.claim
    await prepared.wait()

    async def follow(changed: Callable[[], Awaitable[None]]) -> None:
        while True:
            await _set_health(servicer, mirror.is_ready and claim.is_held)
            await changed()

    await asyncio.gather(follow(mirror.ready_changed), follow(claim.changed))


async def _set_health(servicer: health.aio.HealthServicer, is_serving: bool) -> None:
    answer = health_pb2.HealthCheckResponse
    for service in ("", SERVICE):
        await servicer.set(service, answer.SERVING if is_serving else answer.NOT_SERVING)


if __name__ == "__main__":
    main()
