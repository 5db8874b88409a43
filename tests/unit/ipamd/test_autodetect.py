from ipaddress import IPv4Interface

import pytest

from datamodel.errors import Invalid
from ipamd.autodetect import first_found


def links(*pairs: str) -> list[tuple[str, IPv4Interface]]:
    return [(name, IPv4Interface(text)) for name, text in (pair.split() for pair in pairs)]


def test_the_only_uplink_is_found():
    found = first_found(links("lo 127.0.0.1/8", "eth0 10.0.0.11/24"))

    assert found == IPv4Interface("10.0.0.11/24")


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
    found = first_found(links("eth0 10.0.0.11/24", f"{name} 172.17.0.1/16"))

    assert found == IPv4Interface("10.0.0.11/24")


@pytest.mark.parametrize("name", ["br0", "bond0", "enp3s0", "eth0.100", "wg0", "vxlan0"])
def test_a_link_that_merely_resembles_one_of_those_is_taken(name):
    assert first_found(links(f"{name} 10.0.0.11/24")) == IPv4Interface("10.0.0.11/24")


@pytest.mark.parametrize("address", ["169.254.3.4/16", "127.0.0.5/8", "0.0.0.0/0", "224.0.0.9/32"])
def test_an_address_that_reaches_nobody_is_passed_over(address):
    found = first_found(links("eth0 10.0.0.11/24", f"eth1 {address}"))

    assert found == IPv4Interface("10.0.0.11/24")


def test_of_two_uplinks_the_newest_is_taken():
    """As in Calico, which looks from the highest link index down."""
    found = first_found(links("eth0 10.0.0.11/24", "eth1 10.0.1.11/24"))

    assert found == IPv4Interface("10.0.1.11/24")


def test_without_an_uplink_the_text_says_what_there_is_and_what_to_do():
    with pytest.raises(Invalid) as caught:
        first_found(links("lo 127.0.0.1/8", "docker0 172.17.0.1/16"))

    assert "there are: lo 127.0.0.1/8, docker0 172.17.0.1/16" in str(caught.value)
    assert "set IP to" in str(caught.value)


def test_a_machine_without_addresses_is_told_so():
    with pytest.raises(Invalid, match="there are: none"):
        first_found([])
