"""The kinds of resources that ``get`` knows: where they are stored and what a table shows of them.

Pure: no I/O. Columns and their contents are calicoctl's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from datastore import keys
from datastore.codec import Document, decode_endpoint, decode_node, decode_pool, load
from datastore.store import Entry

Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource."""

    name: str
    prefix: str
    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    cells: Callable[[Entry, int], Cells]  # with the cluster's AS number
    is_namespaced: bool = False
    shows_cluster_as: bool = False  # where an object has no AS number of its own


def with_revision(entry: Entry) -> Document:
    """The resource as it is stored and, as calicoctl gives it, the revision of that write.

    Raises:
        Invalid: the entry is not JSON.
    """
    document = load(entry.key, entry.value)
    metadata = document.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    return {**document, "metadata": {**names, "resourceVersion": str(entry.revision)}}


def _pool(entry: Entry, _: int) -> Cells:
    pool = decode_pool(entry.key, entry.value)
    return {
        "NAME": pool.name,
        "CIDR": str(pool.cidr),
        "NAT": _flag(pool.nat_outgoing),
        "IPIPMODE": pool.ipip_mode,
        "VXLANMODE": pool.vxlan_mode,
        "DISABLED": _flag(pool.disabled),
        "DISABLEBGPEXPORT": _flag(pool.disable_bgp_export),
        "SELECTOR": pool.node_selector,
        "ASSIGNMENTMODE": pool.assignment_mode,
    }


def _node(entry: Entry, default_as: int) -> Cells:
    node = decode_node(entry.key, entry.value)
    speaks_bgp = (load(entry.key, entry.value).get("spec") or {}).get("bgp") is not None
    return {
        "NAME": node.name,
        "ASN": str(node.as_number or f"({default_as})") if speaks_bgp else "",
        "IPV4": str(node.ipv4 or ""),
        "IPV6": str(node.ipv6 or ""),
    }


def _endpoint(entry: Entry, _: int) -> Cells:
    endpoint = decode_endpoint(entry.key, entry.value)
    # The model has no NATs, and a container id for the workload where calicoctl shows nothing.
    spec = load(entry.key, entry.value)["spec"]
    nats = (f"{{{nat['internalIP']} {nat['externalIP']}}}" for nat in spec.get("ipNATs") or ())
    return {
        "NAMESPACE": endpoint.id.namespace,
        "NAME": entry.key.rpartition("/")[2],
        "WORKLOAD": spec.get("workload") or spec.get("pod") or "",
        "NODE": endpoint.id.node,
        "NETWORKS": ",".join(str(network) for network in endpoint.networks),
        "INTERFACE": endpoint.interface_name,
        "PROFILES": ",".join(endpoint.profiles),
        "NATS": ",".join(nats),
    }


def _flag(is_set: bool) -> str:
    return "true" if is_set else "false"


POOL = Kind(
    name="IPPool",
    prefix=keys.POOLS,
    narrow=("NAME", "CIDR", "SELECTOR"),
    wide=(
        *("NAME", "CIDR", "NAT", "IPIPMODE", "VXLANMODE"),
        *("DISABLED", "DISABLEBGPEXPORT", "SELECTOR", "ASSIGNMENTMODE"),
    ),
    cells=_pool,
)
NODE = Kind(
    name="Node",
    prefix=keys.NODES,
    narrow=("NAME",),
    wide=("NAME", "ASN", "IPV4", "IPV6"),
    cells=_node,
    shows_cluster_as=True,
)
ENDPOINT = Kind(
    name="WorkloadEndpoint",
    prefix=keys.ENDPOINTS,
    narrow=("WORKLOAD", "NODE", "NETWORKS", "INTERFACE"),
    wide=("NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"),
    cells=_endpoint,
    is_namespaced=True,
)
