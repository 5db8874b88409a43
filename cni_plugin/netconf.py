"""The network configuration on stdin, as far as we use it.

Pure: no I/O. Keys match in any case, as in every Go plugin: runtimes rely on it without knowing.
Keys that we do not know are ignored; Calico's own that we have no use for are among them.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cni_plugin.cni_error import (
    DECODING_FAILURE,
    INCOMPATIBLE_VERSION,
    INVALID_CONFIG,
    CniError,
)
from datamodel.block import Address
from datamodel.errors import Invalid, Unsupported

SUPPORTED_VERSIONS = ("0.3.1", "0.4.0", "1.0.0")
DEFAULT_VERSION = "0.1.0"  # what a configuration without cniVersion means
MTUS = range(68, 65536)  # what a veth pair takes
_POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
IPAM_TYPES = ("calico-ipam", "ocicat-ipam")


@dataclass(frozen=True, slots=True)
class NetConf:
    """One plugin's entry of a network configuration list, as libcni hands it over."""

    cni_version: str
    name: str
    mtu: int | None = None  # None: the kernel's default
    pools: tuple[str, ...] = ()  # IPv4 pools wanted, names or CIDRs
    is_kubernetes: bool = False  # policy.type is "k8s": Calico's profiles per namespace
    allows_ip_forwarding: bool = False
    prev_result: Mapping[str, Any] | None = None
    addresses: tuple[Address, ...] = ()  # exactly these, by capability "ips" or args.cni.ips


def parse(stdin: bytes) -> "Keys":
    """Read the JSON object.

    Raises:
        CniError: 6, it is none; 7, it is ``null``.
    """
    try:
        document = json.loads(stdin.decode())
    except (ValueError, RecursionError) as error:
        raise CniError(
            DECODING_FAILURE, f"network configuration on stdin: is not JSON: {error}"
        ) from error
    if document is None:
        raise CniError(INVALID_CONFIG, "missing network name")
    if not isinstance(document, dict):
        raise CniError(DECODING_FAILURE, "network configuration on stdin: is not a JSON object")
    return Keys(document)


class Keys:
    """A JSON object whose keys match in any case; of equal ones the last counts."""

    def __init__(self, document: Mapping[str, Any], where: str = "") -> None:
        self._values = {key.lower(): value for key, value in document.items()}
        self._where = where

    def get(self, key: str, kind: type, default: Any) -> Any:
        """The value of *key*, *default* if it is absent or null.

        Raises:
            Invalid: it is of another type.
        """
        value = self._values.get(key.lower())
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Invalid(f"{self._where}{key}: {value!r} is not {_KINDS[kind]}")
        return value


_KINDS = {
    str: "a string",
    int: "a number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}


def version_of(keys: Keys) -> str:
    """The cniVersion that counts.

    Raises:
        CniError: 6, it is not a string; 1, we do not speak it.
    """
    try:
        version = keys.get("cniVersion", str, "") or DEFAULT_VERSION
    except Invalid as error:
        raise CniError(DECODING_FAILURE, str(error)) from error
    if version not in SUPPORTED_VERSIONS:
        raise CniError(
            INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports {list(SUPPORTED_VERSIONS)}',
        )
    return str(version)


def netconf_of(keys: Keys, name: str, version: str) -> NetConf:
    """Read what we use.

    Raises:
        Invalid: with every mistake.
        Unsupported: something is asked for that we do not do.
    """
    mistakes: list[str] = []

    def read(where: Keys, key: str, kind: type, default: Any) -> Any:
        try:
            return where.get(key, kind, default)
        except Invalid as error:
            mistakes.append(str(error))
            return default

    def section(key: str) -> Keys:
        return Keys(read(keys, key, dict, {}), f"{key}.")

    ipam, policy = section("ipam"), section("policy")
    addresses, wrong_addresses = _requested(
        read(section("runtimeConfig"), "ips", list, [])
        or read(Keys(read(section("args"), "cni", dict, {}), "args.cni."), "ips", list, [])
    )
    conf = NetConf(
        cni_version=version,
        name=name,
        mtu=read(keys, "mtu", int, 0) or None,
        pools=tuple(str(pool) for pool in read(ipam, "ipv4_pools", list, [])),
        is_kubernetes=read(policy, "type", str, "") == "k8s",
        allows_ip_forwarding=read(
            section("container_settings"), "allow_ip_forwarding", bool, False
        ),
        prev_result=read(keys, "prevResult", dict, None),
        addresses=addresses,
    )
    if conf.mtu is not None and conf.mtu not in MTUS:
        mistakes.append(f"mtu: {conf.mtu} is not in {MTUS[0]}..{MTUS[-1]}")
    mistakes += [f"ips: {mistake}" for mistake in wrong_addresses]
    mistakes += _pool_mistakes(conf.pools) + _result_mistakes(conf.prev_result or {})
    kind = read(ipam, "type", str, IPAM_TYPES[0])
    families = {
        v: str(read(ipam, f"assign_ipv{v}", str, d)) for v, d in ((4, "true"), (6, "false"))
    }
    if mistakes:
        raise Invalid(f"network {name}: {'; '.join(mistakes)}")
    if kind not in IPAM_TYPES:
        raise Unsupported(f"ipam.type {kind!r}: is not served; use {' or '.join(IPAM_TYPES)}")
    if families[6] == "true" or families[4] == "false":
        raise Unsupported(
            f"ipam.assign_ipv4 {families[4]!r}, ipam.assign_ipv6 {families[6]!r}: "
            "only IPv4 is served yet"
        )
    return conf


def _requested(texts: Iterable[Any]) -> tuple[tuple[Address, ...], list[str]]:
    """Read the addresses that are asked for, at most one of each family; and what is wrong."""
    found: list[Address] = []
    mistakes = []
    for text in texts:
        try:
            # A prefix length, as the reference plugins want it, does not matter: pods have /32s.
            found.append(ipaddress.ip_interface(str(text)).ip)
        except ValueError:
            mistakes.append(f"{text!r} is not an address")
    if len({address.version for address in found}) < len(found):
        mistakes.append("more than one address of a family; an interface has one of each")
    return tuple(found), mistakes


def _pool_mistakes(pools: tuple[str, ...]) -> list[str]:
    found = []
    for pool in pools:
        if _POOL_NAME.fullmatch(pool):
            continue
        try:
            ipaddress.IPv4Network(pool)
        except ValueError as error:
            found.append(
                f"ipam.ipv4_pools: {pool!r} is neither a pool's name nor an IPv4 range: {error}"
            )
    return found


def _result_mistakes(result: Mapping[str, Any]) -> list[str]:
    """What of the previous result cannot be passed on."""
    found = []
    for key in ("interfaces", "ips"):
        items = result.get(key) or []
        if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
            found.append(f"prevResult.{key}: {items!r} is not a list of objects")
    return found
