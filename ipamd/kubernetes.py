"""What the Kubernetes API knows of this node: whether it is one, and the addresses of its kubelet.

The latter for the autodetection method ``kubernetes-internal-ip``; ipamd needs no Kubernetes
otherwise.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from datamodel.block import Address
from datamodel.errors import Invalid, OcicatError
from ipamd.config import NodeInKubernetes
from kube_api.client import ApiClient, Refused

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_REMEDIES = {
    401: "ipamd's token is not valid",
    403: 'give ipamd\'s account the right to "get" the resource "nodes"',
    404: "there is no such node; set CALICO_K8S_NODE_REF to its name in Kubernetes",
}


def voucher(node: NodeInKubernetes | None) -> Callable[[], Awaitable[None]] | None:
    """How to make sure, off the event loop, that Kubernetes does not say it knows no such node.

    It raises Invalid if it does. An API that does not tell stands in nobody's way: nodes start
    without it, and their account need not have the right to ask.
    """
    return None if node is None else lambda: asyncio.to_thread(_vouch, node)


def _vouch(node: NodeInKubernetes) -> None:
    api = ApiClient(node.where)
    try:
        api.get("nodes", node.name, timeout_s=TIMEOUT_S)
    except OcicatError as error:
        if isinstance(error, Refused) and error.says_there_is_no("nodes", node.name):
            raise Invalid(
                f"node {node.name}: Kubernetes knows no node of this name ({api}); set NODENAME to "
                "the node's name, or CALICO_K8S_NODE_REF if it has another one in Kubernetes"
            ) from error
        log.info("not known whether Kubernetes knows this node: %s", error)
    finally:
        api.close()


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
