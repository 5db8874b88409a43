"""What a single value of a resource must look like: an address, an AS number, a selector, …

Pure: no I/O. Each takes a value as YAML gave it and returns it as it is stored, or raises
ValueError with the end of a sentence that begins with the value.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from datamodel import selector
from datamodel.bgp import AS_NUMBERS, PORTS, is_community, is_interface_pattern
from datamodel.bgp_peer import parse_peer_ip
from datamodel.errors import Invalid
from datamodel.gotime import parse_duration
from datamodel.node import MAC
from datastore.reading import as_number as read_as_number

Parse = Callable[[Any], Any]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # DNS-1123 subdomain
_NAME_MAX = 253
_TAG = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_TAG_MAX = 63
_AS = re.compile(r"[0-9]{1,10}|[0-9]{1,5}\.[0-9]{1,5}")
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_CONTAINER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError("is not text; put it in quotes")
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("is neither true nor false")
    return value


def number(low: int, high: int) -> Parse:
    """A whole number between two others."""
    return number_in(range(low, high + 1))


def number_in(allowed: range) -> Parse:
    """A whole number of a range."""

    def parse(value: Any) -> int:
        if type(value) is not int:
            raise ValueError("is not a whole number")
        if value not in allowed:
            raise ValueError(f"is not in {allowed[0]}..{allowed[-1]}")
        return value

    return parse


def one_of(*choices: str) -> Parse:
    """One of some words."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return str(value)

    return parse


def any_case(*choices: str) -> Parse:
    """One of some words, in capitals or not."""
    by_lower = {choice.lower(): choice for choice in choices}

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in by_lower:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return by_lower[value.lower()]

    return parse


def name(value: Any) -> str:
    """What a resource may be called."""
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > _NAME_MAX:
        raise ValueError(
            "is not a name; use lower-case letters, digits, '-' and '.', "
            f"begin and end with a letter or digit, at most {_NAME_MAX} of them"
        )
    return value


def part(value: Any) -> str:
    """A part of an endpoint's name, which is a segment of a key and of a line in a table."""
    if not text(value).isprintable() or "/" in value or " " in value:
        raise ValueError("is no part of a name; leave '/', blanks and what cannot be printed out")
    return text(value)


def cidr(value: Any) -> str:
    """A network of either family, with nothing after its prefix."""
    try:
        found = ipaddress.ip_interface(value if "/" in _unzoned(value) else "")
    except ValueError as error:
        raise ValueError("is not a CIDR like 10.65.0.0/16") from error
    if found.ip != found.network.network_address:
        raise ValueError(f"has bits beyond its prefix; the network is {found.network}")
    return str(found.network)


def cidr_or_address(value: Any) -> str:
    """What an IPReservation may list."""
    trimmed = text(value).strip()
    try:
        return cidr(trimmed) if "/" in trimmed else address(trimmed)
    except ValueError as error:
        what = str(error)
        raise ValueError(
            what if "beyond" in what else "is neither a CIDR nor an address"
        ) from error


def single_address(value: Any) -> str:
    """A network of one address; it is stored with its prefix length."""
    try:
        network = ipaddress.ip_network(_unzoned(value))
    except ValueError as error:
        raise ValueError("is not a single address like 10.65.0.8/32") from error
    if network.num_addresses != 1:
        raise ValueError("is more than one address; use /32 or /128")
    return str(network)


def address(value: Any, version: int | None = None) -> str:
    """An address, of either family or of one."""
    wanted = "an address" if version is None else f"an IPv{version} address"
    try:
        found = ipaddress.ip_address(text(value))
    except ValueError as error:
        raise ValueError(f"is not {wanted}") from error
    if version not in (None, found.version) or getattr(found, "scope_id", None):
        raise ValueError(f"is not {wanted}")
    return str(found)


def address4(value: Any) -> str:
    """An IPv4 address."""
    return address(value, 4)


def address6(value: Any) -> str:
    """An IPv6 address."""
    return address(value, 6)


def host_address(version: int, example: str) -> Parse:
    """A host's address with the prefix length of its network."""

    def parse(value: Any) -> str:
        wanted = f"an IPv{version} address with a prefix length, like {example}"
        if not isinstance(value, str) or "/" not in value:
            raise ValueError(f"is not {wanted}")
        try:
            found = ipaddress.ip_interface(_unzoned(value))
        except ValueError as error:
            raise ValueError(f"is not {wanted}") from error
        if found.version != version:
            raise ValueError(f"is not {wanted}")
        return str(found)

    return parse


def host_address_or_address(value: Any) -> str:
    """An address, with a prefix length or without."""
    try:
        return str(ipaddress.ip_interface(value)) if "/" in _unzoned(value) else address(value)
    except ValueError as error:
        raise ValueError("is not an address") from error


def as_number(value: Any) -> int:
    """An AS number: a number, its text, or "high.low"."""
    is_readable = type(value) is int or (isinstance(value, str) and _AS.fullmatch(value))
    if is_readable and isinstance(value, str) and "." in value:
        is_readable = all(int(half) < 2**16 for half in value.split("."))
    found = read_as_number(value) if is_readable else None
    if found is None or found not in AS_NUMBERS:
        raise ValueError(f'is not an AS number; use 1..{AS_NUMBERS[-1]} or "high.low"')
    return found


def duration(value: Any) -> str:
    """A span of time as Go writes it."""
    try:
        parse_duration(text(value))
    except ValueError as error:
        raise ValueError('is not a duration like "2m0s" or "90s"') from error
    return text(value)


def select(value: Any) -> str:
    """A selector."""
    try:
        selector.parse(text(value))
    except Invalid as error:
        reason = str(error).partition(": expected")[2]
        raise ValueError(f"is not a selector; expected{reason}") from error
    return text(value)


def mac(value: Any) -> str:
    """A hardware address."""
    return _matching(value, MAC, "is not a MAC address like ee:ee:ee:ee:ee:ee")


def interface_name(value: Any) -> str:
    """A Linux interface."""
    return _matching(value, _INTERFACE, "is not an interface's name (at most 15 characters)")


def container_id(value: Any) -> str:
    """A container's id."""
    return _matching(
        value, _CONTAINER, "is not a container id; use letters, digits and '-', no '-' at its ends"
    )


def peer_ip(value: Any) -> str:
    """Where a BGP peer listens: an address, or an address and a port."""
    try:
        found, port = parse_peer_ip(text(value))
    except ValueError as error:
        raise ValueError("is not an address, <IPv4>:<port> or [<IPv6>]:<port>") from error
    if port is None:
        return str(found)
    if port not in PORTS:
        raise ValueError(f"has port {port}; use 1..{PORTS[-1]}")
    return f"{found}:{port}" if found.version == 4 else f"[{found}]:{port}"


def community(value: Any) -> str:
    """A BGP community: 16:16 bits, or 32:32:32."""
    if not isinstance(value, str) or not is_community(value):
        raise ValueError("is not a community like 65000:100 or 65000:100:200")
    return value


def interface_pattern(value: Any) -> str:
    """Linux interfaces: a name, in which "*" is any characters."""
    if not isinstance(value, str) or not is_interface_pattern(value):
        raise ValueError("is not an interface's name, in which '*' is any characters")
    return value


def tags(has_free_values: bool) -> Parse:
    """Labels; or annotations, whose values may be anything."""

    def parse(value: Any) -> dict[str, str]:
        if not isinstance(value, dict):
            raise ValueError("is not an object with fields")
        for key, tag in value.items():
            if not isinstance(key, str) or not _is_tag(key.rpartition("/")[2]):
                raise ValueError(f"has the key {key!r}, which is not a label's")
            if not isinstance(tag, str):
                raise ValueError(f"has for {key} {tag!r}, which is not text; put it in quotes")
            if not has_free_values and tag and not _is_tag(tag):
                raise ValueError(f"has for {key} {tag!r}, which is not a label's value")
        return value

    return parse


def _unzoned(value: Any) -> str:
    """Text without "%…": a zone is of one machine only, and no reader takes it."""
    if "%" in text(value):
        raise ValueError("has a zone")
    return text(value)


def _is_tag(value: str) -> bool:
    return len(value) <= _TAG_MAX and _TAG.fullmatch(value) is not None


def _matching(value: Any, pattern: re.Pattern[str], wrong: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(wrong)
    return value
