"""What must hold of every store that a real calicoctl is to read, at any moment.

It reads the JSON itself instead of using ``datastore/codec.py``, so that a mistake of ours there
is seen here. Give it every key: of the store in memory, or of a real etcd.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

IPAM = "/calico/ipam/v2/"
RESOURCES = "/calico/resources/v3/projectcalico.org/"
BLOCK_KEY = re.compile(rf"{IPAM}assignment/ipv([46])/block/([^/]+)-(\d+)")
AFFINITY_KEY = re.compile(rf"{IPAM}host/([^/]+)/ipv([46])/block/([^/]+)-(\d+)")
WINDOWS_HANDLE = "windows-reserved-ipam-handle"  # has no key

Document = dict[str, Any]
Problems = Iterator[str]


def assert_consistent(entries: Mapping[str, bytes], *, unwired: Collection[str] = ()) -> None:
    """Fail with every contradiction among *entries*, which are all keys below "/calico/".

    Args:
        unwired: handles whose addresses need no endpoint: another plugin wires their containers,
            or their pod has moved to a newer container and their release is under way.
    """
    assert not (found := problems(entries, unwired=unwired)), "\n".join(["inconsistent:", *found])


def problems(entries: Mapping[str, bytes], *, unwired: Collection[str] = ()) -> list[str]:
    """Every contradiction among *entries*, in words."""
    cluster = _Cluster(entries)
    return [
        *_blocks(cluster),
        *_affinities(cluster),
        *_handles(cluster),
        *_backing(cluster, unwired),
        *_resources(cluster),
        *_endpoints(cluster),
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

    def allocated(self) -> Iterator[tuple[str, str, str | None]]:
        """Every held address: its block, the address, the handle. One that cools down is free."""
        for block in self.blocks.values():
            first = ip_network(block["cidr"]).network_address
            for ordinal, index in enumerate(block["allocations"]):
                attributes = block["attributes"] or []
                if _is_index(index, attributes) and "releasedAt" not in attributes[index]:
                    yield block["cidr"], str(first + ordinal), attributes[index].get("handle_id")


def _is_index(value: Any, items: list[Any]) -> bool:
    return type(value) is int and 0 <= value < len(items)


def _documents(entries: Mapping[str, bytes], prefix: str) -> dict[str, Document]:
    # An empty affinity is very old data and means "confirmed".
    return {k: json.loads(v or b"{}") for k, v in sorted(entries.items()) if k.startswith(prefix)}


# ---- blocks: shape, queue, attributes, sequence numbers ----------------------------------------


def _blocks(cluster: _Cluster) -> Problems:
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
    if twice := [o for o, n in Counter(unallocated).items() if n > 1]:
        yield f"ordinals {twice} are in the queue twice"
    free = {o for o, index in enumerate(allocations) if index is None}
    if set(unallocated) != free:
        yield f"queue and free ordinals differ in {sorted(free ^ set(unallocated))}"


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


# ---- affinities ⇔ blocks ⇔ nodes ---------------------------------------------------------------


def _affinities(cluster: _Cluster) -> Problems:
    claimed = set()
    for key, affinity in cluster.affinities.items():
        match = AFFINITY_KEY.fullmatch(key)
        if match is None:
            yield f"{key}: is not the key of an affinity"
            continue
        host, version, address, length = match.groups()
        if affinity.get("state", "") not in ("confirmed", ""):
            yield f"{key}: state is {affinity['state']}"
        claimed.add((f"host:{host}", f"{IPAM}assignment/ipv{version}/block/{address}-{length}"))
        if f"{RESOURCES}nodes/{host}" not in cluster.resources:
            yield f"{key}: there is no node {host}"
    owned = {(b["affinity"], key) for key, b in cluster.blocks.items() if b["affinity"] is not None}
    for affinity, key in sorted(claimed - owned):
        yield f"{key}: {affinity} has an affinity, but the block is not its own"
    for affinity, key in sorted(owned - claimed):
        if affinity.startswith("host:"):
            yield f"{key}: belongs to {affinity}, which has no affinity for it"
    for key, block in cluster.blocks.items():
        if block["affinity"] is None and len(block["unallocated"]) == len(block["allocations"]):
            yield f"{key}: is nobody's and empty, but there"


# ---- handles ⇔ attributes ----------------------------------------------------------------------


def _handles(cluster: _Cluster) -> Problems:
    counts: dict[str, Counter[str]] = {}
    for cidr, _, handle in cluster.allocated():
        if handle not in (None, WINDOWS_HANDLE):
            counts.setdefault(handle, Counter())[cidr] += 1
    for handle in sorted(counts.keys() | cluster.handles.keys()):
        if "/" in handle or "\r" in handle:
            yield f"handle {handle!r}: no reader finds it"
        recorded = cluster.handles.get(handle)
        if recorded is None:
            yield f"handle {handle}: holds {dict(counts[handle])} and has no key"
        elif recorded.get("block") != (held := dict(counts.get(handle, {}))):
            yield f"handle {handle}: counts {recorded.get('block')} and holds {held}"


# ---- allocations ⇔ endpoints and tunnels -------------------------------------------------------


def _backing(cluster: _Cluster, unwired: Collection[str]) -> Problems:
    held = {address: handle for _, address, handle in cluster.allocated()}
    listed = Counter(
        network.partition("/")[0]
        for endpoint in cluster.of_kind("workloadendpoints").values()
        for network in endpoint["spec"].get("ipNetworks") or ()
    )
    tunnels = {a for node in cluster.of_kind("nodes").values() for a in _tunnels(node["spec"])}
    for address, handle in held.items():
        is_exempt = handle in unwired or handle == WINDOWS_HANDLE
        if not (is_exempt or address in listed or address in tunnels):
            yield f"{address}: is held by {handle}, but no endpoint or tunnel uses it"
    pools = [
        ip_network(pool["spec"]["cidr"])
        for pool in cluster.of_kind("ippools").values()
        if not pool["spec"].get("disabled")
    ]
    for address, count in listed.items():
        if count > 1:
            yield f"{address}: is used by {count} endpoints"
        if not any(
            ip_network(address).subnet_of(p) for p in pools if p.version == _version(address)
        ):
            yield f"{address}: is used, but in no enabled pool"
        elif address not in held:
            yield f"{address}: is used by an endpoint, but not allocated"


def _tunnels(spec: Document) -> Iterator[str]:
    yield from filter(
        None,
        (
            (spec.get("bgp") or {}).get("ipv4IPIPTunnelAddr"),
            spec.get("ipv4VXLANTunnelAddr"),
            (spec.get("wireguard") or {}).get("interfaceIPv4Address"),
        ),
    )


def _version(address: str) -> int:
    return 6 if ":" in address else 4


# ---- resources and the names of endpoints ------------------------------------------------------


def _resources(cluster: _Cluster) -> Problems:
    for key, resource in cluster.resources.items():
        metadata = resource.get("metadata") or {}
        missing = [f for f in ("name", "uid", "creationTimestamp") if not metadata.get(f)]
        if missing:
            yield f"{key}: metadata lacks {', '.join(missing)}"
        if metadata.get("name") != key.rpartition("/")[2]:
            yield f"{key}: metadata.name is {metadata.get('name')}"


def _endpoints(cluster: _Cluster) -> Problems:
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
