"""Whose the addresses of host-local are: containers, their pods, and the links that lead to them.

Pure: no I/O. Decided on host-local's files, libcni's cached results and the kernel's routes.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from datamodel.pool import Network
from ocicatctl.upgrade.host_local import Given, Stage


@dataclass(frozen=True, slots=True)
class Cached:
    """What libcni keeps of the ADD of a container."""

    pod: Pod | None = None
    mac: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One interface of a container that host-local has given addresses."""

    attachment: Attachment
    files: tuple[Given, ...]
    cached: Cached
    result: str  # path of its cached result; "": there is none
    interface_name: str  # the host's link to it, as far as the kernel tells

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it has, IPv4 first."""
        return tuple(sorted((f.address for f in self.files), key=lambda a: (a.version, int(a))))

    @property
    def is_adopted(self) -> bool:
        """Whether ipamd holds all of it."""
        return all(file.stage is Stage.ADOPTED for file in self.files)

    @property
    def is_taken(self) -> bool:
        """Whether host-local cannot free any of it any more, or not all."""
        return any(file.stage is not Stage.HELD for file in self.files)

    @property
    def is_gone(self) -> bool:
        """Whether a DEL was carried out since it was frozen: libcni then forgets the result."""
        return not self.result and any(file.result for file in self.files)

    @property
    def title(self) -> str:
        """What messages call it."""
        pod = f" of {self.cached.pod}" if self.cached.pod else ""
        return f"{', '.join(map(str, self.addresses))}{pod} (container {self._container})"

    @property
    def _container(self) -> str:
        ifname = self.attachment.ifname
        return self.attachment.container_id + ("" if ifname == "eth0" else f", {ifname}")

    @property
    def profile(self) -> str:
        """The profile of its workload endpoint."""
        pod = self.cached.pod
        return f"kns.{pod.namespace}" if pod else self.attachment.network


def containers_of(
    given: Iterable[Given],
    result_of: Callable[[Given], tuple[str, bytes]],
    link_to: Callable[[Address], str],
) -> list[Container]:
    """Put the addresses of each container together; the one that got its addresses first leads.

    Args:
        given: the files.
        result_of: path and content of a container's cached result; of none both are empty.
        link_to: the host's link to an address; "" if nobody knows.
    """
    files: dict[Attachment, list[Given]] = {}
    for one in sorted(given, key=lambda g: (g.time_ns, g.address.version, int(g.address))):
        files.setdefault(one.attachment, []).append(one)
    found = []
    for attachment, some in files.items():
        path, content = result_of(some[0])
        links = (link_to(one.address) for one in some)
        found.append(
            Container(
                attachment,
                tuple(some),
                cached_of(content, attachment.ifname),
                path,
                next(filter(None, links), ""),
            )
        )
    return found


_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def cached_of(content: bytes, ifname: str) -> Cached:
    """Read a cached result; what is not there, or not as it should be, says nothing."""
    try:
        document = _dict(json.loads(content))
    except ValueError:
        return Cached()
    pairs = [pair for pair in _list(document.get("cniArgs")) if _is_pair(pair)]
    arguments = dict(pairs)
    pod = Pod(arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", ""))
    macs = (
        str(link.get("mac", "")).lower()
        for link in _list(_dict(document.get("result")).get("interfaces"))
        if isinstance(link, dict) and link.get("sandbox") and link.get("name") == ifname
    )
    return Cached(None if pod.mistakes else pod, next(filter(_MAC.fullmatch, macs), ""))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


# ---- the kernel's routes -----------------------------------------------------------------------

Routes = Sequence[tuple[Network, str]]


def routes_of(ipv4: str, ipv6: str) -> Routes:
    """Read /proc/net/route and /proc/net/ipv6_route: destinations and links, no default routes."""
    found: list[tuple[Network, str]] = []
    for line in ipv4.splitlines()[1:]:
        fields = line.split()
        destination, mask = (int(fields[i], 16).to_bytes(4, sys.byteorder) for i in (1, 7))
        length = int.from_bytes(mask).bit_count()
        found.append((IPv4Network((destination, length), strict=False), fields[0]))
    for line in ipv6.splitlines():
        fields = line.split()
        network = IPv6Network((bytes.fromhex(fields[0]), int(fields[1], 16)), strict=False)
        found.append((network, fields[9]))
    return [(network, link) for network, link in found if network.prefixlen and link not in _NONE]


_NONE = ("lo", "*")  # of local addresses, and of what is dropped


def link_to(address: Address, routes: Routes) -> str:
    """The link of the most special route to *address*; "" if there is none.

    A plugin like ptp makes a route for each container, one like bridge one for all of them.
    """
    fitting = [(n.prefixlen, link) for n, link in routes if address in n]
    return max(fitting, default=(0, ""))[1]
