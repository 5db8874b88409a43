"""The topology for programs.

Pure: no I/O.
"""

from typing import Any

from ocicatctl.topology.model import BlockFill, Place, PoolFill, Router, SessionEnd, Topology

Document = dict[str, Any]


def document(topology: Topology) -> Document:
    """Everything, in plain values."""
    routers = {router.name: str(router.address) for router in topology.routers}
    return {
        "nodes": [_node(place) for place in topology.places],
        "routers": [_router(router) for router in topology.routers],
        "pools": [_pool(pool) for pool in topology.pools],
        "sessions": [_session(end, routers) for end in topology.sessions],
        "tunnels": [
            {"nodes": [*tunnel.nodes], "kind": tunnel.kind, "pool": tunnel.pool}
            for tunnel in topology.tunnels
        ],
        "blocksOfNobody": [_block(block) for block in topology.strays],
        "problems": [*topology.problems],
    }


def _node(place: Place) -> Document:
    return {
        "name": place.name,
        "addresses": [*place.addresses],
        "asNumber": place.as_number,
        "routeReflectorClusterID": place.cluster_id,
        "tunnelAddresses": {device: str(address) for device, address in place.tunnels},
        "blocks": [_block(block) for block in place.blocks],
        "borrowed": dict(place.borrowed),
        "problem": place.problem,
    }


def _router(router: Router) -> Document:
    return {
        "address": str(router.address),
        "asNumber": router.as_number,
        "bgpPeers": [*router.peers],
    }


def _pool(fill: PoolFill) -> Document:
    pool = fill.pool
    return {
        "name": pool.name,
        "cidr": str(pool.cidr),
        "blockSize": pool.block_size,
        "blocks": fill.block_count,
        **fill.counts.document,
        "ipipMode": pool.ipip_mode,
        "vxlanMode": pool.vxlan_mode,
        "natOutgoing": pool.nat_outgoing,
        "disabled": pool.disabled,
        "disableBGPExport": pool.disable_bgp_export,
        "nodeSelector": pool.node_selector,
    }


def _block(block: BlockFill) -> Document:
    counts = block.counts.document if block.counts else {}
    return {"cidr": str(block.cidr), **counts, "lent": dict(block.lent), "note": block.note}


def _session(end: SessionEnd, routers: dict[str, str]) -> Document:
    is_router = end.other in routers
    return {
        "node": end.node,
        "peerAddress": str(end.address),
        "peerNode": None if is_router else end.other,
        "bgpPeer": end.why or None,
        "state": end.state,
        "info": end.info,
        "isWanted": end.is_wanted,
    }
