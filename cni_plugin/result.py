"""What is printed on stdout: a result in the form of the wanted cniVersion, or an error.

Pure: no I/O.
"""

import json
from collections.abc import Mapping
from typing import Any

from cni_plugin.netconf import SUPPORTED_VERSIONS
from cni_plugin.podnet import PodNet


def add_result(
    network: PodNet, netns: str, version: str, prev: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What an ADD made: host side first, the pod's interface second, as Calico lists them.

    A result of plugins before us in the chain comes first.
    """
    before = dict(prev or {})
    interfaces = list(before.get("interfaces") or ())
    pod_side = len(interfaces) + 1
    interfaces += [
        {"name": network.host.name, "mac": network.host.mac},
        {"name": network.pod.name, "mac": network.pod.mac, "sandbox": netns},
    ]
    # Only 0.x has the family beside the address.
    family = {} if version == "1.0.0" else {"version": "4"}
    ips = [*(before.get("ips") or ())]
    ips += [{**family, "address": str(a), "interface": pod_side} for a in network.pod.addresses]
    return {
        **before,
        "cniVersion": version,
        "interfaces": interfaces,
        "ips": ips,
        "dns": before.get("dns") or {},
    }


def version_result() -> dict[str, Any]:
    """What VERSION answers."""
    return {"cniVersion": SUPPORTED_VERSIONS[-1], "supportedVersions": list(SUPPORTED_VERSIONS)}


def error_result(code: int, message: str, details: str, version: str) -> dict[str, Any]:
    """What a failed call answers."""
    error = {"cniVersion": version, "code": code, "msg": message}
    return {**error, "details": details} if details else error


def printed(document: Mapping[str, Any]) -> bytes:
    """The document as it goes to stdout."""
    return json.dumps(document, indent=4).encode() + b"\n"
