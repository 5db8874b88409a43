"""BIRD's configuration as text: the only place that knows the language of BIRD 2.

Pure: no I/O, and the same value gives the same bytes. Nothing but addresses and numbers of the
value reaches the text, so no name in etcd can break it or add to it.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network

from route_distributor.desired import BirdConfig, Peer

# Seconds. A refused or reset connection is tried again after the delay; the retry time is how
# long an unanswered one is waited for. With these a new mesh is up in one to two seconds.
_CONNECT_DELAY_S = 1
_CONNECT_RETRY_S = 3
_ERROR_WAIT_S = (1, 30)  # after a real quarrel; doubles from the first to the second
# `bird -R` touches no kernel route before every peer has been heard again, or this long. BIRD's
# default of 240 would leave a new node without routes for minutes because one peer is down.
_RECOVERY_S = 10
_SCAN_S = 2  # how soon a route that somebody else deleted is put back


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
    # metric. So there, and only there, the pod's route itself is what is announced.
    single = _one_of(_single(config.blocks))
    accept = f"  if {single} then accept;\n" if single else ""
    return f"""\
# Next hops are resolved over the host's own routes. Pods' routes stay out of BIRD's table.
filter from_kernel {{
{accept}  if ifname ~ "cali*" then reject;
  accept;
}}

filter to_kernel {{
  if source ~ [ RTS_STATIC, RTS_BGP ] then accept;
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
    routes = [f"  route {b} blackhole;\n" for b in config.blocks if b not in _single(config.blocks)]
    return f"""\
# This node's blocks: what is free in them ends here and never wanders through the network.
protocol static blocks4 {{
  ipv4;
{"".join(routes)}}}
"""


def _bgp(config: BirdConfig) -> str:
    advertised = _one_of(config.advertised)
    condition = f"source ~ [ RTS_STATIC, RTS_INHERIT ] && {advertised}"
    accept = f"  if {condition} then accept;\n" if advertised else ""
    return f"""\
# Exactly this node's blocks; nothing learnt from one peer is told to another.
filter to_peers {{
{accept}  reject;
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


def _single(blocks: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    return tuple(block for block in blocks if block.prefixlen == block.max_prefixlen)


def _one_of(blocks: tuple[IPv4Network, ...]) -> str:
    """The condition that a route is for one of *blocks* exactly; "" if there are none."""
    return f"net ~ [ {', '.join(map(str, blocks))} ]" if blocks else ""
