"""Reads single resources from the Kubernetes API, with a deadline for each.

Edge: HTTPS, and the files of the credentials. Blocking; any number of threads may read at once.
Connections are kept for the next request, since making one costs more than a request does.
"""

import functools
import http.client
import io
import json
import os
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datamodel.errors import Invalid, OcicatError, Unavailable
from kube_api.access import Access, Source, Where
from kube_api.kubeconfig import parse_kubeconfig

Document = dict[str, Any]

MAX_IDLE = 8  # connections kept
MAX_IDLE_S = 30.0  # a network may forget a connection silently; API servers keep them for 90 s
MAX_ANSWER = 8 << 20
_LONGEST_REASON = 300  # characters of what the API says for people


class Refused(Invalid):
    """The API has answered, and will not give the resource."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Connection:
    """A connection, and what it was made with: it serves only as long as that is the same."""

    sock: socket.socket
    made_with: tuple[Access, ssl.SSLContext | None]
    idle_since: float = 0.0


class ApiClient:
    """One API server, and the connections to it that wait for their next use."""

    def __init__(self, where: Where) -> None:
        self._where = where
        # Taking and putting are atomic, so no lock is needed.
        self._idle: deque[_Connection] = deque(maxlen=MAX_IDLE)

    def __str__(self) -> str:
        return f"kubeconfig {self._where}" if isinstance(self._where, Path) else str(self._where)

    def get(self, kind: str, name: str, *, namespace: str = "", timeout_s: float) -> Document:
        """Read one resource of the core group.

        Args:
            kind: in the plural: "pods".
            name: of the resource.
            namespace: where it is; "": the kind has none.
            timeout_s: for all of it, however slowly the answer drips. Only looking up the name of
                the API's host may take longer.

        Raises:
            Refused: the API answers with a status that says no.
            Invalid: our credentials cannot be used, the API's certificate is not trusted, or its
                answer is not a JSON object.
            Unavailable: the API does not answer, breaks off, or cannot for now.
        """
        end = time.monotonic() + timeout_s
        access = self._access()
        about = f"{access}: {kind} {namespace}{'/' if namespace else ''}{name}"
        inside = f"namespaces/{quote(namespace, safe='')}/" if namespace else ""
        path = f"{access.prefix}/api/v1/{inside}{kind}/{quote(name, safe='')}"
        request = _request(access, path)
        try:
            status, body = self._exchange(access, request, end)
        except TimeoutError as error:
            raise Unavailable(f"{about}: no answer within {timeout_s:g} s") from error
        except ssl.SSLCertVerificationError as error:
            message = f"its certificate is not trusted: {error.verify_message}"
            raise Invalid(f"{about}: {message}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{about}: {str(error) or type(error).__name__}") from error
        return _document(about, status, body)

    def close(self) -> None:
        """Close what is kept; the client may go on being used."""
        while self._idle:
            self._idle.pop().sock.close()

    def _access(self) -> Access:
        if isinstance(self._where, Access):
            return self._where
        try:
            return _parsed(_read(self._where), self._where.parent)
        except Invalid as error:
            raise Invalid(f"kubeconfig {self._where}: {error}") from error

    # ---- one request ---------------------------------------------------------------------------

    def _exchange(self, access: Access, request: bytes, end: float) -> tuple[int, bytes]:
        """Ask once; again on a new connection if a kept one turns out to be at its end."""
        made_with = (access, _tls_of(access))
        if (kept := self._take(made_with)) is not None:
            try:
                return self._ask(kept, request, time.monotonic() + _left(end) / 2)
            except (ConnectionError, TimeoutError, ssl.SSLError, http.client.BadStatusLine):
                pass  # the API had closed it, as it may at any time, or the network forgot it
        return self._ask(_connect(*made_with, end), request, end)

    def _take(self, made_with: tuple[Access, ssl.SSLContext | None]) -> _Connection | None:
        """A kept connection, the one used last; those that do not serve any more are closed."""
        oldest = time.monotonic() - MAX_IDLE_S
        while self._idle:
            try:
                kept = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if kept.made_with == made_with and kept.idle_since > oldest:
                return kept
            kept.sock.close()
        return None

    def _ask(self, connection: _Connection, request: bytes, end: float) -> tuple[int, bytes]:
        """Send the request and read all of the answer; keep the connection if that can be."""
        sock, can_be_kept = connection.sock, False
        try:
            sock.settimeout(_left(end))
            sock.sendall(request)
            response = http.client.HTTPResponse(_Stream(sock, end))  # type: ignore[arg-type]
            with response:
                response.begin()
                body = response.read(MAX_ANSWER + 1)
                if len(body) > MAX_ANSWER:
                    raise http.client.HTTPException(f"its answer is longer than {MAX_ANSWER} bytes")
                if response.length:
                    raise http.client.HTTPException("it breaks off in the middle of its answer")
                can_be_kept = not response.will_close and len(self._idle) < MAX_IDLE
                return response.status, body
        except http.client.IncompleteRead as error:
            raise http.client.HTTPException("it breaks off in the middle of its answer") from error
        finally:
            if can_be_kept:
                self._idle.append(_Connection(sock, connection.made_with, time.monotonic()))
            else:
                sock.close()


class _Stream(io.RawIOBase):
    """What comes over a socket, until *end* at the longest; in the place of a socket itself."""

    def __init__(self, sock: socket.socket, end: float) -> None:
        self._sock = sock
        self._end = end

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_left(self._end))
        return self._sock.recv_into(buffer)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _connect(access: Access, tls: ssl.SSLContext | None, end: float) -> _Connection:
    sock = socket.create_connection((access.host, access.port), _left(end))
    if tls is None:
        return _Connection(sock, (access, tls))
    try:
        sock.settimeout(_left(end))
        secured = tls.wrap_socket(sock, server_hostname=access.server_name or access.host)
        return _Connection(secured, (access, tls))
    except BaseException:
        sock.close()
        raise


def _request(access: Access, path: str) -> bytes:
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


def _document(about: str, status: int, body: bytes) -> Document:
    """Read the answer."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if status == http.client.OK:
        if isinstance(document, dict):
            return document
        raise Invalid(f"{about}: its answer is not a JSON object")
    raise _refusal(f"{about}: answers {status}{_reason(document)}", status)


def _refusal(message: str, status: int) -> OcicatError:
    if status == http.client.TOO_MANY_REQUESTS or status >= http.client.INTERNAL_SERVER_ERROR:
        return Unavailable(message)
    return Refused(message, status)


def _reason(document: Any) -> str:
    """What a Status resource says for people."""
    text = document.get("message") if isinstance(document, dict) else None
    printable = "".join(c for c in str(text or "") if c.isprintable())
    return f" ({printable[:_LONGEST_REASON]})" if printable else ""


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


def _tls_of(access: Access) -> ssl.SSLContext | None:
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
