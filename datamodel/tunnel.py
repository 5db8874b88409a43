"""The kinds of tunnel between nodes: which pools need them, and who holds their addresses.

Pure: no I/O. Names and sizes are Calico's.
"""

from dataclasses import dataclass

from datamodel.pool import Pool

IN_USE = ("Always", "CrossSubnet")  # modes of a pool that need the tunnel


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A kind of tunnel. A node has one device of each kind that a pool uses, with one address."""

    name: str
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
        mode = pool.ipip_mode if self.name == "ipip" else pool.vxlan_mode
        return mode in IN_USE and pool.cidr.version == self.version


IPIP = Tunnel("ipip", 4, "ipipTunnelAddress", 20)
VXLAN = Tunnel("vxlan", 4, "vxlanTunnelAddress", 50)
VXLAN_V6 = Tunnel("vxlan-v6", 6, "vxlanV6TunnelAddress", 70)
TUNNELS = (IPIP, VXLAN, VXLAN_V6)


def overhead(pool: Pool) -> int:
    """How many bytes of a packet to or from an address of *pool* a tunnel may take."""
    return max((tunnel.overhead for tunnel in TUNNELS if tunnel.is_used_by(pool)), default=0)
