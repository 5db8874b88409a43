"""BGPConfiguration, BGPPeer and BGPFilter out of the JSON in etcd, with Calico's field names.

Pure: no I/O. An object is named after its key: what its value says of that could be anybody's.
"""

from dataclasses import replace
from typing import Any

from datamodel.bgp import (
    BFD_ANNOTATION,
    LOG_SEVERITIES,
    BgpConfiguration,
    PrefixAdvertisement,
    SecretRef,
)
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.bgp_peer import BgpPeer, parse_peer_ip
from datamodel.pool import Network
from datastore import keys, reading
from datastore.codec import load
from datastore.reading import Document

DEFAULTS = BgpConfiguration()


def decode_bgp_configuration(key: str, value: bytes) -> BgpConfiguration:
    """Read the BGPConfiguration of all nodes; absent fields have Calico's defaults.

    Raises:
        Invalid: a field is not of its type, or Calico or BIRD would refuse it.
    """
    document = load(key, value)
    with reading.entry(key):
        found = bgp_configuration_of(
            reading.document(document.get("spec")),
            is_bfd(reading.document(document.get("metadata"))),
        )
    return found.checked(key.removeprefix(keys.BGP_CONFIGURATIONS))


def decode_node_bgp_configuration(
    key: str, value: bytes, cluster: BgpConfiguration
) -> BgpConfiguration:
    """Read the BGPConfiguration of one node, which has its say over that of the cluster.

    It speaks of where and how a node listens, what it announces, which interfaces it ignores and
    how much it logs. Calico has the other fields for the cluster only and does not look at them
    here, nor do we. Communities are added to the cluster's; any other field replaces its.

    Raises:
        Invalid: a field is not of its type, or Calico or BIRD would refuse it.
    """
    document = load(key, value)
    with reading.entry(key):
        found = _local_fields(reading.document(document.get("spec")), cluster)
    return found.checked(key.removeprefix(keys.BGP_CONFIGURATIONS))


def decode_listen_port(key: str, value: bytes) -> int | None:
    """Read the port on which a node listens, if its BGPConfiguration says one.

    That is all that others need to know of it: whatever else is wrong there is for the node.

    Raises:
        Invalid: there is one and it cannot be read.
    """
    document = load(key, value)
    with reading.entry(key):
        port = reading.number(reading.document(document.get("spec")), "listenPort")
    if not port:
        return None
    name = key.removeprefix(keys.BGP_CONFIGURATIONS)
    return BgpConfiguration(listen_port=port).checked(name).listen_port


def bgp_configuration_of(spec: Document, is_mesh_bfd: bool = False) -> BgpConfiguration:
    """Read the spec of a BGPConfiguration, unchecked.

    Raises:
        ValueError, TypeError: a field is not of its type.
    """
    mesh = reading.flag_or_none(spec, "nodeToNodeMeshEnabled")
    as_number = reading.as_number(spec.get("asNumber"))
    cluster = BgpConfiguration(
        as_number=DEFAULTS.as_number if as_number is None else as_number,
        is_mesh_enabled=DEFAULTS.is_mesh_enabled if mesh is None else mesh,
        mesh_password=_password(spec.get("nodeMeshPassword")),
        mesh_restart_time_s=reading.seconds_or_none(spec, "nodeMeshMaxRestartTime"),
        is_mesh_bfd=is_mesh_bfd,
        service_cluster_ips=_ranges(spec.get("serviceClusterIPs")),
        service_external_ips=_ranges(spec.get("serviceExternalIPs")),
        service_load_balancer_ips=_ranges(spec.get("serviceLoadBalancerIPs")),
    )
    return _local_fields(spec, cluster)


def _local_fields(spec: Document, base: BgpConfiguration) -> BgpConfiguration:
    """Put the fields that a node may have of its own over those of *base*."""
    severity = reading.text(spec.get("logSeverityScreen") or base.log_severity)
    by_lower = {name.lower(): name for name in LOG_SEVERITIES}
    advertisements = tuple(
        PrefixAdvertisement(reading.cidr(item["cidr"]), reading.texts(item.get("communities")))
        for item in reading.objects(spec.get("prefixAdvertisements"))
    )
    communities = {
        reading.text(item["name"]): reading.text(item["value"])
        for item in reading.objects(spec.get("communities"))
    }
    ignored = reading.texts(spec.get("ignoredInterfaces"))
    return replace(
        base,
        listen_port=reading.number(spec, "listenPort") or base.listen_port,
        bind_mode=reading.text(spec.get("bindMode") or base.bind_mode),
        communities={**base.communities, **communities},
        prefix_advertisements=advertisements or base.prefix_advertisements,
        ignored_interfaces=ignored or base.ignored_interfaces,
        log_severity=by_lower.get(severity.lower(), severity),
    )


def decode_bgp_peer(key: str, value: bytes) -> BgpPeer:
    """Read a BGPPeer; absent fields have Calico's defaults.

    Raises:
        Invalid: a field is not of its type, or Calico or BIRD would refuse it.
    """
    document = load(key, value)
    with reading.entry(key):
        name = key.removeprefix(keys.BGP_PEERS)
        peer = bgp_peer_of(
            name,
            reading.document(document.get("spec")),
            is_bfd(reading.document(document.get("metadata"))),
        )
    return peer.checked()


def bgp_peer_of(name: str, spec: Document, is_bfd: bool = False) -> BgpPeer:
    """Read the spec of a BGPPeer, unchecked.

    Raises:
        ValueError, TypeError: a field is not of its type.
    """
    where = spec.get("peerIP")
    peer_ip, peer_port = parse_peer_ip(reading.text(where)) if where else (None, None)
    return BgpPeer(
        name=name,
        node=reading.text(spec.get("node") or ""),
        node_selector=reading.text(spec.get("nodeSelector") or ""),
        peer_ip=peer_ip,
        peer_port=peer_port,
        as_number=reading.as_number(spec.get("asNumber")) or None,  # Go stores 0 for none
        peer_selector=reading.text(spec.get("peerSelector") or ""),
        local_workload_selector=reading.text(spec.get("localWorkloadSelector") or ""),
        keeps_original_next_hop=reading.flag(spec, "keepOriginalNextHop"),
        next_hop_mode=reading.text_or_none(spec.get("nextHopMode")),
        password=_password(spec.get("password")),
        source_address=reading.text(spec.get("sourceAddress") or "UseNodeIP"),
        restart_time_s=reading.seconds_or_none(spec, "maxRestartTime"),
        keepalive_s=reading.seconds_or_none(spec, "keepaliveTime"),
        allowed_local_as=reading.number_or_none(spec, "numAllowedLocalASNumbers"),
        local_as_number=reading.as_number(spec.get("localASNumber")),
        ttl_security=reading.number_or_none(spec, "ttlSecurity"),
        reachable_by=reading.address(spec.get("reachableBy")),
        filters=reading.texts(spec.get("filters")),
        reverse_peering=reading.text(spec.get("reversePeering") or "Auto"),
        is_bfd=is_bfd,
    )


def decode_bgp_filter(key: str, value: bytes) -> BgpFilter:
    """Read a BGPFilter.

    Raises:
        Invalid: a field is not of its type, or Calico or BIRD would refuse it.
    """
    document = load(key, value)
    with reading.entry(key):
        name = key.removeprefix(keys.BGP_FILTERS)
        found = bgp_filter_of(name, reading.document(document.get("spec")))
    return found.checked()


def bgp_filter_of(name: str, spec: Document) -> BgpFilter:
    """Read the spec of a BGPFilter, unchecked.

    Raises:
        ValueError, TypeError, KeyError: a field is not of its type, or missing.
    """
    export_v4, import_v4, export_v6, import_v6 = (
        tuple(_rule(item) for item in reading.objects(spec.get(field)))
        for field in ("exportV4", "importV4", "exportV6", "importV6")
    )
    return BgpFilter(name, export_v4, import_v4, export_v6, import_v6)


def _rule(rule: Document) -> FilterRule:
    action = rule["action"]
    if action not in ("Accept", "Reject"):
        raise ValueError(f"action {action!r} is neither Accept nor Reject")
    lengths = reading.document(rule.get("prefixLength"))
    communities = reading.document(rule.get("communities"))
    return FilterRule(
        is_accept=action == "Accept",
        cidr=reading.cidr(rule["cidr"]) if rule.get("cidr") else None,
        match_operator=reading.text(rule.get("matchOperator") or ""),
        prefix_length_min=reading.number_or_none(lengths, "min"),
        prefix_length_max=reading.number_or_none(lengths, "max"),
        source=reading.text(rule.get("source") or ""),
        interface=reading.text(rule.get("interface") or ""),
        peer_type=reading.text(rule.get("peerType") or ""),
        communities=reading.texts(communities.get("values")),
        as_path_prefix=reading.as_numbers(rule.get("asPathPrefix")),
        priority=reading.number_or_none(rule, "priority"),
        operations=tuple(_operation(item) for item in reading.objects(rule.get("operations"))),
    )


def _operation(operation: Document) -> Operation:
    community, path, priority = (
        reading.document(operation.get(name))
        for name in ("addCommunity", "prependASPath", "setPriority")
    )
    return Operation(
        add_community=reading.text_or_none(community.get("value")),
        prepend_as_path=reading.as_numbers(path.get("prefix")),
        set_priority=reading.number_or_none(priority, "value"),
    )


def is_bfd(metadata: Document) -> bool:
    """Whether BFD is on. An annotation says it: calicoctl keeps those, and drops unknown fields.

    Raises:
        ValueError, TypeError: it says neither "true" nor "false".
    """
    said = reading.document(metadata.get("annotations")).get(BFD_ANNOTATION)
    if said not in (None, "true", "false"):
        raise ValueError(f'annotation {BFD_ANNOTATION} {said!r} is neither "true" nor "false"')
    return said == "true"


def _password(value: Any) -> SecretRef | None:
    reference = reading.document(value).get("secretKeyRef")
    if reference is None:
        return None
    names = reading.document(reference)
    return SecretRef(reading.text(names.get("name") or ""), reading.text(names["key"]))


def _ranges(value: Any) -> tuple[Network, ...]:
    # Go writes a range that is not set as {}.
    return tuple(reading.cidr(item["cidr"]) for item in reading.objects(value) if item.get("cidr"))
