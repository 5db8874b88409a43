"""Where the Kubernetes API is, and how we show it who we are.

Pure: no I/O. Told by a kubeconfig, or by what every pod finds in its environment and in the
directory of its service account. Files are named here and read by ``client.py`` for every request:
tokens and certificates are rotated while we run.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from datamodel.errors import Invalid

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HTTP_PORT, HTTPS_PORT = 80, 443

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
    if not _is_host(host):
        return None, [f"KUBERNETES_SERVICE_HOST: {host!r} is not a host"]
    if not (port.isdecimal() and 0 < int(port) < 1 << 16):
        return None, [f"KUBERNETES_SERVICE_PORT: {port!r} is not a port"]
    token, authority = service_account / "token", service_account / "ca.crt"
    return Access(host, int(port), authority=authority, token=token), []


def parse_kubeconfig(text: bytes, directory: Path) -> Access:
    """Read the current context of a kubeconfig; files are relative to *directory*.

    Raises:
        Invalid: with every mistake.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Invalid(f"is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise Invalid("is not a kubeconfig")
    reader = _Reader(directory)
    context = reader.named(document, "contexts", "context", document.get("current-context"))
    cluster = reader.named(document, "clusters", "cluster", context.get("cluster"))
    user = reader.named(document, "users", "user", context.get("user")) if "user" in context else {}
    host, port, is_tls, prefix = reader.server(cluster)
    for key in ("exec", "auth-provider", "username"):
        if user.get(key):
            reader.mistakes.append(f"{key}: is not served; use a token or a client certificate")
    if cluster.get("proxy-url"):
        reader.mistakes.append("proxy-url: is not served")
    access = Access(
        host,
        port,
        is_tls,
        prefix,
        authority=reader.source(cluster, "certificate-authority"),
        server_name=reader.text(cluster, "tls-server-name"),
        is_verified=cluster.get("insecure-skip-tls-verify") is not True,
        token=reader.file(user, "tokenFile") or reader.text(user, "token").encode() or None,
        certificate=reader.source(user, "client-certificate"),
        key=reader.source(user, "client-key"),
    )
    if bool(access.certificate) != bool(access.key):
        reader.mistakes.append("client-certificate and client-key: one is missing")
    if reader.mistakes:
        raise Invalid("; ".join(reader.mistakes))
    return access


class _Reader:
    """Reads parts of a kubeconfig and collects what is wrong with them."""

    def __init__(self, directory: Path) -> None:
        self.mistakes: list[str] = []
        self._directory = directory

    def named(self, document: Any, plural: str, key: str, name: Any) -> dict[str, Any]:
        """The entry of a list of named ones; an empty one if there is none."""
        entries = document.get(plural)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and name and entry.get("name") == name:
                found = entry.get(key)
                if isinstance(found, dict):
                    return found
        self.mistakes.append(f"{plural}: has no {key} {name!r}")
        return {}

    def server(self, cluster: dict[str, Any]) -> tuple[str, int, bool, str]:
        """Host, port, whether it speaks TLS, and what comes before every path."""
        text = self.text(cluster, "server")
        try:
            url = urlsplit(text)
            host, port = url.hostname or "", url.port
        except ValueError:
            url, host, port = urlsplit(""), "", None
        prefix = url.path.rstrip("/")
        is_plain = not (url.query or url.fragment or url.username) and _PATH.fullmatch(prefix)
        if url.scheme in ("http", "https") and _is_host(host) and is_plain:
            is_tls = url.scheme == "https"
            return host, port or (HTTPS_PORT if is_tls else HTTP_PORT), is_tls, prefix
        if cluster:
            self.mistakes.append(f"server: {text!r} is not a URL")
        return "", 0, True, ""

    def text(self, section: dict[str, Any], key: str) -> str:
        value = section.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        self.mistakes.append(f"{key}: is not text")
        return ""

    def file(self, section: dict[str, Any], key: str) -> Path | None:
        text = self.text(section, key)
        return self._directory / text if text else None

    def source(self, section: dict[str, Any], key: str) -> Source | None:
        """What stands in the kubeconfig itself, which counts more, or the file it names."""
        inline = self.text(section, f"{key}-data")
        try:
            return base64.b64decode(inline, validate=True) or self.file(section, key)
        except ValueError:
            self.mistakes.append(f"{key}-data: is not base64")
            return None


_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


def _is_host(text: str) -> bool:
    if _HOST_NAME.fullmatch(text):
        return True
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
