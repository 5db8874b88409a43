"""Looks at this node's daemons: ipamd, the CNI server and its spool, the route distributor, BIRD.

Edge: their sockets, files.
"""

import time
from collections.abc import Iterator

from datamodel.errors import Invalid, OcicatError
from datamodel.routing_status import parse_routing_status
from ipam_api.client import IpamClient
from ocicatctl.doctor.cni_socket import ask_version
from ocicatctl.doctor.facts import CniServer, Ipamd, Routing
from ocicatctl.doctor.node_files import NodeFiles
from ocicatctl.doctor.settings import Settings
from ocicatctl.routes.here import ask_bird

_TIMEOUT_S = 1.5


def look_at_ipamd(settings: Settings) -> Iterator[object]:
    """How ipamd is."""
    client = IpamClient(settings.socket(settings.ipamd))
    try:
        yield Ipamd(client.status(timeout_s=_TIMEOUT_S))
    except OcicatError as error:
        yield Ipamd(mistake=str(error))
    finally:
        client.close()


def look_at_cni_server(settings: Settings) -> Iterator[object]:
    """Whether the CNI server answers, and what it has not been able to deliver."""
    files = NodeFiles(settings)
    waiting = [f"{settings.spool}/{n}" for n in files.names(settings.spool) if n.endswith(".json")]
    times = []
    for path in waiting:
        try:
            times.append(files.at(path).stat().st_mtime)
        except OSError:
            continue  # delivered meanwhile
    oldest_s = time.time() - min(times) if times else 0.0
    yield CniServer(ask_version(settings.socket(settings.cni), _TIMEOUT_S), len(times), oldest_s)


def look_at_routing(settings: Settings) -> Iterator[object]:
    """What the route distributor says of itself, and BIRD's sessions."""
    text = NodeFiles(settings).text(settings.routes)
    bird, _ = ask_bird(settings.socket(settings.bird))
    try:
        yield Routing(None if text is None else parse_routing_status(text), "", bird)
    except Invalid as error:
        yield Routing(None, str(error), bird)
