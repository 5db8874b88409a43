"""An IPPool: a range that operators give us, cut into blocks.

Pure: no I/O. Field meanings and defaults are Calico's (projectcalico.org/v3 IPPool).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from datamodel.errors import Invalid

Network = IPv4Network | IPv6Network

# Allowed block sizes (prefix lengths) by family, from Calico's validation.
BLOCK_SIZES = {4: range(20, 33), 6: range(116, 129)}
ENCAPSULATION_MODES = ("Never", "Always", "CrossSubnet")


@dataclass(frozen=True, slots=True)
class Pool:
    """A named range of addresses."""

    name: str
    cidr: Network
    block_size: int  # prefix length of the blocks
    disabled: bool = False
    node_selector: str = "all()"
    ipip_mode: str = "Never"
    vxlan_mode: str = "Never"
    nat_outgoing: bool = False
    disable_bgp_export: bool = False
    allowed_uses: tuple[str, ...] = ("Workload", "Tunnel")
    assignment_mode: str = "Automatic"

    def __str__(self) -> str:
        return f"pool {self.name} ({self.cidr})"

    @property
    def block_count(self) -> int:
        """How many blocks the pool is cut into."""
        return 1 << (self.block_size - self.cidr.prefixlen)

    def blocks_for(self, host: str) -> Iterator[Network]:
        """Yield every block once, from a place that depends on *host*.

        Nodes that look for a free block at the same time so begin at different places.
        """
        seed = int.from_bytes(hashlib.sha1(host.encode(), usedforsecurity=False).digest()[:8])
        count = self.block_count
        step = 1 << (self.cidr.max_prefixlen - self.block_size)
        base = int(self.cidr.network_address)
        for i in range(count):
            start = base + (seed + i) % count * step
            yield type(self.cidr)((start, self.block_size))

    def mistakes(self) -> list[str]:
        """Name everything that Calico would refuse about the pool; empty if it is right."""
        sizes = BLOCK_SIZES[self.cidr.version]
        found = []
        if self.block_size not in sizes:
            found.append(f"blockSize {self.block_size} is not in {sizes[0]}..{sizes[-1]}")
        elif self.cidr.prefixlen > self.block_size and not self.disabled:
            found.append(f"blockSize {self.block_size} is larger than the pool")
        for key, mode in (("ipipMode", self.ipip_mode), ("vxlanMode", self.vxlan_mode)):
            if mode not in ENCAPSULATION_MODES:
                found.append(f"{key} {mode!r} is not one of {', '.join(ENCAPSULATION_MODES)}")
        if self.ipip_mode != "Never" and self.vxlan_mode != "Never":
            found.append("ipipMode and vxlanMode are both on; choose one")
        return found

    def checked(self) -> "Pool":
        """Return the pool itself if it is right.

        Raises:
            Invalid: with every mistake.
        """
        if found := self.mistakes():
            raise Invalid(f"{self}: {'; '.join(found)}")
        return self
