"""What BIRD's file says of one family: kernel, blocks, what peers are told and believed.

Pure: no I/O.

What leaves the node, in this order of the file: this node's blocks as a whole, the ranges of
services, the pods' routes that came in from the kernel (borrowed addresses, blocks of one address).
Of what other peers said, peers are told nothing, but for two cases: a reflector passes pods'
prefixes on within its AS, and a router (eBGP) that a BGPPeer names also learns the pods' prefixes
that other nodes of this AS announce, as in Calico, so that it may have sessions with some of the
nodes only. What one router says is never told to another.
"""

from collections.abc import Iterable, Mapping

from datamodel.block import Address
from datamodel.pool import Network
from datamodel.tunnel import IPIP
from route_distributor.bird.render_filter import TOP, add_community
from route_distributor.bird.render_session import option_lines, source_of
from route_distributor.bird.values import BirdConfig, Family, Options, in_order

_SCAN_S = 2  # how soon a route that somebody else deleted is put back
_POD_LINKS = '"cali*"'
_LOCAL_PREFERENCE = 200  # above BGP's 100: as in the kernel, a pod of this node goes first
# A pod's own route has no metric in IPv4, and in IPv6, where the kernel knows no 0, 1024.
_ADDRESS_METRIC = {4: 1024, 6: 2048}
_USUAL = TOP - 1024  # the metric that routes usually have
# Others than the usual one. What is below comes from routers that count their own way.
_HIGH = f"{TOP - 65535}..{_USUAL - 1}, {_USUAL + 1}..{TOP}"


def family_text(family: Family, gateways: Mapping[Address, Address], config: BirdConfig) -> str:
    """Write everything of a family but its sessions."""
    return "\n".join(
        [
            _from_kernel(family),
            _to_kernel(family),
            _statics(family, gateways, config),
            _told(family),
            _believed(family, config),
        ]
    )


def mesh_template(mesh: Options, family: Family, config: BirdConfig) -> str:
    """Write what all sessions of the mesh have in common."""
    v = family.version
    lines = "".join(f"  {line}\n" for line in option_lines(mesh))
    return f"""\
template bgp mesh{v} from session{v} {{
  local {source_of(mesh, family, config)};
{lines}  ipv{v} {{ import filter from_peers{v}; export filter to_mesh{v}; }};
}}
"""


def _from_kernel(family: Family) -> str:
    # A /32 block has no blackhole: it would fight with the pod's own route of the same length and
    # metric. So there the pod's route itself is what is announced, as for a borrowed address.
    told = _one_of(block for block in family.advertised if _is_single(block))
    untold = _address_in(family.withheld + _not_single(family.blocks))
    borrowed = _address_in(family.pools)
    rules = [
        f"  if {told} then accept;\n" if told else "",
        f"  if {untold} then reject;\n" if untold and borrowed else "",
        f"  if {borrowed} then accept;\n" if borrowed else "",
    ]
    return f"""\
# Next hops are resolved over the host's own routes. Of pods' routes only those come in that peers
# need: of an address in a block that is not this node's (borrowed), or in a block of one address.
filter from_kernel{family.version} {{
  if !(ifname ~ {_POD_LINKS}) then accept;
  preference = {_LOCAL_PREFERENCE};
{"".join(rules)}  reject;
}}
"""


def _to_kernel(family: Family) -> str:
    v = family.version
    services = _within(family.services)
    others = _within(family.others_program)
    static = f'  if proto = "services{v}" then reject;\n' if services else ""
    rules = [
        f"  if {services} then reject;\n" if services else "",
        f"  if {others} then reject;\n" if others else "",
    ]
    return f"""\
# A peer's route for one address, perhaps an old one, must not be in the way of a pod that has the
# address here: by its metric it loses against the pod's own route and neither replaces the other.
# Services are no routes of the host's; the tunnels of other parts have their routes from these.
filter to_kernel{v} {{
{static}  if source = RTS_STATIC then accept;
  if source != RTS_BGP then reject;
{"".join(rules)}  if net.len = {_bits(family)} then krt_metric = {_ADDRESS_METRIC[v]};
  if defined(bgp_local_pref) && bgp_local_pref ~ [ {_HIGH} ] then
    krt_metric = {TOP} - bgp_local_pref;
  accept;
}}

protocol kernel kernel{v} {{
  learn;
  persist;
  scan time {_SCAN_S};
  metric 0;
  graceful restart;
  merge paths on;
  ipv{v} {{ import filter from_kernel{v}; export filter to_kernel{v}; }};
}}
"""


def _statics(family: Family, gateways: Mapping[Address, Address], config: BirdConfig) -> str:
    v = family.version
    blocks = [f"{block} {config.free_addresses}" for block in _not_single(family.blocks)]
    services = [f"{cidr} blackhole" for cidr in family.services]
    ways = [f"{peer}/{_bits(family)} via {gateways[peer]}" for peer in sorted(gateways)]
    kept = "# This node's blocks: what is free in them ends here and wanders nowhere.\n"
    parts = [kept + _static(f"blocks{v}", v, blocks)]
    if services:
        parts.append("# Of services, peers learn ranges.\n" + _static(f"services{v}", v, services))
    if ways:
        parts.append("# Peers beyond a router.\n" + _static(f"gateways{v}", v, ways))
    return "\n".join(parts)


def _static(name: str, version: int, routes: list[str]) -> str:
    lines = "".join(f"  route {route};\n" for route in routes)
    return f"protocol static {name} {{\n  ipv{version};\n{lines}}}\n"


def _told(family: Family) -> str:
    v = family.version
    own = _one_of(in_order((*_not_single(family.advertised), *family.services)))
    withheld, pools = _within(family.withheld), _within(family.pools)
    passed_on = [
        "  if is_reflected then accept;",
        "  if is_router && bgp_path.len = 0 then accept;",
    ]
    lines = [
        *(
            f"if net ~ {cidr} then {{ {' '.join(add_community(c) for c in communities)} }}"
            for cidr, communities in family.communities
        ),
        *([f"if source = RTS_STATIC && {own} then accept;"] if own else []),
        f"if source = RTS_INHERIT && ifname ~ {_POD_LINKS} then accept;",
        *([f"if source != RTS_BGP || {withheld} then reject;"] if withheld else []),
        *([f"if source = RTS_BGP && {pools} then {{", *passed_on, "}"] if pools else []),
        "reject;",
    ]
    body = "".join(f"  {line}\n" for line in lines)
    return f"""\
# How much a route of this node counts.
function mark{v}()
{{
  if source != RTS_BGP then bgp_local_pref = {_USUAL};
}}

# What peers are told: this node's blocks, services and the pods' routes that came in. What other
# peers said of pods, reflectors tell within their AS and everybody tells routers of another.
function tell{v}(bool is_reflected; bool is_router)
{{
{body}}}

filter to_mesh{v} {{ mark{v}(); tell{v}(false, false); }}
filter to_reflected{v} {{ mark{v}(); tell{v}(true, false); }}
filter to_routers{v} {{ mark{v}(); tell{v}(false, true); }}
"""


def _believed(family: Family, config: BirdConfig) -> str:
    v = family.version
    tunnel = "reject;"
    if config.is_ipip_ready:
        # BIRD forgets the gateway when the interface is set, so the order matters.
        tunnel = f'ifname = "{IPIP.device}"; onlink = true; gw = bgp_next_hop;'
    lines = [
        f"  if net ~ [ {t.cidr}+ ]{_outside(family) if t.is_cross_subnet else ''} "
        f"then {{ {tunnel} }}\n"
        for t in family.tunnels
    ]
    return f"""\
# What peers are believed: everything. Pods of some pools are reached through a tunnel.
function take{v}()
{{
{"".join(lines)}  accept;
}}

filter from_peers{v} {{ take{v}(); }}
"""


def _outside(family: Family) -> str:
    return f" && !(bgp_next_hop ~ {family.subnet})"


def _is_single(block: Network) -> bool:
    """Whether a block is one address."""
    return block.prefixlen == block.max_prefixlen


def _bits(family: Family) -> int:
    return family.subnet.max_prefixlen


def _not_single(blocks: tuple[Network, ...]) -> tuple[Network, ...]:
    return tuple(block for block in blocks if not _is_single(block))


def _one_of(blocks: Iterable[Network]) -> str:
    """The condition that a route is for one of *blocks* exactly; "" if there are none."""
    return _matches([str(block) for block in blocks])


def _address_in(ranges: Iterable[Network]) -> str:
    """The condition that a route is for one address in one of *ranges*; "" if there are none."""
    return _matches([f"{cidr}{{{cidr.max_prefixlen},{cidr.max_prefixlen}}}" for cidr in ranges])


def _within(ranges: Iterable[Network]) -> str:
    """The condition that a route lies in one of *ranges*; "" if there are none."""
    return _matches([f"{cidr}+" for cidr in ranges])


def _matches(patterns: list[str]) -> str:
    return f"net ~ [ {', '.join(patterns)} ]" if patterns else ""
