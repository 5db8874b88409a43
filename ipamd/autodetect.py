"""Which of a machine's addresses is the node's.

Pure: no I/O. Calico's method "first-found"; the others follow.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface

from datamodel.errors import Invalid

# Links that never carry the node's address, from Calico's first-found method.
_EXCLUDED = re.compile(
    r"^(docker|cbr|dummy|podman|virbr|lxcbr|veth|lo|br-|cali|tunl|flannel|kube-ipvs|cni"
    r"|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|nodelocaldns)"
)


def first_found(links: Sequence[tuple[str, IPv4Interface]]) -> IPv4Interface:
    """Choose the first usable address of the newest link, as Calico does.

    Raises:
        Invalid: no link has one.
    """
    for name, address in reversed(links):
        if not _EXCLUDED.match(name) and _is_global_unicast(address.ip):
            return address
    seen = ", ".join(f"{name} {address}" for name, address in links) or "none"
    raise Invalid(
        f"node address: no link has a usable IPv4 address (there are: {seen}); "
        "set IP to the node's address with its prefix length, e.g. IP=10.0.0.11/24"
    )


def _is_global_unicast(address: IPv4Address) -> bool:
    return not (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )
