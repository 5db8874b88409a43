"""Clusters whose BIRD files are in tests/golden/route_distributor/, by the file's name."""

from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_network

from datamodel.bgp import BgpConfiguration, PrefixAdvertisement, SecretRef
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.bgp_peer import BgpPeer
from route_distributor.bird.desired import Settings
from route_distributor.snapshot import ClusterSnapshot
from tests.routing import dual, node, pool, snapshot

Case = tuple[ClusterSnapshot, Settings]

BLOCK, BLOCK6 = "10.233.77.0/24", "fd65::40/122"
SECRET = SecretRef("bgp", "pw")
KNOWN = Settings(secrets={SECRET: "s3cret"})
HOSTILE = "x\"; } protocol static evil { ipv4; route 0.0.0.0/0 blackhole; } #\n'*/ü" + "y" * 80


def bgp(**fields: object) -> BgpConfiguration:
    return BgpConfiguration(**fields)


def networks(*cidrs: str) -> tuple:
    return tuple(ip_network(cidr) for cidr in cidrs)


def peer(name: str = "tor", address: str = "10.0.0.254", **fields: object) -> BgpPeer:
    usual = {"peer_ip": ip_address(address), "as_number": 64513}
    return BgpPeer(name, **{**usual, **fields})


def selecting(name: str, selector: str, **fields: object) -> BgpPeer:
    return BgpPeer(name, peer_selector=selector, **fields)


def case(*nodes, settings: Settings = KNOWN, **fields: object) -> Case:
    """One of node-1 with a block and a pool; three nodes if none are given."""
    nodes = nodes or (node(1), node(2), node(3))
    usual = {"blocks": (BLOCK,), "pools": (pool("default", "10.233.64.0/18"),)}
    return snapshot(*nodes, **{**usual, **fields}), settings


def peering(*peers: BgpPeer, **fields: object) -> Case:
    return case(peers=peers, **fields)


def filtering(*rules: FilterRule, direction: str = "export_v4") -> Case:
    wanted = BgpFilter("rules", **{direction: rules})
    return peering(peer(filters=("rules",)), filters={"rules": wanted})


NO_MESH = bgp(is_mesh_enabled=False)
DUAL = (dual(1), dual(2), dual(3))
DUAL_POOLS = (pool("default", "10.233.64.0/18"), pool("six", "fd65::/112"))
RR = {"route_reflector_cluster_id": "1.0.0.1", "labels": {"rr": "yes"}}
REFLECTORS = (node(1, **RR), node(2, **RR), node(3), node(4))
CLIENTS = (node(3), node(1, **RR), node(2, **RR), node(4))
RR_PEERS = (
    selecting("clients", "rr == 'yes'", node_selector="!has(rr)"),
    selecting("reflectors", "rr == 'yes'", node_selector="rr == 'yes'"),
)
TEN = ip_network("10.0.0.0/8")

MESH = {
    "dual-stack": case(*DUAL, blocks=(BLOCK, BLOCK6), pools=DUAL_POOLS),
    "dual-stack-single-addresses": case(
        *DUAL, blocks=("10.233.79.5/32", "fd65::77/128"), pools=DUAL_POOLS
    ),
    "ipv6-only": case(
        node(1, ipv4=None, ipv6=IPv6Interface("fd00::11/64")),
        dual(2),
        node(3),
        blocks=(BLOCK6,),
        pools=DUAL_POOLS,
    ),
    "router-id": case(settings=Settings(router_id="192.0.2.1")),
    "router-id-of-the-name": case(settings=Settings(router_id="hash")),
    "listen-ports": case(bgp=bgp(listen_port=1790), listen_ports={"node-1": 1791, "node-3": 179}),
    "bind-to-the-node-address": case(*DUAL, bgp=bgp(bind_mode="NodeIP")),
    "mesh-password": case(bgp=bgp(mesh_password=SECRET)),
    "mesh-password-missing": case(bgp=bgp(mesh_password=SECRET), settings=Settings()),
    "mesh-restart-time": case(bgp=bgp(mesh_restart_time_s=90)),
    "mesh-restart-time-wrong": case(bgp=bgp(mesh_restart_time_s=-1)),
    "mesh-bfd": case(*DUAL, bgp=bgp(is_mesh_bfd=True, mesh_restart_time_s=90)),
    "unreachable-blocks": case(settings=Settings(free_addresses="unreachable")),
    "ignored-interfaces": case(bgp=bgp(ignored_interfaces=("docker0", "br-*", 'x"; }', ""))),
    "log-debug": case(bgp=bgp(log_severity="Debug")),
    "log-warning": case(bgp=bgp(log_severity="Warning")),
    "log-none": case(bgp=bgp(log_severity="none")),
    "communities": case(
        bgp=bgp(
            communities={"bgp-large": "65001:100:4294967295", "wrong": "65536:1"},
            prefix_advertisements=(
                PrefixAdvertisement(ip_network("10.233.64.0/18"), ("bgp-large", "65001:200")),
                PrefixAdvertisement(ip_network("10.233.77.0/24"), ("65001:300", "wrong", HOSTILE)),
                PrefixAdvertisement(ip_network("fd65::/112"), ("65001:400",)),
            ),
        )
    ),
    "services": case(
        *DUAL,
        bgp=bgp(
            service_cluster_ips=networks("10.96.0.0/12", "fd96::/112"),
            service_external_ips=networks("192.0.2.7/32", "2001:db8::7/128"),
            service_load_balancer_ips=networks("198.51.100.0/24"),
        ),
    ),
    "services-over-the-nodes": case(
        bgp=bgp(
            service_cluster_ips=networks("0.0.0.0/0", "10.96.0.0/12"),
            service_load_balancer_ips=networks("10.233.0.0/16"),
        ),
    ),
}
PEERS = {
    "peer-global": peering(peer()),
    "peer-global-ipv6": case(*DUAL, peers=(peer(address="fd00::254"), peer("b"))),
    "peer-of-this-node": peering(peer(node="node-1"), peer("other", "10.0.0.253", node="node-2")),
    "peer-by-node-selector": case(
        node(1, labels={"rack": "r1"}),
        node(2),
        peers=(
            peer("one", node_selector="rack == 'r1'"),
            peer("two", "10.0.0.253", node_selector="rack == 'r2'"),
        ),
    ),
    "peer-port": peering(peer(peer_port=1790), peer("b", "10.0.0.254", peer_port=1791)),
    "peer-without-mesh": peering(peer(), bgp=NO_MESH),
    "peer-twice": peering(peer("b", node="node-1", as_number=1), peer("a", node="node-1"), peer()),
    "peer-password": peering(peer(password=SECRET)),
    "peer-password-missing": peering(peer(password=SecretRef("bgp", "k")), peer("b", "10.0.0.2")),
    "peer-every-option": peering(
        peer(
            source_address="None",
            restart_time_s=120,
            keepalive_s=20,
            allowed_local_as=2,
            local_as_number=65100,
            next_hop_mode="Self",
        )
    ),
    "peer-local-as-is-the-peers": peering(peer(local_as_number=64513)),
    "peer-ttl-security": peering(peer(ttl_security=1)),
    "peer-keeps-next-hop": peering(
        peer(keeps_original_next_hop=True),
        peer("ibgp", "10.0.0.253", as_number=64512, keeps_original_next_hop=True),
        peer("keep", "10.0.0.252", as_number=64512, next_hop_mode="Keep"),
    ),
    "peer-beyond-a-router": peering(peer(address="192.0.2.9", reachable_by=ip_address("10.0.0.1"))),
    "peer-bfd": peering(peer(is_bfd=True, restart_time_s=60), peer("b", "10.0.0.253")),
    "peer-source-and-bind": peering(peer(source_address="None"), bgp=bgp(bind_mode="NodeIP")),
    "several-as": case(
        node(1, as_number=65001),
        node(2, as_number=65001),
        node(3, as_number=65002),
        peers=(peer(),),
    ),
    "reflector": case(*REFLECTORS, peers=RR_PEERS),
    "reflector-client": case(*CLIENTS, peers=RR_PEERS),
    "reflector-client-dual-stack": case(
        dual(3), dual(1, **RR), dual(4), peers=RR_PEERS, bgp=NO_MESH
    ),
    "reflector-with-router": case(*REFLECTORS, peers=(*RR_PEERS, peer(node_selector="has(rr)"))),
    "reflector-id-wrong": case(
        node(1, route_reflector_cluster_id=HOSTILE, labels={"rr": "yes"}), node(3), peers=RR_PEERS
    ),
    "reverse-by-address": case(peers=(peer("n", "10.0.0.11", as_number=64512, node="node-2"),)),
    "reverse-manual": case(
        peers=(
            peer("n", "10.0.0.11", as_number=64512, node="node-2", reverse_peering="Manual"),
            peer("m", "10.0.0.13", as_number=64512, node="node-1", reverse_peering="Manual"),
        )
    ),
    "peers-wrong": peering(
        peer("address", "224.0.0.1"),
        peer("as", as_number=None),
        peer("both", peer_selector="all()"),
        peer("family", "fd00::254"),
        peer("gateway", reachable_by=ip_address("fd00::1")),
        peer("keepalive", keepalive_s=0),
        BgpPeer("neither"),
        peer("selector", node_selector="rack ="),
        peer("zone", 'fe80::1%x"; }'),
        peer("good", "10.0.0.253"),
    ),
}
FILTERS = {
    "filter-places": filtering(
        FilterRule(True, TEN, "In"),
        FilterRule(False, TEN, "NotIn", prefix_length_min=16),
        FilterRule(True, TEN, "Equal"),
        FilterRule(False, TEN, "NotEqual"),
        FilterRule(True, TEN, "In", prefix_length_min=4, prefix_length_max=24),
        FilterRule(True, TEN, "NotIn", prefix_length_max=24),
        FilterRule(False),
    ),
    "filter-matches": filtering(
        FilterRule(False, source="RemotePeers"),
        FilterRule(True, interface="eth*"),
        FilterRule(True, peer_type="iBGP"),
        FilterRule(False, peer_type="eBGP", cidr=TEN, match_operator="In"),
        FilterRule(True, communities=("65000:1",)),
        FilterRule(True, communities=("65000:1:2",)),
        FilterRule(True, as_path_prefix=(65001, 4200000000)),
        FilterRule(True, priority=512),
    ),
    "filter-operations": filtering(
        FilterRule(
            True,
            TEN,
            "In",
            operations=(
                Operation(add_community="65000:1"),
                Operation(add_community="65000:1:2"),
                Operation(prepend_as_path=(65001, 65002)),
                Operation(set_priority=512),
            ),
        ),
    ),
    "filter-import": filtering(
        FilterRule(False, TEN, "NotIn"), FilterRule(True, priority=100), direction="import_v4"
    ),
    "filter-both-families": case(
        *DUAL,
        pools=DUAL_POOLS,
        peers=(peer(filters=("b", "a")), peer("six", "fd00::254", filters=("a", "b"))),
        filters={
            "a": BgpFilter(
                "a",
                import_v4=(FilterRule(True, TEN, "In"),),
                export_v6=(FilterRule(True, ip_network("fd00::/8"), "In"),),
            ),
            "b": BgpFilter("b", export_v4=(FilterRule(False, TEN, "In"),)),
            "unused": BgpFilter("unused", export_v4=(FilterRule(False),)),
        },
    ),
    "filter-that-cannot-be": peering(
        peer(filters=("good", HOSTILE)),
        peer("b", "10.0.0.253", filters=("good",)),
        filters={
            "good": BgpFilter("good", export_v4=(FilterRule(False),)),
            HOSTILE: BgpFilter(HOSTILE, import_v4=(FilterRule(True, interface=HOSTILE),)),
        },
    ),
    "hostile-filter-names": peering(
        peer(filters=(HOSTILE, "Ü" * 99, "", "a-b.c", "a_b_c")),
        filters={
            name: BgpFilter(name, export_v4=(FilterRule(False, TEN, "In"),))
            for name in (HOSTILE, "Ü" * 99, "", "a-b.c", "a_b_c")
        },
    ),
}
OVERLAYS = {
    "ipip-always": case(pools=(pool("p", "10.233.64.0/18", ipip_mode="Always"),)),
    "ipip-cross-subnet": case(
        node(1, ipv4=IPv4Interface("10.0.0.11/28")),
        node(2),
        pools=(
            pool("p", "10.233.64.0/18", ipip_mode="CrossSubnet"),
            pool("q", "10.234.0.0/16", ipip_mode="Always"),
            pool("r", "10.235.0.0/16"),
        ),
    ),
    "ipip-without-tunnel": case(
        pools=(pool("p", "10.233.64.0/18", ipip_mode="Always"),),
        settings=Settings(is_ipip_ready=False),
    ),
    "ipip-and-filter": peering(
        peer(filters=("f",)),
        filters={"f": BgpFilter("f", import_v4=(FilterRule(True, TEN, "In"), FilterRule(False)))},
        pools=(pool("p", "10.233.64.0/18", ipip_mode="Always"),),
    ),
    "vxlan": case(
        *DUAL,
        blocks=(BLOCK, BLOCK6),
        pools=(
            pool("p", "10.233.64.0/18", vxlan_mode="Always"),
            pool("six", "fd65::/112", vxlan_mode="CrossSubnet"),
        ),
    ),
    "both-overlays": case(
        *DUAL,
        pools=(
            pool("p", "10.233.64.0/18", vxlan_mode="Always", ipip_mode="CrossSubnet"),
            pool("six", "fd65::/112", ipip_mode="Always"),
        ),
    ),
    "hostile-everything": case(
        replace(node(1), labels={HOSTILE: HOSTILE}),
        replace(node(2), name=HOSTILE, labels={HOSTILE: HOSTILE}),
        pools=(pool(HOSTILE, "10.233.64.0/18", ipip_mode=HOSTILE, vxlan_mode=HOSTILE),),
        bgp=bgp(
            bind_mode=HOSTILE,
            log_severity=HOSTILE,
            ignored_interfaces=(HOSTILE,),
            communities={HOSTILE: HOSTILE},
        ),
        peers=(
            peer(HOSTILE, node_selector=HOSTILE),
            peer("a" + HOSTILE, source_address=HOSTILE),
            peer("b" + HOSTILE, next_hop_mode=HOSTILE),
            peer("c" + HOSTILE, password=SecretRef(HOSTILE, HOSTILE)),
            peer("d" + HOSTILE, "10.0.0.253"),
        ),
        settings=Settings(secrets={SecretRef(HOSTILE, HOSTILE): HOSTILE}),
    ),
}
TOPOLOGIES: dict[str, Case] = {**MESH, **PEERS, **FILTERS, **OVERLAYS}
