"""What one node's sessions are decided from.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from datamodel.bgp import BgpConfiguration
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.block import Address
from datamodel.node import Node
from datamodel.selector import parse
from route_distributor.bird.values import Settings


@dataclass(frozen=True, slots=True)
class View:
    """The cluster's nodes with the eyes of one of them."""

    own: Node
    others: tuple[Node, ...]  # by name
    bgp: BgpConfiguration
    listen_ports: Mapping[str, int]
    filters: Mapping[str, BgpFilter]
    settings: Settings
    cluster_id: IPv4Address | None  # if this node reflects routes

    @property
    def as_number(self) -> int:
        """This node's AS."""
        return self.as_of(self.own)

    def as_of(self, node: Node) -> int:
        """The AS of a node."""
        return node.as_number or self.bgp.as_number

    def port_of(self, node: Node) -> int:
        """Where a node listens."""
        return self.listen_ports.get(node.name, self.bgp.listen_port)

    def own_address(self, version: int) -> Address | None:
        """This node's address of a family."""
        return address_of(self.own, version)

    def node_at(self, address: Address) -> Node | None:
        """The other node that has the address."""
        return next(
            (node for node in self.others if address_of(node, address.version) == address), None
        )


def address_of(node: Node, version: int) -> Address | None:
    """A node's address of a family."""
    interface = node.address(version)
    return None if interface is None else interface.ip


def addresses_of(node: Node) -> tuple[Address, ...]:
    """A node's addresses."""
    return tuple(i.ip for i in (node.ipv4, node.ipv6) if i is not None)


def is_of(peer: BgpPeer, node: Node) -> bool:
    """Whether the sessions of a BGPPeer are sessions of *node*."""
    if peer.node:
        return peer.node == node.name
    return not peer.node_selector or parse(peer.node_selector).matches(node.labels)


def is_with(peer: BgpPeer, node: Node) -> bool:
    """Whether a BGPPeer selects *node* as the other end."""
    return bool(peer.peer_selector) and parse(peer.peer_selector).matches(node.labels)
