"""What the fields of a resource mean together, and with its name.

Pure: no I/O. A rule is told the spec as it was given, what is left of it when wrong fields are out,
and the name; it returns one message for each mistake, beginning with the path.
"""

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from datamodel.bgp import BgpConfiguration
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.endpoint import EndpointId
from datamodel.pool import Pool
from datastore.codec import Document
from datastore.codec_bgp import bgp_configuration_of, bgp_filter_of, bgp_peer_of, is_bfd
from ocicatctl.resources.schema import shown

Spec = Mapping[str, Any]
Rule = Callable[[Spec, Spec, str], list[str]]

CLUSTER = "default"  # the BGPConfiguration of all nodes
PER_NODE = "node."  # and, with the node's name behind it, that of one


def pool(given: Spec, spec: Spec, name: str) -> list[str]:
    """An IPPool follows the model's rules; what concerns other pools is in ``pools.py``."""
    if not spec.get("cidr"):
        return []
    return [f"spec: {what}" for what in pool_of(name, completed_pool(spec)).mistakes()]


def completed_pool(spec: Spec) -> Document:
    """The spec of an IPPool with Calico's defaults, in Calico's order."""
    version = ipaddress.ip_network(spec["cidr"]).version
    merged = {**_POOL_DEFAULTS, "blockSize": _BLOCK_SIZE[version], **spec}
    return {name: merged[name] for name in _POOL_ORDER if name in merged}


def pool_of(name: str, spec: Spec) -> Pool:
    """The pool that a completed spec describes, unchecked."""
    return Pool(
        name=name,
        cidr=ipaddress.ip_network(spec["cidr"]),
        block_size=spec["blockSize"],
        disabled=spec.get("disabled", False),
        node_selector=spec["nodeSelector"],
        ipip_mode=spec["ipipMode"],
        vxlan_mode=spec["vxlanMode"],
        nat_outgoing=spec.get("natOutgoing", False),
        disable_bgp_export=spec.get("disableBGPExport", False),
        allowed_uses=tuple(use for use in spec["allowedUses"] if use),  # wrong ones are None
        assignment_mode=spec["assignmentMode"],
        namespace_selector=spec.get("namespaceSelector", ""),
    )


_BLOCK_SIZE = {4: 26, 6: 122}
_POOL_DEFAULTS = {
    "vxlanMode": "Never",
    "ipipMode": "Never",
    "nodeSelector": "all()",
    "allowedUses": ["Workload", "Tunnel"],
    "assignmentMode": "Automatic",
}
_POOL_ORDER = (
    *("cidr", "vxlanMode", "ipipMode", "natOutgoing", "disabled", "disableBGPExport"),
    *("blockSize", "nodeSelector", "namespaceSelector", "allowedUses", "assignmentMode"),
)


def of_model(kind: str, spec: Document, name: str) -> list[str]:
    """What the model refuses of a spec of which each field is right by itself."""
    read = _MODELS.get(kind)
    return [f"spec.{what}" for what in read(name, spec).mistakes()] if read else []


_MODELS: dict[str, Callable[[str, Document], BgpPeer | BgpFilter | BgpConfiguration]] = {
    "BGPPeer": bgp_peer_of,
    "BGPFilter": bgp_filter_of,
    "BGPConfiguration": lambda _, spec: bgp_configuration_of(spec),
}


def annotations(kind: str, metadata: Document) -> list[str]:
    """BFD is on or off, where there can be any."""
    if kind not in ("BGPPeer", "BGPConfiguration"):
        return []
    try:
        is_bfd(metadata)
    except ValueError as error:
        return [f"metadata.annotations: {error}"]
    return []


def bgp_configuration(given: Spec, spec: Spec, name: str) -> list[str]:
    """A BGPConfiguration is the cluster's or one node's; not every field is for a node."""
    found = []
    if name != CLUSTER and name.removeprefix(PER_NODE) in (name, ""):
        found.append(f"metadata.name: {shown(name)} is neither {CLUSTER} nor {PER_NODE}<node>")
    elif name != CLUSTER:
        found += [
            f'spec.{field}: can only be set on the BGPConfiguration "{CLUSTER}"'
            for field in _CLUSTER_ONLY
            if given.get(field) not in (None, [], {}, "")
        ]
    if given.get("nodeToNodeMeshEnabled") is False:
        found += [
            f"spec.{field}: must not be set where nodeToNodeMeshEnabled is false"
            for field in ("nodeMeshPassword", "nodeMeshMaxRestartTime")
            if given.get(field)
        ]
    return found


_CLUSTER_ONLY = (
    *("nodeToNodeMeshEnabled", "asNumber"),
    *("serviceLoadBalancerIPs", "serviceExternalIPs", "serviceClusterIPs"),
    *("nodeMeshPassword", "nodeMeshMaxRestartTime"),
)


def endpoint(given: Spec, spec: Spec, name: str) -> list[str]:
    """A WorkloadEndpoint is named after what it is about."""
    parts = _parts(spec)
    found = [
        f"spec.{field}: {shown(part)} begins or ends with '-', which no part of a name may"
        for field, part in parts
        if part.startswith("-") or part.endswith("-")
    ]
    workload = parts[2][0]
    if spec.get("orchestrator") and not given.get(workload):
        found.append(f"spec.{workload}: is missing")
    if not found and all(part for _, part in parts) and name not in ("", endpoint_name(spec)):
        found.append(f"metadata.name: {shown(name)} is not its name; that is {endpoint_name(spec)}")
    own = {network.partition("/")[0] for network in spec.get("ipNetworks") or () if network}
    for i, nat in enumerate(spec.get("ipNATs") or ()):
        inner = (nat or {}).get("internalIP")
        if inner and inner not in own:
            found.append(f"spec.ipNATs[{i}].internalIP: {shown(inner)} is not in ipNetworks")
    return found


def endpoint_name(spec: Spec) -> str:
    """The name that Calico computes from an endpoint's spec."""
    node, orchestrator, workload, ifname = (part for _, part in _parts(spec))
    return EndpointId(node, "", orchestrator, workload, ifname).name


def _parts(spec: Spec) -> list[tuple[str, str]]:
    """The four parts of an endpoint's name, each with the field it is from."""
    workload = _WORKLOAD_FIELDS.get(spec.get("orchestrator", ""), "workload")
    fields = ("node", "orchestrator", workload, "endpoint")
    return [(field, spec.get(field, "")) for field in fields]


_WORKLOAD_FIELDS = {"k8s": "pod", "cni": "containerID", "libnetwork": "orchestrator"}

RULES: dict[str, Rule] = {
    "IPPool": pool,
    "BGPConfiguration": bgp_configuration,
    "WorkloadEndpoint": endpoint,
}
