"""A cluster as etcd would hold it: what each builder returns is a key and its value."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Interface, IPv6Interface, ip_network
from uuid import UUID

from datamodel.affinity import CONFIRMED, Affinity
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.store import Entry

STAMP = codec.Stamp(str(UUID(int=1)), datetime(2026, 11, 20, tzinfo=UTC))
NODE = "node-1"

Pair = tuple[str, bytes]


def a_node(
    name: str,
    address: str | None = None,
    as_number: int | None = None,
    ipv6: str | None = None,
) -> Pair:
    node = Node(
        name,
        IPv4Interface(f"{address}/24") if address else None,
        IPv6Interface(f"{ipv6}/64") if ipv6 else None,
        as_number,
    )
    return keys.node(name), codec.encode_node(node, STAMP)


def of_node(node: Node) -> Pair:
    """Give a node with its labels and cluster id, which operators write and nobody of ours."""
    written_by_hand = {
        "metadata": {"name": node.name, "labels": dict(node.labels)},
        "spec": {"bgp": {"routeReflectorClusterID": node.route_reflector_cluster_id}},
    }
    existing = json.dumps(written_by_hand).encode()
    return keys.node(node.name), codec.encode_node(node, STAMP, existing)


def an_affinity(cidr: str, state: str = CONFIRMED, host: str = NODE) -> Pair:
    block = ip_network(cidr)
    return keys.affinity(host, block), codec.encode_affinity(Affinity(host, block, state))


def a_pool(
    name: str,
    cidr: str,
    *,
    disable_bgp_export: bool = False,
    nat_outgoing: bool = False,
    disabled: bool = False,
) -> Pair:
    network = ip_network(cidr)
    pool = Pool(
        name,
        network,
        24 if network.version == 4 else 122,
        disabled=disabled,
        nat_outgoing=nat_outgoing,
        disable_bgp_export=disable_bgp_export,
    )
    return keys.pool(name), codec.encode_pool(pool, STAMP)


def a_bgp_configuration(name: str = "default", *, bfd: str | None = None, **spec: object) -> Pair:
    return _resource("BGPConfiguration", keys.BGP_CONFIGURATIONS, name, spec, bfd)


def a_bgp_peer(name: str, *, bfd: str | None = None, **spec: object) -> Pair:
    return _resource("BGPPeer", keys.BGP_PEERS, name, spec, bfd)


def a_bgp_filter(name: str, **spec: object) -> Pair:
    return _resource("BGPFilter", keys.BGP_FILTERS, name, spec, None)


def _resource(
    kind: str, prefix: str, name: str, spec: Mapping[str, object], bfd: str | None
) -> Pair:
    metadata = {"name": name, "annotations": {} if bfd is None else {"ocicat.io/bfd": bfd}}
    return f"{prefix}{name}", json.dumps(
        {"kind": kind, "metadata": metadata, "spec": spec}
    ).encode()


def stored(*pairs: Pair) -> Mapping[str, Entry]:
    return {key: Entry(key, value, 1) for key, value in pairs}
