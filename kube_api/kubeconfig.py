"""Reads a kubeconfig: which API server, and which credentials.

Pure: no I/O.
"""

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from datamodel.errors import Invalid
from kube_api.access import HTTPS_PORT, Access, Source, is_host

HTTP_PORT = 80


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
        if url.scheme in ("http", "https") and is_host(host) and is_plain:
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
