"""An IPPool: a range that operators give us, cut into blocks.

Pure: no I/O. Field meanings, defaults and rules are Calico's (projectcalico.org/v3 IPPool).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from datamodel.errors import Invalid
from datamodel.selector import parse

Network = IPv4Network | IPv6Network

# Allowed block sizes (prefix lengths) by family, from Calico's validation.
BLOCK_SIZES = {4: range(20, 33), 6: range(116, 129)}
TUNNELLED = ("Always", "CrossSubnet")
ENCAPSULATION_MODES = ("Never", *TUNNELLED)
USES = ("Workload", "Tunnel", "LoadBalancer")
ASSIGNMENT_MODES = ("Automatic", "Manual")
# In the search for an unclaimed block, so many that are one's own or reserved are passed over.
MAX_SKIPPED = 65_536
LINK_LOCAL: dict[int, Network] = {4: IPv4Network("169.254.0.0/16"), 6: IPv6Network("fe80::/10")}


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
    namespace_selector: str = ""  # empty: every namespace, and pods without one
    is_allocatable: bool = True  # unless Calico's controller says in the status that it is not
    is_deleting: bool = False

    def __str__(self) -> str:
        return f"pool {self.name} ({self.cidr})"

    @property
    def has_ipip(self) -> bool:
        """Whether packets between nodes may go through IPIP; a text that is no mode means Never."""
        return self.ipip_mode in TUNNELLED

    @property
    def has_vxlan(self) -> bool:
        """The same of VXLAN."""
        return self.vxlan_mode in TUNNELLED

    @property
    def is_contradictory(self) -> bool:
        """Whether no tunnel can be chosen; then nodes have no routes to each other's pods in it."""
        return self.has_ipip and (self.has_vxlan or self.cidr.version == 6)

    @property
    def block_count(self) -> int:
        """How many blocks the pool is cut into; none if one does not fit in."""
        bits = self.block_size - self.cidr.prefixlen
        return 1 << bits if bits >= 0 else 0

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

    def block_of(self, address: IPv4Address | IPv6Address) -> Network:
        """The block to which *address*, one of the pool's, belongs."""
        return type(self.cidr)((int(address), self.block_size), strict=False)

    def contains(self, cidr: Network) -> bool:
        """Whether *cidr* lies in the pool as a whole."""
        return (
            self.cidr.version == cidr.version
            and self.cidr.prefixlen <= cidr.prefixlen
            and cidr.network_address in self.cidr
        )

    def mistakes(self) -> list[str]:
        """Name everything that Calico would refuse in a new pool; empty if it is right.

        What concerns other pools and blocks is in ``mistakes_against``.
        """
        return [
            *_size_mistakes(self),
            *_place_mistakes(self),
            *_encapsulation_mistakes(self),
            *_use_mistakes(self),
            *_selector_mistakes(self),
        ]

    def checked(self) -> "Pool":
        """Return the pool itself if it may be created.

        Raises:
            Invalid: with every mistake.
        """
        return self._unless(self.mistakes())

    def usable(self) -> "Pool":
        """Return the pool itself if blocks can be cut from it, whatever else is wrong with it.

        For a pool that is stored: somebody let it through, and what would be refused today must
        not stop allocation. A selector that nobody can read then selects nobody, and a use or
        mode that does not exist is not the one that a request asks for.

        Raises:
            Invalid: its block size is wrong.
        """
        return self._unless(_size_mistakes(self))

    def _unless(self, found: list[str]) -> "Pool":
        if found:
            raise Invalid(f"{self}: {'; '.join(found)}")
        return self


def mistakes_against(
    pool: Pool, others: Sequence[Pool], blocks: Iterable[Network], before: Pool | None
) -> list[str]:
    """Name what Calico would refuse about a pool because of what is there already.

    Args:
        pool: as it is to be.
        others: the cluster's pools; one of the same name is taken for the pool itself.
        blocks: every block of the cluster, at least of its family.
        before: the pool as it is, if it is; then neither others nor blocks matter, so that one
            that overlaps can still be disabled.
    """
    if before is not None:
        return _changes(before, pool)
    found = [
        f"cidr overlaps with {other}; take another range"
        for other in others
        if other.name != pool.name and other.cidr.overlaps(pool.cidr)
    ]
    wrong = sorted(b for b in blocks if b.prefixlen != pool.block_size and b.overlaps(pool.cidr))
    if wrong:
        more = f" and {len(wrong) - 1} more" if wrong[1:] else ""
        found.append(
            f"blockSize {pool.block_size} is not that of the blocks in its range, "
            f"{wrong[0]}{more}; take their size, or another range"
        )
    return found


def _changes(before: Pool, after: Pool) -> list[str]:
    """What Calico does not let anybody change."""
    found = []
    if after.cidr != before.cidr:
        found.append(f"cidr cannot change from {before.cidr} to {after.cidr}; add another pool")
    if after.block_size != before.block_size:
        found.append(
            f"blockSize cannot change from {before.block_size} to {after.block_size}; "
            "add another pool"
        )
    other_uses = [use for use in after.allowed_uses if use != "LoadBalancer"]
    if "LoadBalancer" in before.allowed_uses and other_uses:
        found.append(f"allowedUses cannot change from LoadBalancer to {', '.join(other_uses)}")
    return found


def _size_mistakes(pool: Pool) -> list[str]:
    sizes = BLOCK_SIZES[pool.cidr.version]
    if pool.block_size not in sizes:
        return [f"blockSize {pool.block_size} is not in {sizes[0]}..{sizes[-1]}"]
    if pool.cidr.prefixlen > pool.block_size and not pool.disabled:
        return [
            f"blockSize {pool.block_size} is larger than the pool; "
            f"take {max(sizes[0], pool.cidr.prefixlen)} or more"
        ]
    return []


def _place_mistakes(pool: Pool) -> list[str]:
    link_local = LINK_LOCAL[pool.cidr.version]
    if not pool.cidr.overlaps(link_local):
        return []
    return [f"cidr overlaps with {link_local}, which is link-local; take another range"]


def _encapsulation_mistakes(pool: Pool) -> list[str]:
    found = []
    for key, mode in (("ipipMode", pool.ipip_mode), ("vxlanMode", pool.vxlan_mode)):
        if mode not in ENCAPSULATION_MODES:
            found.append(f"{key} {mode!r} is not one of {', '.join(ENCAPSULATION_MODES)}")
    if pool.ipip_mode != "Never" and pool.vxlan_mode != "Never":
        found.append("ipipMode and vxlanMode are both on; choose one")
    if pool.ipip_mode != "Never" and pool.cidr.version == 6:
        found.append("ipipMode is on, but IPIP does not carry IPv6")
    return found


def _use_mistakes(pool: Pool) -> list[str]:
    found = [
        f"allowedUses {use!r} is not one of {', '.join(USES)}"
        for use in pool.allowed_uses
        if use not in USES
    ]
    if pool.assignment_mode not in ASSIGNMENT_MODES:
        modes = ", ".join(ASSIGNMENT_MODES)
        found.append(f"assignmentMode {pool.assignment_mode!r} is not one of {modes}")
    if "Tunnel" in pool.allowed_uses and pool.namespace_selector:
        found.append(
            "namespaceSelector is not for pools of tunnel addresses; set allowedUses to Workload"
        )
    if "LoadBalancer" in pool.allowed_uses:
        wrong = {
            "allowedUses with Workload or Tunnel": {"Workload", "Tunnel"} & {*pool.allowed_uses},
            "ipipMode or vxlanMode": {pool.ipip_mode, pool.vxlan_mode} != {"Never"},
            "disableBGPExport": pool.disable_bgp_export,
            "a nodeSelector other than all()": pool.node_selector not in ("", "all()"),
        }
        found += [f"a LoadBalancer pool cannot have {what}" for what, has in wrong.items() if has]
    return found


def _selector_mistakes(pool: Pool) -> list[str]:
    found = []
    for key, text in (
        ("nodeSelector", pool.node_selector),
        ("namespaceSelector", pool.namespace_selector),
    ):
        try:
            if parse(text).uses_global:
                found.append(f"{key} {text!r} uses global(), which is for network policies only")
        except Invalid as error:
            found.append(f"{key}: {error}")
    return found
