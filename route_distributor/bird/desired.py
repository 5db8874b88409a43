"""What BIRD on this node should do, decided from the cluster's snapshot.

Pure: no I/O. Values, not text: ``render.py`` knows BIRD's language, this file knows what we want.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from datamodel.bgp import BgpConfiguration
from route_distributor.snapshot import ClusterSnapshot


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of one session."""

    address: IPv4Address
    as_number: int
    is_passive: bool  # we wait for the peer to dial


@dataclass(frozen=True, slots=True)
class BirdConfig:
    """All that BIRD needs to know."""

    address: IPv4Address  # this node's, and its router id
    as_number: int
    port: int  # on which every node listens
    peers: tuple[Peer, ...]  # by address
    blocks: tuple[IPv4Network, ...]  # this node's, in order
    advertised: tuple[IPv4Network, ...]  # those of them that peers are told of
    pools: tuple[IPv4Network, ...]  # in which an address of another node's block may be borrowed
    withheld: tuple[IPv4Network, ...]  # the pools of which peers are told nothing


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nothing can be configured; whatever BIRD does now, it should go on doing."""

    reason: str


def desired(snapshot: ClusterSnapshot) -> BirdConfig | NotYet:
    """Decide what BIRD should do, or say what is missing."""
    own, bgp = snapshot.own, snapshot.bgp
    if own is None or own.ipv4 is None:
        return NotYet(f"node {snapshot.node}: has no usable IPv4 address in etcd yet")
    if bgp is None:
        return NotYet("BGPConfiguration default: cannot be read; mend it with calicoctl")
    address = own.ipv4.ip
    withheld = _pools(snapshot, is_withheld=True)
    blocks = tuple(block for block in snapshot.blocks if isinstance(block, IPv4Network))
    return BirdConfig(
        address=address,
        as_number=own.as_number or bgp.as_number,
        port=bgp.listen_port,
        peers=_mesh(address, snapshot, bgp) if bgp.is_mesh_enabled else (),
        blocks=blocks,
        advertised=tuple(b for b in blocks if not any(map(b.subnet_of, withheld))),
        pools=_pools(snapshot, is_withheld=False),
        withheld=withheld,
    )


def _mesh(
    address: IPv4Address, snapshot: ClusterSnapshot, bgp: BgpConfiguration
) -> tuple[Peer, ...]:
    peers = [
        Peer(
            address=node.ipv4.ip,
            as_number=node.as_number or bgp.as_number,
            # One end dials. Calico compares the addresses as text, and both ends of a session
            # must come to the same answer: so 10.0.0.10 dials 10.0.0.9 here as well.
            is_passive=str(node.ipv4.ip) > str(address),
        )
        for node in snapshot.others
        if node.ipv4 is not None
    ]
    return tuple(sorted(peers, key=lambda peer: peer.address))


def _pools(snapshot: ClusterSnapshot, *, is_withheld: bool) -> tuple[IPv4Network, ...]:
    """By address: no name of a pool may change the file. Pods keep what a disabled one gave."""
    found = {
        pool.cidr
        for pool in snapshot.pools
        if isinstance(pool.cidr, IPv4Network) and pool.disable_bgp_export == is_withheld
    }
    return tuple(sorted(found))
