"""Where the Kubernetes API is, and how we show it who we are.

Pure: no I/O. Told by a kubeconfig, or by what every pod finds in its environment and in the
directory of its service account. Files are named here and read by ``client.py`` for every request:
tokens and certificates are rotated while we run.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HTTPS_PORT = 443

Source = Path | bytes  # a file to read anew each time, or what it would hold


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and our credentials there."""

    host: str
    port: int
    is_tls: bool = True
    prefix: str = ""  # of every path, if the API is behind a proxy: "/k8s/clusters/c-1"
    authority: Source | None = None  # who vouches for it; None: whom this system trusts
    server_name: str = ""  # that its certificate must have; "": the host's
    is_verified: bool = True  # False: its certificate may be anybody's
    token: Source | None = None
    certificate: Source | None = None  # ours, with its key
    key: Source | None = None

    @property
    def authority_name(self) -> str:
        """The host and port as they stand in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"Kubernetes API {'https' if self.is_tls else 'http'}://{self.authority_name}"


Where = Access | Path  # known, or in a kubeconfig that is read anew each time


def find_access(
    environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT
) -> tuple[Where | None, list[str]]:
    """Read KUBECONFIG, else what every pod is told; return it, ``None`` for neither, and mistakes.

    Whether the pod has a service account at all is seen when its token is read.
    """
    if text := environment.get("KUBECONFIG", ""):
        if text.startswith("/") and ":" not in text:
            return Path(text), []
        return None, [f"KUBECONFIG: {text!r} is not the full path of one file"]
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    if not host:
        return None, []
    port = environment.get("KUBERNETES_SERVICE_PORT") or str(HTTPS_PORT)
    if not is_host(host):
        return None, [f"KUBERNETES_SERVICE_HOST: {host!r} is not a host"]
    if not (port.isdecimal() and 0 < int(port) < 1 << 16):
        return None, [f"KUBERNETES_SERVICE_PORT: {port!r} is not a port"]
    token, authority = service_account / "token", service_account / "ca.crt"
    return Access(host, int(port), authority=authority, token=token), []


_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def is_host(text: str) -> bool:
    """Whether this is an address or may be a host's name."""
    if _HOST_NAME.fullmatch(text):
        return True
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
