"""The kinds of resources: what they are called, where they are stored, what a table shows of them.

Pure: no I/O. Names, columns and the contents of these are calicoctl's.
"""

from collections.abc import Callable
from dataclasses import dataclass

from datamodel.errors import Invalid
from datastore import keys, reading
from datastore.codec import Document, decode_endpoint, decode_node, decode_pool, load
from datastore.store import Entry

Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of resource."""

    name: str
    aliases: tuple[str, ...]  # on the command line; the first is the one that help shows
    prefix: str
    narrow: tuple[str, ...]
    wide: tuple[str, ...]
    # With the cluster's AS number; raises what reading.entry turns into Invalid.
    cells: Callable[[Entry, int], Cells]
    help: str  # what ``get`` says that it shows
    is_namespaced: bool = False
    shows_cluster_as: bool = False  # where an object has no AS number of its own
    is_read_only: bool = False


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
    nats = (
        f"{{{nat.get('internalIP', '')} {nat.get('externalIP', '')}}}"
        for nat in reading.objects(spec.get("ipNATs"))
    )
    return {
        "NAMESPACE": endpoint.id.namespace,
        "NAME": _name(entry),
        "WORKLOAD": spec.get("workload") or spec.get("pod") or "",
        "NODE": endpoint.id.node,
        "NETWORKS": ",".join(str(network) for network in endpoint.networks),
        "INTERFACE": endpoint.interface_name,
        "PROFILES": ",".join(endpoint.profiles),
        "NATS": ",".join(nats),
    }


def _reservation(entry: Entry, _: int) -> Cells:
    cidrs = ",".join(reading.texts(_spec(entry).get("reservedCIDRs")))
    is_long = len(cidrs) > _CIDRS_WIDTH
    return {"NAME": _name(entry), "CIDRS": f"{cidrs[: _CIDRS_WIDTH - 3]}..." if is_long else cidrs}


def _peer(entry: Entry, _: int) -> Cells:
    spec = _spec(entry)
    return {
        "NAME": _name(entry),
        "PEERIP": str(spec.get("peerIP") or ""),
        "NODE": str(spec.get("node") or spec.get("nodeSelector") or "(global)"),
        "ASN": str(spec.get("asNumber") or 0),
    }


def _filter(entry: Entry, _: int) -> Cells:
    spec = _spec(entry)
    exported, imported = (
        sum(len(reading.objects(spec.get(f"{direction}V{version}"))) for version in (4, 6))
        for direction in ("export", "import")
    )
    return {"NAME": _name(entry), "NUMEXPORT": str(exported), "NUMIMPORT": str(imported)}


def _bgp_configuration(entry: Entry, _: int) -> Cells:
    spec = _spec(entry)
    mesh = spec.get("nodeToNodeMeshEnabled")
    return {
        "NAME": _name(entry),
        "LOGSEVERITY": str(spec.get("logSeverityScreen") or ""),
        "MESHENABLED": "-" if mesh is None else _flag(mesh),
        "ASNUMBER": str(spec.get("asNumber") or "-"),
    }


def _cluster_information(entry: Entry, _: int) -> Cells:
    spec = _spec(entry)
    ready = spec.get("datastoreReady")
    return {
        "NAME": _name(entry),
        "CLUSTERGUID": str(spec.get("clusterGUID") or ""),
        "CLUSTERTYPE": str(spec.get("clusterType") or ""),
        "CALICOVERSION": str(spec.get("calicoVersion") or ""),
        "DATASTOREREADY": "<nil>" if ready is None else _flag(ready),  # as Go prints it
    }


_CIDRS_WIDTH = 80


def _name(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _spec(entry: Entry) -> Document:
    spec = load(entry.key, entry.value).get("spec") or {}
    if not isinstance(spec, dict):
        raise Invalid(f"etcd key {entry.key}: spec is not a JSON object")
    return spec


def _flag(is_set: bool) -> str:
    return "true" if is_set else "false"


POOL = Kind(
    name="IPPool",
    aliases=("ippool", "ippools", "ipp", "ipps", "pool", "pools"),
    prefix=keys.POOLS,
    narrow=("NAME", "CIDR", "SELECTOR"),
    wide=(
        *("NAME", "CIDR", "NAT", "IPIPMODE", "VXLANMODE"),
        *("DISABLED", "DISABLEBGPEXPORT", "SELECTOR", "ASSIGNMENTMODE"),
    ),
    cells=_pool,
    help="address pools",
)
RESERVATION = Kind(
    name="IPReservation",
    aliases=("ipreservation", "ipreservations", "reservation", "reservations"),
    prefix=keys.RESERVATIONS,
    narrow=("NAME",),
    wide=("NAME", "CIDRS"),
    cells=_reservation,
    help="addresses that no pod gets by itself",
)
NODE = Kind(
    name="Node",
    aliases=("node", "nodes", "no", "nos"),
    prefix=keys.NODES,
    narrow=("NAME",),
    wide=("NAME", "ASN", "IPV4", "IPV6"),
    cells=_node,
    help="nodes; an AS number in parentheses is the cluster's",
    shows_cluster_as=True,
)
PEER = Kind(
    name="BGPPeer",
    aliases=("bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"),
    prefix=keys.BGP_PEERS,
    narrow=("NAME", "PEERIP", "NODE", "ASN"),
    wide=("NAME", "PEERIP", "NODE", "ASN"),
    cells=_peer,
    help="BGP peers",
)
FILTER = Kind(
    name="BGPFilter",
    aliases=("bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"),
    prefix=keys.BGP_FILTERS,
    narrow=("NAME", "NUMEXPORT", "NUMIMPORT"),
    wide=("NAME", "NUMEXPORT", "NUMIMPORT"),
    cells=_filter,
    help="which routes BGP peers give and take",
)
BGP_CONFIGURATION = Kind(
    name="BGPConfiguration",
    aliases=("bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"),
    prefix=keys.BGP_CONFIGURATIONS,
    narrow=("NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"),
    wide=("NAME", "LOGSEVERITY", "MESHENABLED", "ASNUMBER"),
    cells=_bgp_configuration,
    help="BGP settings of the cluster and of single nodes",
)
ENDPOINT = Kind(
    name="WorkloadEndpoint",
    aliases=("workloadendpoint", "workloadendpoints", "wep", "weps"),
    prefix=keys.ENDPOINTS,
    narrow=("WORKLOAD", "NODE", "NETWORKS", "INTERFACE"),
    wide=("NAME", "WORKLOAD", "NODE", "NETWORKS", "INTERFACE", "PROFILES", "NATS"),
    cells=_endpoint,
    help="network interfaces of workloads",
    is_namespaced=True,
)
CLUSTER = Kind(
    name="ClusterInformation",
    aliases=("clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"),
    prefix=f"{keys.CLUSTER_INFORMATION.rpartition('/')[0]}/",
    narrow=("NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"),
    wide=("NAME", "CLUSTERGUID", "CLUSTERTYPE", "CALICOVERSION", "DATASTOREREADY"),
    cells=_cluster_information,
    help="the name of the cluster, and whether it is ready",
    is_read_only=True,
)

KINDS = (POOL, RESERVATION, NODE, PEER, FILTER, BGP_CONFIGURATION, ENDPOINT, CLUSTER)
BY_ALIAS = {alias: kind for kind in KINDS for alias in kind.aliases}
