"""What the Kubernetes API knows of this node: the addresses that its kubelet reports.

Only for the autodetection method ``kubernetes-internal-ip``; ipamd needs no Kubernetes otherwise.
"""

import ipaddress
from typing import Any

from datamodel.block import Address
from datamodel.errors import Invalid
from ipamd.config import NodeInKubernetes
from kube_api.client import ApiClient, Refused

TIMEOUT_S = 5.0
_REMEDIES = {
    401: "ipamd's token is not valid",
    403: 'give ipamd\'s account the right to "get" the resource "nodes"',
    404: "there is no such node; set CALICO_K8S_NODE_REF to its name in Kubernetes",
}


def internal_addresses(node: NodeInKubernetes, timeout_s: float = TIMEOUT_S) -> tuple[Address, ...]:
    """Return the node's addresses of type InternalIP, in their order. Blocks.

    Raises:
        Invalid: we have no credentials, the API refuses them, or does not know the node.
        Unavailable: the API does not answer, or cannot for now.
    """
    api = ApiClient(node.where)
    try:
        document = api.get("nodes", node.name, timeout_s=timeout_s)
    except Refused as error:
        remedy = _REMEDIES.get(error.status)
        raise Invalid(f"{error}; {remedy}" if remedy else str(error)) from error
    finally:
        api.close()
    try:
        return _internal(document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(f"{api}: nodes {node.name}: its answer is not a Node: {error!r}") from error


def _internal(document: dict[str, Any]) -> tuple[Address, ...]:
    listed = document["status"].get("addresses") or []
    texts = [str(a["address"]) for a in listed if a["type"] == "InternalIP"]
    return tuple(ipaddress.ip_address(text) for text in texts)
