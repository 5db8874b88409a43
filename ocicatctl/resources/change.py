"""Decide what ``create``, ``apply``, ``replace`` and ``delete`` do with one resource.

Pure: no I/O. A decision runs again when somebody wrote first. As in calicoctl the whole spec is
replaced and metadata is merged: what the stored object has of uid, times, labels and annotations
stays, unless the file gives a label or an annotation another value.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any

from datamodel.endpoint import NAMESPACE_LABEL, ORCHESTRATOR_LABEL
from datamodel.errors import Invalid
from datastore.codec import API_VERSION, Document, Stamp, dump, load
from datastore.known import Known
from datastore.store import Change, Decision, Entry
from ocicatctl.resources.kinds import ENDPOINT, NODE
from ocicatctl.resources.manifest import Resource, Verb


class Outcome(Enum):
    """What came of it; the value is what calicoctl says, before the resource."""

    DONE = ""
    EXISTS = "resource already exists"
    MISSING = "resource does not exist"
    CONFLICT = "update conflict"


Decide = Callable[[Known], Decision[Outcome]]


def decide_write(verb: Verb, resource: Resource, stamp: Stamp, known: Known) -> Decision[Outcome]:
    """Create the resource, or put it in the place of the stored one.

    Whatever the outcome, the transaction compares the key, so that no answer rests on old news.
    """
    key = resource.key
    if key not in known:
        return Decision(Outcome.DONE, needs=frozenset({key}))
    entry = known[key]
    seen = {key: entry.revision if entry else 0}
    if refused := refusal(verb, resource, entry):
        return Decision(refused, Change(expect=seen))
    value = dump(_document(resource, entry, stamp))
    return Decision(Outcome.DONE, Change(expect=seen, put={key: value}))


def decide_delete(resource: Resource, known: Known) -> Decision[Outcome]:
    """Delete the resource, whatever it holds."""
    key = resource.key
    if key not in known:
        return Decision(Outcome.DONE, needs=frozenset({key}))
    entry = known[key]
    seen = {key: entry.revision if entry else 0}
    if refused := refusal(Verb.DELETE, resource, entry):
        return Decision(refused, Change(expect=seen))
    return Decision(Outcome.DONE, Change(expect=seen, delete=frozenset({key})))


def refusal(verb: Verb, resource: Resource, entry: Entry | None) -> Outcome | None:
    """Why what is stored must stay as it is; ``None``: it need not."""
    if verb is Verb.CREATE:
        return Outcome.EXISTS if entry else None
    if entry is None:
        return None if verb is Verb.APPLY else Outcome.MISSING
    is_other = resource.revision not in ("", str(entry.revision))
    return Outcome.CONFLICT if is_other else None


def _document(resource: Resource, entry: Entry | None, stamp: Stamp) -> Document:
    old = _stored(entry)
    metadata = _object(old.get("metadata"))
    labels = {**_object(metadata.get("labels")), **resource.labels}
    if resource.kind is ENDPOINT:
        labels[NAMESPACE_LABEL] = resource.namespace
        labels[ORCHESTRATOR_LABEL] = resource.spec["orchestrator"]
    annotations = {**_object(metadata.get("annotations")), **resource.annotations}
    names = {"name": resource.name}
    if resource.namespace:
        names["namespace"] = resource.namespace
    status = old.get("status") if resource.status is None else resource.status
    if status is None and resource.kind is NODE:
        status = {}  # Calico always writes it
    return {
        "kind": resource.kind.name,
        "apiVersion": API_VERSION,
        "metadata": {
            **names,
            "uid": metadata.get("uid") or stamp.uid,
            "creationTimestamp": metadata.get("creationTimestamp") or stamp.text,
            **({"labels": labels} if labels else {}),
            **({"annotations": annotations} if annotations else {}),
            **{k: v for k, v in metadata.items() if k not in _OWN_METADATA},
        },
        "spec": resource.spec,
        **({} if status is None else {"status": status}),
        **{k: v for k, v in old.items() if k not in _OWN_FIELDS},
    }


_OWN_FIELDS = ("kind", "apiVersion", "metadata", "spec", "status")
_OWN_METADATA = (
    *("name", "namespace", "uid", "creationTimestamp", "labels", "annotations"),
    *("resourceVersion", "selfLink"),
)


def _stored(entry: Entry | None) -> Document:
    """The stored object; a spoilt one counts as empty, so that ``apply`` can mend it."""
    if entry is None:
        return {}
    try:
        return load(entry.key, entry.value)
    except Invalid:
        return {}


def _object(value: Any) -> Document:
    return value if isinstance(value, dict) else {}
