"""The kinds of tunnel between nodes: which pools need them, and who holds their addresses.

Pure: no I/O. Names and sizes are Calico's.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from datamodel.node import Node
from datamodel.pool import Pool


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A kind of tunnel. A node has one device of each kind that a pool uses, with one address."""

    name: str
    device: str  # on every node
    version: int  # the family that it carries
    attribute_type: str  # what the holder's attribute says it is
    overhead: int  # bytes of each packet that its headers take

    def __str__(self) -> str:
        return f"tunnel {self.name}"

    def handle_id(self, node: str) -> str:
        """The handle under which *node* holds its address."""
        return f"{self.name}-tunnel-addr-{node}"

    def is_used_by(self, pool: Pool) -> bool:
        """Whether packets to addresses of *pool* may go through it."""
        is_on = pool.has_ipip if self.name == "ipip" else pool.has_vxlan
        return is_on and pool.cidr.version == self.version

    def address_of(self, node: Node) -> IPv4Address | IPv6Address | None:
        """The address that a Node says its device has."""
        return node.ipip_address if self.name == "ipip" else node.vxlan_address(self.version)


IPIP = Tunnel("ipip", "tunl0", 4, "ipipTunnelAddress", 20)
VXLAN = Tunnel("vxlan", "vxlan.calico", 4, "vxlanTunnelAddress", 50)
VXLAN_V6 = Tunnel("vxlan-v6", "vxlan-v6.calico", 6, "vxlanV6TunnelAddress", 70)
TUNNELS = (IPIP, VXLAN, VXLAN_V6)


def overhead(pool: Pool) -> int:
    """How many bytes of a packet to or from an address of *pool* a tunnel may take."""
    return max((tunnel.overhead for tunnel in TUNNELS if tunnel.is_used_by(pool)), default=0)


def tunnel_handles(node: str) -> list[str]:
    """Under which the addresses of a node's tunnels are held, those of Felix's alone included."""
    kinds = ("ipip", "vxlan", "vxlan-v6", "wireguard", "wireguard-v6")
    return [f"{kind}-tunnel-addr-{node}" for kind in kinds]
