"""Clusters whose pictures are in tests/golden/topology/, by the file's name."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network

from bird_api.protocols import Session
from datamodel.attribute import Attribute
from datamodel.block import Block
from datamodel.pool import Pool
from datamodel.tunnel import IPIP
from datastore import codec, keys
from datastore.store import Entry
from tests.cluster import (
    STAMP,
    Pair,
    a_bgp_configuration,
    a_bgp_peer,
    a_node,
    an_affinity,
    of_node,
    stored,
)
from tests.routing import node

Case = tuple[Mapping[str, Entry], Mapping[str, Sequence[Session]]]

HOSTILE = "<b>&\"x'</b> ]]>\x00\n--> 日本語 \\N \u202e" + "ü" * 60


def a_filled_block(cidr: str, owner: str, *holders: str) -> tuple[Pair, Pair]:
    """A block and its affinity; each address is held by a pod on the node named."""
    block = Block.new(ip_network(cidr), owner, now_ns=1)
    for number, holder in enumerate(holders):
        facts = {"node": holder, "pod": f"p{number}", "namespace": "default"}
        block = block.assign(Attribute(f"ocicat.{number}", facts))[0]
    return (keys.block(block.cidr), codec.encode_block(block)), an_affinity(cidr, host=owner)


def a_pool_with(name: str, cidr: str, **fields: object) -> Pair:
    network = ip_network(cidr)
    pool = Pool(name, network, **{"block_size": 24 if network.version == 4 else 122, **fields})
    return keys.pool(name), codec.encode_pool(pool, STAMP)


def a_session(address: str, info: str = "Established") -> Session:
    state = "up" if info == "Established" else "start"
    return Session(f"Mesh_{address}", ip_address(address), "global", state, "10:00:00", info)


def up(number: int, *more: Session) -> list[Session]:
    """The sessions of one of three nodes, with the others and *more*."""
    return [*(a_session(f"10.0.0.{10 + i}") for i in (1, 2, 3) if i != number), *more]


THREE = [a_node(f"node-{i}", f"10.0.0.{10 + i}") for i in (1, 2, 3)]
BLOCKS = [
    *a_filled_block("10.233.77.0/24", "node-1", *["node-1"] * 3),
    *a_filled_block("10.233.88.0/24", "node-2", *["node-2"] * 180),
    *a_filled_block("10.233.99.0/24", "node-3", *["node-3"] * 40, "node-1", "node-1"),
]
POOL = a_pool_with("default-ipv4-ippool", "10.233.64.0/18", nat_outgoing=True)
REFUSED = "Active Socket: Connection refused"
ROUTER = a_session("10.0.0.254")
REFLECTING = {"route_reflector_cluster_id": "1.0.0.1", "labels": {"rr": "yes"}}


def _tunnelled(number: int) -> Pair:
    key, value = of_node(node(number, **(REFLECTING if number < 3 else {})))
    address = ip_address(f"10.233.{60 + number}.1")
    return key, codec.with_tunnel_address(key, value, IPIP, address)


CASES: dict[str, Case] = {
    "mesh": (stored(*THREE, *BLOCKS, POOL), {f"node-{i}": up(i) for i in (1, 2, 3)}),
    "routers-outside": (
        stored(
            *THREE,
            *BLOCKS,
            POOL,
            a_bgp_peer("rack-1", peerIP="10.0.0.254", asNumber=64601),
            a_bgp_peer("rack-2", peerIP="10.0.0.253", asNumber=64602, node="node-3"),
        ),
        {
            "node-1": up(1, ROUTER),
            "node-2": up(2, ROUTER, a_session("10.0.0.99")),
            "node-3": up(3, ROUTER, a_session("10.0.0.253", REFUSED)),
        },
    ),
    "two-reflectors": (
        stored(
            *(_tunnelled(i) for i in range(1, 7)),
            a_bgp_configuration(nodeToNodeMeshEnabled=False),
            a_bgp_peer("reflectors", nodeSelector="!has(rr)", peerSelector="has(rr)"),
            a_bgp_peer("among-reflectors", nodeSelector="has(rr)", peerSelector="has(rr)"),
            a_bgp_peer("tor", nodeSelector="has(rr)", peerIP="10.0.0.254", asNumber=65001),
            *(
                pair
                for i in range(1, 7)
                for pair in a_filled_block(f"10.233.{60 + i}.0/26", f"node-{i}", *[f"node-{i}"] * i)
            ),
            a_pool_with("default-ipv4-ippool", "10.233.0.0/16", block_size=26, ipip_mode="Always"),
            a_pool_with("old", "10.240.0.0/20", disabled=True),
        ),
        {},
    ),
    "dual-stack": (
        stored(
            *(a_node(f"node-{i}", f"10.0.{i}.11", ipv6=f"fd00:10:{i}::11") for i in range(1, 5)),
            *(
                pair
                for i in range(1, 5)
                for cidr in (f"10.233.{60 + i}.0/24", f"fd65::{i}00/122")
                for pair in a_filled_block(cidr, f"node-{i}", *[f"node-{i}"] * (i * 9))
            ),
            a_pool_with("four", "10.233.0.0/16", vxlan_mode="CrossSubnet", nat_outgoing=True),
            a_pool_with("six", "fd65::/112", vxlan_mode="Always", disable_bgp_export=True),
        ),
        {},
    ),
    "hostile-names": (
        stored(
            a_node(HOSTILE, "10.0.0.11"),
            a_node("node-2", "10.0.0.12"),
            a_node("node-9", "10.0.0.12"),
            (keys.node("broken"), b"{"),
            an_affinity("10.9.9.0/24", host="gone"),
            (keys.block(ip_network("10.9.9.0/24")), b"x"),
            (keys.block(ip_network("10.9.8.0/24")), b"x"),
            a_pool_with(HOSTILE, "10.233.64.0/18"),
            (f"{keys.POOLS}bad", b"[]"),
            a_bgp_peer(HOSTILE, peerIP="10.0.0.254", asNumber=1),
        ),
        {},
    ),
    "nothing": ({}, {}),
}
