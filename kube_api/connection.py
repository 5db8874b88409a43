"""One HTTPS connection to the Kubernetes API, and the credentials that it is made with.

Edge: sockets, TLS, and the files of the credentials, which are read anew for every request.
"""

import functools
import io
import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodel.errors import Invalid
from kube_api.access import Access, Source, Where
from kube_api.kubeconfig import parse_kubeconfig


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection, and what it was made with: it serves only as long as that is the same."""

    sock: socket.socket
    made_with: tuple[Access, ssl.SSLContext | None]
    idle_since: float = 0.0


class Stream(io.RawIOBase):
    """What comes over a socket, until *end* at the longest; in the place of a socket itself."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self.end = end  # on the monotonic clock

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What http.client asks a socket for."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It can be read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Wait for the next bytes."""
        self._sock.settimeout(left(self.end))
        return self._sock.recv_into(buffer)


def left(end: float) -> float:
    """How many seconds there are until *end*.

    Raises:
        TimeoutError: none.
    """
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def connect(access: Access, tls: ssl.SSLContext | None, end: float) -> Connection:
    """Make a new connection, by *end*."""
    sock = socket.create_connection((access.host, access.port), left(end))
    if tls is None:
        return Connection(sock, (access, tls))
    try:
        sock.settimeout(left(end))
        secured = tls.wrap_socket(sock, server_hostname=access.server_name or access.host)
        return Connection(secured, (access, tls))
    except BaseException:
        sock.close()
        raise


def request_for(access: Access, path: str) -> bytes:
    """Word the request for *path*, with our token if we have one.

    Raises:
        Invalid: there should be a token, and is none.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {access.authority_name}",
        "Accept: application/json",
        "User-Agent: ocicat",
    ]
    if access.token is not None:
        token = _content(access, access.token).strip()
        if not (token and token.isascii() and token.decode().isprintable()):
            raise Invalid(f"{access}: {_name(access.token, 'its token')} is not a token")
        lines.append(f"Authorization: Bearer {token.decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


# ---- credentials -------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path}: cannot be read: {error.strerror}") from error


def _content(access: Access, source: Source) -> bytes:
    try:
        return source if isinstance(source, bytes) else _read(source)
    except Invalid as error:
        raise Invalid(f"{access}: {error}") from error


def _name(source: Source | None, inline: str) -> str:
    return str(source) if isinstance(source, Path) else inline


# What costs a millisecond is done again only if it would come out otherwise: as soon as a file has
# other contents, whatever its times say.
_parsed = functools.lru_cache(maxsize=2)(parse_kubeconfig)


def access_to(where: Where) -> Access:
    """Find out where the API is at this moment.

    Raises:
        Invalid: the kubeconfig cannot be used.
    """
    if isinstance(where, Access):
        return where
    try:
        return _parsed(_read(where), where.parent)
    except Invalid as error:
        raise Invalid(f"kubeconfig {where}: {error}") from error


def tls_of(access: Access) -> ssl.SSLContext | None:
    """How to speak TLS with it, by what the files hold at this moment."""
    if not access.is_tls:
        return None
    authority, certificate, key = (
        None if source is None else _content(access, source)
        for source in (access.authority, access.certificate, access.key)
    )
    try:
        return _trusting(authority, access.is_verified, certificate, key)
    except (ssl.SSLError, ValueError) as error:  # the latter for what is empty or not text
        reason = getattr(error, "reason", None) or error
        names = {_name(s, "its data") for s in (access.authority, access.certificate) if s}
        raise Invalid(f"{access}: {', '.join(sorted(names))}: no certificate: {reason}") from error


@functools.lru_cache(maxsize=2)
def _trusting(
    authority: bytes | None, is_verified: bool, certificate: bytes | None, key: bytes | None
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authority.decode())
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        # OpenSSL reads files only; this one is in memory and has no name.
        fd = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
        try:
            os.write(fd, certificate + b"\n" + key)
            context.load_cert_chain(f"/proc/self/fd/{fd}", password=lambda: "")
        finally:
            os.close(fd)
    return context
