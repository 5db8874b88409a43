"""Which entries a ``get`` asks for, and the answer in each output format.

Pure: no I/O. ``get.py`` reads ``Query.ranges`` and prints what ``answer`` returns.
"""

import json
from dataclasses import dataclass
from functools import partial

import yaml

from datamodel.bgp import BgpConfiguration
from datamodel.errors import Invalid
from datastore import keys, reading
from datastore.codec import API_VERSION, Document
from datastore.codec_bgp import decode_bgp_configuration
from datastore.store import Entry, Snapshot
from ocicatctl.entries import decoded, raise_for
from ocicatctl.resources.kinds import Cells, Kind, with_revision
from ocicatctl.table import columns

CLUSTER_BGP = f"{keys.BGP_CONFIGURATIONS}default"
FORMATS = ("ps", "wide", "json", "yaml")


@dataclass(frozen=True, slots=True)
class Query:
    """Resources of one kind: those named, or all."""

    kind: Kind
    names: tuple[str, ...] = ()
    namespace: str | None = None  # of a namespaced kind; None: all of them
    shows_namespace: bool = False  # in a table, even where all have the same

    @property
    def ranges(self) -> tuple[str, ...]:
        """What to read, at one revision."""
        wanted = f"{self.kind.prefix}{self._scope}"
        return (wanted, CLUSTER_BGP) if self.kind.shows_cluster_as else (wanted,)

    def select(self, snapshot: Snapshot) -> list[Entry]:
        """Return what was asked for, in the order of the keys.

        Raises:
            Invalid: names do not exist; one line for each.
        """
        entries = [e for k, e in sorted(snapshot.entries.items()) if k.startswith(self.ranges[0])]
        if not self.names:
            return entries
        if missing := set(self.names) - {_name(entry) for entry in entries}:
            kind = self.kind.name
            lines = (f"resource does not exist: {kind}({self._scope}{n})" for n in sorted(missing))
            raise Invalid("\n".join(lines))
        return [entry for entry in entries if _name(entry) in self.names]

    @property
    def _scope(self) -> str:
        return "" if self.namespace is None else f"{self.namespace}/"


def answer(query: Query, snapshot: Snapshot, output: str) -> tuple[str, list[str]]:
    """Return the text to print, and what is wrong with each entry that it leaves out.

    Raises:
        Invalid: a name does not exist, or nothing is readable.
    """
    entries = query.select(snapshot)
    if output in ("ps", "wide"):
        return _table(query, snapshot, entries, output == "wide")
    documents, mistakes = decoded(entries, with_revision)
    if not documents:
        raise_for(mistakes)  # an empty list would say that there are none
    is_single = len(query.names) == 1 and len(documents) == 1
    document = documents[0] if is_single else _list(query.kind, documents, snapshot.revision)
    if output == "yaml":
        return yaml.safe_dump(document, allow_unicode=True), mistakes
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n", mistakes


def _table(
    query: Query, snapshot: Snapshot, entries: list[Entry], is_wide: bool
) -> tuple[str, list[str]]:
    kind = query.kind
    header = kind.wide if is_wide else kind.narrow
    if kind.is_namespaced and (query.namespace is None or query.shows_namespace):
        header = ("NAMESPACE", *header)
    settings, wrong_settings = decoded(
        [e for k, e in snapshot.entries.items() if k == CLUSTER_BGP],
        lambda e: decode_bgp_configuration(e.key, e.value),
    )
    cluster_as = (settings or [BgpConfiguration()])[0].as_number
    rows, mistakes = decoded(entries, partial(_row, kind, cluster_as))
    text = columns(header, [[row[name] for name in header] for row in rows])
    # calicoctl ends a table with an empty line.
    return f"{text}\n", wrong_settings + mistakes


def _row(kind: Kind, cluster_as: int, entry: Entry) -> Cells:
    with reading.entry(entry.key):
        return kind.cells(entry, cluster_as)


def _list(kind: Kind, documents: list[Document], revision: int) -> Document:
    return {
        "kind": f"{kind.name}List",
        "apiVersion": API_VERSION,
        "metadata": {"resourceVersion": str(revision)},
        "items": documents,
    }


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]
