"""BIRD's configuration as text: this file and its neighbours ``render_*.py`` alone know BIRD 2.

Pure: no I/O, and the same value gives the same bytes. Names of etcd reach the text nowhere but as
symbols of letters and digits; what else is text there was checked not to end BIRD's strings.
"""

from route_distributor.bird.render_family import family_text, mesh_template
from route_distributor.bird.render_filter import filter_functions
from route_distributor.bird.render_session import session_template, session_text
from route_distributor.bird.values import BirdConfig, Filter, Options

# `bird -R` touches no kernel route before every peer has been heard again, or this long. BIRD's
# default of 240 would leave a new node without routes for minutes because one peer is down.
_RECOVERY_S = 10
_SCAN_S = 2  # how soon a new address of the host is seen
_CLASSES = ("bug", "fatal", "auth", "error", "warning", "remote", "info", "trace", "debug")
_LOGGED = {"none": 1, "fatal": 2, "error": 4, "warning": 5, "info": 7, "debug": 9, "trace": 9}
# A peer is given up after 5 × 300 ms of silence.
_BFD = "min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 5;"


def render(config: BirdConfig) -> str:
    """Write BIRD's file."""
    filters = _filters(config)
    sections = [_head(config)]
    for family in config.families:
        gateways = {
            peer.address: peer.gateway
            for peer in config.peers
            if peer.gateway is not None and peer.address.version == family.version
        }
        sections += [
            family_text(family, gateways, config),
            *filter_functions(filters, family.version),
            session_template(family.version),
        ]
        if config.mesh is not None:
            sections.append(mesh_template(config.mesh, family, config))
    if any(options.is_bfd for options in _all_options(config)):
        sections.insert(1, f"protocol bfd {{ multihop {{ {_BFD} }}; }}\n")
    families = {family.version: family for family in config.families}
    sections += [
        session_text(peer, families[peer.address.version], config) for peer in config.peers
    ]
    return "\n".join(sections)


def _head(config: BirdConfig) -> str:
    channels = " ".join(f"ipv{family.version};" for family in config.families)
    ignored = "".join(f'-"{name}", ' for name in config.ignored_interfaces)
    classes = ", ".join(reversed(_CLASSES[: _LOGGED[config.log_severity]]))
    debug = "debug protocols { states, routes, filters, events };\n"
    return f"""\
# Written by ocicat-route-distributor from what etcd says. Changes made here do not last.
log stderr {{ {classes} }};
{debug if config.log_severity in ("debug", "trace") else ""}router id {config.router_id};
graceful restart wait {_RECOVERY_S};

protocol device {{ scan time {_SCAN_S}; }}
protocol direct {{ {channels} interface {ignored}-"cali*", -"kube-ipvs*", "*"; }}
"""


def _filters(config: BirdConfig) -> list[Filter]:
    """The filters that sessions use, each once."""
    used = {f.symbol: f for options in _all_options(config) for f in options.filters}
    return [used[symbol] for symbol in sorted(used)]


def _all_options(config: BirdConfig) -> list[Options]:
    return [*([config.mesh] if config.mesh else []), *(peer.options for peer in config.peers)]
