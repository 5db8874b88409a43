"""This node's daemons, as an upgrade sees them: which run, whether they serve, restart.

Edge: systemctl(1), the daemons' sockets, the route distributor's status file.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from datamodel.errors import OcicatError
from datamodel.routing_status import parse_routing_status
from ocicatctl.install import systemd
from ocicatctl.install.templates import BIRD, SERVICES
from ocicatctl.lab import health

IPAMD, CNI_SERVER, ROUTE_DISTRIBUTOR = SERVICES[:3]
_DEFAULTS = {
    "OCICAT_IPAM_SOCKET": "/run/ocicat/ipamd.sock",
    "OCICAT_CNI_SOCKET": "/run/ocicat/cni.sock",
    "OCICAT_BIRD_SOCKET": "/run/ocicat/bird.ctl",
    "OCICAT_ROUTES_STATUS": "/run/ocicat/routes.json",
}


class Daemons(Protocol):
    """Whoever runs them."""

    def running(self) -> list[str]:
        """The services that run, in the order in which they are to be restarted."""

    def serves(self, service: str) -> bool:
        """Whether it does what others need it for."""

    def reload(self) -> None:
        """Take notice of changed unit files."""

    def restart(self, service: str) -> None:
        """Stop it, wait for its end and start it."""


class SystemdDaemons:
    """Those of systemd on this machine."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._paths = {name: settings.get(name) or usual for name, usual in _DEFAULTS.items()}
        self._restarted: dict[str, float] = {}  # when we last did that

    def running(self) -> list[str]:
        return [service for service in SERVICES if systemd.is_active(service)]

    def serves(self, service: str) -> bool:
        if service == IPAMD:
            return health.is_serving(self._paths["OCICAT_IPAM_SOCKET"])
        if service == ROUTE_DISTRIBUTOR:
            return self._routes_are_followed()
        name = "OCICAT_BIRD_SOCKET" if service == BIRD else "OCICAT_CNI_SOCKET"
        return health.accepts(self._paths[name])

    def _routes_are_followed(self) -> bool:
        """Whether every part of routing is up to date, and not only as the predecessor saw it."""
        file = Path(self._paths["OCICAT_ROUTES_STATUS"])
        with contextlib.suppress(OSError, OcicatError):
            parts = parse_routing_status(file.read_text()).parts.values()
            is_new = file.stat().st_mtime >= self._restarted.get(ROUTE_DISTRIBUTOR, 0)
            return is_new and bool(parts) and not any(part.error for part in parts)
        return False

    def reload(self) -> None:
        systemd.reload()

    def restart(self, service: str) -> None:
        self._restarted[service] = time.time()
        systemd.restart(service)
