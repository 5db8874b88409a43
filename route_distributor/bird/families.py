"""What the addresses of one family need of BIRD on this node.

Pure: no I/O.
"""

from collections.abc import Iterable

from datamodel.bgp import BgpConfiguration
from datamodel.node import Node
from datamodel.pool import Network, Pool
from route_distributor.bird.filters import community_of, is_plain
from route_distributor.bird.values import Community, Family, Tunnel, in_order
from route_distributor.bird.view import addresses_of
from route_distributor.snapshot import ClusterSnapshot


def family_of(
    snapshot: ClusterSnapshot, own: Node, version: int, problems: list[str]
) -> Family | None:
    """Decide what BIRD does for a family; ``None`` if this node has no address of it."""
    interface = own.address(version)
    if interface is None or snapshot.bgp is None:
        return None
    pools = [p for p in snapshot.pools if p.cidr.version == version and is_plain(p.cidr)]
    withheld = in_order(p.cidr for p in pools if p.disable_bgp_export)
    blocks = in_order(b for b in snapshot.blocks if b.version == version and is_plain(b))
    return Family(
        version=version,
        address=interface.ip,
        subnet=interface.network,
        blocks=blocks,
        advertised=tuple(b for b in blocks if not any(_is_in(b, pool) for pool in withheld)),
        # Disabled ones as well: pods keep what such a pool gave them.
        pools=in_order(p.cidr for p in pools if not p.disable_bgp_export),
        withheld=withheld,
        tunnels=tuple(
            sorted(
                (
                    Tunnel(p.cidr, p.ipip_mode == "CrossSubnet")
                    for p in pools
                    if p.has_ipip and not p.is_contradictory
                ),
                key=lambda tunnel: tunnel.cidr,
            )
        ),
        others_program=in_order(p.cidr for p in pools if p.has_vxlan or p.is_contradictory),
        services=_services(snapshot, own, version, problems),
        communities=_communities(own, snapshot.bgp, version, problems),
    )


def pool_problems(pools: Iterable[Pool]) -> list[str]:
    """Say which pools' encapsulation nobody can make sense of."""
    return [
        f"{pool}: {'ipipMode does not carry IPv6' if pool.cidr.version == 6 else 'both overlays'}; "
        "nodes cannot reach each other's pods in it until one of ipipMode and vxlanMode is Never"
        for pool in pools
        if pool.is_contradictory
    ]


def _services(
    snapshot: ClusterSnapshot, own: Node, version: int, problems: list[str]
) -> tuple[Network, ...]:
    bgp = snapshot.bgp
    if bgp is None:
        return ()
    by_field = {
        "serviceClusterIPs": bgp.service_cluster_ips,
        "serviceExternalIPs": bgp.service_external_ips,
        "serviceLoadBalancerIPs": bgp.service_load_balancer_ips,
    }
    kept = set()
    for field, cidrs in by_field.items():
        for cidr in cidrs:
            if cidr.version != version:
                continue
            if mistake := _service_mistake(cidr, snapshot, own):
                problems.append(f"BGPConfiguration default: {field} {str(cidr)!r}: {mistake}")
            else:
                kept.add(cidr)
    return in_order(kept)


def _service_mistake(cidr: Network, snapshot: ClusterSnapshot, own: Node) -> str:
    """Why a range of services would take the ground from under BIRD's feet; "" if it does not."""
    if not is_plain(cidr):
        return "is no range; mend it with calicoctl"
    for node in (own, *snapshot.others):
        if any(address in cidr for address in addresses_of(node)):
            return f"contains the address of node {node.name}; take a range without nodes"
    for peer in snapshot.peers:
        for address in (peer.peer_ip, peer.reachable_by):
            if address is not None and address in cidr:
                return f"contains {address} of BGPPeer {peer.name}; take a range without routers"
    for pool in snapshot.pools:
        if "Workload" in pool.allowed_uses and pool.cidr.overlaps(cidr):
            return f"overlaps with {pool}; take a range without pods"
    return ""


def _communities(
    own: Node, bgp: BgpConfiguration, version: int, problems: list[str]
) -> tuple[tuple[Network, tuple[Community, ...]], ...]:
    found: dict[Network, set[Community]] = {}
    for advertisement in bgp.prefix_advertisements:
        cidr = advertisement.cidr
        if cidr.version != version or not is_plain(cidr):
            continue
        for text in advertisement.communities:
            community = community_of(bgp.communities.get(text, text))
            if community is None:
                problems.append(
                    f"BGPConfiguration of {own.name}: prefixAdvertisements {cidr}: community "
                    f"{text!r} is neither a value such as 65000:100 nor the name of one; "
                    "add it to communities"
                )
            else:
                found.setdefault(cidr, set()).add(community)
    return tuple((cidr, tuple(sorted(found[cidr]))) for cidr in sorted(found))


def _is_in(block: Network, pool: Network) -> bool:
    return pool.prefixlen <= block.prefixlen and block.network_address in pool
