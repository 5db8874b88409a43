"""A BGP session in BIRD's language.

Pure: no I/O.
"""

from route_distributor.bird.values import (
    NOTHING,
    OF_CLUSTER,
    REFLECTED,
    BirdConfig,
    Family,
    Options,
    Peer,
)

# Seconds. A refused or reset connection is tried again after the delay; the retry time is how
# long an unanswered one is waited for. With these a new mesh is up in one to two seconds.
_CONNECT_DELAY_S = 1
_CONNECT_RETRY_S = 3
_ERROR_WAIT_S = (1, 30)  # after a real quarrel; doubles from the first to the second
_EXPORTS = {NOTHING: "to_mesh", REFLECTED: "to_reflected", OF_CLUSTER: "to_routers"}


def session_template(version: int) -> str:
    """Write what all sessions of a family have in common."""
    return f"""\
template bgp session{version} {{
  connect delay time {_CONNECT_DELAY_S};
  connect retry time {_CONNECT_RETRY_S};
  error wait time {_ERROR_WAIT_S[0]}, {_ERROR_WAIT_S[1]};
  ipv{version} {{ gateway recursive; add paths on; }};
}}
"""


def session_text(peer: Peer, family: Family, config: BirdConfig) -> str:
    """Write one session."""
    v = family.version
    name = f"{peer.kind}_{str(peer.address).translate({46: 95, 58: 95})}"
    if peer.is_port_named:
        name += f"_port_{peer.port}"
    lines = [f"neighbor {peer.address} port {peer.port} as {peer.as_number};"]
    if peer.is_passive:
        lines.append("passive on;")
    if peer.kind != "Mesh":
        lines.append(f"local {source_of(peer.options, family, config)};")
        lines += option_lines(peer.options)
        lines.append(_channel(peer, v))
    body = "".join(f"  {line}\n" for line in lines)
    parent = f"mesh{v}" if peer.kind == "Mesh" else f"session{v}"
    return f"protocol bgp {name} from {parent} {{\n{body}}}\n"


def source_of(options: Options, family: Family, config: BirdConfig) -> str:
    """The session's own end."""
    address = f"{family.address} " if options.has_source else ""
    strict = "" if config.listens_everywhere else ";\n  strict bind on"
    return f"{address}port {config.port} as {options.local_as}{strict}"


def option_lines(options: Options) -> list[str]:
    """Write what may be shared by sessions of both families."""
    lines = ["multihop;"]
    if options.hops is not None:
        lines = [f"multihop {options.hops};", "ttl security on;"]
    if options.password is not None:
        lines.append(f'password "{options.password}";')
    if options.is_bfd:
        # A restart that peers wait for and a failure that they must notice look the same.
        lines += ["bfd on;", "graceful restart off;"]
    else:
        lines.append("graceful restart on;")
    if options.restart_time_s is not None:
        lines.append(f"graceful restart time {options.restart_time_s};")
    if options.keepalive_s is not None:
        lines.append(f"keepalive time {options.keepalive_s};")
    if options.allowed_local_as is not None:
        lines.append(f"allow local as {options.allowed_local_as};")
    if options.cluster_id is not None:
        lines += ["rr client;", f"rr cluster id {options.cluster_id};"]
    return lines


def _channel(peer: Peer, version: int) -> str:
    options = peer.options
    next_hop = f"next hop {options.next_hop}; " if options.next_hop else ""
    is_ibgp = "true" if peer.as_number == options.local_as else "false"
    imports = [f.symbol for f in options.filters if f.imports[version]]
    exports = [f.symbol for f in options.filters if f.exports[version]]
    from_filter, to_filter = f"from_peers{version}", f"{_EXPORTS[options.told]}{version}"
    if imports:
        calls = " ".join(f"{symbol}_import{version}({is_ibgp});" for symbol in imports)
        from_filter = f"{{ {calls} take{version}(); }}"
    if exports:
        calls = " ".join(f"{symbol}_export{version}({is_ibgp});" for symbol in exports)
        flags = f"{_flag(options, REFLECTED)}, {_flag(options, OF_CLUSTER)}"
        to_filter = f"{{ mark{version}(); {calls} tell{version}({flags}); }}"
    return f"ipv{version} {{ {next_hop}import filter {from_filter}; export filter {to_filter}; }};"


def _flag(options: Options, told: str) -> str:
    return "true" if options.told == told else "false"
