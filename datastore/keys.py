"""Every key in etcd, spelled here and nowhere else. docs/datastore.md shows each with an example.

Pure: no I/O. The layout is Calico's for etcd v3; what Calico does not know is below "/ocicat/". A
string that ends in "/" is a prefix and stands for every key below it; no key ends so.
"""

import ipaddress
from functools import lru_cache

from datamodel.errors import Invalid
from datamodel.pool import Network

IPAM = "/calico/ipam/v2/"
IPAM_CONFIG = f"{IPAM}config"
ALL_BLOCKS = f"{IPAM}assignment/"
ALL_HANDLES = f"{IPAM}handle/"
ALL_AFFINITIES = f"{IPAM}host/"
ALL_VIRTUAL = f"{IPAM}virtual/"  # affinities of Calico's load balancers, which are no nodes

RESOURCES = "/calico/resources/v3/projectcalico.org/"
POOLS = f"{RESOURCES}ippools/"
RESERVATIONS = f"{RESOURCES}ipreservations/"
NODES = f"{RESOURCES}nodes/"
ENDPOINTS = f"{RESOURCES}workloadendpoints/"
BGP_CONFIGURATIONS = f"{RESOURCES}bgpconfigurations/"
BGP_PEERS = f"{RESOURCES}bgppeers/"
BGP_FILTERS = f"{RESOURCES}bgpfilters/"
FELIX_CONFIGURATIONS = f"{RESOURCES}felixconfigurations/"
HOST_ENDPOINTS = f"{RESOURCES}hostendpoints/"
KUBE_CONTROLLERS_CONFIGURATION = f"{RESOURCES}kubecontrollersconfigurations/default"
CLUSTER_INFORMATION = f"{RESOURCES}clusterinformations/default"

CLAIMS = "/ocicat/claims/"  # which machine runs under a node's name, for as long as it does
ALL_BORROWED = "/ocicat/borrowed/"  # from which blocks that are not its own a node has addresses
ALL_DEPARTED = "/ocicat/departed/"  # nodes that are being taken back


@lru_cache(maxsize=16_384)
def block(cidr: Network) -> str:
    """The key of a block's value."""
    return f"{blocks(cidr.version)}{_segment(cidr)}"


def blocks(version: int) -> str:
    """The prefix of all blocks of one family (4 or 6)."""
    return f"{ALL_BLOCKS}ipv{version}/block/"


def affinity(host: str, cidr: Network) -> str:
    """The key that says *host* owns the block."""
    return f"{affinities(host, cidr.version)}{_segment(cidr)}"


def affinities(host: str, version: int) -> str:
    """The prefix of *host*'s affinities of one family."""
    return f"{ALL_AFFINITIES}{host}/ipv{version}/block/"


def borrowed(node: str, cidr: Network) -> str:
    """The key that says pods of *node* hold addresses in the block, which is not the node's."""
    return f"{borrowings(node)}ipv{cidr.version}/block/{_segment(cidr)}"


def borrowings(node: str) -> str:
    """The prefix of all blocks from which *node* has borrowed."""
    return f"{ALL_BORROWED}{node}/"


def handle(handle_id: str) -> str:
    """The key under which a handle's blocks are counted."""
    return f"{ALL_HANDLES}{handle_id}"


def pool(name: str) -> str:
    """The key of an IPPool."""
    return f"{POOLS}{name}"


def node(name: str) -> str:
    """The key of a Node."""
    return f"{NODES}{name}"


def claim(name: str) -> str:
    """The key that says which machine runs under a node's name."""
    return f"{CLAIMS}{name}"


def departed(name: str) -> str:
    """The key of a node that is being taken back."""
    return f"{ALL_DEPARTED}{name}"


def endpoint(namespace: str, name: str) -> str:
    """The key of a WorkloadEndpoint; *name* as ``EndpointId.name`` gives it."""
    return f"{ENDPOINTS}{namespace}/{name}"


@lru_cache(maxsize=16_384)
def cidr_of(key: str) -> Network:
    """The block that a block's or an affinity's key is about.

    Raises:
        Invalid: the key ends in no CIDR.
    """
    text = key.rpartition("/")[2]
    address, _, length = text.rpartition("-")
    try:
        found = ipaddress.ip_network(f"{address}/{length}")
    except ValueError as error:
        raise Invalid(f"etcd key {key}: {text!r} is not a block's CIDR") from error
    if "%" in text:  # a zone, in which anything could stand
        raise Invalid(f"etcd key {key}: {text!r} is not a block's CIDR")
    return found


def _segment(cidr: Network) -> str:
    return f"{cidr.network_address}-{cidr.prefixlen}"
