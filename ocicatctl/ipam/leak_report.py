"""Reports of ``ipam check -o``, ours or calicoctl's: what all of them say nobody uses.

Pure: no I/O. The format is calicoctl's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from datamodel.block import Address
from datamodel.errors import Invalid
from datastore import keys
from datastore.codec import load
from datastore.store import Entry
from ocicatctl.ipam.release_plan import Seen, Target


@dataclass(frozen=True, slots=True)
class LeakReport:
    """One report."""

    source: str  # the file
    version: str
    cluster_guid: str
    cluster_revision: str  # of ClusterInformation when the report was made
    leaks: Mapping[Address, Seen]
    leaked_handles: Mapping[str, int]  # with the revision of each


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What reports must agree with."""

    guid: str
    revision: str
    is_locked: bool

    @classmethod
    def of(cls, entry: Entry | None) -> "ClusterState":
        """Read ClusterInformation ``default``.

        Raises:
            Invalid: it does not exist, or cannot be read.
        """
        if entry is None:
            raise Invalid("ClusterInformation(default): does not exist; start ipamd on a node")
        spec = load(keys.CLUSTER_INFORMATION, entry.value).get("spec")
        if not isinstance(spec, dict):
            raise Invalid("ClusterInformation(default): has no spec")
        is_locked = spec.get("datastoreReady") is False
        return cls(str(spec.get("clusterGUID", "")), str(entry.revision), is_locked)


def parse(source: str, content: bytes) -> LeakReport:
    """Read a report.

    Raises:
        Invalid: it is none; the message names the place.
    """
    try:
        document = json.loads(content)
        return LeakReport(
            source=source,
            version=_text(document["version"]),
            cluster_guid=_text(document["clusterGUID"]),
            cluster_revision=_text(document["clusterInformationRevision"]),
            leaks=dict(_leaks(document["allocations"] or {})),
            leaked_handles={
                _text(handle["ID"]): int(_text(handle["Revision"]))
                for handle in document.get("leakedHandles") or ()
            },
        )
    except KeyError as error:
        raise Invalid(f"report {source}: has no {error}; make it with ipam check -o") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid(f"report {source}: is no report of ipam check -o: {error}") from error


def _leaks(
    allocations: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Iterator[tuple[Address, Seen]]:
    for text, found in allocations.items():
        # Two of one address are a contradiction that only people can resolve.
        if len(found) == 1 and found[0]["inUse"] is False and not found[0].get("coolingDown"):
            number = found[0].get("sequenceNumber", 0)
            if type(number) is not int:
                raise ValueError(f"sequenceNumber {number!r} is no number")
            handle_id = found[0].get("handle")
            yield ip_address(text), Seen(_text(handle_id) if handle_id else None, number)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def check(
    reports: Sequence[LeakReport], cluster: ClusterState, version: str, is_forced: bool
) -> list[str]:
    """Name what speaks against using the reports, if *is_forced* overrides it.

    Raises:
        Invalid: the reports must not be used; one line for each mistake.
    """
    fatal = [
        f"report {r.source}: is of another cluster ({r.cluster_guid or 'without a clusterGUID'})"
        for r in reports
        if r.cluster_guid != cluster.guid
    ]
    if not fatal and all(r.cluster_revision != cluster.revision for r in reports):
        fatal.append(
            "reports: ClusterInformation has changed since all of them; make a new one with "
            "ocicatctl ipam check -o"
        )
    doubts = [
        f"report {r.source}: was made by version {r.version or '(none)'}, this is {version}; "
        "use --force"
        for r in reports
        if r.version != version
    ]
    if not cluster.is_locked:
        doubts.append(
            "datastore: is not locked (datastoreReady is true); "
            "lock it with calicoctl datastore migrate lock, or use --force"
        )
    if fatal:
        raise Invalid("\n".join(fatal))
    if doubts and not is_forced:
        raise Invalid("\n".join(doubts))
    return doubts


def common(reports: Sequence[LeakReport]) -> tuple[list[Target], dict[str, int]]:
    """What every report says: the same leaked allocations, and the same leaked handles."""
    first, *others = reports
    targets = [
        Target(address, seen)
        for address, seen in first.leaks.items()
        if all(other.leaks.get(address) == seen for other in others)
    ]
    handles = {
        handle_id: revision
        for handle_id, revision in first.leaked_handles.items()
        if all(other.leaked_handles.get(handle_id) == revision for other in others)
    }
    return sorted(targets, key=lambda t: (t.address.version, int(t.address))), handles
