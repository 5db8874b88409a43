"""One interface of one container on one network: the owner of addresses and links.

Pure: no I/O. The formats of the handle and of the link alias are here and nowhere else.
"""

import hashlib
from dataclasses import dataclass

ALIAS_PREFIX = "ocicat:"
ALIAS_MAX_BYTES = 255  # IFALIASZ (256) of the kernel less its final zero


@dataclass(frozen=True, slots=True)
class Pod:
    """A Kubernetes pod, as CNI_ARGS name it."""

    namespace: str
    name: str

    @property
    def digest(self) -> str:
        """40 hex digits that stand for the pod; Calico derives its link names from the same."""
        return hashlib.sha1(
            f"{self.namespace}.{self.name}".encode(), usedforsecurity=False
        ).hexdigest()


@dataclass(frozen=True, slots=True)
class Attachment:
    """What CNI identifies by network name, container id and interface name."""

    network: str
    container_id: str
    ifname: str

    @property
    def handle_id(self) -> str:
        """The name under which addresses are held in etcd; for ``eth0`` exactly Calico's.

        CNI allows dots in network names and container ids. There the digest keeps apart what
        would read the same: no two attachments have one handle.
        """
        handle = f"{self.network}.{self.container_id}"
        if self.ifname != "eth0":
            handle = f"{handle}.{self.ifname}"
        return f"{handle}~{self.digest}" if "." in self.network + self.container_id else handle

    @property
    def digest(self) -> str:
        """40 hex digits that stand for all three names, whatever their length."""
        return hashlib.sha1(self._path.encode(), usedforsecurity=False).hexdigest()

    @property
    def _path(self) -> str:
        # None of the three may contain a slash, so the three can be told apart again.
        return f"{self.network}/{self.container_id}/{self.ifname}"

    def alias(self, pod: Pod | None) -> str:
        """Say in a link's alias whose link it is: the kernel alone then knows after any crash."""
        owner = self._path if len(self._path.encode()) <= _PATH_MAX_BYTES else f"#{self.digest}"
        return f"{ALIAS_PREFIX}{owner}/{pod.digest if pod else '-'}"

    def owns(self, alias: str) -> bool:
        """Tell whether *alias* was written for this attachment, with or without a pod."""
        return alias.rpartition("/")[0] == self.alias(None).rpartition("/")[0]


_PATH_MAX_BYTES = ALIAS_MAX_BYTES - len(ALIAS_PREFIX) - len("/") - 40


@dataclass(frozen=True, slots=True)
class LinkOwner:
    """What an alias says: the attachment (``None`` if too long to be spelled out) and its pod."""

    attachment: Attachment | None
    pod_digest: str | None


def parse_alias(alias: str) -> LinkOwner | None:
    """Read an alias back; ``None`` if it is not one of ours."""
    if not alias.startswith(ALIAS_PREFIX):
        return None
    owner, _, pod = alias.removeprefix(ALIAS_PREFIX).rpartition("/")
    parts = owner.split("/")
    attachment = Attachment(*parts) if len(parts) == 3 else None
    if attachment is None and not owner.startswith("#"):
        return None
    return LinkOwner(attachment, None if pod == "-" else pod)
