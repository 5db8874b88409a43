"""A conflist as libcni runs it: capabilities, the result that is handed on and remembered.

Edge: executes the plugins, by ``call.py``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocicatctl.lab import system
from ocicatctl.lab.runtime import DEBIAN_PLUGINS, Container
from ocicatctl.lab.spec import NodeSpec
from tests.lab.call import CONF, Answer, Call

OURS = {key: CONF[key] for key in ("type", "ipam", "policy")}


@dataclass
class Chain:
    """One container and the plugins of its network, ours the first."""

    node: NodeSpec
    container: Container
    later: Sequence[Mapping[str, Any]]
    capabilities: Mapping[str, Any] = field(default_factory=dict)  # what the runtime passes
    version: str = "1.0.0"
    result: dict | None = None  # libcni's cache: written by ADD, forgotten by DEL

    @property
    def plugins(self) -> list[Mapping[str, Any]]:
        return [OURS, *self.later]

    @property
    def address(self) -> str:
        """The pod's, as ADD answered it."""
        return self.result["ips"][0]["address"].partition("/")[0]

    def add(self) -> dict:
        """ADD of each plugin with the result of the one before; return the last result."""
        for plugin in self.plugins:
            answer = self._call("ADD", plugin, self.result)
            assert answer.status == 0, (plugin["type"], answer)
            self.result = answer.document
        return self.result

    def check(self) -> dict[str, Answer]:
        """CHECK of each plugin with the last result; its answer."""
        return {p["type"]: self._call("CHECK", p, self.result) for p in self.plugins}

    def delete(self, netns: str | None = None) -> Answer | None:
        """DEL of each plugin, the last one first.

        Args:
            netns: another path than ADD's; "": it is gone.

        Returns:
            The answer of the plugin that failed, which is the last one asked; else ``None``.
        """
        for plugin in reversed(self.plugins):
            answer = self._call("DEL", plugin, self.result, netns)
            if answer.status:
                return answer
        self.result = None
        return None

    def _call(
        self,
        command: str,
        plugin: Mapping[str, Any],
        result: dict | None,
        netns: str | None = None,
    ) -> Answer:
        wanted = plugin.get("capabilities", {}).items()
        passed = {
            name: self.capabilities[name] for name, on in wanted if on and name in self.capabilities
        }
        conf = {
            **plugin,
            "cniVersion": self.version,
            "name": CONF["name"],
            **({"runtimeConfig": passed} if passed else {}),
            **({"prevResult": result} if result else {}),
        }
        ours = self.node.bin / plugin["type"]
        return Call(
            self.node,
            command,
            netns=self.container.netns if netns is None else netns,
            container_id=self.container.id,
            conf=json.dumps(conf),
            environment={
                "CNI_ARGS": self.container.args,
                "PATH": system.BASE_ENVIRONMENT["PATH"],  # some run iptables
            },
            executable=ours if ours.exists() else DEBIAN_PLUGINS / plugin["type"],
        ).run()
