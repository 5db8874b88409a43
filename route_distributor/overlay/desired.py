"""What the tunnels of this node should be: devices, and with VXLAN how every other pod is reached.

Pure: no I/O. Routes of IPIP are BIRD's, which learns them from peers; for that the device has to
be there. With VXLAN nobody tells: what etcd says of other nodes becomes routes, neighbours and
forwarding entries. Every choice is by name, so that the order of learning changes nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface

from datamodel.node import Node
from datamodel.pool import Pool
from datamodel.tunnel import TUNNELS
from kernel_api.rtnetlink import Address, Interface, Network
from route_distributor.overlay.items import (
    IPIP,
    VXLAN,
    Device,
    Forwarding,
    Item,
    Neighbour,
    Overlay,
    OwnAddress,
    Route,
    Uplink,
    Vxlan,
)
from route_distributor.overlay.remote import Remote
from route_distributor.snapshot import ClusterSnapshot

HEADER = {tunnel.device: tunnel.overhead for tunnel in TUNNELS}
BLOCK_METRIC = {4: 0, 6: 1024}  # the kernel's defaults
# Of single addresses: a pod here that has the same one, for a moment or by mistake, goes before.
ADDRESS_METRIC = {4: 1024, 6: 2048}
LOOSE = "2"  # rp_filter: packets of pods may come by a tunnel though the way back is another one


def overlay(snapshot: ClusterSnapshot, remote: Remote, uplinks: Mapping[int, Uplink]) -> Overlay:
    """Say what the tunnels of this node should be.

    Args:
        uplinks: by version of the node's address, as far as an interface has it.
    """
    problems: list[str] = [*remote.skipped]
    pools = _usable(snapshot.pools)
    devices: dict[str, Device] = {}
    items: set[Item] = set()
    unknown = set()
    for version in (4, 6):
        kinds = _kinds(pools, version)
        view = _view(snapshot, version, uplinks, problems) if kinds else None
        if kinds and view is None:
            unknown.add(version)
        if view is None:
            continue
        if "ipip" in kinds:
            devices[IPIP] = Device(IPIP, view.uplink.mtu - HEADER[IPIP])
            items |= _own_address(IPIP, view.own.ipip_address)
        if "vxlan" in kinds:
            device = _vxlan_device(view, problems)
            devices[device.name] = device
            items |= _own_address(device.name, view.own.vxlan_address(version))
            items |= _vxlan_items(view, pools, snapshot, remote, problems)
    has_ipv6 = snapshot.own is not None and snapshot.own.ipv6 is not None
    return Overlay(
        devices=devices,
        items=frozenset(items),
        sysctls=_sysctls(devices, has_ipv6),
        unknown=frozenset(unknown),
        problems=tuple(problems),
    )


def _usable(pools: Iterable[Pool]) -> tuple[Pool, ...]:
    """Those that say by which tunnel they are reached, the narrowest first.

    Of one that does not, BIRD's part says what is wrong.
    """
    kept = [pool for pool in pools if not pool.is_contradictory]
    return tuple(sorted(kept, key=lambda pool: (-pool.cidr.prefixlen, pool.name)))


def _kinds(pools: Iterable[Pool], version: int) -> set[str]:
    kinds = set()
    for pool in pools:
        if pool.cidr.version == version:
            kinds |= {"vxlan"} if pool.has_vxlan else set()
            kinds |= {"ipip"} if pool.has_ipip else set()
    return kinds


@dataclass(frozen=True, slots=True)
class _View:
    """This node in one version."""

    version: int
    own: Node
    address: Interface
    uplink: Uplink


def _view(
    snapshot: ClusterSnapshot, version: int, uplinks: Mapping[int, Uplink], problems: list[str]
) -> _View | None:
    """Look at this node in one version; ``None``, and why, if it cannot have a tunnel."""
    own = snapshot.own
    address = None if own is None else own.address(version)
    if own is None or address is None:
        problems.append(
            f"node {snapshot.node}: has no IPv{version} address in etcd; tunnels stay as they are"
        )
        return None
    if version not in uplinks:
        problems.append(
            f"node {snapshot.node}: no interface has its address {address.ip}; "
            "tunnels stay as they are until one does"
        )
        return None
    return _View(version, own, address, uplinks[version])


def _vxlan_device(view: _View, problems: list[str]) -> Device:
    name = VXLAN[view.version]
    mac = _mac(view.own, view.version)
    if mac is None:
        problems.append(_wrong_mac(view.own))
        mac = _made_mac(view.own.name, view.version)
    vxlan = Vxlan(view.address.ip, view.uplink.index)
    return Device(name, view.uplink.mtu - HEADER[name], vxlan, mac)


def _own_address(device: str, address: Address | None) -> set[Item]:
    """The address of a device; there is none before ipamd has allocated one."""
    return set() if address is None else {OwnAddress(device, ip_interface(address))}


def _sysctls(devices: Mapping[str, Device], has_ipv6: bool) -> dict[str, str]:
    found = {"net/ipv4/conf/all/forwarding": "1"}
    if has_ipv6:
        found["net/ipv6/conf/all/forwarding"] = "1"
    for name in devices:
        found |= {
            f"net/ipv4/conf/{name}/forwarding": "1",
            f"net/ipv4/conf/{name}/rp_filter": LOOSE,
        }
    return found


# ---- the other nodes, by VXLAN -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Peer:
    """Another node's end of the tunnel."""

    node: Address
    vtep: Address
    mac: str


def _vxlan_items(
    view: _View,
    pools: tuple[Pool, ...],
    snapshot: ClusterSnapshot,
    remote: Remote,
    problems: list[str],
) -> set[Item]:
    device = VXLAN[view.version]
    peers = _peers(view, snapshot.others, problems)
    items: set[Item] = set()
    for peer in peers.values():
        items |= {Neighbour(device, peer.vtep, peer.mac), Forwarding(device, peer.mac, peer.node)}
    ways = _Ways(view, pools, peers, problems)
    taken: set[Network] = {*snapshot.blocks}
    for cidr, node in remote.blocks:
        if cidr.version != view.version or node == snapshot.node:
            continue
        if cidr in taken:
            problems.append(f"block {cidr}: is another node's and node {node}'s; see ipam check")
        elif route := ways.route(cidr, node):
            taken.add(cidr)
            items.add(route)
    for address, node in remote.borrowed:
        cidr = _host_network(address)
        if cidr.version == view.version and node != snapshot.node and cidr not in taken:
            items |= {route} if (route := ways.route(cidr, node)) else set()
    problems.extend(
        f"node {name}: has no VXLAN tunnel (IPv{view.version}) yet; its pods cannot be reached"
        for name in sorted(ways.unreached)
    )
    return items


@dataclass(slots=True)
class _Ways:
    """How the pods of other nodes are reached."""

    view: _View
    pools: tuple[Pool, ...]
    peers: Mapping[str, _Peer]
    problems: list[str]
    unreached: set[str] = field(default_factory=set)

    def route(self, cidr: Network, node: str) -> Route | None:
        """The route to what *node* has; ``None`` if it is not for us to make, or cannot be."""
        pool = next((p for p in self.pools if p.contains(cidr)), None)
        if pool is None or not pool.has_vxlan:
            return None
        peer = self.peers.get(node)
        if peer is None:
            self.unreached.add(node)
            return None
        is_single = cidr.prefixlen == cidr.max_prefixlen
        metric = (ADDRESS_METRIC if is_single else BLOCK_METRIC)[cidr.version]
        if pool.vxlan_mode == "CrossSubnet" and peer.node in self.view.address.network:
            return Route(cidr, self.view.uplink.name, peer.node, metric)
        return Route(cidr, VXLAN[cidr.version], peer.vtep, metric)


def _peers(view: _View, others: Iterable[Node], problems: list[str]) -> dict[str, _Peer]:
    """The other nodes that have a tunnel, each with an address and a MAC of its own."""
    own_vtep = view.own.vxlan_address(view.version)
    holders: dict[Address | str, str] = {
        _mac(view.own, view.version) or _made_mac(view.own.name, view.version): view.own.name
    }
    if own_vtep:
        holders[own_vtep] = view.own.name
    peers = {}
    for node in others:
        address, vtep = node.address(view.version), node.vxlan_address(view.version)
        if address is None or vtep is None:
            continue
        mac = _mac(node, view.version)
        if mac is None:
            problems.append(_wrong_mac(node))
            continue
        holder = holders.get(vtep) or holders.get(mac)
        if holder:
            problems.append(
                f"node {node.name}: its VXLAN tunnel has address or MAC ({vtep}, {mac}) of node "
                f"{holder}; give each its own"
            )
            continue
        holders |= {vtep: node.name, mac: node.name}
        peers[node.name] = _Peer(address.ip, vtep, mac)
    return peers


def _mac(node: Node, version: int) -> str | None:
    """The MAC of a node's VXLAN device; ``None`` if what etcd says of it is none of one device."""
    said = (node.vxlan_mac if version == 4 else node.vxlan_mac_ipv6).lower()
    if not said:
        return _made_mac(node.name, version)
    is_usable = not int(said[:2], 16) & 1 and said.strip("0:")
    return said if is_usable else None


def _made_mac(name: str, version: int) -> str:
    text = name if version == 4 else f"{name}-v6"
    digest = hashlib.sha1(text.encode(errors="replace"), usedforsecurity=False).digest()
    return f"66:{digest[:5].hex(':')}"


def _wrong_mac(node: Node) -> str:
    return f"node {node.name}: the MAC of its VXLAN tunnel is none of one device; correct its Node"


def _host_network(address: Address) -> Network:
    return ip_interface(address).network
