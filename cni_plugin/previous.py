"""The result of the plugins before us in the chain, read from any version's form into one.

Pure: no I/O. Inside, results have the form of 1.x, whatever cniVersion the call speaks;
``result.py`` writes the other forms.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_interface
from typing import Any

from cni_plugin import versions

_NAMES = (
    *("cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6"),
    *("name", "mac", "mtu", "sandbox", "socketPath", "pciID"),
    *("ip", "version", "address", "gateway", "interface"),
    *("dst", "gw", "advmss", "priority", "table", "scope"),
    *("nameservers", "domain", "search", "options"),
)
_SPELLING = {name.lower(): name for name in _NAMES}  # keys match in any case, as in Go
_LISTS = ("interfaces", "ips", "routes")


def read_previous(document: Mapping[str, Any], version: str) -> tuple[dict[str, Any], list[str]]:
    """Read prevResult of a configuration of *version*; return it in the form of 1.x.

    Returns:
        The result, and every mistake that keeps it from being passed on.
    """
    found = _spelled(document)
    theirs = found.get("cniVersion") or version
    if theirs not in versions.family_of(version):
        return {}, [f"could not parse prevResult: it is of version {theirs!r}, not of {version}"]
    mistakes = [
        f"{key}: {found[key]!r} is not an object"
        for key in ("ip4", "ip6", "dns")
        if not isinstance(found.get(key), dict | None)
    ]
    for key in _LISTS:
        items = found.get(key) or []
        if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
            mistakes.append(f"{key}: {items!r} is not a list of objects")
    if not mistakes:
        found |= {key: [_spelled(item) for item in found.get(key) or []] for key in _LISTS}
        if version in versions.LEGACY:
            found = _from_legacy(found)
        mistakes += _address_mistakes(found)
    return found, [f"prevResult.{mistake}" for mistake in mistakes]


def _spelled(document: Mapping[str, Any]) -> dict[str, Any]:
    return {_SPELLING.get(key.lower(), key): value for key, value in document.items()}


def _from_legacy(document: dict[str, Any]) -> dict[str, Any]:
    ips, routes = [], []
    for key in ("ip4", "ip6"):
        if part := _spelled(document.pop(key, None) or {}):
            ips.append({"address": part.get("ip"), "gateway": part.get("gateway")})
            routes += [_spelled(route) for route in part.get("routes") or ()]
    return {**document, "ips": ips, "routes": routes}


def _address_mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    for number, ip in enumerate(document["ips"]):
        address = ip.get("address")
        try:
            is_right = isinstance(address, str) and "/" in address and ip_interface(address)
        except ValueError:
            is_right = False
        if not is_right:
            yield f"ips[{number}].address: {address!r} is not an address with a prefix length"
        index = ip.get("interface")
        if index is not None and type(index) is not int:
            yield f"ips[{number}].interface: {index!r} is not a number"
