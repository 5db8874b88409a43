"""What the Kubernetes API answers: resources, pages of a list, events of a watch, refusals.

Pure: no I/O.
"""

import json
from dataclasses import dataclass
from typing import Any

from datamodel.errors import Invalid, OcicatError, Unavailable

Document = dict[str, Any]

OK, NOT_FOUND, GONE, TOO_MANY_REQUESTS, SERVER_ERROR = 200, 404, 410, 429, 500
_LONGEST_REASON = 300  # characters of what the API says for people


class Refused(Invalid):
    """The API has answered, and will not give the resource."""

    def __init__(self, message: str, status: int, document: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self._document = document if isinstance(document, dict) else {}

    def says_there_is_no(self, kind: str, name: str) -> bool:
        """Whether the API itself says that the resource does not exist.

        Any proxy on the way can answer 404; only the API says of what.
        """
        details = self._document.get("details")
        named = (details.get("kind"), details.get("name")) if isinstance(details, dict) else None
        is_status = self._document.get("kind") == "Status"
        is_absent = self.status == NOT_FOUND and is_status
        return is_absent and self._document.get("reason") == "NotFound" and named == (kind, name)


class Expired(Unavailable):
    """The API has forgotten the version from which we asked it to go on: list from the beginning.

    Unlike with its parent there is nothing to wait for.
    """


@dataclass(frozen=True, slots=True)
class Page:
    """One part of a list."""

    items: tuple[Document, ...]
    version: str  # of all pages of one list
    rest: str  # names what follows; "": nothing


@dataclass(frozen=True, slots=True)
class Event:
    """What a watch tells: a resource was ADDED, MODIFIED or DELETED; BOOKMARK: up to here."""

    kind: str
    document: Document
    version: str


def document_of(about: str, status: int, body: bytes) -> Document:
    """Read an answer that is one JSON object.

    Raises:
        Refused: the API says no.
        Expired: the version that was asked for is too old.
        Unavailable: the API cannot for now.
        Invalid: it is no JSON object.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if status == OK:
        if isinstance(document, dict):
            return document
        raise Invalid(f"{about}: its answer is not a JSON object")
    raise _refusal(f"{about}: answers {status}{_reason(document)}", status, document)


def _refusal(message: str, status: int, document: Any) -> OcicatError:
    if status == GONE:
        return Expired(message)
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return Unavailable(message)
    return Refused(message, status, document)


def _reason(document: Any) -> str:
    """What a Status resource says for people."""
    text = document.get("message") if isinstance(document, dict) else None
    printable = "".join(c for c in str(text or "") if c.isprintable())
    return f" ({printable[:_LONGEST_REASON]})" if printable else ""


def page_of(about: str, document: Document) -> Page:
    """Read a part of a list.

    Raises:
        Invalid: it is none.
    """
    metadata, items = document.get("metadata"), document.get("items") or []
    is_list = str(document.get("kind")).endswith("List") and isinstance(items, list)
    if not is_list or not isinstance(metadata, dict):
        raise Invalid(f"{about}: its answer is not a list")
    version, rest = metadata.get("resourceVersion"), metadata.get("continue") or ""
    if not (isinstance(version, str) and version and isinstance(rest, str)):
        raise Invalid(f"{about}: its list has no version")
    if not all(isinstance(item, dict) for item in items):
        raise Invalid(f"{about}: its list holds other things than resources")
    return Page(tuple(items), version, rest)


def event_of(about: str, line: bytes) -> Event:
    """Read one line of a watch.

    Raises:
        Expired: the watch cannot go on from where it is.
        Unavailable: the API ends it for another reason.
        Invalid: it is no event.
    """
    try:
        document = json.loads(line)
        kind, inner = document["type"], document["object"]
        if kind == "ERROR":
            raise _ended(about, inner)
        version = inner["metadata"]["resourceVersion"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Invalid(f"{about}: what its watch tells is no event") from error
    if kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK") or not isinstance(version, str):
        raise Invalid(f"{about}: what its watch tells is no event that we know")
    return Event(kind, inner, version)


def _ended(about: str, status: Document) -> OcicatError:
    code = status.get("code")
    message = f"{about}: ends the watch with {code}{_reason(status)}"
    is_expired = code == GONE or status.get("reason") in ("Expired", "Gone")
    return Expired(message) if is_expired else Unavailable(message)
