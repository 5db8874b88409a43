"""Which addresses a node uses for itself, for the tunnels that Calico can build.

Pure: no I/O.
"""

import contextlib
from ipaddress import ip_interface

from datamodel.block import Address
from datamodel.errors import Invalid
from datastore.codec import load
from datastore.store import Entry


def tunnel_addresses(entry: Entry) -> frozenset[Address]:
    """The tunnel addresses of a Node, of both families; what cannot be read is none."""
    try:
        spec = load(entry.key, entry.value).get("spec")
    except Invalid:
        return frozenset()
    spec = spec if isinstance(spec, dict) else {}
    bgp, wireguard = (
        part if isinstance(part, dict) else {} for part in (spec.get("bgp"), spec.get("wireguard"))
    )
    found = set()
    for text in (
        bgp.get("ipv4IPIPTunnelAddr"),
        spec.get("ipv4VXLANTunnelAddr"),
        spec.get("ipv6VXLANTunnelAddr"),
        wireguard.get("interfaceIPv4Address"),
        wireguard.get("interfaceIPv6Address"),
    ):
        with contextlib.suppress(ValueError):
            found.add(ip_interface(str(text)).ip)
    return frozenset(found)
