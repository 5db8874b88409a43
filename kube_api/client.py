"""Reads single resources, lists and watches from the Kubernetes API, with a deadline for each.

Edge: HTTP. Blocking; any number of threads may read at once. Connections are kept for the next
request, since making one costs more than a request does.
"""

import http.client
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from datamodel.errors import Invalid, Unavailable
from kube_api.access import Access, Where
from kube_api.answer import Document as Document
from kube_api.answer import Page, document_of, page_of
from kube_api.answer import Refused as Refused
from kube_api.connection import (
    Connection,
    Stream,
    access_to,
    connect,
    left,
    request_for,
    tls_of,
)
from kube_api.watch import Watch

MAX_IDLE = 8  # connections kept
MAX_IDLE_S = 30.0  # a network may forget a connection silently; API servers keep them for 90 s
MAX_ANSWER = 8 << 20
MAX_PAGE = 64 << 20  # pods of 100 kB are rare, but there are
PAGE = 250  # resources that are asked for at once
WATCH_S = 290  # after so long the API ends a watch, and we ask it to go on


@dataclass(frozen=True, slots=True)
class Listing:
    """All resources of a kind, as they were at one version."""

    items: tuple[Document, ...]
    version: str


class ApiClient:
    """One API server, and the connections to it that wait for their next use."""

    def __init__(self, where: Where) -> None:
        self._where = where
        # Taking and putting are atomic, so no lock is needed.
        self._idle: deque[Connection] = deque(maxlen=MAX_IDLE)

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
        access = access_to(self._where)
        inside = f"namespaces/{quote(namespace, safe='')}/" if namespace else ""
        about = f"{access}: {kind} {namespace}{'/' if namespace else ''}{name}"
        return self._read(access, about, f"{inside}{kind}/{quote(name, safe='')}", timeout_s)

    def list_all(self, kind: str, *, field_selector: str = "", timeout_s: float) -> Listing:
        """Read all resources of a kind of the core group, in every namespace.

        They are asked for without a version, so that the answer is not from a cache: what is not
        in it did not exist when the request was made.

        Args:
            kind: in the plural.
            field_selector: "spec.nodeName=node-1"; "": all of them.
            timeout_s: for each page.

        Raises:
            Expired: it took so long that the API has forgotten the version; list again.
            Refused, Invalid, Unavailable: as ``get``.
        """
        access = access_to(self._where)
        about = f"{access}: {kind}"
        selected = {"fieldSelector": field_selector} if field_selector else {}
        items: list[Document] = []
        page = Page((), "", "")
        while True:
            at = {"continue": page.rest} if page.rest else {}
            path = f"{kind}?{urlencode({'limit': PAGE, **selected, **at})}"
            answer = self._read(access, about, path, timeout_s, MAX_PAGE)
            before, page = page, page_of(about, answer)
            if before.version not in ("", page.version):
                raise Unavailable(f"{about}: the pages of its list are of different versions")
            items += page.items
            if not page.rest:
                return Listing(tuple(items), page.version)

    def watch(self, kind: str, after: str, *, timeout_s: float) -> Watch:
        """Begin to follow a kind of the core group from a version on.

        Args:
            kind: in the plural.
            after: the version of a list or of an event.
            timeout_s: until the answer begins.

        Raises:
            Expired: the API has forgotten that version.
            Refused, Invalid, Unavailable: as ``get``.
        """
        end = time.monotonic() + timeout_s
        access = access_to(self._where)
        about = f"{access}: {kind}"
        query = {"watch": 1, "allowWatchBookmarks": "true", "timeoutSeconds": WATCH_S}
        path = f"{access.prefix}/api/v1/{kind}?{urlencode({**query, 'resourceVersion': after})}"
        with _worded(about, timeout_s):
            connection = connect(access, tls_of(access), end)
            try:
                connection.sock.sendall(request_for(access, path))
                stream = Stream(connection.sock, end)
                response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
                response.begin()
                if response.status == http.client.OK:
                    return Watch(about, connection.sock, stream, response)
                body = response.read(MAX_ANSWER)
            except BaseException:
                connection.sock.close()
                raise
        connection.sock.close()
        document_of(about, response.status, body)
        raise Unavailable(f"{about}: answers {response.status} to a watch")

    def close(self) -> None:
        """Close what is kept; the client may go on being used."""
        while self._idle:
            self._idle.pop().sock.close()

    # ---- one request ---------------------------------------------------------------------------

    def _read(
        self, access: Access, about: str, path: str, timeout_s: float, limit: int = MAX_ANSWER
    ) -> Document:
        request = request_for(access, f"{access.prefix}/api/v1/{path}")
        with _worded(about, timeout_s):
            status, body = self._exchange(access, request, time.monotonic() + timeout_s, limit)
        return document_of(about, status, body)

    def _exchange(
        self, access: Access, request: bytes, end: float, limit: int
    ) -> tuple[int, bytes]:
        """Ask once; again on a new connection if a kept one turns out to be at its end."""
        made_with = (access, tls_of(access))
        if (kept := self._take(made_with)) is not None:
            try:
                return self._ask(kept, request, time.monotonic() + left(end) / 2, limit)
            except (ConnectionError, TimeoutError, ssl.SSLError, http.client.BadStatusLine):
                pass  # the API had closed it, as it may at any time, or the network forgot it
        return self._ask(connect(*made_with, end), request, end, limit)

    def _take(self, made_with: tuple[Access, ssl.SSLContext | None]) -> Connection | None:
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

    def _ask(
        self, connection: Connection, request: bytes, end: float, limit: int
    ) -> tuple[int, bytes]:
        """Send the request and read all of the answer; keep the connection if that can be."""
        sock, can_be_kept = connection.sock, False
        try:
            sock.settimeout(left(end))
            sock.sendall(request)
            response = http.client.HTTPResponse(Stream(sock, end))  # type: ignore[arg-type]
            with response:
                response.begin()
                body = response.read(limit + 1)
                if len(body) > limit:
                    raise http.client.HTTPException(f"its answer is longer than {limit} bytes")
                if response.length:
                    raise http.client.HTTPException("it breaks off in the middle of its answer")
                can_be_kept = not response.will_close and len(self._idle) < MAX_IDLE
                return response.status, body
        except http.client.IncompleteRead as error:
            raise http.client.HTTPException("it breaks off in the middle of its answer") from error
        finally:
            if can_be_kept:
                self._idle.append(Connection(sock, connection.made_with, time.monotonic()))
            else:
                sock.close()


@contextmanager
def _worded(about: str, timeout_s: float) -> Iterator[None]:
    """Say of whatever goes wrong on the way to the API what it was about."""
    try:
        yield
    except TimeoutError as error:
        raise Unavailable(f"{about}: no answer within {timeout_s:g} s") from error
    except ssl.SSLCertVerificationError as error:
        message = f"its certificate is not trusted: {error.verify_message}"
        raise Invalid(f"{about}: {message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{about}: {str(error) or type(error).__name__}") from error
