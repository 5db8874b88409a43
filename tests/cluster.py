"""A cluster as etcd would hold it: what each builder returns is a key and its value."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Interface, ip_network
from uuid import UUID

from datamodel.affinity import CONFIRMED, Affinity
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.store import Entry

STAMP = codec.Stamp(str(UUID(int=1)), datetime(2026, 11, 20, tzinfo=UTC))
NODE = "node-1"

Pair = tuple[str, bytes]


def a_node(name: str, address: str | None = None, as_number: int | None = None) -> Pair:
    ipv4 = IPv4Interface(f"{address}/24") if address else None
    return keys.node(name), codec.encode_node(Node(name, ipv4, None, as_number), STAMP)


def an_affinity(cidr: str, state: str = CONFIRMED, host: str = NODE) -> Pair:
    block = ip_network(cidr)
    return keys.affinity(host, block), codec.encode_affinity(Affinity(host, block, state))


def a_pool(name: str, cidr: str, *, disable_bgp_export: bool = False) -> Pair:
    pool = Pool(name, ip_network(cidr), 24, disable_bgp_export=disable_bgp_export)
    return keys.pool(name), codec.encode_pool(pool, STAMP)


def a_bgp_configuration(name: str = "default", **spec: object) -> Pair:
    document = {"kind": "BGPConfiguration", "metadata": {"name": name}, "spec": spec}
    return f"{keys.BGP_CONFIGURATIONS}{name}", json.dumps(document).encode()


def stored(*pairs: Pair) -> Mapping[str, Entry]:
    return {key: Entry(key, value, 1) for key, value in pairs}
