"""Which of a machine's addresses is the node's: Calico's autodetection methods.

Pure: no I/O. ``interfaces.py`` finds out what is decided on here.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import TypeVar

from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.pool import Network

T = TypeVar("T")
Interface = IPv4Interface | IPv6Interface

FIRST_FOUND = "first-found"
CAN_REACH = "can-reach"
INTERFACE = "interface"
SKIP_INTERFACE = "skip-interface"
CIDR = "cidr"
KUBERNETES = "kubernetes-internal-ip"

_METHODS = "first-found, can-reach=, interface=, skip-interface=, cidr=, kubernetes-internal-ip"
_SETTINGS = {4: "IP", 6: "IP6"}
_EXAMPLES = {4: "10.0.0.11/24", 6: "fd00::11/64"}

# Links that never carry the node's address, from Calico's first-found method.
_EXCLUDED = re.compile(
    r"^(docker|cbr|dummy|podman|virbr|lxcbr|veth|lo|br-|cali|tunl|flannel|kube-ipvs|cni"
    r"|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns)"
)
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface and its addresses of one family, in their order."""

    name: str
    addresses: tuple[Interface, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """How a node's address is found."""

    text: str = FIRST_FOUND  # as the operator wrote it
    kind: str = FIRST_FOUND
    names: tuple[re.Pattern[str], ...] = ()  # of links: interface=, skip-interface=
    cidrs: tuple[Network, ...] = ()  # cidr=
    host: str = ""  # can-reach=

    @property
    def is_told(self) -> bool:
        """Whether somebody outside must tell the address first."""
        return self.kind in (CAN_REACH, KUBERNETES)


def parse_method(setting: str, text: str, version: int) -> tuple[Method, list[str]]:
    """Read a method, and say of *setting* what is wrong with it."""
    kind, has_value, value = text.partition("=")
    parts = [part.strip() for part in value.split(",")]
    mistakes: list[str] = []
    method = Method(text, kind)
    if kind in (FIRST_FOUND, KUBERNETES) and not has_value:
        return method, []
    if kind in (INTERFACE, SKIP_INTERFACE) and has_value:
        names, mistakes = _read(parts, re.compile, "regular expression")
        method = Method(text, kind, names=names)
    elif kind == CIDR and has_value:
        cidrs, mistakes = _read(parts, _cidr, "CIDR")
        if not mistakes and all(cidr.version != version for cidr in cidrs):
            mistakes = [f"{value!r} has no CIDR of IPv{version}"]
        method = Method(text, kind, cidrs=cidrs)
    elif kind == CAN_REACH and has_value:
        method = Method(text, kind, host=value)
        mistakes = _wrong_host(value, version)
    else:
        mistakes = [f"{text!r} is not one of {_METHODS}"]
    return method, [f"{setting}: {mistake}" for mistake in mistakes]


def _read(
    parts: Iterable[str], read: Callable[[str], T], what: str
) -> tuple[tuple[T, ...], list[str]]:
    found, mistakes = [], []
    for part in parts:
        if not part:  # as a regular expression it would match every link
            mistakes.append(f"a {what} is empty")
            continue
        try:
            found.append(read(part))
        except (ValueError, re.error, RecursionError, OverflowError) as error:
            mistakes.append(f"{part!r} is not a {what}: {error}")
    return tuple(found), mistakes


def _cidr(text: str) -> Network:
    if "/" not in text:
        raise ValueError("it has no prefix length")
    return ipaddress.ip_network(text, strict=False)


def _wrong_host(host: str, version: int) -> list[str]:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return (
            [] if _HOST.fullmatch(host) else [f"{host!r} is neither an address nor a host's name"]
        )
    return [] if address.version == version else [f"{host} is not an address of IPv{version}"]


def choose(
    method: Method, version: int, links: Sequence[Link], told: Sequence[Address] = ()
) -> Interface:
    """Choose the node's address of one family.

    Args:
        method: one that parsed without mistakes.
        version: 4 or 6.
        links: every link with the addresses that it has of the family, in the order of indexes.
        told: for ``can-reach`` the address that would be used, for ``kubernetes-internal-ip``
            those that the cluster knows the node by; the link that has it tells the prefix length.

    Raises:
        Invalid: no link has a usable one.
    """
    if method.is_told:
        owned = {address.ip: address for link in links for address in link.addresses}
        wanted = [address for address in told if address.version == version]
        found = [owned[address] for address in wanted if address in owned]
        reason = (
            f"{method.text}: no link has {', '.join(str(address) for address in wanted)}"
            if wanted
            else f"{method.text}: tells none of IPv{version}"
        )
    else:
        # As in Calico, which looks from the highest link index down.
        found = [
            address
            for link in reversed(links)
            if _takes_link(method, link.name)
            for address in link.addresses
            if _is_global_unicast(address.ip) and _takes_address(method, address.ip)
        ]
        reason = f"{method.text}: no link has a usable IPv{version} address"
    if found:
        return found[0]
    seen = ", ".join(f"{link.name} {a}" for link in links for a in link.addresses) or "none"
    setting = _SETTINGS[version]
    raise Invalid(
        f"node address: {reason} (there are: {seen}); choose another {setting}_AUTODETECTION_METHOD"
        f" or set {setting}, e.g. {setting}={_EXAMPLES[version]}"
    )


def _takes_link(method: Method, name: str) -> bool:
    is_named = any(pattern.search(name) for pattern in method.names)
    if method.kind == INTERFACE:
        return is_named
    return method.kind == CIDR or not (_EXCLUDED.match(name) or is_named)


def _takes_address(method: Method, address: Address) -> bool:
    return method.kind != CIDR or any(address in cidr for cidr in method.cidrs)


def _is_global_unicast(address: Address) -> bool:
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or str(address) == "255.255.255.255"
    )
