"""The network configuration on stdin, as far as we use it.

Pure: no I/O. Keys that we do not know are ignored; Calico's own that we have no use for are among
them.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cni_plugin.log_conf import log_conf_of
from cni_plugin.previous import read_previous
from cni_plugin.stdin import Keys, Reader
from datamodel.block import Address
from datamodel.errors import Invalid, Unsupported

MTUS = range(68, 65536)  # what a veth pair takes
_POOL_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
IPAM_TYPES = ("calico-ipam", "ocicat-ipam")


@dataclass(frozen=True, slots=True)
class NetConf:
    """One plugin's entry of a network configuration list, as libcni hands it over."""

    cni_version: str
    name: str
    mtu: int | None = None  # None: what suits the pool and the node
    families: tuple[int, ...] = (4,)  # of addresses wanted, one each
    ipv4_pools: tuple[str, ...] = ()  # pools wanted, names or CIDRs
    ipv6_pools: tuple[str, ...] = ()
    is_kubernetes: bool = False  # policy.type is "k8s": Calico's profiles per namespace
    allows_ip_forwarding: bool = False
    allows_floating_ips: bool = False  # feature_control.floating_ips: pods may name some
    prev_result: Mapping[str, Any] | None = None  # in the form of 1.x
    addresses: tuple[Address, ...] = ()  # exactly these, by capability "ips" or args.cni.ips
    mac: str = ""  # exactly this, by capability "mac" or args.cni.mac
    dns: Mapping[str, Any] | None = None  # instead of that of the plugins before us
    routes: tuple[Mapping[str, str], ...] = ()  # ipam.routes: what the IPAM role passes on


def netconf_of(keys: Keys, name: str, version: str) -> NetConf:
    """Read what the interface plugin uses.

    Raises:
        Invalid: with every mistake.
        Unsupported: something is asked for that we do not do.
    """
    reader = Reader(keys)
    conf = replace(
        _ipam_part(reader, name, version),
        mtu=reader.top("mtu", int, 0) or None,
        is_kubernetes=reader.read(reader.section("policy"), "type", str, "") == "k8s",
        allows_ip_forwarding=reader.read(
            reader.section("container_settings"), "allow_ip_forwarding", bool, False
        ),
        allows_floating_ips=reader.read(
            reader.section("feature_control"), "floating_ips", bool, False
        ),
        prev_result=reader.top("prevResult", dict, None),
        mac=_mac(reader),
        dns=_dns(reader),
    )
    if conf.mtu is not None and conf.mtu not in MTUS:
        reader.mistakes.append(f"mtu: {conf.mtu} is not in {MTUS[0]}..{MTUS[-1]}")
    if conf.prev_result is not None:
        previous, wrong = read_previous(conf.prev_result, version)
        conf = replace(conf, prev_result=previous)
        reader.mistakes += wrong
    kind = reader.read(reader.section("ipam"), "type", str, IPAM_TYPES[0])
    reader.mistakes += log_conf_of(keys)[1]
    reader.finish(name)
    if kind not in IPAM_TYPES:
        raise Unsupported(f"ipam.type {kind!r}: is not served; use {' or '.join(IPAM_TYPES)}")
    return conf


def ipam_netconf_of(keys: Keys, name: str, version: str) -> NetConf:
    """Read what the IPAM role uses; the rest is the interface plugin's, whatever it means there.

    Raises:
        Invalid: with every mistake.
    """
    reader = Reader(keys)
    conf = _ipam_part(reader, name, version)
    reader.finish(name)
    return conf


def _ipam_part(reader: Reader, name: str, version: str) -> NetConf:
    ipam = reader.section("ipam")
    pools = {
        family: tuple(str(pool) for pool in reader.read(ipam, f"ipv{family}_pools", list, []))
        for family in (4, 6)
    }
    reader.mistakes += [m for family in (4, 6) for m in _pool_mistakes(pools[family], family)]
    families = tuple(
        family for family, usual in ((4, "true"), (6, "false")) if _assigns(reader, family, usual)
    )
    if not families:
        reader.mistakes.append("ipam.assign_ipv4, ipam.assign_ipv6: neither family is wanted")
    addresses, wrong = _requested(
        reader.read(reader.section("runtimeConfig"), "ips", list, [])
        or reader.read(_cni_args(reader), "ips", list, [])
    )
    reader.mistakes += [f"ips: {mistake}" for mistake in wrong]
    return NetConf(
        cni_version=version,
        name=name,
        families=families,
        ipv4_pools=pools[4],
        ipv6_pools=pools[6],
        addresses=addresses,
        routes=_routes(reader, ipam),
    )


def _cni_args(reader: Reader) -> Keys:
    return Keys(reader.read(reader.section("args"), "cni", dict, {}), "args.cni.")


def _assigns(reader: Reader, family: int, usual: str) -> bool:
    """Whether addresses of *family* are wanted; Calico writes it as a text."""
    key = f"assign_ipv{family}"
    text = reader.read(reader.section("ipam"), key, str, usual)
    if text.lower() not in ("true", "false"):
        reader.mistakes.append(f"ipam.{key}: {text!r} is neither 'true' nor 'false'")
    return bool(text.lower() == "true")


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


def _mac(reader: Reader) -> str:
    text = reader.read(reader.section("runtimeConfig"), "mac", str, "") or reader.read(
        _cni_args(reader), "mac", str, ""
    )
    try:
        return mac_of(text) if text else ""
    except ValueError as error:
        reader.mistakes.append(f"mac: {error}")
        return ""


def mac_of(text: str) -> str:
    """Read a link's address in the kernel's spelling.

    Raises:
        ValueError: it is none that an interface can have.
    """
    if not _MAC.fullmatch(text):
        raise ValueError(f"{text!r} is not six pairs of hex digits")
    octets = bytes.fromhex(re.sub("[:-]", "", text))
    if octets[0] & 1 or not any(octets):
        raise ValueError(f"{text!r} is not the address of one interface")
    return octets.hex(":")


def _dns(reader: Reader) -> dict[str, Any] | None:
    """The resolver settings that replace those of the plugins before us.

    As in the reference plugins any field that is set, even to nothing, replaces them all. What the
    runtime passes by capability "dns" (and in its own words) counts more than the list.
    """
    asked = Keys(
        reader.read(reader.section("runtimeConfig"), "dns", dict, {}), "runtimeConfig.dns."
    )
    own = reader.section("dns")
    found = {}
    for key, asked_as, kind in (
        ("nameservers", "servers", list),
        ("domain", "", str),
        ("search", "searches", list),
        ("options", "options", list),
    ):
        value = reader.read(own, key, kind, None)
        if asked_as:
            value = reader.read(asked, asked_as, kind, None) or value
        if value is not None:
            found[key] = value
    return found or None


def _routes(reader: Reader, ipam: Keys) -> tuple[Mapping[str, str], ...]:
    routes = []
    for number, item in enumerate(reader.read(ipam, "routes", list, [])):
        where = f"ipam.routes[{number}]"
        try:
            route = Keys(item if isinstance(item, dict) else {}, f"{where}.")
            ipaddress.ip_network(route.get("dst", str, ""))
            routes.append({"dst": route.get("dst", str, "")})
            if gateway := route.get("gw", str, ""):
                routes[-1]["gw"] = str(ipaddress.ip_address(gateway))
        except (ValueError, Invalid) as error:
            reader.mistakes.append(f"{where}: {item!r} is not a route: {error}")
    return tuple(routes)


def _pool_mistakes(pools: tuple[str, ...], family: int) -> list[str]:
    mistakes = (pool_mistake(pool, family) for pool in pools)
    return [f"ipam.ipv{family}_pools: {mistake}" for mistake in mistakes if mistake]


def pool_mistake(pool: str, family: int) -> str:
    """Why *pool* is neither a pool's name nor the range of one; "" if it is."""
    if _POOL_NAME.fullmatch(pool):
        return ""
    try:
        (ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network)(pool)
    except ValueError as error:
        return f"{pool!r} is neither a pool's name nor an IPv{family} range: {error}"
    return ""
