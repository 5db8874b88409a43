"""One interface of one container on one network: the owner of addresses and links.

Pure: no I/O. The formats of the handle and of the link alias are here and nowhere else.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

# What the CNI specification allows for networks and containers; Kubernetes names fit in.
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
IFNAME_MAX_BYTES = 15  # IFNAMSIZ of the kernel less its final zero
ALIAS_PREFIX = "ocicat:"
ALIAS_MAX_BYTES = 255  # IFALIASZ (256) of the kernel less its final zero


@dataclass(frozen=True, slots=True)
class Pod:
    """A Kubernetes pod, as CNI_ARGS name it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def mistakes(self) -> list[str]:
        """Which of the two names is none."""
        return _name_mistakes(namespace=self.namespace, name=self.name)

    @property
    def digest(self) -> str:
        """40 hex digits that stand for the pod; Calico derives its link names from the same."""
        return hashlib.sha1(
            f"{self.namespace}.{self.name}".encode(), usedforsecurity=False
        ).hexdigest()


@dataclass(frozen=True, slots=True)
class Kernel:
    """One network namespace of one running kernel: a link never outlives it."""

    boot_id: str  # /proc/sys/kernel/random/boot_id
    netns: str  # inode of the host's network namespace, in decimal


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

    @classmethod
    def of_handle(cls, handle_id: str) -> "Attachment | None":
        """The attachment that has this handle; ``None`` for one that is none of ours.

        A tunnel's handle reads like an attachment's if the name of its node has dots in it.
        """
        digested = _DIGESTED.fullmatch(handle_id)
        for attachment in _splits(digested[1] if digested else handle_id):
            if not attachment.mistakes and attachment.handle_id == handle_id:
                return attachment
        return None

    @property
    def mistakes(self) -> list[str]:
        """Which of the three names is none, by the rules of CNI and of the kernel."""
        found = _name_mistakes(network=self.network, container_id=self.container_id)
        return [*found, *ifname_mistakes(ifname=self.ifname)]

    @property
    def digest(self) -> str:
        """40 hex digits that stand for all three names, whatever their length."""
        return hashlib.sha1(self._path.encode(), usedforsecurity=False).hexdigest()

    @property
    def _path(self) -> str:
        # None of the three may contain a slash, so the three can be told apart again.
        return f"{self.network}/{self.container_id}/{self.ifname}"

    def alias(self, pod: Pod | None) -> str:
        """Say in a link's alias whose link it is: the kernel alone then knows after any crash.

        In clear as far as it fits; else a digest stands for the pod, and then for the attachment.
        """
        pods = (str(pod), pod.digest) if pod else ("-",)
        owners = [f"{self._path}/{name}" for name in pods]
        for owner in owners:
            if len(f"{ALIAS_PREFIX}{owner}".encode()) <= ALIAS_MAX_BYTES:
                return f"{ALIAS_PREFIX}{owner}"
        return f"{ALIAS_PREFIX}#{self.digest}/{pods[-1]}"

    def owns(self, alias: str) -> bool:
        """Tell whether *alias* was written for this attachment, with or without a pod."""
        owner = parse_alias(alias)
        return owner is not None and owner.attachment_digest == self.digest


_IFNAME = re.compile(r"(?!\.\.?$)[^/: ]+")
_DIGESTED = re.compile(r"(.+)~[0-9a-f]{40}", re.DOTALL)
_DIGEST_ALONE = re.compile(r"#([0-9a-f]{40})")


def _name_mistakes(**names: str) -> list[str]:
    """Which of these names, each given by what it is, is none."""
    return [
        f"{what} {name!r} is not valid; use letters, digits, '_', '.' and '-'"
        for what, name in names.items()
        if not NAME.fullmatch(name)
    ]


def ifname_mistakes(**names: str) -> list[str]:
    """Which of these names of interfaces the kernel does not take, or nobody could read."""
    return [
        f"{what} {name!r} is not valid; use 1 to {IFNAME_MAX_BYTES} bytes without '/', ':', spaces"
        for what, name in names.items()
        if not (_IFNAME.fullmatch(name) and name.isprintable())
        or len(name.encode()) > IFNAME_MAX_BYTES
    ]


def _splits(head: str) -> Iterator[Attachment]:
    """Every attachment whose names, joined by dots, read *head*."""
    dots = [i for i, character in enumerate(head) if character == "."]
    for first in dots:
        yield Attachment(head[:first], head[first + 1 :], "eth0")
        for second in dots:
            if first < second and len(head) - second <= IFNAME_MAX_BYTES + 1:
                yield Attachment(head[:first], head[first + 1 : second], head[second + 1 :])


@dataclass(frozen=True, slots=True)
class LinkOwner:
    """What an alias says; of what was too long to be spelled out only the digest is known."""

    attachment: Attachment | None
    attachment_digest: str
    pod: Pod | None
    pod_digest: str | None  # None: not a Kubernetes pod


def parse_alias(alias: str) -> LinkOwner | None:
    """Read an alias back; ``None`` if it is not one of ours."""
    if not alias.startswith(ALIAS_PREFIX):
        return None
    owner, _, pod_name = alias.removeprefix(ALIAS_PREFIX).rpartition("/")
    if digested := _DIGEST_ALONE.fullmatch(owner):
        return LinkOwner(None, digested[1], None, None if pod_name == "-" else pod_name)
    names = owner.split("/")
    pod = Pod(names.pop(), pod_name) if len(names) == 4 else None
    if len(names) != 3 or (pod and pod.mistakes) or Attachment(*names).mistakes:
        return None
    attachment = Attachment(*names)
    pod_digest = None if pod_name == "-" else pod_name
    return LinkOwner(attachment, attachment.digest, pod, pod.digest if pod else pod_digest)
