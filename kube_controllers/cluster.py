"""Nodes and pods as Kubernetes tells of them, and since when that is known without a gap.

Pure: no I/O. ``follower.py`` lists and watches; times are of a clock that grows evenly.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from datamodel.attachment import Pod
from datamodel.errors import Invalid, Unavailable
from kube_api.answer import Document, Event

T = TypeVar("T")

# The API tells something at least once a minute, and be it how far it is. What was last heard so
# long ago may not be so any more. Before that ``follower.py`` has tried to list again.
MAX_SILENCE_S = 180.0
# A list that is older than what we know comes from a replica that is behind, or from an API that
# was restored from a backup. So long it is taken for the former.
STALE_S = 900.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """What Kubernetes says, and since when no part of it was in doubt."""

    nodes: Mapping[str, bool]  # by name: whether its kubelet is at work
    pods: Mapping[Pod, str]  # the node of each; "": none yet
    since_s: float


def node_of(document: Document) -> tuple[str, bool]:
    """Read a Node.

    Raises:
        Invalid: it is none.
    """
    try:
        conditions = (document.get("status") or {}).get("conditions") or ()
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return _text(document["metadata"]["name"]), is_ready
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Invalid(f"Kubernetes API: what it lists is not a Node: {error!r}") from error


def pod_of(document: Document) -> tuple[Pod, str]:
    """Read a Pod, whatever phase it is in: as long as it is there its address is its own.

    Raises:
        Invalid: it is none.
    """
    try:
        metadata = document["metadata"]
        pod = Pod(_text(metadata["namespace"]), _text(metadata["name"]))
        node = document["spec"].get("nodeName") or ""
        if not isinstance(node, str):
            raise ValueError(node)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Invalid(f"Kubernetes API: what it lists is not a Pod: {error!r}") from error
    return pod, node


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise ValueError(value)


K = TypeVar("K")


class Copy(Generic[K, T]):
    """All resources of one kind, as they were last heard of."""

    def __init__(self, kind: str, read: Callable[[Document], tuple[K, T]]) -> None:
        self.kind = kind  # in the plural
        self._read = read
        self.items: dict[K, T] = {}
        self.version = ""  # from which to watch on; "": list first
        self.losses = 0  # how often a resource went that had been there
        self._newest = ""
        self._stale_since_s: float | None = None
        self._since_s = 0.0
        self._heard_s: float | None = None

    def take_list(self, documents: Iterable[Document], version: str, asked_s: float) -> None:
        """Take over a complete list that was asked for at *asked_s*.

        Raises:
            Unavailable: it is older than what is known.
            Invalid: something in it is not of this kind.
        """
        items = dict(map(self._read, documents))
        if _is_older(version, self._newest):
            self._refuse(version, asked_s)
        else:
            self._stale_since_s = None
        self.losses += bool(self.items.keys() - items.keys())
        self.items = items
        self.version = self._newest = version
        self._hear(asked_s)

    def take_events(self, events: Iterable[Event], now_s: float) -> None:
        """Take over what a watch tells.

        Raises:
            Invalid: something of it is not of this kind; list again.
        """
        for event in events:
            if event.kind != "BOOKMARK":
                key, value = self._read(event.document)
                if event.kind == "DELETED":
                    self.losses += self.items.pop(key, None) is not None
                else:
                    self.items[key] = value
            self.version = event.version
            if not _is_older(event.version, self._newest):
                self._newest = event.version
        self._hear(now_s)

    def known_since(self, now_s: float) -> float | None:
        """Since when it was heard of without a gap; ``None``: it is not known for now."""
        if self._heard_s is None or now_s - self._heard_s > MAX_SILENCE_S:
            return None
        return self._since_s

    def doubt(self) -> None:
        """Forget since when it is known: something went wrong that no list has mended yet."""
        self._heard_s = None
        self.version = ""

    def _hear(self, at_s: float) -> None:
        if self.known_since(at_s) is None:
            self._since_s = at_s
        self._heard_s = at_s

    def _refuse(self, version: str, at_s: float) -> None:
        """Refuse a list that is older, unless the API has told nothing newer for a long time."""
        if self._stale_since_s is None:
            self._stale_since_s = at_s
        self.doubt()
        if at_s - self._stale_since_s < STALE_S:
            raise Unavailable(
                f"Kubernetes API: its list of {self.kind} is of version {version}, but it had told "
                f"of {self._newest}: a replica that is behind, or the API was restored"
            )
        self._stale_since_s = None


def _is_older(version: str, than: str) -> bool:
    """Whether one version comes before another; of what is no number nobody can tell."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def cluster_of(nodes: Copy[str, bool], pods: Copy[Pod, str], now_s: float) -> Cluster | None:
    """What Kubernetes says now; ``None``: a part of it is not known."""
    since = (nodes.known_since(now_s), pods.known_since(now_s))
    if since[0] is None or since[1] is None:
        return None
    return Cluster(nodes.items, pods.items, max(since[0], since[1]))
