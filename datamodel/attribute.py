"""What is noted of who holds an address.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from datamodel.attachment import Pod

# What an attribute's "type" says. The interface is another plugin's, and nobody can see whether it
# is there; and: the gateway of such interfaces, held by the node.
DELEGATED = "ocicatDelegated"
GATEWAY = "ocicatGateway"
GATEWAY_HANDLE = "ocicat-gateway-"  # and the node's name


@dataclass(frozen=True, slots=True)
class Attribute:
    """Who holds an address: the handle and some facts for people (pod, namespace, node, …).

    Or, with *released_at*, that nobody does but that it is too early to give it to the next one.
    """

    handle_id: str | None
    secondary: Mapping[str, str] | None
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of newer Calicos, kept as read
    released_at: datetime | None = None

    def __hash__(self) -> int:
        return hash((self.handle_id, self.released_at))  # mappings have none

    @property
    def node(self) -> str | None:
        """The node whose pod holds the address; another than the block's if it is borrowed."""
        return (self.secondary or {}).get("node")

    @property
    def pod(self) -> Pod | None:
        """The pod that holds the address, if it is a pod's."""
        facts = self.secondary or {}
        namespace, name = facts.get("namespace"), facts.get("pod")
        return Pod(namespace, name) if namespace and name else None
