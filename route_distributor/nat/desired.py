"""Which packets leave this node under its own address, decided from the cluster's snapshot.

Pure: no I/O. Values, not text: ``ruleset.py`` knows nftables' language, this file what we want.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from datamodel.node import Node
from datamodel.pool import Network, Pool
from datamodel.tunnel import TUNNELS
from route_distributor.snapshot import ClusterSnapshot


@dataclass(frozen=True, slots=True)
class Family:
    """Masquerading of one family of addresses: from ``sources`` to whatever is in no pool."""

    sources: tuple[Network, ...] = ()  # in order, none overlaps with another
    pools: tuple[Network, ...] = ()  # likewise; none if there is no source


@dataclass(frozen=True, slots=True)
class Nat:
    """All that is masqueraded on a node."""

    ipv4: Family = Family()
    ipv6: Family = Family()
    # Into them goes only what has the tunnel's address, or a pod's: the answer to any other
    # address of this node would come back outside the tunnel.
    tunnels: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is masqueraded."""
        return not (self.ipv4.sources or self.ipv6.sources or self.tunnels)


def desired(snapshot: ClusterSnapshot) -> Nat:
    """Decide what is masqueraded.

    As in Calico a disabled pool counts like any other: its pods keep their addresses, and an
    operator makes one of a range outside the cluster that is to see the pods' addresses.
    """
    return Nat(
        ipv4=_family(snapshot.pools, 4),
        ipv6=_family(snapshot.pools, 6),
        tunnels=_tunnels(snapshot.own),
    )


def _family(pools: tuple[Pool, ...], version: int) -> Family:
    some = [pool for pool in pools if pool.cidr.version == version]
    sources = _merged([pool.cidr for pool in some if pool.nat_outgoing])
    return Family(sources, _merged([pool.cidr for pool in some])) if sources else Family()


def _merged(ranges: list[Network]) -> tuple[Network, ...]:
    """The same addresses in as few ranges as can be: sets take none that overlap."""
    ipv4 = collapse_addresses(cidr for cidr in ranges if isinstance(cidr, IPv4Network))
    ipv6 = collapse_addresses(cidr for cidr in ranges if isinstance(cidr, IPv6Network))
    return (*ipv4, *ipv6)


def _tunnels(own: Node | None) -> tuple[str, ...]:
    if own is None:
        return ()
    return tuple(tunnel.device for tunnel in TUNNELS if tunnel.address_of(own) is not None)
