"""What is printed on stdout: a result in the form of the wanted cniVersion, or an error.

Pure: no I/O.
"""

import json
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from cni_plugin import versions
from cni_plugin.netconf import NetConf
from cni_plugin.podnet import PodNet, Side
from datamodel.errors import Invalid
from ipam_api.answers import Allocation

ANYWHERE = ("0.0.0.0/0", "::/0")


def add_result(network: PodNet, netns: str, conf: NetConf) -> dict[str, Any]:
    """What an ADD made: host side first, the pod's interface second, as Calico lists them.

    A result of plugins before us in the chain comes first. Calico leaves ``gateway`` and the pod's
    routes out; they are here because ``sbr`` makes its default route of ``gateway`` (without it,
    with a /32, the pod ends up with none), and because the default route's absence from a later
    prevResult says that Multus took it away on purpose.
    """
    before = conf.prev_result or {}
    interfaces = list(before.get("interfaces") or ())
    host, pod = network.host, network.pod
    pod_side = len(interfaces) + 1
    interfaces += [
        {"name": host.name, "mac": host.mac, **_mtu(host, conf.cni_version)},
        {"name": pod.name, "mac": pod.mac, **_mtu(pod, conf.cni_version), "sandbox": netns},
    ]
    gateways = {
        ip_network(route.destination).version: route.via
        for route in pod.routes
        if route.via and route.destination in ANYWHERE
    }
    ips = [
        {"address": str(a), "gateway": gateways[a.version], "interface": pod_side}
        for a in pod.addresses
    ]
    routes = [
        {"dst": route.destination, "gw": route.via}
        for route in pod.routes
        if route.destination in ANYWHERE
    ]
    return in_form(
        conf.cni_version,
        {
            **before,
            "interfaces": interfaces,
            "ips": [*(before.get("ips") or ()), *ips],
            "routes": [*(before.get("routes") or ()), *routes],
            "dns": before.get("dns") or {} if conf.dns is None else conf.dns,
        },
    )


def _mtu(side: Side, version: str) -> dict[str, int]:
    return {"mtu": side.mtu} if side.mtu and version == "1.1.0" else {}


def in_form(version: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Write a result, which has the form of 1.x, in that of *version*.

    Raises:
        Invalid: the version has no place for a result without an address.
    """
    if version in versions.ONE:
        return {**result, "cniVersion": version}
    if version in versions.ZERO:
        ips = [{"version": str(_family(ip["address"])), **ip} for ip in result["ips"]]
        return {**result, "cniVersion": version, "ips": ips}
    return _legacy(version, result)


def _legacy(version: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """At most one address of each family, with the routes of that family, and nothing else."""
    document: dict[str, Any] = {"cniVersion": version}
    for family in (4, 6):
        ip = next((ip for ip in result["ips"] if _family(ip["address"]) == family), None)
        if ip is None:
            continue
        routes = [
            _without_nothing({"dst": route.get("dst"), "gw": route.get("gw")})
            for route in result.get("routes") or ()
            if _family(route.get("dst") or "") == family
        ]
        part = {"ip": ip["address"], "gateway": ip.get("gateway"), "routes": routes}
        document[f"ip{family}"] = _without_nothing(part)
    if len(document) == 1:
        raise Invalid(f"result: has no address, which version {version} cannot say")
    return {**document, "dns": result.get("dns") or {}}


def _without_nothing(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, [])}


def _family(address: str) -> int:
    try:
        return ip_interface(address).version
    except ValueError:
        return 0  # a route of somebody else that nobody can read


def ipam_result(allocation: Allocation, conf: NetConf) -> dict[str, Any]:
    """What the IPAM role answers to ADD: addresses alone, the interface is somebody else's.

    Each is told with the prefix length of its block, as Calico's does: ``ptp`` and ``bridge`` take
    what lies in it to be on the link, and want a gateway that is in it as well.
    """
    ips: list[dict[str, Any]] = []
    for address, block, gateway in zip(
        allocation.addresses, allocation.blocks, allocation.gateways, strict=True
    ):
        ips.append({"address": f"{address}/{block.prefixlen}"})
        if gateway is not None:
            ips[-1]["gateway"] = str(gateway)
    return in_form(conf.cni_version, {"ips": ips, "routes": list(conf.routes), "dns": {}})


def version_result() -> dict[str, Any]:
    """What VERSION answers."""
    return {"cniVersion": versions.NEWEST, "supportedVersions": list(versions.SUPPORTED)}


def error_result(code: int, message: str, details: str, version: str) -> dict[str, Any]:
    """What a failed call answers."""
    error = {"cniVersion": version, "code": code, "msg": message}
    return {**error, "details": details} if details else error


def printed(document: Mapping[str, Any]) -> bytes:
    """The document as it goes to stdout."""
    return json.dumps(document, indent=4).encode() + b"\n"
