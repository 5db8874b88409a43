"""Looks at etcd: each endpoint, the files to speak to it, and what it says beside the kernel.

Edge: etcd, files, and TLS through ``tls.py``. It writes nothing.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from datamodel.errors import Invalid, OcicatError
from datastore import keys
from datastore.config import EtcdConfig
from datastore.etcd import EtcdStore
from datastore.store import Store
from ocicatctl.check.findings import Findings, check_store
from ocicatctl.check.look import PAUSE_S, ask_kernel, read_all
from ocicatctl.doctor import tls
from ocicatctl.doctor.certificate import validities
from ocicatctl.doctor.facts import (
    CertificateFile,
    Certificates,
    Cluster,
    Endpoint,
    Etcd,
    EtcdServer,
    EtcdServers,
    NotSeen,
)
from ocicatctl.doctor.node_files import NodeFiles
from ocicatctl.doctor.settings import Settings
from ocicatctl.routes.explain import Finding, explain
from ocicatctl.routes.facts import View
from ocicatctl.routes.here import ask_bird
from ocicatctl.routes.here import ask_kernel as ask_routes
from ocicatctl.routes.reading import Reader

_DEADLINE_S = 1.5  # of one endpoint
_KERNEL_S = 1.0
_READ_S = 3.0


def look_at_etcd(settings: Settings) -> Iterator[object]:
    """Ask each endpoint; then, if one answers, look at what etcd says beside the kernel."""
    if settings.etcd_mistakes:
        raise NotSeen(f"the settings of etcd are wrong: {settings.etcd_mistakes[0]}")
    etcd = asyncio.run(_endpoints(settings.etcd))
    yield etcd
    reached = tuple(found.name for found in etcd.endpoints if found.took_s is not None)
    if not reached:
        raise NotSeen("no etcd answers")
    config = replace(settings.etcd, endpoints=reached)
    first = _cluster(settings, config)
    if not first.problems and not any(found.problems for found in first.routes):
        yield first
        return
    # A request or a route that was just under way is there, or gone, by now.
    time.sleep(PAUSE_S)
    yield both(first, _cluster(settings, config))


async def _endpoints(config: EtcdConfig) -> Etcd:
    return Etcd(tuple(await asyncio.gather(*(_endpoint(config, e) for e in config.endpoints))))


async def _endpoint(config: EtcdConfig, name: str) -> Endpoint:
    store = EtcdStore(
        replace(config, endpoints=(name,)), deadline_s=_DEADLINE_S, attempt_s=_DEADLINE_S
    )
    try:
        await store.read(keys.CLUSTER_INFORMATION)  # connects, too
        begun = time.monotonic()
        await store.read(keys.CLUSTER_INFORMATION)
        return Endpoint(name, time.monotonic() - begun)
    except OcicatError as error:
        return Endpoint(name, None, str(error))
    finally:
        await store.close()


def _cluster(settings: Settings, config: EtcdConfig) -> Cluster:
    # The kernel before the store, as ipam check does.
    report, unasked, status = ask_kernel(settings.socket(settings.ipamd), _KERNEL_S)
    bird, _ = ask_bird(settings.socket(settings.bird))
    kernel, _, _ = ask_routes()

    async def read(store: Store) -> tuple[Findings, View, Sequence[Finding], Reader]:
        reader = Reader(store)
        destinations = await reader.all_blocks()
        nodes, pools, is_mesh = await reader.cluster()
        view = View(settings.node, nodes, pools, is_mesh, bird, kernel)
        entries = await read_all(store)
        found = check_store(entries, report, status.node if status else "", datetime.now(UTC))
        return found, view, [explain(each, view) for each in destinations], reader

    async def run() -> tuple[Findings, View, Sequence[Finding], Reader]:
        store = EtcdStore(config, deadline_s=_READ_S, attempt_s=_DEADLINE_S)
        try:
            return await read(store)
        finally:
            await store.close()

    found, view, routes, reader = asyncio.run(run())
    return Cluster(view, found.problems, routes, report, unasked, tuple(reader.mistakes))


def both(first: Cluster, second: Cluster) -> Cluster:
    """What two looks agree on."""
    seen = set(first.problems)
    before = {found.destination.cidr: set(found.problems) for found in first.routes}
    return replace(
        second,
        problems=tuple(problem for problem in second.problems if problem in seen),
        routes=[
            replace(
                found,
                problems=tuple(
                    text
                    for text in found.problems
                    if text in before.get(found.destination.cidr, set())
                ),
            )
            for found in second.routes
        ],
    )


def look_at_servers(settings: Settings) -> Iterator[object]:
    """What each endpoint shows over HTTP: its clock, and its certificate."""
    if settings.etcd_mistakes:
        raise NotSeen(f"the settings of etcd are wrong: {settings.etcd_mistakes[0]}")
    yield EtcdServers(
        tuple(_server(settings.etcd, name) for name in settings.etcd.endpoints), time.time()
    )


def _server(config: EtcdConfig, name: str) -> EtcdServer:
    try:
        date, certificate = tls.ask(config, name)
    except (OSError, Invalid):
        return EtcdServer(name)  # why it does not answer, the other look tells
    ahead = None if date is None else date.timestamp() - time.time()
    return EtcdServer(name, ahead, certificate)


def look_at_certificates(settings: Settings) -> Iterator[object]:
    """The files that the settings of etcd name."""
    etcd, files = settings.etcd, NodeFiles(settings)
    named = {
        "ETCD_CA_CERT_FILE": etcd.ca_cert_file,
        "ETCD_CERT_FILE": etcd.cert_file,
        "ETCD_KEY_FILE": etcd.key_file,
    }
    found = tuple(
        _file(files, variable, str(path)) for variable, path in named.items() if path is not None
    )
    mistake = ""
    if etcd.cert_file and etcd.key_file and not any(file.mistake for file in found):
        mistake = tls.pair_mistake(files.at(str(etcd.cert_file)), files.at(str(etcd.key_file)))
    yield Certificates(found, mistake, time.time())


def _file(files: NodeFiles, variable: str, path: str) -> CertificateFile:
    here = Path(path) if not path.startswith("/") else files.at(path)
    try:
        content = here.read_bytes()
    except OSError as error:
        return CertificateFile(variable, path, f"cannot be read: {error.strerror}")
    if variable == "ETCD_KEY_FILE":
        is_key = b"PRIVATE KEY-----" in content
        return CertificateFile(variable, path, "" if is_key else "holds no private key in PEM form")
    try:
        return CertificateFile(variable, path, validities=tuple(validities(content)))
    except Invalid as error:
        return CertificateFile(variable, path, str(error))
