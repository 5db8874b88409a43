"""A node on which nothing is wrong, as the doctor sees it, and what becomes of it by one change."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface, ip_address, ip_network

from bird_api.protocols import Session
from datamodel.attachment import Attachment, Pod
from datamodel.node import Node
from datamodel.pool import Pool
from datamodel.report import Kernel as WhichKernel
from datamodel.report import Report
from datamodel.routing_status import PartStatus, RoutingStatus
from ipam_api.answers import NodeStatus, OwnBlock
from kernel_api.lookup import KernelHop, KernelRoute
from kernel_api.rtnetlink import Link
from ocicatctl.doctor.certificate import Validity
from ocicatctl.doctor.drop_ins import DropIn
from ocicatctl.doctor.facts import (
    BinDir,
    CertificateFile,
    Certificates,
    Cluster,
    CniServer,
    ConfFile,
    Disk,
    DropIns,
    Endpoint,
    Etcd,
    EtcdServer,
    EtcdServers,
    Facts,
    Filter,
    Host,
    Installation,
    Ipamd,
    Launcher,
    Network,
    Routing,
    Runtimes,
)
from ocicatctl.doctor.forwarding import Chain, Firewall
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.doctor.settings import read_settings
from ocicatctl.install.manifest import Entry, Manifest
from ocicatctl.install.plan import Found
from ocicatctl.install.wanted import Directories, files
from ocicatctl.routes.explain import explain
from ocicatctl.routes.facts import Bird, Destination, Kernel, View

NOW = datetime(2026, 11, 30, tzinfo=UTC)
OURS = json.dumps(
    {"name": "k8s-pod-network", "cniVersion": "1.0.0", "plugins": [{"type": "ocicat"}]}
)
CONF = ConfFile("/etc/cni/net.d/10-ocicat.conflist", OURS)
POD_LINK = "cali0d7763386da"
ALIAS = Attachment("k8s-pod-network", "4f0c9a5d2b", "eth0").alias(Pod("default", "web-0"))
OWN, OTHERS = ip_network("10.233.77.0/24"), ip_network("10.233.88.0/24")
POOL = Pool("main", ip_network("10.233.64.0/18"), 24, nat_outgoing=True)
NODES = {
    "node-1": Node("node-1", IPv4Interface("10.0.0.11/24")),
    "node-2": Node("node-2", IPv4Interface("10.0.0.12/24")),
}
SESSION = Session(
    "Mesh_10_0_0_12", ip_address("10.0.0.12"), "node-to-node mesh", "up", "21:57:18", "Established"
)
DOWN = replace(SESSION, state="start", info="Active Socket: Connection refused")


def link(name: str, mtu: int = 1500, *, is_up: bool = True, alias: str = "") -> Link:
    return Link(1, name, "ee:ee:ee:ee:ee:ee", mtu, 0, alias, is_up)


def route(network: str, device: str = "", **rest) -> KernelRoute:
    hops = (KernelHop(device, rest.pop("via", None)),) if device else ()
    fields = {"kind": "unicast", "protocol": "boot", "hops": hops, **rest}
    return KernelRoute(ip_network(network), **fields)


ROUTES = (
    route("0.0.0.0/0", "eth0", via=ip_address("10.0.0.1")),
    route("10.0.0.0/24", "eth0", protocol="kernel"),
    route("10.233.77.0/32", POD_LINK),
    route(str(OWN), kind="blackhole", protocol="bird"),
    route(str(OTHERS), "eth0", via=ip_address("10.0.0.12"), protocol="bird"),
)
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "0",
    "net/netfilter/nf_conntrack_count": "100",
    "net/netfilter/nf_conntrack_max": "1000",
    "net/ipv4/neigh/default/gc_thresh3": "1024",
    "net/ipv4/conf/all/rp_filter": "0",
    f"net/ipv4/conf/{POD_LINK}/forwarding": "1",
    f"net/ipv4/conf/{POD_LINK}/proxy_arp": "1",
    "net/ipv4/conf/eth0/forwarding": "1",
    "net/ipv4/conf/eth0/rp_filter": "0",
}
NETWORK = Network(
    {"lo": link("lo", 65536), "eth0": link("eth0"), POD_LINK: link(POD_LINK, alias=ALIAS)},
    {"eth0": (IPv4Interface("10.0.0.11/24"),)},
    Kernel(ROUTES, {"eth0": True, POD_LINK: True}),
    SYSCTLS,
    3,
)
HOST = Host(
    release="6.1.0-18-cloud-amd64",
    processes=frozenset({"containerd", "NetworkManager", "systemd-network", "systemd-udevd"}),
    programs=frozenset({"nft", "bird", "python3"}),
    modules=frozenset({"nf_tables"}),
    can_load=frozenset({"ipip", "vxlan"}),
    is_synchronised=True,
    disks=(Disk("/var/lib/ocicat", 10 << 30, 0.5),),
    sysctls={"fs/inotify/max_user_instances": "128"},
)
PUT = {
    file.path.rpartition("/")[2]: DropIn(file.path, file.content.decode())
    for file in files(Directories(), (), "", "")
}
DROP_INS = DropIns((PUT["zz-ocicat.conf"],), (PUT["05-ocicat.network"],), (PUT["05-ocicat.link"],))
BIN = BinDir("/opt/cni/bin", programs=frozenset({"ocicat", "ocicat-ipam"}))
RUNTIME = Runtime("containerd", "/etc/containerd/config.toml", is_running=True)
RUNTIMES = Runtimes((RUNTIME,), {"/etc/cni/net.d": (CONF,)}, {"/opt/cni/bin": BIN})
LAUNCHER = Launcher(
    path="/opt/cni/bin/ocicat",
    interpreter="/usr/bin/python3",
    has_interpreter=True,
    fallback="/opt/ocicat/bin/python3",
    has_fallback=True,
    socket="/run/ocicat/cni.sock",
    is_current=True,
    proof="",
)
HOLDS = Validity(NOW - timedelta(days=300), NOW + timedelta(days=65))
EXPIRED = Validity(NOW - timedelta(days=400), NOW - timedelta(days=35))
KEY = CertificateFile("ETCD_KEY_FILE", "/etc/ocicat/etcd/client.key")
CERTIFICATE = CertificateFile("ETCD_CERT_FILE", "/etc/ocicat/etcd/client.crt", "", (HOLDS,))
REPORT = Report(WhichKernel("boot", "4026531840"), True, ())
STATUS = NodeStatus("node-1", (OwnBlock(OWN, 256, 1),), 10, "", ())


def manifest(**digests: str) -> tuple[Manifest, dict[str, Found]]:
    """A record of one launcher and one configuration, and both on the disk."""
    paths = ("/opt/cni/bin/ocicat", "/etc/cni/net.d/10-ocicat.conflist")
    return (
        Manifest({path: Entry(frozenset({"as-put"})) for path in paths}),
        {path: Found(exists=True, digest=digests.get(path[1:4], "as-put")) for path in paths},
    )


def installation(**digests: str) -> Installation:
    return Installation(*manifest(**digests), launchers=(LAUNCHER,))


def cluster(network: Network = NETWORK, session: Session = SESSION, **rest) -> Cluster:
    """What etcd says, with a kernel and a BIRD that may be otherwise."""
    rest = {"nodes": NODES, "pools": (POOL,), "problems": (), **rest}
    view = View("node-1", rest["nodes"], rest["pools"], True, Bird([session]), network.kernel)
    known = (Destination(OWN, "node-1", "confirmed"), Destination(OTHERS, "node-2", "confirmed"))
    return Cluster(view, rest["problems"], [explain(each, view) for each in known], REPORT)


def facts(*changed: object, environment: dict[str, str] | None = None) -> Facts:
    """The node, with some of its areas otherwise."""
    areas = (
        RUNTIMES,
        installation(),
        DROP_INS,
        HOST,
        NETWORK,
        Filter(Firewall.of([Chain("ip filter", "FORWARD", (), "accept")])),
        Etcd((Endpoint("https://10.0.0.1:2379", 0.002),)),
        EtcdServers((EtcdServer("https://10.0.0.1:2379", 0.4, HOLDS),), NOW.timestamp()),
        Certificates((CERTIFICATE, KEY), "", NOW.timestamp()),
        Ipamd(STATUS),
        CniServer(),
        Routing(RoutingStatus((), {"bird": PartStatus()}), "", Bird([SESSION])),
        cluster(),
    )
    given = {"NODENAME": "node-1", "ETCD_ENDPOINTS": "https://10.0.0.1:2379"}
    settings = read_settings({**given, **(environment or {})}, "node-1")
    return Facts(settings, {type(area): area for area in (*areas, *changed)})
