"""Model values ⇄ the JSON in etcd: the only place that knows Calico's field names.

Pure: no I/O. Blocks are written in the shape that every Calico version reads (3.31 and older);
fields that we do not know are kept and written back.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from datamodel.affinity import Affinity
from datamodel.block import WINDOWS_HANDLE, Attribute, Block
from datamodel.endpoint import (
    NAMESPACE_LABEL,
    ORCHESTRATOR_LABEL,
    SERVICE_ACCOUNT_LABEL,
    EndpointId,
    Port,
    Workload,
    WorkloadEndpoint,
)
from datamodel.errors import Invalid
from datamodel.ipam_config import IpamConfig
from datamodel.node import Node
from datamodel.pool import Network, Pool
from datamodel.reservation import Reservations
from datamodel.tunnel import IPIP, VXLAN, VXLAN_V6, Tunnel
from datastore import keys, reading
from datastore.reading import Document as Document

API_VERSION = "projectcalico.org/v3"
_DEFAULT_BLOCK_SIZE = {4: 26, 6: 122}  # Calico's, for a pool that does not say
_LABEL_VALUE_MAX = 63  # Calico makes no label of a service account's name of so many characters


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a resource gets when it is made: calicoctl refuses to edit one without it."""

    uid: str
    time: datetime

    @property
    def text(self) -> str:
        """RFC 3339 in UTC, whole seconds."""
        return f"{self.time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def load(key: str, value: bytes) -> Document:
    """Parse a stored value.

    Raises:
        Invalid: it is not a JSON object.
    """
    try:
        document = json.loads(
            value or b"{}",  # very old affinities are empty
            parse_float=_float,
            parse_constant=_float,
        )
    except (ValueError, RecursionError) as error:
        raise reading.spoilt(key, f"value is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise reading.spoilt(key, "value is not a JSON object")
    return document


def _float(text: str) -> float:
    """A number that can be written again: Go reads no Infinity and no NaN, so we read none."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def dump(document: Mapping[str, Any]) -> bytes:
    """Write JSON as Go does: no spaces, fields in the order given."""
    return _bytes(_json(document))


_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _bytes(text: str) -> bytes:
    # Half of a surrogate pair only an escape can express; JSON's is spelled like Python's.
    return text.encode(errors="backslashreplace")


# ---- IPAM --------------------------------------------------------------------------------------

_BLOCK_FIELDS = (
    "cidr",
    "affinity",
    "allocations",
    "unallocated",
    "attributes",
    "sequenceNumber",
    "sequenceNumberForAllocation",
    "deleted",
)


_CLAIM_TIME = "affinity_claim_time"


def encode_block(block: Block) -> bytes:
    """Write a block; one that is nobody's has no time of its claim, as in Calico.

    Spelled out, as every ADD waits for it: with 110 holders half the time that dictionaries and
    the JSON encoder take for all fields.
    """
    cidr = str(block.cidr)
    holders = _holders_json(cidr, block.attributes)
    sequence_numbers = ",".join([f'"{o}":{n}' for o, n in block.sequence_numbers.items()])
    extra = _without(block.extra, (_CLAIM_TIME,)) if block.affinity is None else block.extra
    return _bytes(
        f'{{"cidr":"{cidr}","affinity":{_json(block.affinity)},'
        f'"allocations":[{",".join(map(_number_json, block.allocations))}],'
        f'"unallocated":[{",".join(map(_number_json, block.unallocated))}],'
        f'"attributes":{f"[{holders}]" if holders else "null"},'
        f'"sequenceNumber":{block.sequence_number},'
        f'"sequenceNumberForAllocation":{{{sequence_numbers}}},"deleted":false'
        f"{''.join(f',{_json(name)}:{_json(value)}' for name, value in extra.items())}}}"
    )


class _Numbers(dict[int | None, str]):
    """Small numbers as JSON, each made once."""

    def __missing__(self, number: int) -> str:
        text = self[number] = str(number)
        return text


_number_json = _Numbers({None: "null"}).__getitem__

# By block, its holders when it was last written, and how they were written.
_HOLDERS_KEPT = 64
_holders: dict[str, tuple[tuple[Attribute, ...], str]] = {}


def _holders_json(cidr: str, attributes: tuple[Attribute, ...]) -> str:
    """Write the holders: mostly those of the last time, and one more."""
    before, text = _holders.pop(cidr, ((), ""))
    if attributes[: len(before)] != before:
        before, text = (), ""
    text = ",".join(([text] if text else []) + [*map(_attribute_json, attributes[len(before) :])])
    _holders[cidr] = attributes, text
    if len(_holders) > _HOLDERS_KEPT:
        del _holders[next(iter(_holders))]
    return text


@lru_cache(maxsize=2048)  # more than the 20 blocks of 64 addresses that a node has in Calico
def _attribute_json(attribute: Attribute) -> str:
    released_at = attribute.released_at
    released = {"releasedAt": f"{released_at:%Y-%m-%dT%H:%M:%SZ}"} if released_at else {}
    fields = {"handle_id": attribute.handle_id, "secondary": attribute.secondary}
    return _json({**fields, **released, **attribute.extra})


def decode_block(key: str, value: bytes) -> Block:
    """Read a block.

    Raises:
        Invalid: it is not one, or its parts contradict each other.
    """
    document = load(key, value)
    with reading.entry(key):
        if reading.cidr(document["cidr"]) != keys.cidr_of(key):
            raise Invalid(f"etcd key {key}: is about another block, {document['cidr']}")
        return Block(
            cidr=reading.cidr(document["cidr"]),
            affinity=reading.text_or_none(document.get("affinity")),
            allocations=tuple(document["allocations"]),
            unallocated=tuple(document["unallocated"] or ()),  # Go reads null as empty
            attributes=tuple(_attribute(a) for a in document.get("attributes") or ()),
            sequence_number=_sequence_number(document.get("sequenceNumber")),
            sequence_numbers={
                int(o): _sequence_number(n)
                for o, n in (document.get("sequenceNumberForAllocation") or {}).items()
            },
            extra={k: v for k, v in document.items() if k not in _BLOCK_FIELDS},
        ).checked()


_OWNER = re.compile(rb'"affinity":"host:([^"\\\\]+)"')


def may_hold_for_others(value: bytes) -> bool:
    """Whether a block may hold addresses of pods of other nodes than its own.

    It looks at the text only, for whoever is told of every block that changes (measured with 110
    holders: 10 µs, to read it takes 900).
    """
    owners = _OWNER.findall(value)
    if len(owners) != 1:
        return True
    return value.count(b'"node":') != value.count(b'"node":"' + owners[0] + b'"')


def is_held(value: bytes) -> bool:
    """Whether somebody holds an address of a block, or one cools down; by its text, as above."""
    holders = value.count(b'"handle_id"') + value.count(b'"releasedAt"')
    return holders > value.count(WINDOWS_HANDLE.encode())


def _sequence_number(value: Any) -> int:
    """As Go reads it; absent, as in very old blocks, means zero. There must be a next one."""
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 2**64 - 1:
        raise ValueError(f"{value!r} is not a sequence number")
    return value


_ATTRIBUTE_FIELDS = ("handle_id", "secondary", "releasedAt")


def _attribute(document: Document) -> Attribute:
    extra = {k: v for k, v in document.items() if k not in _ATTRIBUTE_FIELDS}
    secondary = document.get("secondary")
    if secondary is not None:
        secondary = {reading.text(key): reading.text(value) for key, value in secondary.items()}
    released_at = document.get("releasedAt")
    handle_id = reading.text_or_none(document.get("handle_id"))
    return Attribute(
        # Old migrations wrote rubbish after a carriage return; Calico does not look at it either.
        None if handle_id is None else handle_id.partition("\r")[0],
        secondary,
        extra,
        datetime.fromisoformat(reading.text(released_at)).astimezone(UTC) if released_at else None,
    )


def encode_affinity(affinity: Affinity, existing: bytes | None = None) -> bytes:
    """Write an affinity's value; host and block are in its key.

    Fields of *existing* that we do not know stay as they are.
    """
    fields = {"state": affinity.state, "deleted": False}
    return dump(fields | _others(existing, fields))


def decode_affinity(key: str, value: bytes) -> Affinity:
    """Read an affinity from its key and value."""
    host = key.removeprefix(keys.ALL_AFFINITIES).partition("/")[0]
    return Affinity(host, keys.cidr_of(key), str(load(key, value).get("state") or ""))


def encode_handle(counts: Mapping[Network, int], existing: bytes | None = None) -> bytes:
    """Write how many addresses a handle holds in each block.

    Fields of *existing* that we do not know stay as they are.
    """
    if existing is not None:
        fields = {"block": {str(cidr): n for cidr, n in counts.items()}, "deleted": False}
        return dump(fields | _others(existing, fields))
    blocks = ",".join([f'"{cidr}":{n}' for cidr, n in counts.items()])
    return _bytes(f'{{"block":{{{blocks}}},"deleted":false}}')


def _others(existing: bytes | None, known: Iterable[str]) -> Document:
    """The fields of a stored value that are not known; of one that nobody can read none."""
    try:
        return _without(load("", existing or b""), tuple(known))
    except Invalid:
        return {}


def decode_handle(key: str, value: bytes) -> dict[Network, int]:
    """Read how many addresses a handle holds in each block."""
    document = load(key, value)
    with reading.entry(key):
        return {reading.cidr(c): int(n) for c, n in (document.get("block") or {}).items()}


_IPAM_CONFIG_FIELDS = (
    "strict_affinity",
    "auto_allocate_blocks",
    "maxBlocksPerHost",
    "ipCooldownSeconds",
)


def encode_ipam_config(config: IpamConfig, existing: bytes | None) -> bytes:
    """Write the IPAM config; fields of *existing* that we do not know stay as they are."""
    old = load(keys.IPAM_CONFIG, existing) if existing is not None else {}
    fields = {
        "strict_affinity": config.strict_affinity,
        "auto_allocate_blocks": config.auto_allocate_blocks,
        "maxBlocksPerHost": config.max_blocks_per_host,
        **_without(old, _IPAM_CONFIG_FIELDS),
        **config.extra,
        "ipCooldownSeconds": config.ip_cooldown_s,
    }
    # As in Calico: what is off or zero is left out.
    return dump({k: v for k, v in fields.items() if v or k not in _IPAM_CONFIG_FIELDS})


def decode_ipam_config(value: bytes | None) -> IpamConfig:
    """Read the IPAM config. Without a key nodes may claim blocks; with one, it must say so.

    Raises:
        Invalid: a field is not of its type. What Calico would refuse to set is taken.
    """
    if value is None:
        return IpamConfig()
    document = load(keys.IPAM_CONFIG, value)
    with reading.entry(keys.IPAM_CONFIG):
        return IpamConfig(
            strict_affinity=reading.flag(document, "strict_affinity"),
            auto_allocate_blocks=reading.flag(document, "auto_allocate_blocks"),
            max_blocks_per_host=reading.number(document, "maxBlocksPerHost"),
            ip_cooldown_s=reading.seconds(document, "ipCooldownSeconds"),
            extra=_without(document, _IPAM_CONFIG_FIELDS),
        )


def _without(document: Mapping[str, Any], fields: tuple[str, ...]) -> Document:
    return {key: value for key, value in document.items() if key not in fields}


# Not Calico's: a borrowed address needs a route of its own on every peer.
DEFAULT_IPAM_CONFIG = encode_ipam_config(IpamConfig(strict_affinity=True), None)


# ---- resources ---------------------------------------------------------------------------------


def _resource(kind: str, metadata: Document, spec: Document, **rest: Any) -> bytes:
    return dump(
        {"kind": kind, "apiVersion": API_VERSION, "metadata": metadata, "spec": spec, **rest}
    )


def _metadata(name: str, stamp: Stamp, namespace: str | None = None) -> Document:
    names = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    return {**names, "uid": stamp.uid, "creationTimestamp": stamp.text}


def _identity(metadata: Document, stamp: Stamp) -> Document:
    """What a stored resource has of it; what it lacks, or has as null, is the stamp's."""
    return {
        "uid": metadata.get("uid") or stamp.uid,
        "creationTimestamp": metadata.get("creationTimestamp") or stamp.text,
    }


def encode_pool(pool: Pool, stamp: Stamp) -> bytes:
    """Write a new IPPool; a false flag is left out, as Calico does."""
    flags = {
        "natOutgoing": pool.nat_outgoing,
        "disabled": pool.disabled,
        "disableBGPExport": pool.disable_bgp_export,
    }
    spec = {
        "cidr": str(pool.cidr),
        "vxlanMode": pool.vxlan_mode,
        "ipipMode": pool.ipip_mode,
        **{name: True for name, is_set in flags.items() if is_set},
        "blockSize": pool.block_size,
        "nodeSelector": pool.node_selector,
        **({"namespaceSelector": pool.namespace_selector} if pool.namespace_selector else {}),
        "allowedUses": list(pool.allowed_uses),
        "assignmentMode": pool.assignment_mode,
    }
    return _resource("IPPool", _metadata(pool.name, stamp), spec)


def decode_pool(key: str, value: bytes) -> Pool:
    """Read an IPPool; absent fields have Calico's defaults.

    Raises:
        Invalid: a field is not of its type, or no block can be cut from the pool. What else
            Calico would refuse to create is taken.
    """
    document = load(key, value)
    with reading.entry(key):
        spec, metadata = document["spec"], document["metadata"]
        cidr = reading.cidr(spec["cidr"])
        return Pool(
            name=reading.text(metadata["name"]),
            cidr=cidr,
            block_size=reading.number(spec, "blockSize") or _DEFAULT_BLOCK_SIZE[cidr.version],
            disabled=reading.flag(spec, "disabled"),
            node_selector=reading.text(spec.get("nodeSelector") or "all()"),
            ipip_mode=reading.text(spec.get("ipipMode") or "Never"),
            vxlan_mode=reading.text(spec.get("vxlanMode") or "Never"),
            nat_outgoing=reading.flag(spec, "natOutgoing"),
            disable_bgp_export=reading.flag(spec, "disableBGPExport"),
            allowed_uses=reading.texts(spec.get("allowedUses")) or ("Workload", "Tunnel"),
            assignment_mode=reading.text(spec.get("assignmentMode") or "Automatic"),
            namespace_selector=reading.text(spec.get("namespaceSelector") or ""),
            is_allocatable=not any(
                condition.get("type") == "Allocatable" and condition.get("status") == "False"
                for condition in (document.get("status") or {}).get("conditions") or ()
            ),
            is_deleting=metadata.get("deletionTimestamp") is not None,
        ).usable()


def decode_reservation(key: str, value: bytes) -> tuple[str, ...]:
    """Read what an IPReservation lists: CIDRs and addresses, as they were written.

    Raises:
        Invalid: it is no list of texts.
    """
    document = load(key, value)
    with reading.entry(key):
        return reading.texts((document.get("spec") or {}).get("reservedCIDRs"))


def decode_reservations(
    values: Iterable[tuple[str, bytes]],
) -> tuple[Reservations, tuple[str, ...]]:
    """Read all IPReservations, given as keys and values, as one; and say what cannot be read."""
    texts: list[str] = []
    mistakes = []
    for key, value in values:
        try:
            listed = decode_reservation(key, value)
        except Invalid as error:
            mistakes.append(str(error))
            continue
        texts += listed
        if wrong := Reservations.of(listed).malformed:
            what = f"{', '.join(map(repr, wrong))} in reservedCIDRs: neither a CIDR nor an address"
            mistakes.append(str(reading.spoilt(key, what)))
    return Reservations.of(texts), tuple(mistakes)


def encode_node(
    node: Node, stamp: Stamp, existing: bytes | None = None, *, kubernetes_name: str = ""
) -> bytes:
    """Write a Node's addresses and AS number into a new resource or into *existing*.

    With *kubernetes_name* also by which name Kubernetes knows it; without, what is there stays.
    """
    document: Document = (
        load(keys.node(node.name), existing)
        if existing is not None
        else {
            "kind": "Node",
            "apiVersion": API_VERSION,
            "metadata": _metadata(node.name, stamp),
            "spec": {},
            "status": {},
        }
    )
    with reading.entry(keys.node(node.name)):
        spec = dict(document.get("spec") or {})
        bgp = dict(spec.get("bgp") or {})
        metadata = document.get("metadata") or {}
        document["metadata"] = {**metadata, **_identity(metadata, stamp)}
    if node.as_number is not None:
        bgp["asNumber"] = node.as_number
    if node.ipv4 is not None:
        bgp["ipv4Address"] = str(node.ipv4)
    if node.ipv6 is not None:
        bgp["ipv6Address"] = str(node.ipv6)
    if kubernetes_name:
        spec["orchRefs"] = [{"nodeName": kubernetes_name, "orchestrator": _KUBERNETES}]
    document["spec"] = {**spec, "bgp": bgp}
    return dump(document)


_KUBERNETES = "k8s"


def decode_kubernetes_names(key: str, value: bytes) -> tuple[str, ...]:
    """Read by which names Kubernetes knows a Node; none: it is no node of Kubernetes.

    Raises:
        Invalid: that cannot be read, nor then whether it is one.
    """
    document = load(key, value)
    with reading.entry(key):
        refs = reading.objects((document.get("spec") or {}).get("orchRefs"))
        ours = [ref for ref in refs if ref.get("orchestrator") == _KUBERNETES]
        return tuple(name for ref in ours if (name := reading.text(ref.get("nodeName") or "")))


@dataclass(frozen=True, slots=True)
class DepartedNode:
    """A node of Kubernetes that is gone and is being taken back."""

    kubernetes_names: tuple[str, ...]
    resource: bytes  # its Node, should it come back


def encode_departed(departed: DepartedNode) -> bytes:
    """Write that a node is being taken back."""
    names, node = list(departed.kubernetes_names), json.loads(departed.resource)
    return dump({"kubernetesNames": names, "node": node})


def decode_departed(key: str, value: bytes) -> DepartedNode:
    """Read that a node is being taken back.

    Raises:
        Invalid: it is no such thing.
    """
    document = load(key, value)
    with reading.entry(key):
        resource = dump(reading.document(document["node"]))
        return DepartedNode(reading.texts(document["kubernetesNames"]), resource)


# Where a Node has the address of each of its tunnels.
_TUNNEL_FIELDS = {
    IPIP: ("bgp", "ipv4IPIPTunnelAddr"),
    VXLAN: ("ipv4VXLANTunnelAddr",),
    VXLAN_V6: ("ipv6VXLANTunnelAddr",),
}


def with_tunnel_address(
    key: str, existing: bytes, tunnel: Tunnel, address: IPv4Address | IPv6Address | None
) -> bytes:
    """Write the address of a tunnel into a Node, or take it out; all else stays as it is."""
    document = load(key, existing)
    with reading.entry(key):
        part = document["spec"] = dict(document.get("spec") or {})
        *path, name = _TUNNEL_FIELDS[tunnel]
        for step in path:
            part[step] = dict(part.get(step) or {})
            part = part[step]
    if address is None:
        part.pop(name, None)
    else:
        part[name] = str(address)
    return dump(document)


def decode_node(key: str, value: bytes) -> Node:
    """Read a Node. The prefix length of an address may be missing; it then is the full one.

    What cannot be read of its tunnels is in ``unreadable``, and they have no such address.

    Raises:
        Invalid: anything else is not of its type.
    """
    document = load(key, value)
    wrong: list[str] = []
    with reading.entry(key):
        spec = document.get("spec") or {}
        bgp = spec.get("bgp") or {}
        return Node(
            name=reading.text(document["metadata"]["name"]),
            ipv4=reading.interface4(bgp.get("ipv4Address")),
            ipv6=reading.interface6(bgp.get("ipv6Address")),
            as_number=reading.as_number(bgp.get("asNumber")),
            route_reflector_cluster_id=reading.text(bgp.get("routeReflectorClusterID") or "")
            or None,
            labels=reading.text_map(document["metadata"].get("labels")),
            ipip_address=reading.or_none(reading.address4, bgp, "ipv4IPIPTunnelAddr", wrong),
            vxlan_ipv4=reading.or_none(reading.address4, spec, "ipv4VXLANTunnelAddr", wrong),
            vxlan_ipv6=reading.or_none(reading.address6, spec, "ipv6VXLANTunnelAddr", wrong),
            vxlan_mac=reading.or_none(reading.mac, spec, "vxlanTunnelMACAddr", wrong) or "",
            vxlan_mac_ipv6=reading.or_none(reading.mac, spec, "vxlanTunnelMACAddrV6", wrong) or "",
            unreadable=tuple(wrong),
        )


def encode_endpoint(
    endpoint: WorkloadEndpoint, stamp: Stamp, existing: bytes | None = None
) -> bytes:
    """Write a WorkloadEndpoint; one that exists keeps its uid and creation time.

    One of the same pod keeps all that others have put there, too: labels, ports, QoS and what a
    newer Calico knows; but not a NAT to an address that it has no longer. What Kubernetes says of
    the pod, if that is known, is said instead of what was there of its kind.
    """
    where = endpoint.id
    old = {} if existing is None else _kept(existing, endpoint)
    kept: Document = old.get("metadata", {})
    workload, workload_spec = _workload(endpoint, endpoint.workload) if endpoint.workload else _NONE
    metadata = {
        **_metadata(where.name, stamp, where.namespace),
        **kept,
        **workload,
        "labels": {
            **kept.get("labels", {}),
            **workload.get("labels", {}),
            NAMESPACE_LABEL: where.namespace,
            ORCHESTRATOR_LABEL: where.orchestrator,
        },
    }
    spec = {
        **old.get("spec", {}),
        "orchestrator": where.orchestrator,
        "node": where.node,
        "containerID": endpoint.container_id,
        **({"pod": where.workload} if where.orchestrator == "k8s" else {}),
        "endpoint": where.ifname,
        "ipNetworks": [str(network) for network in endpoint.networks],
        "profiles": endpoint.profiles,
        "interfaceName": endpoint.interface_name,
        "mac": endpoint.mac,
        **workload_spec,
    }
    others = _without(old, _RESOURCE_FIELDS) if old else {}
    return _resource("WorkloadEndpoint", metadata, spec, **others)


_RESOURCE_FIELDS = ("kind", "apiVersion", "metadata", "spec")
_IDENTITY = ("uid", "creationTimestamp")
_NONE: tuple[Document, Document] = ({}, {})


def _kept(existing: bytes, endpoint: WorkloadEndpoint) -> Document:
    """What stays of a stored endpoint where *endpoint* is written, with metadata and spec."""
    where = endpoint.id
    key = keys.endpoint(where.namespace, where.name)
    old = load(key, existing)
    with reading.entry(key):
        metadata = old.get("metadata") or {}
        identity = {name: metadata[name] for name in _IDENTITY if metadata.get(name)}
        before = decode_endpoint(key, existing)
        old = _without_lost_nats(old, before, endpoint) if before.id == where else {}
        if endpoint.workload:
            old = _without_workload(old)
        gone = ("name", "namespace", "resourceVersion", "selfLink", *_IDENTITY)
        metadata = _without(old.get("metadata") or {}, gone)
        labels = dict(metadata.get("labels") or {})
    metadata = {**metadata, **identity, "labels": labels}
    return {**old, "metadata": metadata, "spec": old.get("spec") or {}}


def _without_lost_nats(
    old: Document, before: WorkloadEndpoint, endpoint: WorkloadEndpoint
) -> Document:
    """The stored endpoint without NATs to addresses that may be another pod's by now."""
    lost = {str(n.network_address) for n in set(before.networks).difference(endpoint.networks)}
    spec = old["spec"]
    nats = [nat for nat in spec.get("ipNATs") or () if nat.get("internalIP") not in lost]
    return {**old, "spec": {**spec, "ipNATs": nats} if nats else _without(spec, ("ipNATs",))}


def _without_workload(old: Document) -> Document:
    """The stored endpoint without what Kubernetes said of its pod."""
    return {
        **old,
        "metadata": _without(old.get("metadata") or {}, ("generateName", "labels")),
        "spec": _without(old.get("spec") or {}, ("serviceAccountName", "ipNATs", "ports")),
    }


def _workload(endpoint: WorkloadEndpoint, workload: Workload) -> tuple[Document, Document]:
    """What Kubernetes says of the pod, for ``metadata`` and ``spec``; without what is empty."""
    account, labels = workload.service_account, dict(workload.labels)
    if 0 < len(account) < _LABEL_VALUE_MAX:
        labels[SERVICE_ACCOUNT_LABEL] = account
    inside = {n.version: str(n.network_address) for n in endpoint.networks}
    nats = [
        {"internalIP": inside[address.version], "externalIP": str(address)}
        for address in workload.floating_ips
        if address.version in inside
    ]
    metadata = {"generateName": workload.generate_name, "labels": labels}
    spec = {"serviceAccountName": account, "ipNATs": nats, "ports": _ports(workload.ports)}
    return _filled(metadata), _filled(spec)


def _ports(ports: tuple[Port, ...]) -> list[Document]:
    return [
        {
            "name": port.name,
            "protocol": port.protocol,
            "port": port.number,
            "hostPort": port.host_port,
            "hostIP": port.host_ip,
        }
        for port in ports
    ]


def _filled(document: Document) -> Document:
    """Without empty fields, as Go leaves them out."""
    return {name: value for name, value in document.items() if value}


def decode_endpoint(key: str, value: bytes) -> WorkloadEndpoint:
    """Read a WorkloadEndpoint; of what Kubernetes says of its pod nothing."""
    document = load(key, value)
    with reading.entry(key):
        metadata, spec = document["metadata"], document["spec"]
        workload = reading.text(
            spec.get("pod") or spec.get("workload") or spec.get("containerID") or ""
        )
        return WorkloadEndpoint(
            id=EndpointId(
                node=reading.text(spec.get("node") or ""),
                namespace=reading.text(metadata.get("namespace") or ""),
                orchestrator=reading.text(spec.get("orchestrator") or ""),
                workload=workload,
                ifname=reading.text(spec.get("endpoint") or ""),
            ),
            container_id=reading.text(spec.get("containerID") or ""),
            networks=tuple(reading.cidr(n) for n in spec.get("ipNetworks") or ()),
            interface_name=reading.text(spec.get("interfaceName") or ""),
            mac=reading.text(spec.get("mac") or ""),
            profiles=reading.texts(spec.get("profiles")),
        )


def encode_cluster_information(cluster_guid: str, stamp: Stamp) -> bytes:
    """Write ClusterInformation "default".

    Without calicoVersion: calicoctl refuses to work on a cluster of another version than its own.
    """
    spec = {"clusterGUID": cluster_guid, "clusterType": "bgp", "datastoreReady": True}
    return _resource("ClusterInformation", _metadata("default", stamp), spec)


def encode_kube_controllers_configuration(stamp: Stamp) -> bytes:
    """Write the least KubeControllersConfiguration that calicoctl asks for since 3.30."""
    metadata = _metadata("default", stamp)
    return _resource("KubeControllersConfiguration", metadata, {"controllers": {}}, status={})
