"""What the lab, as a container runtime, remembers of its pods.

Edge: one JSON file per pod, written before the pod's namespace is made.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datamodel.errors import Invalid
from ocicatctl.lab.runtime import Container


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod of the lab: a namespace that a runtime attached to the network."""

    name: str
    node: str
    container: Container
    result: dict[str, Any] | None  # of its ADD; None: not attached

    @property
    def address(self) -> str:
        """Its IPv4 address, without prefix length; "" if it is not attached."""
        ips = (self.result or {}).get("ips") or [{"address": ""}]
        return str(ips[0]["address"]).partition("/")[0]

    @property
    def namespace(self) -> str:
        """Its network namespace's name."""
        return Path(self.container.netns).name


class PodRecords:
    """The records of all pods of a lab."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def all(self) -> list[LabPod]:
        """Every pod, by node and name."""
        found = [_read(path) for path in self._directory.glob("*.json")]
        return sorted(found, key=lambda pod: (pod.node, pod.name))

    def get(self, name: str) -> LabPod:
        """The pod of that name.

        Raises:
            Invalid: there is none.
        """
        path = self._path(name)
        if not path.exists():
            known = ", ".join(pod.name for pod in self.all()) or "none"
            raise Invalid(f"pod {name}: does not exist; there are {known}")
        return _read(path)

    def exists(self, name: str) -> bool:
        """Whether there is a pod of that name."""
        return self._path(name).exists()

    def save(self, pod: LabPod) -> None:
        """Remember the pod as it is now."""
        self._directory.mkdir(parents=True, exist_ok=True)
        write_json(self._path(pod.name), asdict(pod))

    def forget(self, pod: LabPod) -> None:
        """Remove its record."""
        self._path(pod.name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"


def _read(path: Path) -> LabPod:
    document = json.loads(path.read_text())
    return LabPod(**{**document, "container": Container(**document["container"])})


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(document, indent=1))
    temporary.replace(path)
