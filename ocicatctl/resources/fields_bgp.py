"""The fields of BGPPeer, BGPConfiguration and BGPFilter, in the order in which Calico stores them.

Pure: no I/O. What one field alone may be is here, by the model's words and ranges; what fields mean
together the model says.
"""

from datamodel.bgp import BIND_MODES, LOG_SEVERITIES, PORTS
from datamodel.bgp_filter import (
    MATCH_OPERATORS,
    PEER_TYPES,
    PREFIX_LENGTHS,
    PRIORITIES,
    SOURCES,
)
from datamodel.bgp_peer import (
    HOPS,
    LOCAL_AS_COUNTS,
    NEXT_HOP_MODES,
    REVERSE_PEERINGS,
    SOURCE_ADDRESSES,
)
from ocicatctl.resources import values
from ocicatctl.resources.schema import Check, Field, leaf, list_of, object_of

_text, _flag, _cidr = leaf(values.text), leaf(values.flag), leaf(values.cidr)
_selector, _as_number, _duration = map(leaf, (values.select, values.as_number, values.duration))
_ipv4, _ipv6 = leaf(values.address4), leaf(values.address6)
_port, _priority = leaf(values.number_in(PORTS)), leaf(values.number_in(PRIORITIES))
_community = leaf(values.community)
_enabled = leaf(values.one_of("Enabled", "Disabled"))

_PASSWORD = object_of(
    Field(
        "secretKeyRef",
        object_of(
            Field("name", _text), Field("key", _text, is_required=True), Field("optional", _flag)
        ),
    )
)

PEER = object_of(
    Field("node", leaf(values.name)),
    Field("nodeSelector", _selector),
    Field("peerIP", leaf(values.peer_ip)),
    Field("asNumber", _as_number),
    Field("localASNumber", _as_number),
    Field("peerSelector", _selector),
    Field("localWorkloadSelector", _selector),
    Field("keepOriginalNextHop", _flag),
    Field("nextHopMode", leaf(values.one_of(*NEXT_HOP_MODES))),
    Field("password", _PASSWORD),
    Field("sourceAddress", leaf(values.one_of(*SOURCE_ADDRESSES))),
    Field("maxRestartTime", _duration),
    Field("keepaliveTime", _duration),
    Field("numAllowedLocalASNumbers", leaf(values.number_in(LOCAL_AS_COUNTS)), keeps_empty=True),
    Field("ttlSecurity", leaf(values.number_in(HOPS))),
    Field("reachableBy", leaf(values.address)),
    Field("filters", list_of(leaf(values.name))),
    Field("reversePeering", leaf(values.one_of(*REVERSE_PEERINGS))),
)

_service_ips = list_of(object_of(Field("cidr", _cidr)))

BGP_CONFIGURATION = object_of(
    Field(
        "logSeverityScreen",
        leaf(values.any_case(*LOG_SEVERITIES)),
    ),
    Field("nodeToNodeMeshEnabled", _flag, keeps_empty=True),  # absent: the mesh is on
    Field("asNumber", _as_number),
    Field("serviceLoadBalancerIPs", _service_ips),
    Field("serviceExternalIPs", _service_ips),
    Field("serviceClusterIPs", _service_ips),
    Field("serviceLoadBalancerAggregation", _enabled),
    Field(
        "communities",
        list_of(
            object_of(
                Field("name", leaf(values.name), is_required=True),
                Field("value", _community, is_required=True),
            )
        ),
    ),
    Field(
        "prefixAdvertisements",
        list_of(
            object_of(
                Field("cidr", _cidr, is_required=True),
                Field("communities", list_of(_text), is_required=True),
            )
        ),
    ),
    Field("listenPort", _port),
    Field("nodeMeshPassword", _PASSWORD),
    Field("nodeMeshMaxRestartTime", _duration),
    Field("bindMode", leaf(values.one_of(*BIND_MODES))),
    Field("ignoredInterfaces", list_of(leaf(values.interface_pattern))),
    Field("localWorkloadPeeringIPV4", _ipv4),
    Field("localWorkloadPeeringIPV6", _ipv6),
    Field(
        "programClusterRoutes",
        leaf(values.one_of("Enabled", "Disabled", "EnabledNoEncapOnly", "EnabledIPIPOnly")),
    ),
)


def _rules(version: int) -> Check:
    length = leaf(values.number_in(PREFIX_LENGTHS[version]))
    return list_of(
        object_of(
            Field("cidr", _cidr),
            Field(
                "prefixLength",
                object_of(
                    Field("min", length, keeps_empty=True), Field("max", length, keeps_empty=True)
                ),
            ),
            Field("source", leaf(values.one_of(*SOURCES))),
            Field("interface", leaf(values.interface_pattern)),
            Field("matchOperator", leaf(values.one_of(*MATCH_OPERATORS))),
            Field("peerType", leaf(values.one_of(*PEER_TYPES))),
            Field("communities", object_of(Field("values", list_of(_community), is_required=True))),
            Field("asPathPrefix", list_of(_as_number)),
            Field("priority", _priority),
            Field("action", leaf(values.one_of("Accept", "Reject")), is_required=True),
            Field("operations", list_of(_OPERATION)),
        )
    )


_OPERATION = object_of(
    Field("addCommunity", object_of(Field("value", _community, is_required=True))),
    Field("prependASPath", object_of(Field("prefix", list_of(_as_number), is_required=True))),
    Field("setPriority", object_of(Field("value", _priority, is_required=True))),
)

FILTER = object_of(
    Field("exportV4", _rules(4)),
    Field("importV4", _rules(4)),
    Field("exportV6", _rules(6)),
    Field("importV6", _rules(6)),
)
