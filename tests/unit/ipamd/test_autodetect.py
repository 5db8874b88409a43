import re
from ipaddress import ip_address, ip_interface

import pytest

from datamodel.errors import Invalid
from ipamd.autodetect import Interface, Link, Method, choose, parse_method


def links(*lines: str) -> list[Link]:
    """One link for each line: its name and its addresses."""
    parts = (line.split() for line in lines)
    return [Link(name, tuple(ip_interface(text) for text in rest)) for name, *rest in parts]


def method(text: str, version: int = 4) -> Method:
    parsed, mistakes = parse_method("IP_AUTODETECTION_METHOD", text, version)
    assert mistakes == []
    return parsed


def found(text: str, *lines: str, told: tuple[str, ...] = (), version: int = 4) -> str:
    addresses = [ip_address(address) for address in told]
    return str(choose(method(text, version), version, links(*lines), addresses))


def refused(text: str, *lines: str, told: tuple[str, ...] = (), version: int = 4) -> str:
    with pytest.raises(Invalid) as caught:
        found(text, *lines, told=told, version=version)
    return str(caught.value)


# ---- first-found -------------------------------------------------------------------------------


def test_the_only_uplink_is_found():
    assert found("first-found", "lo 127.0.0.1/8", "eth0 10.0.0.11/24") == "10.0.0.11/24"


@pytest.mark.parametrize(
    "name",
    [
        "docker0",
        "cbr0",
        "dummy0",
        "podman1",
        "virbr0",
        "lxcbr0",
        "veth12",
        "lo",
        "br-4f0c9a5d2b",
        "cali0123456789a",
        "tunl0",
        "flannel.1",
        "kube-ipvs0",
        "cni0",
        "vxlan.calico",
        "vxlan-v6.calico",
        "wireguard.cali",
        "wg-v6.cali",
        "nodelocaldns",
    ],
)
def test_a_link_of_containers_or_tunnels_is_passed_over(name):
    assert found("first-found", "eth0 10.0.0.11/24", f"{name} 172.17.0.1/16") == "10.0.0.11/24"


@pytest.mark.parametrize("name", ["br0", "bond0", "enp3s0", "eth0.100", "wg0", "vxlan0"])
def test_a_link_that_merely_resembles_one_of_those_is_taken(name):
    assert found("first-found", f"{name} 10.0.0.11/24") == "10.0.0.11/24"


@pytest.mark.parametrize(
    "address",
    ["169.254.3.4/16", "127.0.0.5/8", "0.0.0.0/0", "224.0.0.9/32", "255.255.255.255/32"],
)
def test_an_address_that_reaches_nobody_is_passed_over(address):
    assert found("first-found", "eth0 10.0.0.11/24", f"eth1 {address}") == "10.0.0.11/24"


def test_of_two_uplinks_the_newest_is_taken_and_of_its_addresses_the_first():
    """As in Calico, which looks from the highest link index down."""
    lines = ("eth0 10.0.0.11/24", "eth1 10.0.1.11/24 10.0.1.12/24")

    assert found("first-found", *lines) == "10.0.1.11/24"


def test_ipv6_has_the_same_rules():
    lines = ("eth0 fe80::1/64 fd00::11/64", "lo ::1/128", "cali0 fd00::99/64")

    assert found("first-found", *lines, version=6) == "fd00::11/64"


def test_without_an_uplink_the_text_says_what_there_is_and_what_to_do():
    text = refused("first-found", "lo 127.0.0.1/8", "docker0 172.17.0.1/16")

    assert "there are: lo 127.0.0.1/8, docker0 172.17.0.1/16" in text
    assert "choose another IP_AUTODETECTION_METHOD or set IP, e.g. IP=10.0.0.11/24" in text


def test_a_machine_without_addresses_is_told_so():
    text = refused("first-found", version=6)

    assert "there are: none" in text
    assert "set IP6" in text


# ---- interface, skip-interface, cidr -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("interface=eth0", "10.0.0.11/24"),
        ("interface=^eth", "10.0.1.11/24"),  # the newest of those that match
        ("interface=h0", "10.0.0.11/24"),  # anywhere in the name
        ("interface=bond.* , eth0", "10.0.0.11/24"),
        ("interface=docker0", "172.17.0.1/16"),  # no link is passed over by itself
    ],
)
def test_interface_takes_links_by_name(text, address):
    lines = ("docker0 172.17.0.1/16", "eth0 10.0.0.11/24", "eth1 10.0.1.11/24")

    assert found(text, *lines) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("skip-interface=eth1", "10.0.0.11/24"),
        ("skip-interface=^eth1$,^bond", "10.0.0.11/24"),
        ("skip-interface=nothing", "10.0.1.11/24"),
    ],
)
def test_skip_interface_passes_over_more_than_first_found(text, address):
    lines = ("eth0 10.0.0.11/24", "eth1 10.0.1.11/24", "docker0 172.17.0.1/16")

    assert found(text, *lines) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("cidr=10.0.0.0/24", "10.0.0.11/24"),
        ("cidr=192.168.0.0/16,10.0.1.0/24", "10.0.1.12/25"),
        ("cidr=172.17.0.9/16", "172.17.0.1/16"),  # host bits mean nothing, nor does the link
        ("cidr=fd00::/8, 10.0.0.0/24", "10.0.0.11/24"),
    ],
)
def test_cidr_takes_the_first_address_inside(text, address):
    lines = ("docker0 172.17.0.1/16", "eth0 10.0.0.11/24", "eth1 10.9.0.1/24 10.0.1.12/25")

    assert found(text, *lines) == address


@pytest.mark.parametrize("text", ["interface=bond0", "skip-interface=eth", "cidr=192.168.0.0/16"])
def test_a_method_that_finds_nothing_is_named(text):
    assert f"node address: {text}: no link has a usable IPv4 address" in refused(
        text, "eth0 10.0.0.11/24"
    )


# ---- can-reach, kubernetes-internal-ip ---------------------------------------------------------

TOLD = pytest.mark.parametrize("text", ["can-reach=10.9.9.9", "kubernetes-internal-ip"])


@TOLD
def test_an_address_that_is_told_gets_the_prefix_length_of_its_link(text):
    lines = ("docker0 172.17.0.1/16", "eth0 10.0.0.11/24 10.0.0.12/25")

    assert found(text, *lines, told=("10.0.0.12",)) == "10.0.0.12/25"
    assert found(text, *lines, told=("172.17.0.1",)) == "172.17.0.1/16"


def test_the_cluster_may_tell_addresses_of_both_families():
    told = ("fd00::11", "10.0.0.11")

    assert found("kubernetes-internal-ip", "eth0 10.0.0.11/24", told=told) == "10.0.0.11/24"


@TOLD
def test_an_address_that_no_link_has_is_refused(text):
    message = refused(text, "eth0 10.0.0.11/24", told=("10.0.0.99",))

    assert f"{text}: no link has 10.0.0.99 (there are: eth0 10.0.0.11/24)" in message


def test_a_cluster_that_knows_no_address_of_the_family_is_told_so():
    message = refused("kubernetes-internal-ip", "eth0 10.0.0.11/24", told=("fd00::11",))

    assert "kubernetes-internal-ip: tells none of IPv4" in message


# ---- the setting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("second-found", "'second-found' is not one of first-found, can-reach=, interface="),
        ("interface", "'interface' is not one of"),
        ("first-found=eth0", "'first-found=eth0' is not one of"),
        ("interface=", "a regular expression is empty"),
        ("interface=eth0,", "a regular expression is empty"),
        ("interface=eth0,eth[", "'eth[' is not a regular expression: unterminated character set"),
        ("skip-interface=*", "'*' is not a regular expression: nothing to repeat"),
        ("cidr=", "a CIDR is empty"),
        ("cidr=10.0.0.0", "'10.0.0.0' is not a CIDR: it has no prefix length"),
        ("cidr=10.0.0.0/24,10.0.0/8", "'10.0.0/8' is not a CIDR"),
        ("cidr=fd00::/8", "'fd00::/8' has no CIDR of IPv4"),
        ("can-reach=", "'' is neither an address nor a host's name"),
        ("can-reach=a b", "'a b' is neither an address nor a host's name"),
        ("can-reach=fd00::1", "fd00::1 is not an address of IPv4"),
    ],
)
def test_a_wrong_method_names_the_setting_and_what_is_wrong(text, mistake):
    _, mistakes = parse_method("IP_AUTODETECTION_METHOD", text, 4)

    assert len(mistakes) == 1
    assert mistakes[0].startswith(f"IP_AUTODETECTION_METHOD: {mistake}")


def test_every_wrong_part_is_told():
    _, mistakes = parse_method("IP6_AUTODETECTION_METHOD", "cidr=x/1,y/2", 6)

    assert [re.search(r"'(.*?)'", mistake)[1] for mistake in mistakes] == ["x/1", "y/2"]


@pytest.mark.parametrize("host", ["8.8.8.8", "gateway", "www.example.com.", "a-b_c.local"])
def test_can_reach_takes_an_address_or_a_name(host):
    assert method(f"can-reach={host}").host == host


def test_an_interface_is_what_python_calls_an_address_with_its_network():
    assert isinstance(ip_interface("10.0.0.11/24"), Interface)
