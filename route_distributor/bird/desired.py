"""What BIRD on this node should do, decided from the cluster's snapshot.

Pure: no I/O. Values, not text: ``render.py`` knows BIRD's language, this file and its neighbours
know what we want. What is wrong with one object takes that object away and nothing else, and
``BirdConfig.problems`` says so.
"""

import hashlib
from ipaddress import IPv4Address

from datamodel.bgp import BgpConfiguration, is_interface_pattern
from datamodel.errors import Invalid
from datamodel.node import Node
from route_distributor.bird.families import family_of, pool_problems
from route_distributor.bird.peer_options import cluster_id_of
from route_distributor.bird.peering import all_peers, mesh_options
from route_distributor.bird.values import BirdConfig, NotYet, Settings
from route_distributor.bird.view import View, addresses_of
from route_distributor.snapshot import ClusterSnapshot

__all__ = ["BirdConfig", "NotYet", "Settings", "desired"]

SEVERITIES = ("trace", "debug", "info", "warning", "error", "fatal", "none")


def desired(snapshot: ClusterSnapshot, settings: Settings | None = None) -> BirdConfig | NotYet:
    """Decide what BIRD should do, or say what is missing."""
    settings = settings or Settings()
    own, bgp = snapshot.own, snapshot.bgp
    if own is None or not addresses_of(own):
        return NotYet(
            f"node {snapshot.node}: has no usable IPv4 address in etcd yet, and no IPv6 one"
        )
    if bgp is None:
        return NotYet(
            f"BGPConfiguration default or node.{snapshot.node}: cannot be read, so BIRD goes on "
            "as it is; put a right one there with ocicatctl apply"
        )
    problems = pool_problems(snapshot.pools)
    view = View(
        own=own,
        others=snapshot.others,
        bgp=bgp,
        listen_ports=snapshot.listen_ports,
        filters=snapshot.filters,
        settings=settings,
        cluster_id=_cluster_id(own, problems),
    )
    mesh = mesh_options(view, problems)
    families = [family_of(snapshot, own, version, problems) for version in (4, 6)]
    return BirdConfig(
        address=addresses_of(own)[0],
        router_id=_router_id(own, settings.router_id),
        port=view.port_of(own),
        listens_everywhere=bgp.bind_mode != "NodeIP",
        log_severity=_severity(own, bgp, problems),
        ignored_interfaces=_ignored_interfaces(bgp, problems),
        free_addresses=settings.free_addresses,
        is_ipip_ready=settings.is_ipip_ready,
        mesh=mesh,
        families=tuple(family for family in families if family is not None),
        peers=all_peers(view, snapshot.peers, mesh, problems),
        problems=tuple(problems),
    )


def _cluster_id(own: Node, problems: list[str]) -> IPv4Address | None:
    try:
        return cluster_id_of(own.route_reflector_cluster_id)
    except Invalid as error:
        problems.append(f"node {own.name}: {error}; it reflects nothing until it is")
        return None


def _router_id(own: Node, wanted: str) -> IPv4Address:
    """What identifies this BIRD among all; two nodes must not have the same."""
    if wanted not in ("", "hash"):
        return IPv4Address(wanted)
    if own.ipv4 is None or wanted == "hash":
        return _hashed(own.name)
    return own.ipv4.ip


def _hashed(name: str) -> IPv4Address:
    """Calico's way to make a router id of a name."""
    first, *rest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:4]
    # No multicast address and none above them.
    return IPv4Address(bytes((first - 32 if first > 223 else first, *rest)))


def _severity(own: Node, bgp: BgpConfiguration, problems: list[str]) -> str:
    severity = bgp.log_severity.lower()
    if severity in SEVERITIES:
        return severity
    problems.append(
        f"BGPConfiguration of {own.name}: logSeverityScreen {bgp.log_severity!r} is not one of "
        f"{', '.join(SEVERITIES)}; correct it"
    )
    return "info"


def _ignored_interfaces(bgp: BgpConfiguration, problems: list[str]) -> tuple[str, ...]:
    # Without any interface no next hop would be found.
    kept = {n for n in bgp.ignored_interfaces if is_interface_pattern(n) and n.strip("*")}
    problems += [
        f"BGPConfiguration default: ignoredInterfaces {name!r} can be no interface's name; "
        "correct it"
        for name in sorted({*bgp.ignored_interfaces} - kept)
    ]
    return tuple(sorted(kept))
