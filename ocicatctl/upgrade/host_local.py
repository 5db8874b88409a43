"""What host-local's configuration and files say, and what ``upgrade`` writes into them.

Pure: no I/O. host-local gives an address out by making a file of that name, with the container id,
CR LF, and the interface's name; it frees it by removing the files whose whole content is just that.
An ADD takes one address of each range set. So does Debian 12's 1.1.1; very old ones wrote the id
alone.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Any

from datamodel.attachment import Attachment
from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.pool import Network

DATA_DIR = "/var/lib/cni/networks"
MAX_CLOSED = 65_536  # so many files are made at most; a /16

_TYPE = "host-local"
# It has no ranges in its configuration: it writes them when it calls host-local.
_DELEGATES = ("flannel",)

# ---- the network configuration -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses that host-local gives out: from *first* to *last*, without the gateway."""

    subnet: Network
    first: Address
    last: Address
    gateway: Address

    @property
    def size(self) -> int:
        """How many addresses it has, counting the gateway."""
        return int(self.last) - int(self.first) + 1

    def addresses(self) -> Iterator[Address]:
        """Every address that it gives out."""
        for offset in range(self.size):
            if (address := self.first + offset) != self.gateway:
                yield address


RangeSet = tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The part of a network configuration that is host-local's."""

    network: str
    data_dir: str
    range_sets: tuple[RangeSet, ...]

    @property
    def ranges(self) -> list[Range]:
        """The ranges of all sets."""
        return [some for range_set in self.range_sets for some in range_set]

    def sets_to_close(self) -> list[RangeSet]:
        """The sets to make full: as many as it takes few files for, the smallest first.

        One of them is enough: an ADD that gets no address of one set fails as a whole.

        Raises:
            Invalid: even the smallest is too large.
        """
        sizes = sorted(self.range_sets, key=_size)
        chosen = [s for i, s in enumerate(sizes) if sum(map(_size, sizes[: i + 1])) <= MAX_CLOSED]
        if not chosen:
            raise Invalid(
                f"network {self.network}: its smallest range set has {_size(sizes[0])} addresses, "
                f"and more than {MAX_CLOSED} are not closed one by one; give it a nearer rangeEnd "
                "in the configuration that the runtime uses, above the addresses that are in use"
            )
        return chosen


def _size(range_set: RangeSet) -> int:
    return sum(some.size for some in range_set)


def configuration_of(content: bytes, source: str, network: str) -> Configuration:
    """Read a configuration, or a list of them, for the network.

    Raises:
        Invalid: it is of another network, or host-local's part is missing or wrong; every mistake.
    """
    document = _document(content, source)
    if (name := document.get("name")) != network:
        raise Invalid(f"{source}: is of network {name!r}, not of {network}")
    users = [p for p in _plugins(document) if _ipam(p).get("type") == _TYPE]
    if not users:
        hint = "the plugin that it hands over to" if _is_used(document) else "no plugin of it"
        raise Invalid(
            f"{source}: {hint} says which ranges host-local has; write ipam.type host-local and "
            "ipam.ranges into a copy of the file, and give that"
        )
    mistakes: list[str] = []
    range_sets: list[RangeSet] = []
    for plugin in users:
        if (plugin.get("capabilities") or {}).get("ipRanges"):
            mistakes.append(
                "ranges come from the runtime (capability ipRanges); give a copy of the file "
                "without that capability and with all ranges"
            )
        for texts in _range_sets(_ipam(plugin)):
            found = [_range(text, mistakes) for text in texts]
            range_sets.append(tuple(some for some in found if some))
    if not any(range_sets) and not mistakes:
        mistakes.append("host-local has no ranges")
    if mistakes:
        raise Invalid("\n".join(f"{source}: {mistake}" for mistake in mistakes))
    directory = next((d for p in users if (d := _ipam(p).get("dataDir"))), DATA_DIR)
    return Configuration(network, str(directory), tuple(filter(None, range_sets)))


def uses_host_local(content: bytes, source: str, network: str) -> bool:
    """Tell whether a configuration would have host-local give out addresses of the network.

    Raises:
        Invalid: it cannot be read.
    """
    document = _document(content, source)
    return document.get("name") == network and _is_used(document)


def _is_used(document: dict[str, Any]) -> bool:
    return any(
        _ipam(p).get("type") == _TYPE or p.get("type") in _DELEGATES for p in _plugins(document)
    )


def _document(content: bytes, source: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise Invalid(f"{source}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Invalid(f"{source}: is not a JSON object")
    return document


def _plugins(document: dict[str, Any]) -> list[dict[str, Any]]:
    plugins = document.get("plugins", [document])
    return [p for p in plugins if isinstance(p, dict)] if isinstance(plugins, list) else []


def _ipam(plugin: dict[str, Any]) -> dict[str, Any]:
    ipam = plugin.get("ipam")
    return ipam if isinstance(ipam, dict) else {}


def _range_sets(ipam: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The sets as host-local counts them: that of the old form, at the top, comes first."""
    ranges = ipam.get("ranges") or []
    return [*([[ipam]] if ipam.get("subnet") else []), *ranges]


def _range(text: Any, mistakes: list[str]) -> Range | None:
    """Complete a range as host-local does."""
    try:
        subnet = ip_network(text["subnet"])
        if subnet.prefixlen > subnet.max_prefixlen - 2:
            raise ValueError(f"{subnet} is too small for host-local")
        first, end = subnet.network_address + 1, subnet.broadcast_address
        found = Range(
            subnet=subnet,
            first=ip_address(text.get("rangeStart") or first),
            last=ip_address(text.get("rangeEnd") or (end - 1 if subnet.version == 4 else end)),
            gateway=ip_address(text.get("gateway") or first),
        )
        outside = [a for a in (found.first, found.last, found.gateway) if a not in subnet]
        if outside or found.size < 1:
            raise ValueError(f"range {found.first} to {found.last} is not in {subnet}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        mistakes.append(f"range {json.dumps(text)}: {error}")
        return None
    return found


# ---- the files of addresses --------------------------------------------------------------------

MARK = "ocicat-upgrade"
TEMPORARY = f"{MARK}.tmp"
_OWN_NAMES = ("lock", TEMPORARY)
_LAST_RESERVED = "last_reserved_ip."


class Stage(Enum):
    """How far an address has come; what is written into the third line of its file."""

    HELD = ""  # host-local's: a DEL that it gets frees the address
    FROZEN = f"{MARK} frozen"  # host-local cannot free it any more
    ADOPTED = f"{MARK} adopted"  # ipamd holds it for the container


@dataclass(frozen=True, slots=True)
class Given:
    """An address that a container has."""

    address: Address
    attachment: Attachment
    stage: Stage = Stage.HELD
    result: str = ""  # path of the container's cached result when it was frozen; "": it had none
    time_ns: int = field(default=0, compare=False)  # when host-local gave it out

    @property
    def content(self) -> bytes:
        """The file's content at this stage."""
        who = (self.attachment.container_id, self.attachment.ifname)
        return "\r\n".join((*who, *filter(None, (self.stage.value, self.result)))).encode()

    def at(self, stage: Stage, result: str | None = None) -> "Given":
        """The same at another stage."""
        return replace(self, stage=stage, result=self.result if result is None else result)


@dataclass(frozen=True, slots=True)
class Closed:
    """An address that nobody has and host-local does not give out either."""

    address: Address


CLOSED_CONTENT = f"{MARK}: closed to host-local\n".encode()


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that is none of host-local's, or one that cannot be read."""

    name: str
    mistake: str
    address: Address | None = None  # the one that it keeps taken


def parse_file(
    network: str, name: str, content: bytes, time_ns: int = 0
) -> Given | Closed | Stray | None:
    """Read a file of the network's directory; ``None``: it says nothing about an address."""
    if name in _OWN_NAMES or name.startswith(_LAST_RESERVED):
        return None
    try:
        address = ip_address(name)
    except ValueError:
        return Stray(name, "is not a file of host-local")
    if str(address) != name or "%" in name:
        return Stray(name, f"is not how host-local spells {address}")
    lines = [line.strip() for line in content.decode(errors="replace").strip().split("\n")]
    # host-local makes the file first: it was killed before anybody heard of the address.
    if not any(lines) or lines[0].startswith(MARK):
        return Closed(address)
    container_id, ifname, stage, result = [*lines, "", "", ""][:4]
    attachment = Attachment(network, container_id, ifname or "eth0")
    mistakes = attachment.mistakes
    if len(lines) > 4 or stage not in [known.value for known in Stage]:
        mistakes = [*mistakes, "it has lines that host-local does not write"]
    if mistakes:
        return Stray(name, f"nobody can tell whose it is: {'; '.join(mistakes)}", address)
    return Given(address, attachment, Stage(stage), result, time_ns)
