"""A container runtime as far as CNI is concerned: runs a conflist's plugins as libcni does.

Edge: executes the installed plugins, each with ``CNI_*`` in its environment and JSON on stdin.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodel.errors import OcicatError
from ocicatctl.lab import system

DEBIAN_PLUGINS = Path("/usr/lib/cni")


class PluginError(OcicatError):
    """A plugin answered with an error; ``document`` is what it printed."""

    def __init__(self, plugin: str, verb: str, document: Mapping[str, Any]) -> None:
        details = document.get("details")
        super().__init__(
            f"{plugin} {verb}: code {document.get('code')}: {document.get('msg')}"
            + (f"; {details}" if details else "")
        )
        self.document = dict(document)


@dataclass(frozen=True, slots=True)
class Container:
    """What a runtime knows of a container when it calls CNI."""

    id: str
    netns: str  # path; "" once it is gone
    ifname: str = "eth0"
    args: str = ""  # CNI_ARGS


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime on one node."""

    namespace: str  # the node's network namespace
    conflist: Mapping[str, Any]
    bin: Path

    def add(self, container: Container) -> dict[str, Any]:
        """Run ADD of every plugin in order; return the last result.

        Raises:
            PluginError: a plugin refused.
        """
        result: dict[str, Any] | None = None
        for plugin in self.conflist["plugins"]:
            result = self._call("ADD", plugin, container, result)
        return result or {}

    def check(self, container: Container, result: Mapping[str, Any]) -> None:
        """Run CHECK of every plugin in order."""
        for plugin in self.conflist["plugins"]:
            self._call("CHECK", plugin, container, result)

    def delete(self, container: Container, result: Mapping[str, Any] | None) -> None:
        """Run DEL of every plugin in reverse order."""
        for plugin in reversed(self.conflist["plugins"]):
            self._call("DEL", plugin, container, result)

    def _call(
        self,
        verb: str,
        plugin: Mapping[str, Any],
        container: Container,
        result: Mapping[str, Any] | None,
    ) -> dict[str, Any] | None:
        conf = {
            **plugin,
            "name": self.conflist["name"],
            "cniVersion": self.conflist["cniVersion"],
            **({"prevResult": result} if result else {}),
        }
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container.id,
            "CNI_NETNS": container.netns,
            "CNI_IFNAME": container.ifname,
            "CNI_ARGS": container.args,
            "CNI_PATH": f"{self.bin}:{DEBIAN_PLUGINS}",
        }
        done = system.run(
            self._find(plugin["type"]),
            namespace=self.namespace,
            stdin=json.dumps(conf),
            environment=environment,
            check=False,
        )
        if done.returncode:
            raise PluginError(plugin["type"], verb, _document(done.stdout or done.stderr))
        return json.loads(done.stdout) if done.stdout.strip() else None

    def _find(self, kind: str) -> Path:
        ours = self.bin / kind
        return ours if ours.exists() else DEBIAN_PLUGINS / kind


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = {"code": None, "msg": text.strip() or "no error message"}
    return document if isinstance(document, dict) else {"msg": text}
