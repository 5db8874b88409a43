"""Documents for the tests of create, apply, replace and delete: right, override what matters."""

from datetime import UTC, datetime
from typing import Any

from datastore.codec import API_VERSION, Stamp
from ocicatctl.resources.documents import Located
from ocicatctl.resources.manifest import Resource, Verb, resources_in

STAMP = Stamp("5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11", datetime(2026, 11, 20, 18, 0, tzinfo=UTC))

SPECS: dict[str, dict[str, Any]] = {
    "IPPool": {"cidr": "10.65.0.0/16"},
    "IPReservation": {"reservedCIDRs": ["10.65.0.8/32", "10.65.1.0/24", "10.65.0.9"]},
    "Node": {"bgp": {"ipv4Address": "10.0.0.11/24"}},
    "BGPPeer": {"peerIP": "172.18.0.254", "asNumber": 64513},
    "BGPFilter": {"exportV4": [{"cidr": "10.0.0.0/8", "matchOperator": "In", "action": "Accept"}]},
    "BGPConfiguration": {"asNumber": 64512},
    "WorkloadEndpoint": {
        "orchestrator": "k8s",
        "node": "node-1",
        "pod": "web-0",
        "endpoint": "eth0",
        "interfaceName": "cali0d7763386da",
        "ipNetworks": ["10.65.0.8/32"],
    },
}
NAMES = {
    "Node": "node-1",
    "BGPConfiguration": "default",
    "WorkloadEndpoint": "node--1-k8s-web--0-eth0",
}


def a_document(kind: str, name: str | None = None, **spec: Any) -> dict[str, Any]:
    """A document of *kind*; a field that is None is left out."""
    merged = {**SPECS[kind], **spec}
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name or NAMES.get(kind, "x")},
        "spec": {k: v for k, v in merged.items() if v is not None},
    }


def read(*documents: Any, namespace: str | None = None, verb: Verb = Verb.APPLY):
    """What the documents come to, and what is wrong with them."""
    located = [Located("f.yaml", f"document {i}", d) for i, d in enumerate(documents, 1)]
    return resources_in(located, namespace, verb)


def a_resource(
    kind: str, name: str | None = None, *, metadata: dict[str, Any] | None = None, **spec: Any
) -> Resource:
    """One right resource."""
    document = a_document(kind, name, **spec)
    document["metadata"] |= metadata or {}
    found, mistakes = read(document)
    assert mistakes == []
    return found[0]
