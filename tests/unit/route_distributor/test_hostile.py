"""Whatever stands in etcd, BIRD gets a file that it takes and that says only what we say."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from datamodel.bgp import BgpConfiguration, PrefixAdvertisement, SecretRef
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.bgp_peer import BgpPeer
from route_distributor.bird.desired import Settings
from route_distributor.bird.render import render
from route_distributor.snapshot import ClusterSnapshot
from tests.routing import config_of, dual, pool, snapshot

GOLDEN = Path(__file__).parents[2] / "golden" / "route_distributor"

# What breaks languages, more often than chance would bring it.
BITS = st.sampled_from(
    [
        *(
            '"',
            "'",
            "\n",
            "\r",
            "\\",
            ";",
            "}",
            "{",
            "#",
            "/*",
            "*/",
            "\0",
            "%",
            "*",
            "eth0",
            "=",
            "ü",
        ),
        *(
            "\u2028",
            "\ud800",
            "protocol static evil",
            "include",
            "a" * 70,
            "64512:1",
            "f" * 32,
            "-1",
        ),
    ]
)
TEXTS = st.one_of(st.lists(BITS, max_size=5).map("".join), st.text(max_size=20))
# Python takes nearly everything for the zone of an IPv6 address.
ZONES = TEXTS.filter(lambda text: text and not {*"%/"} & {*text})
NUMBERS = st.one_of(st.none(), st.integers(-1, 300), st.integers(-(2**33), 2**33))


@st.composite
def ranges(draw) -> IPv4Network | IPv6Network:
    zone = draw(ZONES)
    evil = IPv6Network((int(ip_address("fe80::")), 64))
    evil.network_address = IPv6Address(f"fe80::%{zone}")  # what IPv6Network reads by itself
    plain = ["10.233.64.0/18", "10.96.0.0/12", "0.0.0.0/0", "224.0.0.0/4", "::/0", "fd65::/112"]
    return draw(st.sampled_from([*map(ip_network, plain), evil]))


@st.composite
def rules(draw) -> FilterRule:
    numbers = st.lists(st.integers(-1, 2**33), max_size=2).map(tuple)
    operation = Operation(draw(TEXTS) or None, draw(numbers), draw(NUMBERS))
    return FilterRule(
        draw(st.booleans()),
        draw(st.one_of(st.none(), ranges())),
        draw(st.one_of(TEXTS, st.sampled_from(["", "In", "NotIn", "Equal", "NotEqual"]))),
        *(draw(NUMBERS), draw(NUMBERS)),
        source=draw(st.one_of(TEXTS, st.just("RemotePeers"))),
        interface=draw(st.one_of(TEXTS, st.just("eth*"))),
        peer_type=draw(st.one_of(TEXTS, st.sampled_from(["", "iBGP", "eBGP"]))),
        communities=tuple(draw(st.lists(TEXTS, max_size=1))),
        as_path_prefix=draw(numbers),
        priority=draw(NUMBERS),
        operations=(operation,) if draw(st.booleans()) else (),
    )


@st.composite
def peers(draw, secret: SecretRef, filters: list[str]) -> BgpPeer:
    zone = draw(ZONES)
    addresses = ["10.0.0.254", "fd00::254", "224.0.0.1", "::ffff:10.0.0.1", f"fe80::1%{zone}"]
    address = st.sampled_from([IPv6Address(a) if ":" in a else ip_address(a) for a in addresses])
    kept = BgpPeer(draw(TEXTS), peer_ip=draw(address), as_number=64513)
    wrong = {
        "peer_port": NUMBERS,
        "as_number": NUMBERS,
        "node_selector": TEXTS,
        "next_hop_mode": TEXTS,
        "source_address": TEXTS,
        "restart_time_s": NUMBERS,
        "keepalive_s": NUMBERS,
        "allowed_local_as": NUMBERS,
        "local_as_number": NUMBERS,
        "ttl_security": NUMBERS,
        "reachable_by": address,
        "reverse_peering": TEXTS,
        "password": st.just(secret),
        "filters": st.lists(st.sampled_from(filters), max_size=2).map(tuple),
        "is_bfd": st.booleans(),
    }
    # A few at a time: what is wrong in one place must not keep the others from being looked at.
    fields = draw(st.lists(st.sampled_from(sorted(wrong)), max_size=4, unique=True))
    return replace(kept, **{field: draw(wrong[field]) for field in fields})


@st.composite
def worlds(draw) -> tuple[ClusterSnapshot, Settings]:
    secret = SecretRef(draw(st.sampled_from(["bgp", "../x"])), "pw")
    names = [draw(TEXTS), draw(TEXTS), "f"]
    cidrs = st.lists(ranges(), max_size=2).map(tuple)
    bgp = BgpConfiguration(
        bind_mode=draw(st.one_of(TEXTS, st.just("NodeIP"))),
        mesh_password=draw(st.sampled_from([None, secret])),
        mesh_restart_time_s=draw(NUMBERS),
        is_mesh_bfd=draw(st.booleans()),
        communities={draw(TEXTS): draw(TEXTS)},
        prefix_advertisements=(PrefixAdvertisement(draw(ranges()), (draw(TEXTS), "65000:1")),),
        service_cluster_ips=draw(cidrs),
        service_load_balancer_ips=draw(cidrs),
        ignored_interfaces=tuple(draw(st.lists(TEXTS, max_size=2))),
        log_severity=draw(st.one_of(TEXTS, st.just("Debug"))),
    )
    labels = {draw(TEXTS): draw(TEXTS)}
    own = dual(1, labels=labels, route_reflector_cluster_id=draw(st.one_of(st.none(), TEXTS)))
    other = replace(dual(2), name=draw(TEXTS), labels=labels)
    given = snapshot(
        *(own, other),
        pools=(
            pool(draw(TEXTS), "10.233.64.0/18", ipip_mode=draw(TEXTS)),
            replace(pool(draw(TEXTS), "fd65::/112", vxlan_mode=draw(TEXTS)), cidr=draw(ranges())),
        ),
        bgp=bgp,
        peers=tuple(draw(st.lists(peers(secret, names), max_size=3))),
        filters={
            name: BgpFilter(name, *(tuple(draw(st.lists(rules(), max_size=1))) for _ in range(4)))
            for name in names
        },
    )
    given = replace(given, blocks=(*given.blocks, draw(ranges())))
    return given, Settings(secrets={secret: draw(TEXTS)})


WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GENERATED = re.compile(
    r"(Mesh|Global|Node)_[0-9a-f_]+(_port_\d+)?"
    r"|bgp_[A-Za-z0-9_]{0,24}_[0-9a-f]{12}_(import|export)[46]|[0-9a-f]{1,4}"
)


def words_of(text: str) -> Iterator[str]:
    """Give BIRD's words: no comment, no quoted text, nothing generated."""
    text = re.sub(r'"[^"\n]*"', "", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))
    assert '"' not in text
    assert "#" not in text
    return (word for word in WORD.findall(text) if not GENERATED.fullmatch(word))


VOCABULARY = {
    word
    for path in GOLDEN.glob("*.conf")
    if "hostile" not in path.name
    for word in words_of(path.read_text())
}


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_hostile_text_neither_breaks_nor_adds_to_the_file(world):
    config = config_of(*world)
    text = render(config)

    assert set(words_of(text)) <= VOCABULARY
    assert text.count("\nprotocol bgp ") == len(config.peers)
    done = subprocess.run(
        ["bird", "-p", "-c", "/dev/stdin"], input=text.encode(), capture_output=True, check=False
    )
    complaint = done.stderr.decode()
    assert (done.returncode, complaint) == (0, ""), text


OBJECTS = re.compile(
    "BGPPeer |BGPConfiguration (default|of node-1): |node |pool |CALICO_ROUTER_ID ", re.DOTALL
)


@settings(max_examples=20, deadline=None)
@given(worlds())
def test_every_problem_names_its_object_and_every_object_left_out_has_one(world):
    given_snapshot, _ = world
    config = config_of(*world)

    assert all(OBJECTS.match(problem) for problem in config.problems)
    kept = {str(peer.address) for peer in config.peers if peer.kind == "Global"}
    for peer in given_snapshot.peers:
        is_left_out = not peer.node_selector and str(peer.peer_ip) not in kept
        assert not is_left_out or any(
            problem.startswith(f"BGPPeer {peer.name}: ") for problem in config.problems
        )
