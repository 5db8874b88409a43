"""Between which nodes packets to pods go through a tunnel.

Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from datamodel.node import Node
from datamodel.pool import Pool
from ocicatctl.routes.facts import encapsulation, is_near
from ocicatctl.topology.model import Tunnel


def tunnels(nodes: Sequence[Node], pools: Sequence[Pool]) -> tuple[Tunnel, ...]:
    """Every pair of nodes and every pool whose packets between them are wrapped."""
    return tuple(
        Tunnel((a.name, b.name), kind, pool.name)
        for pool in pools
        for mode, kind in [encapsulation(pool)]
        if kind and not pool.is_contradictory
        for a, b in _pairs(nodes, pool.cidr.version)
        if mode == "Always" or not _are_near(a, b, pool.cidr.version)
    )


def _are_near(a: Node, b: Node, version: int) -> bool:
    return is_near(a, b, version) and is_near(b, a, version)


def _pairs(nodes: Sequence[Node], version: int) -> Iterator[tuple[Node, Node]]:
    return combinations([node for node in nodes if node.address(version) is not None], 2)
