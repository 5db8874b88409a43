"""Turn what a file says into resources to be stored, or name everything that is wrong with it.

Pure: no I/O. Nothing is written before every document of every file has passed here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from datamodel.endpoint import DEFAULT_NAMESPACE
from datamodel.errors import Invalid
from datastore.codec import API_VERSION, Document
from ocicatctl.resources import values
from ocicatctl.resources.documents import Located
from ocicatctl.resources.fields import ENVELOPE, METADATA, SPECS
from ocicatctl.resources.kinds import ENDPOINT, KINDS, POOL, Kind
from ocicatctl.resources.rules import RULES, annotations, completed_pool, endpoint_name, of_model
from ocicatctl.resources.schema import shown

_BY_NAME = {kind.name: kind for kind in KINDS}


class Verb(Enum):
    """A command; the value is its past participle in messages."""

    CREATE = "created"
    APPLY = "applied"
    REPLACE = "replaced"
    DELETE = "deleted"

    @property
    def word(self) -> str:
        """The command as it is typed."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Resource:
    """One object as somebody wants it to be; or just which one, to be deleted."""

    kind: Kind
    name: str
    namespace: str = ""  # of a namespaced kind
    source: str = ""  # the file
    revision: str = ""  # metadata.resourceVersion: the only one that may be replaced
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: Document = field(default_factory=dict)
    status: Any = None

    @property
    def key(self) -> str:
        """Where it is stored."""
        return f"{self.kind.prefix}{self._path}"

    @property
    def title(self) -> str:
        """What messages call it, as calicoctl does."""
        return f"{self.kind.name}({self._path})"

    def wrong(self, what: str) -> str:
        """Say what is wrong with it, and in which file."""
        return f"{self.source}: {self.title}: {what}" if self.source else f"{self.title}: {what}"

    @property
    def _path(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def resources_in(
    documents: Iterable[Located], namespace: str | None, verb: Verb
) -> tuple[list[Resource], list[str]]:
    """Return the resources, and everything that is wrong with any of them.

    Args:
        documents: what the files hold.
        namespace: that of ``-n``, for what names none.
        verb: what is to be done with them; a deletion asks for no more than a name.
    """
    found: dict[str, Resource] = {}
    mistakes: list[str] = []
    for located in documents:
        resource, wrong = _resource(located, namespace, verb)
        mistakes += wrong
        if resource is None:
            continue
        if first := found.get(resource.key):
            mistakes.append(resource.wrong(f"is there twice, first in {first.source}"))
        found.setdefault(resource.key, resource)
    return list(found.values()), mistakes


def named(kind: Kind, names: Iterable[str], namespace: str | None) -> list[Resource]:
    """The resources that a command line names, to be deleted; one named twice is meant once.

    Raises:
        Invalid: there can be none of that name, or it cannot be deleted.
    """
    wrong = [f"{kind.name}({n}): is not a name" for n in names if not n or "/" in n]
    if namespace is not None and not kind.is_namespaced:
        wrong.append(f"{kind.name} is not namespaced; leave --namespace out")
    if kind.is_read_only:
        wrong.append(_read_only(kind, Verb.DELETE))
    if wrong:
        raise Invalid("\n".join(wrong))
    where = (namespace or DEFAULT_NAMESPACE) if kind.is_namespaced else ""
    return [Resource(kind, name, where) for name in dict.fromkeys(names)]


def _resource(
    located: Located, namespace: str | None, verb: Verb
) -> tuple[Resource | None, list[str]]:
    mistakes: list[str] = []
    given = located.value
    if not isinstance(given, dict):
        return None, [located.wrong(f"{shown(given)} is not an object with fields")]
    kind = _kind(given, mistakes)
    if kind is None:
        return None, [located.wrong(what) for what in mistakes]
    ENVELOPE(given, "", mistakes)
    metadata = _metadata(given, verb, mistakes)
    is_stored = verb is not Verb.DELETE and not kind.is_read_only
    mistakes += annotations(kind.name, metadata) if is_stored else []
    spec = _spec(kind, given.get("spec"), metadata.get("name", ""), mistakes) if is_stored else {}
    where = _namespace(kind, metadata.get("namespace"), namespace, mistakes)
    name = _name(kind, metadata, spec, mistakes)
    if kind.is_read_only:
        mistakes.append(_read_only(kind, verb))
    if not name:
        return None, [located.wrong(f"{kind.name}: {what}") for what in mistakes]
    resource = Resource(
        kind,
        name,
        where,
        source=located.source,
        revision=metadata.get("resourceVersion", ""),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        spec=spec,
        status=given.get("status"),
    )
    return resource, [resource.wrong(what) for what in mistakes]


def _read_only(kind: Kind, verb: Verb) -> str:
    return f"operation {verb.word} is not supported on {kind.name}: resource is readonly"


def _metadata(given: Document, verb: Verb, mistakes: list[str]) -> Document:
    metadata: Document = METADATA(given.get("metadata") or {}, "metadata", mistakes) or {}
    if verb is Verb.CREATE and metadata.get("resourceVersion"):
        mistakes.append(
            "metadata.resourceVersion: must not be set to create; use apply, or drop it"
        )
    if verb is not Verb.DELETE and "name" in metadata and given.get("kind") != ENDPOINT.name:
        try:
            values.name(metadata["name"])
        except ValueError as error:
            mistakes.append(f"metadata.name: {shown(metadata['name'])} {error}")
    return metadata


def _kind(given: Document, mistakes: list[str]) -> Kind | None:
    version, name = given.get("apiVersion"), given.get("kind")
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if name is None:
        mistakes.append("kind: is missing")
    elif kind is None:
        mistakes.append(f"kind: {shown(name)} is unknown; there are {', '.join(_BY_NAME)}")
    if version is None:
        mistakes.append(f"apiVersion: is missing; it is {API_VERSION}")
    elif version != API_VERSION:
        mistakes.append(f"apiVersion: {shown(version)} is not {API_VERSION}")
    return kind


def _spec(kind: Kind, given: Any, name: str, mistakes: list[str]) -> Document:
    given = {} if given is None else given
    wrong: list[str] = []
    spec: Document = SPECS[kind.name](given, "spec", wrong) or {}
    mistakes += wrong or of_model(kind.name, spec, name)
    if isinstance(given, dict) and kind.name in RULES:
        mistakes += RULES[kind.name](given, spec, name)
    return completed_pool(spec) if kind is POOL and "cidr" in spec else spec


def _name(kind: Kind, metadata: Document, spec: Document, mistakes: list[str]) -> str:
    name = str(metadata.get("name", ""))
    if name:
        if "/" in name and not any(what.startswith("metadata.name") for what in mistakes):
            mistakes.append(f"metadata.name: {shown(name)} is not a name")
        return name
    if kind is not ENDPOINT or not spec:
        mistakes.append("metadata.name: is missing")
    # Calico computes an endpoint's where it is missing.
    return endpoint_name(spec) if kind is ENDPOINT and spec and not mistakes else ""


def _namespace(kind: Kind, given: str | None, wanted: str | None, mistakes: list[str]) -> str:
    if not kind.is_namespaced:
        if given is not None:
            mistakes.append(f"metadata.namespace: must not be set; {kind.name} is not namespaced")
        elif wanted is not None:
            mistakes.append(f"{kind.name} is not namespaced; leave --namespace out")
        return ""
    if given and wanted and given != wanted:
        mistakes.append(f"metadata.namespace: {shown(given)} is not --namespace {wanted}")
    return given or wanted or DEFAULT_NAMESPACE
