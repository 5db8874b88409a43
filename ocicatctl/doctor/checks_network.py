"""The kernel's network: forwarding, reverse paths, firewalls, MTU, full tables, pods' links.

Pure: no I/O.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from datamodel.attachment import parse_alias
from datamodel.block import Address
from datamodel.tunnel import TUNNELS
from kernel_api.rtnetlink import Link
from ocicatctl.doctor.facts import Cluster, Facts, Filter, Network
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong
from ocicatctl.doctor.forwarding import Packet

_FULL = 0.8
_LOOSE, _STRICT = 2, 1
# Of networks for documentation: addresses that are certainly of no pod.
_OUTSIDE: dict[int, Address] = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}


def ip_forward(facts: Facts) -> Iterator[Finding]:
    """Whether the node forwards at all."""
    network = facts.of(Network)
    families = frozenset().union(*(network.families(link.name) for link in network.pods))
    for version, path in ((4, "net/ipv4/ip_forward"), (6, "net/ipv6/conf/all/forwarding")):
        name, value = path.replace("/", "."), network.sysctls.get(path)
        if value is None:
            yield Unknown(f"{name}: cannot be read")
        elif value == "1":
            yield Fine(f"{name} is 1")
        elif version in families:
            yield Wrong(
                f"{name}: is {value}, and there are pods",
                "the node drops every packet between pods and elsewhere",
                f"sysctl -w {name}=1",
            )
        else:
            yield Fine(f"{name} is {value}; the first ADD of an IPv{version} pod sets it")


def forwarding(facts: Facts) -> Iterator[Finding]:
    """Whether each link that packets of pods pass forwards, and answers for the pods' gateway."""
    network = facts.of(Network)
    is_wrong = False
    for link in network.pods:
        for version in sorted(network.families(link.name)):
            for key in ("forwarding", "proxy_arp" if version == 4 else "proxy_ndp"):
                for wrong in _zero(network, link.name, version, key):
                    is_wrong = True
                    yield wrong
    if network.sysctls.get("net/ipv4/ip_forward") == "1":
        for link in _passed(network):
            for wrong in _zero(network, link.name, 4, "forwarding"):
                is_wrong = True
                yield wrong
    if not is_wrong:
        yield Fine(f"{len(network.pods)} links of pods and the uplinks forward")


_WHY = {
    "forwarding": "packets that come in by it are not forwarded",
    "proxy_arp": "a pod that asks for its gateway by ARP gets no answer",
    "proxy_ndp": "a pod that asks for its gateway by neighbour discovery gets no answer",
}


def _zero(network: Network, link: str, version: int, key: str) -> Iterator[Wrong]:
    path = f"net/ipv{version}/conf/{link}/{key}"
    if network.sysctls.get(path) == "0":
        yield Wrong(f"{path}: is 0", _WHY[key], f"sysctl -w {path}=1")


def _passed(network: Network) -> list[Link]:
    """The links by which packets of pods come and go, other than the pods' own."""
    tunnels = [network.links[t.device] for t in TUNNELS if t.device in network.links]
    return [*network.uplinks, *(link for link in tunnels if link.is_up)]


def rp_filter(facts: Facts) -> Iterator[Finding]:
    """Whether packets are dropped that come by another way than theirs would go."""
    network = facts.of(Network)
    general = network.sysctls.get("net/ipv4/conf/all/rp_filter")
    if general is None:
        yield Unknown("rp_filter: cannot be read")
        return
    tunnels = {tunnel.device for tunnel in TUNNELS}
    links = _passed(network)
    addressed = [
        name
        for name, link in network.links.items()
        if link.is_up
        and name not in ("lo", *tunnels)
        and not name.startswith("cali")
        and any(a.version == 4 for a in network.addresses.get(name, ()))
    ]
    is_wrong = False
    for link in links:
        path = f"net/ipv4/conf/{link.name}/rp_filter"
        own = network.sysctls.get(path, "0")
        is_asymmetric = link.name in tunnels or len(addressed) > 1
        if max(int(general), int(own)) == _STRICT and is_asymmetric:
            is_wrong = True
            other = "the uplink" if link.name in tunnels else "another uplink"
            yield Wrong(
                f"rp_filter: is strict on {link.name} ({path} is {own}, all is {general})",
                f"what comes in by it whose answer would leave by {other} is dropped silently",
                f"sysctl -w {path}={_LOOSE}",
                is_warning=link.name not in tunnels,
            )
    if not is_wrong:
        yield Fine("rp_filter drops nothing that pods need")


def forward_policy(facts: Facts) -> Iterator[Finding]:
    """Whether the firewall lets packets of pods through."""
    network, seen = facts.of(Network), facts.of(Filter)
    for reason in seen.unasked:
        yield Unknown(f"firewall: {reason}")
    if seen.unasked and not seen.firewall.chains:
        return
    is_wrong = False
    for packet in _packets(facts, network):
        chain = seen.firewall.dropped_by(packet)
        if chain is not None:
            is_wrong = True
            to = "pods" if packet.oif.startswith("cali") else "elsewhere"
            yield Wrong(
                f"firewall: chain {chain.name} of table {chain.table} drops what is forwarded "
                f"to {to} (policy {chain.policy})",
                "pods reach nobody beyond their node, though every route is there",
                chain.mend(),
            )
            return
    if not is_wrong:
        yield Fine("the firewall lets packets of pods through")


def _packets(facts: Facts, network: Network) -> Iterator[Packet]:
    """One from a pod and one to a pod, of each family that pools have."""
    uplink = next((link.name for link in network.uplinks), "eth0")
    cluster = facts.areas.get(Cluster)
    pools = cluster.pools if isinstance(cluster, Cluster) else ()
    pods: dict[int, Address] = {p.cidr.version: p.cidr[1] for p in pools if not p.disabled}
    for version, pod in sorted((pods or {4: ip_address("10.233.64.1")}).items()):
        yield Packet("cali0123456789a", uplink, pod, _OUTSIDE[version])
        yield Packet(uplink, "cali0123456789a", _OUTSIDE[version], pod)


def mtu(facts: Facts) -> Iterator[Finding]:
    """Whether packets of pods fit through uplink and tunnels."""
    network, cluster = facts.of(Network), facts.of(Cluster)
    if not network.uplinks:
        yield Unknown("mtu: the node has no default route, so no uplink is known")
        return
    uplink = network.uplinks[0]
    is_wrong = False
    for tunnel in TUNNELS:
        device = network.links.get(tunnel.device)
        used = any(tunnel.is_used_by(pool) for pool in cluster.pools)
        if device and used and device.mtu > uplink.mtu - tunnel.overhead:
            is_wrong = True
            yield Wrong(
                f"{device.name}: has MTU {device.mtu}; {uplink.name} has {uplink.mtu}, and "
                f"headers take {tunnel.overhead}",
                "large packets to other nodes' pods are lost or cut in pieces",
                f"ip link set {device.name} mtu {uplink.mtu - tunnel.overhead}",
            )
    overhead = max(
        (t.overhead for t in TUNNELS for p in cluster.pools if t.is_used_by(p) and not p.disabled),
        default=0,
    )
    most = uplink.mtu - overhead
    for link in network.pods:
        if link.mtu > most:
            is_wrong = True
            yield Wrong(
                f"{link.name}: has MTU {link.mtu}, and no more than {most} fits through "
                f"{uplink.name}" + (" and tunnels" if overhead else ""),
                "connections hang as soon as they send much: large packets are lost on the way",
                _renew(link),
            )
    if not is_wrong:
        yield Fine(f"{len(network.pods)} links of pods fit through {uplink.name} (at most {most})")


def _renew(link: Link) -> str:
    """The command that has a pod made anew; a running one keeps its MTU."""
    owner = parse_alias(link.alias)
    if owner and owner.pod:
        return f"kubectl delete pod -n {owner.pod.namespace} {owner.pod.name}"
    container = owner.attachment.container_id if owner and owner.attachment else ""
    return f"crictl stopp {container}" if container else f"ip link del {link.name}"


def conntrack(facts: Facts) -> Iterator[Finding]:
    """Whether the table of connections has room."""
    sysctls = facts.of(Network).sysctls
    count = sysctls.get("net/netfilter/nf_conntrack_count", "")
    most = sysctls.get("net/netfilter/nf_conntrack_max", "")
    if not count.isdecimal() or not most.isdecimal():
        yield Fine("no connections are tracked")
    elif int(most) and int(count) > _FULL * int(most):
        yield Wrong(
            f"conntrack: {count} of {most} entries are in use",
            "once it is full, new connections are dropped, of all pods",
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * int(most)}",
        )
    else:
        yield Fine(f"conntrack: {count} of {most} entries are in use")


def neighbours(facts: Facts) -> Iterator[Finding]:
    """Whether the table of neighbours has room for pods and nodes."""
    network = facts.of(Network)
    text = network.sysctls.get("net/ipv4/neigh/default/gc_thresh3", "")
    if not text.isdecimal():
        yield Unknown("gc_thresh3: cannot be read (only the host's own namespace has it)")
        return
    needed = max(network.neighbours, 2 * len(network.pods))
    if needed > _FULL * int(text):
        yield Wrong(
            f"neighbours: {network.neighbours} entries, {len(network.pods)} pods, and there is "
            f"room for {text}",
            '"neighbour table overflow": packets to pods or nodes are dropped at random',
            "sysctl -w "
            + " ".join(
                f"net.ipv{v}.neigh.default.gc_thresh3={max(4096, 4 * needed)}" for v in (4, 6)
            ),
        )
    else:
        yield Fine(f"neighbours: {network.neighbours} entries of {text}")


def pod_links(facts: Facts) -> Iterator[Finding]:
    """Whether every link of a pod is up, and something is routed to it."""
    network = facts.of(Network)
    is_wrong = False
    for link in network.pods:
        if not link.is_up:
            is_wrong = True
            yield Wrong(
                f"{link.name}: is down",
                "its pod is cut off, and its routes are gone",
                f"ip link set {link.name} up",
            )
        elif not network.families(link.name):
            is_wrong = True
            what = "no route leads to it"
            yield Wrong(
                f"{link.name}: {what}" + ("" if link.alias else ", and nobody is its owner"),
                "its pod gets no packet; or it is left of a call that was killed",
                _renew(link) if link.alias else f"ip link del {link.name}",
            )
    if not is_wrong:
        yield Fine(f"{len(network.pods)} links of pods are up and have a route")


def node_address(facts: Facts) -> Iterator[Finding]:
    """Whether the addresses under which this node is registered are really its own."""
    network, cluster = facts.of(Network), facts.of(Cluster)
    node = cluster.node
    if node is None:
        yield Unknown(f"node {cluster.view.node}: is not in etcd, see hostname")
        return
    here = {address.ip: link for link, some in network.addresses.items() for address in some}
    for version in (4, 6):
        registered = node.address(version)
        if registered is None:
            continue
        if registered.ip in here:
            yield Fine(f"{registered.ip} is on {here[registered.ip]}")
        else:
            yield Wrong(
                f"node {node.name}: has {registered.ip} in etcd, and no link here has that",
                "other nodes send packets of this node's pods to an address that is not here",
                f"IP{'' if version == 4 else '6'}=autodetect "
                "systemctl restart ocicat-ipamd  # with this setting in its environment",
            )
