"""The fields of each kind of resource, in the order in which Calico stores them.

Pure: no I/O. What one field alone may be is here; what fields mean together is in ``rules.py``.
"""

from ocicatctl.resources import values
from ocicatctl.resources.fields_bgp import BGP_CONFIGURATION, FILTER, PEER
from ocicatctl.resources.schema import Check, Field, anything, leaf, list_of, object_of

_text, _flag, _cidr = leaf(values.text), leaf(values.flag), leaf(values.cidr)
_selector, _as_number = leaf(values.select), leaf(values.as_number)
_ipv4, _ipv6, _mac = leaf(values.address4), leaf(values.address6), leaf(values.mac)
_part = leaf(values.part)
_port = leaf(values.number(1, 65535))
_encapsulation = leaf(values.one_of("Never", "Always", "CrossSubnet"))
_labels = leaf(values.tags(has_free_values=False))
_annotations = leaf(values.tags(has_free_values=True))

ENVELOPE = object_of(
    Field("apiVersion", anything),
    Field("kind", anything),
    Field("metadata", anything),
    Field("spec", anything),
    Field("status", anything),
)

# Of these, only name, namespace, resourceVersion, labels and annotations are heeded; the others are
# what ``get -o yaml`` shows, so that its output may be given back.
METADATA = object_of(
    Field("name", _text),
    Field("namespace", leaf(values.name)),
    Field("resourceVersion", _text),
    Field("labels", _labels),
    Field("annotations", _annotations),
    *(
        Field(name, anything)
        for name in (
            *("generateName", "selfLink", "uid", "generation", "creationTimestamp"),
            *("deletionTimestamp", "deletionGracePeriodSeconds"),
            *("ownerReferences", "finalizers", "managedFields"),
        )
    ),
)

_POOL = object_of(
    Field("cidr", _cidr, is_required=True),
    Field("vxlanMode", _encapsulation),
    Field("ipipMode", _encapsulation),
    Field("natOutgoing", _flag),
    Field("disabled", _flag),
    Field("disableBGPExport", _flag),
    Field("blockSize", leaf(values.number(0, 128))),
    Field("nodeSelector", _selector),
    Field("namespaceSelector", _selector),
    Field("allowedUses", list_of(leaf(values.one_of("Workload", "Tunnel", "LoadBalancer")))),
    Field("assignmentMode", leaf(values.one_of("Automatic", "Manual"))),
)

_RESERVATION = object_of(Field("reservedCIDRs", list_of(leaf(values.cidr_or_address))))

_NODE = object_of(
    Field(
        "bgp",
        object_of(
            Field("asNumber", _as_number),
            Field("ipv4Address", leaf(values.host_address(4, "10.0.0.11/24"))),
            Field("ipv6Address", leaf(values.host_address(6, "fd99::11/64"))),
            Field("ipv4IPIPTunnelAddr", _ipv4),
            Field("routeReflectorClusterID", _ipv4),
        ),
    ),
    Field("ipv4VXLANTunnelAddr", _ipv4),
    Field("vxlanTunnelMACAddr", _mac),
    Field("ipv6VXLANTunnelAddr", _ipv6),
    Field("vxlanTunnelMACAddrV6", _mac),
    Field(
        "orchRefs",
        list_of(
            object_of(
                Field("nodeName", _text),
                Field("orchestrator", _text, is_required=True),
            )
        ),
    ),
    Field(
        "wireguard",
        object_of(Field("interfaceIPv4Address", _ipv4), Field("interfaceIPv6Address", _ipv6)),
    ),
    Field(
        "addresses",
        list_of(
            object_of(
                Field("address", leaf(values.host_address_or_address), is_required=True),
                Field("type", leaf(values.one_of("CalicoNodeIP", "InternalIP", "ExternalIP"))),
            )
        ),
    ),
    Field(
        "interfaces",
        list_of(
            object_of(
                Field("name", leaf(values.interface_name)),
                Field("addresses", list_of(leaf(values.host_address_or_address))),
            )
        ),
    ),
)

_ENDPOINT = object_of(
    Field("orchestrator", _part, is_required=True),
    Field("workload", _part),
    Field("node", _part, is_required=True),
    Field("containerID", leaf(values.container_id)),
    Field("pod", _part),
    Field("endpoint", _part, is_required=True),
    Field("serviceAccountName", _text),
    Field("ipNetworks", list_of(leaf(values.single_address))),
    Field(
        "ipNATs",
        list_of(
            object_of(
                Field("internalIP", leaf(values.address), is_required=True),
                Field("externalIP", leaf(values.address), is_required=True),
            )
        ),
    ),
    Field("ipv4Gateway", _ipv4),
    Field("ipv6Gateway", _ipv6),
    Field("profiles", list_of(_text)),
    Field("interfaceName", leaf(values.interface_name), is_required=True),
    Field("mac", _mac),
    Field(
        "ports",
        list_of(
            object_of(
                Field("name", _text),
                Field("protocol", anything),  # a name or a number
                Field("port", _port, is_required=True),
                Field("hostPort", leaf(values.number(0, 65535)), keeps_empty=True),
                Field("hostIP", _text, keeps_empty=True),
            )
        ),
    ),
    Field("allowSpoofedSourcePrefixes", list_of(_cidr)),
    Field("qosControls", anything),
)

SPECS: dict[str, Check] = {
    "IPPool": _POOL,
    "IPReservation": _RESERVATION,
    "Node": _NODE,
    "BGPPeer": PEER,
    "BGPFilter": FILTER,
    "BGPConfiguration": BGP_CONFIGURATION,
    "WorkloadEndpoint": _ENDPOINT,
}
