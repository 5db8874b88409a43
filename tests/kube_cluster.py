"""A Kubernetes API with nodes and pods in it: lists in pages, watches, and what goes wrong.

The shapes are recorded ones. Every change has a version; lists and watches of an older one are made
from the history, as the API makes them.
"""

import base64
import copy
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.kube_server import NODE, POD, Api, refusal

Key = tuple[str, str, str]  # kind, namespace, name
KINDS = {"nodes": "NodeList", "pods": "PodList"}


class CutOff(OSError):
    """The connection ends here, whatever was being said."""


class KubeCluster(Api):
    """Serve it with ``kube_server.serving``."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 1000
        self.page = 2  # resources of one answer, whatever is asked for
        self.is_down = False
        self.lists_at: int | None = None  # lists are of this old version: a replica far behind
        self.empty: set[str] = set()  # kinds of which lists have none
        self.forgotten = 0  # a watch of this version, or an older one, is too old
        self.tells_expiry_by_event = False
        self.expired_pages = 0  # so many pages but the first are too old
        self.is_mute = False  # watches tell nothing any more, and never end
        self.not_found: bytes | None = None  # how it says that there is none
        self._history: list[tuple[int, str, Key, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self._ending = 0  # grows: watches that began before end
        self._torn = 0

    # ---- what happens in the cluster -----------------------------------------------------------

    def put_node(self, name: str, *, is_ready: bool = True) -> None:
        document = copy.deepcopy(NODE)
        document["metadata"]["name"] = name
        ready = {"type": "Ready", "status": "True" if is_ready else "Unknown"}
        document["status"]["conditions"] = [ready]
        self._put(("nodes", "", name), document)

    def put_pod(self, name: str, node: str | None, *, uid: str = "u1", phase: str = "Running"):
        document = copy.deepcopy(POD)
        document["metadata"].update(name=name, namespace="default", uid=uid)
        document["status"]["phase"] = phase
        document["spec"]["nodeName"] = node
        if node is None:
            del document["spec"]["nodeName"]
        self._put(("pods", "default", name), document)

    def delete(self, kind: str, name: str) -> None:
        key = (kind, "default" if kind == "pods" else "", name)
        before = self._at(self.version)[key]
        self._write("DELETED", key, before)

    def bookmark(self) -> None:
        """Tell every watch how far it is."""
        for kind in KINDS:
            self._write("BOOKMARK", (kind, "", ""), {"kind": kind, "metadata": {}, "spec": {}})

    def end_watches(self) -> None:
        """End them as the API does after a while."""
        with self._changed:
            self._ending += 1
            self._changed.notify_all()

    def tear_watches(self) -> None:
        """End them in the middle of an event."""
        with self._changed:
            self._torn += 1
            self._changed.notify_all()

    def go_down(self) -> None:
        self.is_down = True
        self.tear_watches()

    def come_up(self) -> None:
        self.is_down = False

    def _put(self, key: Key, document: dict[str, Any]) -> None:
        is_known = key in self._at(self.version)
        self._write("MODIFIED" if is_known else "ADDED", key, document)

    def _write(self, what: str, key: Key, document: dict[str, Any]) -> None:
        with self._changed:
            self.version += 1
            document = copy.deepcopy(document)
            document["metadata"]["resourceVersion"] = str(self.version)
            self._history.append((self.version, what, key, document))
            self._changed.notify_all()

    def _at(self, version: int) -> dict[Key, dict[str, Any]]:
        found: dict[Key, dict[str, Any]] = {}
        for number, what, key, document in self._history:
            if number <= version and what != "BOOKMARK":
                found.pop(key, None)
                if what != "DELETED":
                    found[key] = document
        return found

    # ---- what it answers -----------------------------------------------------------------------

    def _found(self, path: str) -> tuple[int, bytes]:
        if self.is_down:
            raise CutOff
        if self.body is not None or self.status != 200:
            return self.status, self.body or b""
        url = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = url.path.removeprefix("/api/v1/").split("/")
        if len(parts) == 1:
            if "watch" in query:
                return 410, refusal(410, "Expired", "too old resource version")
            return self._list(parts[0], query)
        kind, name = parts[-2:]
        found = self._at(self.version).get((kind, parts[1] if len(parts) == 4 else "", name))
        if found is not None:
            return 200, json.dumps(found).encode()
        if self.not_found is not None:
            return 404, self.not_found
        return 404, refusal(404, "NotFound", f'{kind} "{name}" not found', name=name, kind=kind)

    def _list(self, kind: str, query: dict[str, str]) -> tuple[int, bytes]:
        version, start = self.lists_at or self.version, 0
        if rest := query.get("continue"):
            version, start = json.loads(base64.b64decode(rest))
            if self.expired_pages:
                self.expired_pages -= 1
                return 410, refusal(410, "Expired", "The provided continue parameter is too old")
        documents = [d for (k, _, _), d in sorted(self._at(version).items()) if k == kind]
        if selector := query.get("fieldSelector"):
            node = selector.removeprefix("spec.nodeName=")
            documents = [d for d in documents if d["spec"].get("nodeName") == node]
        elif kind in self.empty:
            documents = []
        end = start + min(self.page, int(query["limit"]))
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if documents[end:]:
            rest = base64.b64encode(json.dumps([version, end]).encode()).decode()
            metadata |= {"continue": rest, "remainingItemCount": len(documents) - end}
        whole = {"kind": KINDS[kind], "apiVersion": "v1", "metadata": metadata}
        return 200, json.dumps({**whole, "items": documents[start:end]}).encode()

    def stream(self, path: str) -> Iterator[bytes] | None:
        """A watch, if it is one that begins."""
        url = urlsplit(path)
        query = parse_qs(url.query)
        if "watch" not in query or self.is_down or self.status != 200:
            return None
        after = int(query["resourceVersion"][0])
        is_too_old = after <= self.forgotten
        if is_too_old and not self.tells_expiry_by_event:
            return None
        if is_too_old:
            status = json.loads(refusal(410, "Expired", "too old resource version"))
            return iter([json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"])
        return self._watch(url.path.rpartition("/")[2], after, self._ending, self._torn)

    def _watch(self, kind: str, after: int, ending: int, torn: int) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda after=after: (
                        (self.version > after and not self.is_mute)
                        or self._ending > ending
                        or self._torn > torn
                    ),
                    timeout=60,
                )
                new = [h for h in self._history if h[0] > after] if not self.is_mute else []
                after = self.version if new else after
            if self._torn > torn:
                yield b'{"type":"ADDED","object":{"kin'
                raise CutOff
            for _, what, key, document in new:
                if key[0] == kind:
                    yield json.dumps({"type": what, "object": document}).encode() + b"\n"
            if self._ending > ending:
                return
