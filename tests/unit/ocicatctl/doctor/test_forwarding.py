"""What a firewall does with a packet of a pod, from what nft and iptables print."""

import json
from ipaddress import ip_address

import pytest

from datamodel.errors import Invalid
from ocicatctl.doctor.forwarding import Firewall, Packet, legacy_chains, nft_chains

TO = Packet("eth0", "cali1", ip_address("192.0.2.1"), ip_address("10.233.77.5"))
FROM = Packet("cali1", "eth0", ip_address("10.233.77.5"), ip_address("192.0.2.1"))
FROM6 = Packet("cali1", "eth0", ip_address("fd00::5"), ip_address("2001:db8::1"))


def match(left: dict, right, op: str = "==") -> dict:
    return {"match": {"op": op, "left": left, "right": right}}


def iif(name: str, op: str = "==") -> dict:
    return match({"meta": {"key": "iifname"}}, name, op)


def oif(name: str) -> dict:
    return match({"meta": {"key": "oifname"}}, name)


def ip(field: str, right) -> dict:
    return match({"payload": {"protocol": "ip", "field": field}}, right)


POOL = {"prefix": {"addr": "10.233.64.0", "len": 18}}
ACCEPT, DROP, COUNTER = {"accept": None}, {"drop": None}, {"counter": {"packets": 0, "bytes": 0}}
ESTABLISHED = match({"ct": {"key": "state"}}, ["established", "related"], "in")


def nft(
    *rules: list, policy: str = "drop", family: str = "ip", more: dict | None = None
) -> Firewall:
    place = {"family": family, "table": "filter"}
    forward = {"type": "filter", "hook": "forward", "prio": 0, "policy": policy}
    items = [{"metainfo": {}}, {"table": {"family": family, "name": "filter"}}]
    items.append({"chain": {**place, "name": "FORWARD", **forward}})
    for name, own in (more or {}).items():
        items.append({"chain": {**place, "name": name}})
        items += [{"rule": {**place, "chain": name, "expr": rule}} for rule in own]
    items += [{"rule": {**place, "chain": "FORWARD", "expr": list(rule)}} for rule in rules]
    return Firewall.of(nft_chains(json.dumps({"nftables": items})))


@pytest.mark.parametrize(
    ("firewall", "packet", "passes"),
    [
        (nft(), FROM, False),
        (nft(policy="accept"), FROM, True),
        (nft([iif("cali*"), COUNTER, ACCEPT]), FROM, True),
        (nft([iif("cali*"), ACCEPT]), TO, False),
        (nft([iif("cali*"), ACCEPT], [oif("cali*"), ACCEPT]), TO, True),
        (nft([ip("saddr", POOL), ACCEPT]), FROM, True),
        (nft([ip("daddr", {"set": ["10.0.0.1", POOL]}), ACCEPT]), TO, True),
        (nft([ESTABLISHED, ACCEPT]), FROM, False),
        (nft([{"xt": None}, ACCEPT]), FROM, False),
        (nft([iif("docker0", "!="), ACCEPT]), FROM, True),
        (nft([iif("cali*"), DROP], policy="accept"), FROM, False),
        (nft([{"jump": {"target": "K"}}], more={"K": [[iif("cali*"), ACCEPT]]}), FROM, True),
        (nft([{"jump": {"target": "K"}}], more={"K": [[{"return": None}], [ACCEPT]]}), FROM, False),
        (nft([{"jump": {"target": "K"}}], more={"K": [[{"jump": {"target": "K"}}]]}), FROM, False),
        (nft(), FROM6, True),
        (nft(family="inet"), FROM6, False),
        (nft(family="ip6"), FROM6, False),
    ],
)
def test_a_packet_passes_or_does_not(firewall, packet, passes):
    assert (firewall.dropped_by(packet) is None) is passes


LEGACY = """-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-USER -m comment --comment "of others" -j RETURN
"""


@pytest.mark.parametrize(
    ("more", "passes"),
    [
        ("", False),
        ("-A FORWARD -i cali+ -j ACCEPT\n", True),
        ("-A FORWARD ! -i docker0 -j ACCEPT\n", True),
        ("-A FORWARD -s 10.233.64.0/18 -m comment --comment pods -j ACCEPT\n", True),
        ("-A FORWARD -s 10.233.64.0/18 -p tcp -j ACCEPT\n", False),
        ("-A DOCKER-USER -i cali+ -j ACCEPT\n", False),  # behind the one that returns
    ],
)
def test_what_docker_leaves_in_iptables_drops_pods_until_a_rule_lets_them_pass(more, passes):
    chain = Firewall.of(legacy_chains(LEGACY + more, "ip")).dropped_by(FROM)

    assert (chain is None) is passes


def test_iptables_of_the_other_family_says_nothing_of_a_packet():
    assert Firewall.of(legacy_chains(LEGACY, "ip6")).dropped_by(FROM) is None


def test_what_is_no_ruleset_is_refused():
    with pytest.raises(Invalid, match="does not list the ruleset as JSON"):
        nft_chains("table ip filter")
