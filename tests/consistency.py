"""What must hold of every store that a real calicoctl is to read, at any moment.

It reads the JSON itself instead of using ``datastore/codec.py``, so that a mistake of ours there
is seen here. Give it every key: of the store in memory, or of a real etcd.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from ipaddress import ip_network as parse_network
from itertools import pairwise
from typing import Any

IPAM = "/calico/ipam/v2/"
RESOURCES = "/calico/resources/v3/projectcalico.org/"
BLOCK_KEY = re.compile(rf"{IPAM}assignment/ipv([46])/block/([^/]+)-(\d+)")
AFFINITY_KEY = re.compile(rf"{IPAM}host/([^/]+)/ipv([46])/block/([^/]+)-(\d+)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")
WINDOWS_HANDLE = "windows-reserved-ipam-handle"  # has no key
# Types of what is held for interfaces that other plugins make, which have no endpoint.
UNWIRED_TYPES = ("ocicatDelegated", "ocicatGateway")

Document = dict[str, Any]
Problems = Iterator[str]


@dataclass(frozen=True)
class Excuse:
    """What else explains a state that would be a contradiction."""

    # Handles whose addresses need no endpoint: another plugin wires their containers, or their pod
    # has moved to a newer container and their release is under way.
    unwired: Collection[str] = ()
    # Keys of affinities that somebody else is claiming or giving up, in several writes.
    half_done: Collection[str] = ()
    # Nodes whose deletion is under way: the Node goes first.
    leaving: Collection[str] = ()
    # Pools may be disabled while pods use their addresses; calicoctl counts these.
    may_drain: bool = False
    now: datetime | None = None  # the time of the look; None: times are not compared with it


def assert_consistent(
    entries: Mapping[str, bytes], *, unwired: Collection[str] = (), excuse: Excuse | None = None
) -> None:
    """Fail with every contradiction among *entries*, which are all keys below "/calico/"."""
    found = problems(entries, unwired=unwired, excuse=excuse)
    assert not found, "\n".join(["inconsistent:", *found])


def problems(
    entries: Mapping[str, bytes], *, unwired: Collection[str] = (), excuse: Excuse | None = None
) -> list[str]:
    """Every contradiction among *entries*, in words."""
    cluster, excuse = _Cluster(entries), excuse or Excuse(unwired)
    return [
        *_blocks(cluster, excuse),
        *_places(cluster),
        *_affinities(cluster, excuse),
        *_handles(cluster),
        *_backing(cluster, excuse),
        *_resources(cluster),
        *_endpoints(cluster, excuse),
    ]


class _Cluster:
    """The entries, sorted by kind."""

    def __init__(self, entries: Mapping[str, bytes]) -> None:
        self.blocks = _documents(entries, f"{IPAM}assignment/")
        self.affinities = _documents(entries, f"{IPAM}host/")
        self.handles = {
            key.removeprefix(f"{IPAM}handle/"): document
            for key, document in _documents(entries, f"{IPAM}handle/").items()
        }
        self.resources = _documents(entries, RESOURCES)

    def of_kind(self, plural: str) -> dict[str, Document]:
        prefix = f"{RESOURCES}{plural}/"
        return {k: d for k, d in self.resources.items() if k.startswith(prefix)}

    def allocated(self) -> Iterator["_Held"]:
        """Every held address. One that cools down is free."""
        for block in self.blocks.values():
            first = ip_network(block["cidr"]).network_address
            for ordinal, index in enumerate(block["allocations"]):
                attributes = block["attributes"] or []
                if _is_index(index, attributes) and not attributes[index].get("releasedAt"):
                    handle = attributes[index].get("handle_id")
                    facts = attributes[index].get("secondary") or {}
                    yield _Held(block["cidr"], str(first + ordinal), handle, facts)


@dataclass(frozen=True)
class _Held:
    """An address that somebody holds."""

    block: str
    address: str
    handle: str | None
    facts: Document


@lru_cache(maxsize=4096)
def ip_network(text: str) -> IPv4Network | IPv6Network:
    return parse_network(text)


def _is_index(value: Any, items: list[Any]) -> bool:
    return type(value) is int and 0 <= value < len(items)


def _documents(entries: Mapping[str, bytes], prefix: str) -> dict[str, Document]:
    return {k: _document(v) for k, v in sorted(entries.items()) if k.startswith(prefix)}


@lru_cache(maxsize=4096)  # whoever looks at every revision sees most values again and again
def _document(value: bytes) -> Document:
    # An empty affinity is very old data and means "confirmed".
    return json.loads(value or b"{}")


# ---- blocks: shape, queue, attributes, sequence numbers ----------------------------------------


def _blocks(cluster: _Cluster, excuse: Excuse) -> Problems:
    for key, block in cluster.blocks.items():
        match = BLOCK_KEY.fullmatch(key)
        if match is None:
            yield f"{key}: is not the key of a block"
            continue
        version, address, length = match.groups()
        network = ip_network(f"{address}/{length}")
        if block.get("cidr") != str(network) or network.version != int(version):
            yield f"{key}: cidr is {block.get('cidr')}"
        if block.get("deleted") is not False:
            yield f"{key}: deleted is {block.get('deleted')}"
        for found in (
            *_queue(block, network.num_addresses),
            *_attributes(block),
            *_cooldowns(block, excuse.now),
            *_sequence(block, network.num_addresses),
        ):
            yield f"{key}: {found}"


def _queue(block: Document, size: int) -> Problems:
    allocations, unallocated = block["allocations"], block["unallocated"]
    if len(allocations) != size:
        yield f"{len(allocations)} allocations for {size} addresses"
    if not all(i is None or type(i) is int for i in allocations):
        yield f"allocations are not null or integers: {allocations}"
    if not all(type(o) is int for o in unallocated):
        yield f"the queue holds other things than integers: {unallocated}"
    if strange := [o for o in unallocated if type(o) is int and not 0 <= o < size]:
        yield f"ordinals {strange} of the queue are out of the block"
    if twice := [o for o, n in Counter(unallocated).items() if n > 1]:
        yield f"ordinals {twice} are in the queue twice"
    free = {o for o, index in enumerate(allocations) if index is None}
    if set(unallocated) != free:
        yield f"queue and free ordinals differ in {sorted(free ^ set(unallocated))}"
    held = len(allocations) - len(free)
    if len(unallocated) + held != size:
        yield f"{len(unallocated)} ordinals in the queue and {held} held for {size} addresses"


def _attributes(block: Document) -> Problems:
    attributes = block["attributes"] or []
    used = {index for index in block["allocations"] if index is not None}
    if used != set(range(len(attributes))):
        yield f"{len(attributes)} attributes, but allocations name {sorted(used)}"
    for attribute in attributes:
        if not isinstance(attribute.get("handle_id"), str | None):
            yield f"handle_id is {attribute['handle_id']!r}"
        texts = [*(attribute.get("secondary") or {}).items()]
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in texts):
            yield f"secondary is not text: {texts}"


def _cooldowns(block: Document, now: datetime | None) -> Problems:
    for attribute in block["attributes"] or []:
        released_at = attribute.get("releasedAt")
        if released_at is None:
            continue
        if not TIME.fullmatch(str(released_at)):
            yield f"releasedAt is {released_at!r}"
        elif now is not None and datetime.fromisoformat(released_at) > now:
            yield f"releasedAt {released_at} is in the future, it is {now}"
        if attribute.get("handle_id") is not None:
            yield f"what cools down since {released_at} is held by {attribute['handle_id']}"


def _sequence(block: Document, size: int) -> Problems:
    own, numbers = block["sequenceNumber"], block["sequenceNumberForAllocation"] or {}
    if type(own) is not int or not 0 <= own < 1 << 64:
        yield f"sequenceNumber is {own!r}"
    for ordinal, number in numbers.items():
        if not (ordinal.isdecimal() and str(int(ordinal)) == ordinal and int(ordinal) < size):
            yield f"sequenceNumberForAllocation has {ordinal!r}"
        elif type(number) is not int or not number < own:
            yield f"ordinal {ordinal} has sequence number {number!r}, the block {own}"
    held = {str(o) for o, index in enumerate(block["allocations"]) if index is not None}
    if missing := sorted(held - numbers.keys()):
        yield f"ordinals {missing} are held and have no sequence number"


# ---- blocks ⇔ pools, blocks ⇔ blocks ------------------------------------------------------------


def _places(cluster: _Cluster) -> Problems:
    networks = sorted(
        (ip_network(block["cidr"]) for block in cluster.blocks.values()),
        key=lambda network: (network.version, network),
    )
    for network, next_one in pairwise(networks):
        if network.overlaps(next_one):
            yield f"blocks {network} and {next_one} overlap"
    for pool in cluster.of_kind("ippools").values():
        cidr, size = ip_network(pool["spec"]["cidr"]), pool["spec"].get("blockSize")
        for network in networks:
            if size is not None and network.overlaps(cidr) and network.prefixlen != size:
                yield f"block {network} is in pool {cidr}, whose blocks are /{size}"


# ---- affinities ⇔ blocks ⇔ nodes ---------------------------------------------------------------


def _affinities(cluster: _Cluster, excuse: Excuse) -> Problems:
    claimed = {}
    for key, affinity in cluster.affinities.items():
        match = AFFINITY_KEY.fullmatch(key)
        if match is None:
            yield f"{key}: is not the key of an affinity"
            continue
        host, version, address, length = match.groups()
        if affinity.get("state", "") not in ("confirmed", "") and key not in excuse.half_done:
            yield f"{key}: state is {affinity['state']}"
        block_key = f"{IPAM}assignment/ipv{version}/block/{address}-{length}"
        claimed[f"host:{host}", block_key] = key
        if f"{RESOURCES}nodes/{host}" not in cluster.resources and host not in excuse.leaving:
            yield f"{key}: there is no node {host}"
    yield from _ownership(cluster, claimed, excuse)


def _ownership(
    cluster: _Cluster, claimed: Mapping[tuple[str, str], str], excuse: Excuse
) -> Problems:
    owned = {(b["affinity"], key) for key, b in cluster.blocks.items() if b["affinity"] is not None}
    for affinity, key in sorted(claimed.keys() - owned):
        if claimed[affinity, key] not in excuse.half_done:
            yield f"{key}: {affinity} has an affinity, but the block is not its own"
    for affinity, key in sorted(owned - claimed.keys()):
        if affinity.startswith("host:"):
            yield f"{key}: belongs to {affinity}, which has no affinity for it"
    for key, block in cluster.blocks.items():
        if block["affinity"] is None and len(block["unallocated"]) == len(block["allocations"]):
            yield f"{key}: is nobody's and empty, but there"


# ---- handles ⇔ attributes ----------------------------------------------------------------------


def _handles(cluster: _Cluster) -> Problems:
    counts: dict[str, Counter[str]] = {}
    for held in cluster.allocated():
        if held.handle is not None and held.handle != WINDOWS_HANDLE:
            counts.setdefault(held.handle, Counter())[held.block] += 1
    for handle in sorted(counts.keys() | cluster.handles.keys()):
        if "/" in handle or "\r" in handle:
            yield f"handle {handle!r}: no reader finds it"
        recorded = cluster.handles.get(handle)
        if recorded is None:
            yield f"handle {handle}: holds {dict(counts[handle])} and has no key"
        elif recorded.get("block") != (held := dict(counts.get(handle, {}))):
            yield f"handle {handle}: counts {recorded.get('block')} and holds {held}"


# ---- allocations ⇔ endpoints and tunnels -------------------------------------------------------


def _backing(cluster: _Cluster, excuse: Excuse) -> Problems:
    held = {held.address: held for held in cluster.allocated()}
    listed = Counter(
        network.partition("/")[0]
        for endpoint in cluster.of_kind("workloadendpoints").values()
        for network in endpoint["spec"].get("ipNetworks") or ()
    )
    tunnels = _tunnels(cluster)
    for address, (handle, node) in tunnels.items():
        if address not in held or held[address].handle != handle:
            yield f"{address}: node {node} has it as a tunnel's, but {handle} does not hold it"
    for address, what in held.items():
        is_exempt = what.handle in excuse.unwired or what.handle == WINDOWS_HANDLE
        is_exempt = is_exempt or what.facts.get("type") in UNWIRED_TYPES
        is_exempt = is_exempt or what.facts.get("node") in excuse.leaving
        if not (is_exempt or address in listed or address in tunnels):
            yield f"{address}: is held by {what.handle}, but no endpoint or tunnel uses it"
    pools = [
        ip_network(pool["spec"]["cidr"])
        for pool in cluster.of_kind("ippools").values()
        if excuse.may_drain or not pool["spec"].get("disabled")
    ]
    for address, count in listed.items():
        if count > 1:
            yield f"{address}: is used by {count} endpoints"
        single = ip_network(address)
        if not any(p.version == single.version and single.subnet_of(p) for p in pools):
            yield f"{address}: is used, but in no enabled pool"
        elif address not in held:
            yield f"{address}: is used by an endpoint, but not allocated"


def _tunnels(cluster: _Cluster) -> dict[str, tuple[str, str]]:
    """The address of every tunnel: under which handle it must be held, and the node.

    Of IPv6, too, though calicoctl's check does not look at it.
    """
    found = {}
    for key, resource in cluster.of_kind("nodes").items():
        node, spec = key.rpartition("/")[2], resource["spec"]
        bgp, wireguard = spec.get("bgp") or {}, spec.get("wireguard") or {}
        stated = {
            "ipip": bgp.get("ipv4IPIPTunnelAddr"),
            "vxlan": spec.get("ipv4VXLANTunnelAddr"),
            "vxlan-v6": spec.get("ipv6VXLANTunnelAddr"),
            "wireguard": wireguard.get("interfaceIPv4Address"),
            "wireguard-v6": wireguard.get("interfaceIPv6Address"),
        }
        for kind, address in stated.items():
            if address:
                found[address] = (f"{kind}-tunnel-addr-{node}", node)
    return found


# ---- resources and the names of endpoints ------------------------------------------------------


def _resources(cluster: _Cluster) -> Problems:
    for key, resource in cluster.resources.items():
        metadata = resource.get("metadata") or {}
        missing = [f for f in ("name", "uid", "creationTimestamp") if not metadata.get(f)]
        if missing:
            yield f"{key}: metadata lacks {', '.join(missing)}"
        if metadata.get("name") != key.rpartition("/")[2]:
            yield f"{key}: metadata.name is {metadata.get('name')}"


def _endpoints(cluster: _Cluster, excuse: Excuse) -> Problems:
    held = {held.address: held for held in cluster.allocated()}
    by_handle: dict[str | None, list[str]] = {}
    for what in held.values():
        by_handle.setdefault(what.handle, []).append(what.address)
    for key, endpoint in cluster.of_kind("workloadendpoints").items():
        namespace, _, name = key.removeprefix(f"{RESOURCES}workloadendpoints/").partition("/")
        metadata, spec = endpoint["metadata"], endpoint["spec"]
        orchestrator = spec["orchestrator"]
        workload = {"k8s": spec.get("pod"), "cni": spec.get("containerID")}.get(
            orchestrator, spec.get("workload")
        )
        parts = (spec["node"], orchestrator, workload or "", spec["endpoint"])
        if name != (wanted := "-".join(part.replace("-", "--") for part in parts)):
            yield f"{key}: by its fields its name is {wanted}"
        if metadata.get("namespace") != namespace:
            yield f"{key}: metadata.namespace is {metadata.get('namespace')}"
        labels = {
            "projectcalico.org/namespace": namespace,
            "projectcalico.org/orchestrator": orchestrator,
        }
        if not labels.items() <= (metadata.get("labels") or {}).items():
            yield f"{key}: labels are {metadata.get('labels')}"
        for network in spec.get("ipNetworks") or ():
            if ip_network(network).num_addresses != 1:
                yield f"{key}: {network} is not a single address"
        for found in _addresses(spec, held, by_handle, excuse):
            yield f"{key}: {found}"


def _addresses(
    spec: Document,
    held: Mapping[str, _Held],
    by_handle: Mapping[str | None, Collection[str]],
    excuse: Excuse,
) -> Problems:
    """An endpoint lists what its container holds, all of it, of both families."""
    listed = [network.partition("/")[0] for network in spec.get("ipNetworks") or ()]
    used = [held[address] for address in listed if address in held]
    handles = {what.handle for what in used}
    if len(handles) > 1:
        yield f"its addresses are held by several: {sorted(map(str, handles))}"
    for handle in handles.difference(excuse.unwired):
        if missing := sorted(set(by_handle[handle]).difference(listed)):
            yield f"lists {listed}, but {handle} holds {missing} too"
    for what in used:
        node, container = what.facts.get("node"), spec.get("containerID")
        if node is not None and node != spec["node"]:
            yield f"is on {spec['node']}, but {what.address} is held for {node}"
        if what.handle and container and f".{container}" not in what.handle:
            yield f"is of container {container}, but {what.address} is held by {what.handle}"
