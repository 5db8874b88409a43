"""Read single fields out of a stored document; what is not of its type is refused.

Pure: no I/O. A document comes from outside: whatever is in it raises only what ``entry`` turns into
``Invalid``. An address never has a zone ("%…"), in which anything could stand.
"""

import ipaddress
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Any, TypeVar

from datamodel.errors import Invalid
from datamodel.gotime import DURATION_MAX_S, parse_duration
from datamodel.node import MAC
from datamodel.pool import Network
from datastore import keys

Document = dict[str, Any]
T = TypeVar("T")

_LONGEST_SHOWN = 60


class entry:
    """Turn what a wrong document raises into ``Invalid`` that names its key."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise spoilt(self.key, f"field {error} is missing") from error
        if isinstance(error, (ValueError, TypeError, AttributeError, OverflowError)):
            raise spoilt(self.key, str(error)) from error


def spoilt(key: str, what: str) -> Invalid:
    """What is wrong with a value, and how to mend it if one of our commands can."""
    remedy = ""
    if key == keys.IPAM_CONFIG:
        remedy = "; delete the key, then call ocicatctl ipam configure"
    elif key.startswith(keys.RESOURCES) and key != keys.CLUSTER_INFORMATION:
        remedy = "; put a right one there with ocicatctl apply"
    elif key.startswith(keys.ALL_HANDLES):
        remedy = "; delete the key, then call ocicatctl ipam check --repair"
    elif key.startswith(keys.CLAIMS):
        remedy = "; delete the key"
    return Invalid(f"etcd key {key}: {what}{remedy}")


def text(value: Any) -> str:
    """A text; it must be there."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def text_or_none(value: Any) -> str | None:
    """A text, or none at all."""
    return None if value is None else text(value)


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts; absent means empty, as in Go."""
    return tuple(text(item) for item in _list(value))


def text_map(value: Any) -> dict[str, str]:
    """Labels and their like: texts by name; absent means empty, as in Go."""
    if not isinstance(value, dict | None):
        raise TypeError(f"{value!r} is not a map of texts")
    return {key: text(item) for key, item in (value or {}).items()}


def objects(value: Any) -> list[Document]:
    """A list of objects; absent means empty, as in Go."""
    return [document(item) for item in _list(value)]


def document(value: Any) -> Document:
    """An object; absent means empty, as in Go."""
    if not isinstance(value, dict | None):
        raise TypeError(f"{value!r} is not an object")
    return value or {}


def flag(document: Mapping[str, Any], name: str) -> bool:
    """True or false; absent means false, as in Go."""
    return flag_or_none(document, name) is True


def flag_or_none(document: Mapping[str, Any], name: str) -> bool | None:
    """True or false, where absent means something else."""
    value = document.get(name)
    if not isinstance(value, bool | None):
        raise TypeError(f"{name} {value!r} is neither true nor false")
    return value


def number(document: Mapping[str, Any], name: str) -> int:
    """A whole number; absent means zero, as in Go."""
    return number_or_none(document, name) or 0


def number_or_none(document: Mapping[str, Any], name: str) -> int | None:
    """A whole number, where absent means something else."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise TypeError(f"{name} {value!r} is not a whole number")
    return value


def seconds(document: Mapping[str, Any], name: str) -> int:
    """A span of time in whole seconds; absent means zero, as in Go."""
    value = number(document, name)
    if abs(value) >= DURATION_MAX_S:  # nor can Python reckon with it
        raise ValueError(f"{name} {value} is longer than a duration can be")
    return value


def seconds_or_none(document: Mapping[str, Any], name: str) -> int | None:
    """A duration as Go writes it ("1m30s"), to the nearest second; absent means something else."""
    value = document.get(name)
    return None if value in (None, "") else round(parse_duration(text(value)))


def cidr(value: Any) -> Network:
    """A network, with nothing after its prefix."""
    return ipaddress.ip_network(_unzoned(value))


def interface4(value: Any) -> IPv4Interface | None:
    """An address with its prefix length or, without, the full one; absent and "": none."""
    return IPv4Interface(_unzoned(value)) if value else None


def interface6(value: Any) -> IPv6Interface | None:
    """The same of IPv6."""
    return IPv6Interface(_unzoned(value)) if value else None


def address(value: Any) -> IPv4Address | IPv6Address | None:
    """An address without a prefix length; absent and "" mean that there is none."""
    return ipaddress.ip_address(_unzoned(value)) if value else None


def address4(value: Any) -> IPv4Address:
    """An IPv4 address."""
    return IPv4Address(_unzoned(value))


def address6(value: Any) -> IPv6Address:
    """An IPv6 address."""
    return IPv6Address(_unzoned(value))


def mac(value: Any) -> str:
    """A hardware address."""
    if not MAC.fullmatch(text(value)):
        raise ValueError(f"{value!r} is not a MAC address")
    return text(value)


def as_number(value: Any) -> int | None:
    """Read an AS number: a number, its text, or "high.low". ``None`` and "" mean unset."""
    if value is None or value == "":
        return None
    if type(value) is int:
        return value
    parts = text(value).split(".")  # 1.10 without quotes would be 1.1
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"{value!r} is not an AS number")
    high, *low = map(int, parts)
    if not low:
        return high
    if not (high in range(65536) and low[0] in range(65536)):
        raise ValueError(f"AS number {value!r} has a part beyond 65535")
    return high * 65536 + low[0]


def as_numbers(value: Any) -> tuple[int, ...]:
    """A list of AS numbers; absent means empty, as in Go. One that is not set is 0, as in Go."""
    return tuple(as_number(item) or 0 for item in _list(value))


def or_none(
    read: Callable[[Any], T], document: Mapping[str, Any], name: str, wrong: list[str]
) -> T | None:
    """Read a field without which the others are of use; absent and "" mean that there is none.

    What cannot be read is none as well, and noted in *wrong*.
    """
    value = document.get(name)
    if value in (None, ""):
        return None
    try:
        return read(value)
    except (ValueError, TypeError):
        wrong.append(f"{name} {repr(value)[:_LONGEST_SHOWN]} cannot be read")
        return None


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | None):
        raise TypeError(f"{value!r} is not a list")
    return value or []


def _unzoned(value: Any) -> str:
    found = str(value)  # a number would be taken for an address
    if "%" in found:
        raise ValueError(f"{found!r} has a zone, which is of one machine only")
    return found
