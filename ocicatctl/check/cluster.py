"""What etcd says about addresses, decoded as far as anybody can read it.

Pure: no I/O. A value that cannot be read is named, and from then on unknown: nothing is concluded
from what it may or may not say.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamodel.affinity import Affinity
from datamodel.block import WINDOWS_HANDLE, Address, Attribute
from datamodel.errors import Invalid
from datamodel.ipam_config import COOLDOWNS_S
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datastore import codec, keys
from datastore.store import Entry
from ocicatctl.check.block import ReadBlock, read_block
from ocicatctl.entries import raise_for
from ocicatctl.ipam.tunnels import tunnel_addresses

# Everything that is looked at.
RANGES = (
    keys.ENDPOINTS,
    keys.ALL_HANDLES,
    keys.NODES,
    keys.POOLS,
    keys.RESERVATIONS,
    keys.IPAM_CONFIG,
    keys.CLUSTER_INFORMATION,
    keys.ALL_AFFINITIES,
    keys.ALL_BLOCKS,
)


@dataclass(frozen=True, slots=True)
class Holding:
    """An address that somebody holds, or that cools down."""

    address: Address
    cidr: Network  # its block
    attribute: Attribute
    sequence: int  # tells this holding from a later one of the same address
    handle_id: str | None  # under which there is a key, or should be

    @property
    def is_cooling(self) -> bool:
        """Whether nobody holds it any more."""
        return self.attribute.released_at is not None

    def fact(self, name: str) -> str:
        """What the attribute says; empty if nothing."""
        return (self.attribute.secondary or {}).get(name, "")


@dataclass
class Cluster:
    """The readable values; each kind in the order of its keys."""

    entries: Mapping[str, Entry]
    cooldown_s: int = 0
    blocks: dict[Network, ReadBlock] = field(default_factory=dict)
    pools: list[Pool] = field(default_factory=list)
    nodes: dict[str, Node | None] = field(default_factory=dict)  # None: cannot be read
    handles: dict[str, Mapping[Network, int] | None] = field(default_factory=dict)
    affinities: list[Affinity] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  # by key: what is wrong
    # Who uses an address, in calicoctl's words; a name twice if it says so twice.
    users: dict[Address, list[str]] = field(default_factory=dict)
    tunnels: int = 0  # addresses of nodes' tunnels
    workloads: int = 0  # addresses of endpoints
    information: codec.Document = field(default_factory=dict)  # what the cluster says of itself
    held: dict[Address, list[Holding]] = field(default_factory=dict)
    held_by: dict[str, list[Holding]] = field(default_factory=dict)  # by handle

    def revision(self, key: str) -> int:
        """The key's revision; 0 if there is none."""
        entry = self.entries.get(key)
        return entry.revision if entry else 0

    def value(self, key: str) -> bytes | None:
        """The key's value; ``None`` if there is none."""
        entry = self.entries.get(key)
        return entry.value if entry else None

    def is_unreadable(self, prefix: str) -> bool:
        """Whether a key below *prefix*, or it itself, cannot be read."""
        return any(key.startswith(prefix) for key in self.unreadable)

    def counts(self, handle_id: str) -> dict[Network, int]:
        """How many addresses a handle holds in each block."""
        found: dict[Network, int] = {}
        for holding in self.held_by.get(handle_id, ()):
            found[holding.cidr] = found.get(holding.cidr, 0) + 1
        return found


def read_cluster(entries: Mapping[str, Entry], now: datetime) -> Cluster:
    """Decode every entry once."""
    cluster = Cluster(entries)
    readers = {
        keys.ENDPOINTS: _read_endpoint,
        keys.ALL_HANDLES: _read_handle,
        keys.NODES: _read_node,
        keys.POOLS: _read_pool,
        keys.RESERVATIONS: _read_reservation,
        keys.ALL_AFFINITIES: _read_affinity,
        keys.CLUSTER_INFORMATION: _read_information,
    }
    for _, entry in sorted(entries.items()):
        key = entry.key
        try:
            if key.startswith(keys.ALL_BLOCKS):
                read = read_block(key, entry.value, now)
                cluster.blocks[read.block.cidr] = read
                continue
            for prefix, reader in readers.items():
                if key.startswith(prefix):
                    reader(cluster, key, entry.value)
                    break
        except Invalid as error:
            cluster.unreadable[key] = str(error)
    cluster.cooldown_s = _cooldown_s(cluster)
    for read in cluster.blocks.values():
        for holding in _holdings(cluster, read):
            cluster.held.setdefault(holding.address, []).append(holding)
            if holding.attribute.handle_id == WINDOWS_HANDLE:
                cluster.users.setdefault(holding.address, []).append("Reserved for Windows")
            elif holding.handle_id:
                cluster.held_by.setdefault(holding.handle_id, []).append(holding)
    return cluster


def _read_endpoint(cluster: Cluster, key: str, value: bytes) -> None:
    user = f"Workload({key.removeprefix(keys.ENDPOINTS)})"
    for network in codec.decode_endpoint(key, value).networks:
        cluster.users.setdefault(network.network_address, []).append(user)
        cluster.workloads += 1


def _read_handle(cluster: Cluster, key: str, value: bytes) -> None:
    handle_id = key.removeprefix(keys.ALL_HANDLES)
    cluster.handles[handle_id] = None
    cluster.handles[handle_id] = codec.decode_handle(key, value)


def _read_node(cluster: Cluster, key: str, value: bytes) -> None:
    name = key.removeprefix(keys.NODES)
    cluster.nodes[name] = None
    cluster.nodes[name] = codec.decode_node(key, value)
    for address in sorted(tunnel_addresses(cluster.entries[key]), key=_by_family):
        cluster.users.setdefault(address, []).append(f"Node({name})")
        cluster.tunnels += 1


def _by_family(address: Address) -> tuple[int, int]:
    return address.version, int(address)


def _read_pool(cluster: Cluster, key: str, value: bytes) -> None:
    cluster.pools.append(codec.decode_pool(key, value))


def _read_reservation(cluster: Cluster, key: str, value: bytes) -> None:
    _, mistakes = codec.decode_reservations([(key, value)])
    raise_for([*mistakes])


def _read_information(cluster: Cluster, key: str, value: bytes) -> None:
    spec = codec.load(key, value).get("spec") or {}
    if not isinstance(spec, dict):
        raise Invalid(f"etcd key {key}: spec is not a JSON object")
    cluster.information = spec


def _read_affinity(cluster: Cluster, key: str, value: bytes) -> None:
    if "/" not in key.removeprefix(keys.ALL_AFFINITIES):
        return  # the mark of a host that very old Calicos left
    affinity = codec.decode_affinity(key, value)
    if keys.affinity(affinity.host, affinity.cidr) != key:
        raise Invalid(f"etcd key {key}: is not spelled as an affinity's key")
    cluster.affinities.append(affinity)


def _cooldown_s(cluster: Cluster) -> int:
    entry = cluster.entries.get(keys.IPAM_CONFIG)
    try:
        return codec.decode_ipam_config(entry.value if entry else None).ip_cooldown_s
    except Invalid as error:
        cluster.unreadable[keys.IPAM_CONFIG] = str(error)
        return COOLDOWNS_S[-1]  # as careful as it can be


def _holdings(cluster: Cluster, read: ReadBlock) -> Iterator[Holding]:
    block = read.block
    names = [_handle_of(cluster, attribute) for attribute in block.attributes]
    for ordinal, index in enumerate(block.allocations):
        if index is not None:
            yield Holding(
                block.address(ordinal),
                block.cidr,
                block.attributes[index],
                block.sequence_numbers.get(ordinal, 0),
                names[index],
            )


def _handle_of(cluster: Cluster, attribute: Attribute) -> str | None:
    """The handle that an attribute names; old migrations wrote rubbish after a carriage return."""
    name = attribute.handle_id
    if not name or name == WINDOWS_HANDLE or attribute.released_at is not None:
        return None
    return name if name in cluster.handles else name.partition("\r")[0] or None
