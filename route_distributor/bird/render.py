"""BIRD's configuration as text: the only place that knows the language of BIRD 2.

Pure: no I/O, and the same value gives the same bytes. Nothing but addresses and numbers of the
value reaches the text, so no name in etcd can break it or add to it.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network

from route_distributor.bird.desired import BirdConfig, Peer

# Seconds. A refused or reset connection is tried again after the delay; the retry time is how
# long an unanswered one is waited for. With these a new mesh is up in one to two seconds.
_CONNECT_DELAY_S = 1
_CONNECT_RETRY_S = 3
_ERROR_WAIT_S = (1, 30)  # after a real quarrel; doubles from the first to the second
# `bird -R` touches no kernel route before every peer has been heard again, or this long. BIRD's
# default of 240 would leave a new node without routes for minutes because one peer is down.
_RECOVERY_S = 10
_SCAN_S = 2  # how soon a route that somebody else deleted is put back
_POD_LINKS = '"cali*"'
_LOCAL_PREFERENCE = 200  # above BGP's 100: as in the kernel, a pod of this node goes first
_ADDRESS_METRIC = 1024  # Calico's; any number would do that is not 0, a pod route's


def render(config: BirdConfig) -> str:
    """Write BIRD's file."""
    sections = [
        _head(config),
        _kernel(config),
        _blocks(config),
        _bgp(config),
        *(_session(peer, config.port) for peer in config.peers),
    ]
    return "\n".join(sections)


def _head(config: BirdConfig) -> str:
    return f"""\
# Written by ocicat-route-distributor from what etcd says. Changes made here do not last.
log stderr {{ info, remote, warning, error, auth, fatal, bug }};
router id {config.address};
graceful restart wait {_RECOVERY_S};

protocol device {{ scan time {_SCAN_S}; }}
protocol direct {{ ipv4; interface -"cali*", -"kube-ipvs*", "*"; }}
"""


def _kernel(config: BirdConfig) -> str:
    # A /32 block has no blackhole: it would fight with the pod's own route of the same length and
    # metric. So there the pod's route itself is what is announced, as for a borrowed address.
    told = _one_of(block for block in config.advertised if _is_single(block))
    untold = _address_in(config.withheld + _not_single(config.blocks))
    borrowed = _address_in(config.pools)
    rules = [
        f"  if {told} then accept;\n" if told else "",
        f"  if {untold} then reject;\n" if untold and borrowed else "",
        f"  if {borrowed} then accept;\n" if borrowed else "",
    ]
    return f"""\
# Next hops are resolved over the host's own routes. Of pods' routes only those come in that peers
# need: of an address in a block that is not this node's (borrowed), or in a block of one address.
filter from_kernel {{
  if !(ifname ~ {_POD_LINKS}) then accept;
  preference = {_LOCAL_PREFERENCE};
{"".join(rules)}  reject;
}}

# A peer's route for one address, perhaps an old one, must not be in the way of a pod that has the
# address here: by its metric it loses against the pod's own route and neither replaces the other.
filter to_kernel {{
  if source ~ [ RTS_STATIC, RTS_BGP ] then {{
    if net.len = 32 then krt_metric = {_ADDRESS_METRIC};
    accept;
  }}
  reject;
}}

protocol kernel kernel4 {{
  learn;
  persist;
  scan time {_SCAN_S};
  metric 0;
  graceful restart;
  merge paths on;
  ipv4 {{ import filter from_kernel; export filter to_kernel; }};
}}
"""


def _blocks(config: BirdConfig) -> str:
    routes = [f"  route {block} blackhole;\n" for block in _not_single(config.blocks)]
    return f"""\
# This node's blocks: what is free in them ends here and never wanders through the network.
protocol static blocks4 {{
  ipv4;
{"".join(routes)}}}
"""


def _bgp(config: BirdConfig) -> str:
    advertised = _one_of(_not_single(config.advertised))
    accept = f"  if source = RTS_STATIC && {advertised} then accept;\n" if advertised else ""
    return f"""\
# This node's blocks and the pods' routes that came in; nothing learnt from one peer is told to
# another.
filter to_peers {{
{accept}  if source = RTS_INHERIT && ifname ~ {_POD_LINKS} then accept;
  reject;
}}

template bgp mesh4 {{
  local {config.address} port {config.port} as {config.as_number};
  multihop;
  graceful restart on;
  connect delay time {_CONNECT_DELAY_S};
  connect retry time {_CONNECT_RETRY_S};
  error wait time {_ERROR_WAIT_S[0]}, {_ERROR_WAIT_S[1]};
  ipv4 {{ gateway recursive; add paths on; import all; export filter to_peers; }};
}}
"""


def _session(peer: Peer, port: int) -> str:
    name = f"Mesh_{str(peer.address).replace('.', '_')}"
    passive = "  passive on;\n" if peer.is_passive else ""
    return f"""\
protocol bgp {name} from mesh4 {{
  neighbor {peer.address} port {port} as {peer.as_number};
{passive}}}
"""


def _is_single(block: IPv4Network) -> bool:
    return block.prefixlen == block.max_prefixlen


def _not_single(blocks: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
    return tuple(block for block in blocks if not _is_single(block))


def _one_of(blocks: Iterable[IPv4Network]) -> str:
    """The condition that a route is for one of *blocks* exactly; "" if there are none."""
    return _matches([str(block) for block in blocks])


def _address_in(ranges: Iterable[IPv4Network]) -> str:
    """The condition that a route is for one address in one of *ranges*; "" if there are none."""
    return _matches([f"{cidr}{{32,32}}" for cidr in ranges])


def _matches(patterns: list[str]) -> str:
    return f"net ~ [ {', '.join(patterns)} ]" if patterns else ""
