"""The kernel's answers: as text, and from a network namespace that the test makes for itself."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from datamodel.errors import Unavailable
from ipamd.autodetect import parse_method
from ipamd.config import ALWAYS, AddressSource, NodeInKubernetes, read_config
from ipamd.interfaces import detector, links, parse_if_inet6, source_address
from kube_api.access import Access

PERMANENT, TEMPORARY, DEPRECATED, DAD_FAILED, TENTATIVE = "80", "01", "a0", "88", "c0"


def a_line(address: str, flags: str, name: str = "eth0", index: int = 2, scope: str = "00") -> str:
    digits = ip_address(address).exploded.replace(":", "")
    return f"{digits} {index:02x} 40 {scope} {flags}     {name}\n"


def test_ipv6_links_come_in_the_order_of_their_indexes():
    text = (
        a_line("fd00:2::1", PERMANENT, "eth10", 16)
        + a_line("fd00:1::1", PERMANENT, "eth0", 2)
        + a_line("::1", PERMANENT, "lo", 1, "10")
    )

    assert [(link.name, *map(str, link.addresses)) for link in parse_if_inet6(text)] == [
        ("lo", "::1/64"),
        ("eth0", "fd00:1::1/64"),
        ("eth10", "fd00:2::1/64"),
    ]


def test_an_address_that_was_set_comes_before_one_of_a_router():
    text = a_line("fd00::1", "00") + a_line("fd00::9", PERMANENT) + a_line("fd00::5", PERMANENT)

    (link,) = parse_if_inet6(text)

    assert [str(address) for address in link.addresses] == [
        "fd00::5/64",
        "fd00::9/64",
        "fd00::1/64",
    ]


@pytest.mark.parametrize("flags", [TEMPORARY, DEPRECATED, DAD_FAILED, TENTATIVE])
def test_an_address_that_does_not_last_is_left_out(flags):
    text = a_line("fd00::1", flags) + a_line("fd00::9", PERMANENT)

    (link,) = parse_if_inet6(text)

    assert link.addresses == (ip_interface("fd00::9/64"),)


def test_a_machine_without_ipv6_has_no_link():
    assert parse_if_inet6("") == []


SETUP = """
set -e
ip link set lo up
ip link add up0 type veth peer name up1
ip address add 10.0.0.11/24 dev up0
ip address add 10.0.0.12/24 dev up0
ip address add 10.9.0.1/16 dev up0 label up0:1
ip address add 10.9.0.9/30 dev up0 label up0:1
for i in $(seq 100); do ip address add 10.77.$i.1/25 dev up1; done
ip -6 address add fd00::11/64 dev up0 nodad
ip link set up0 up
ip link set up1 up
ip route add default via 10.0.0.1
"""


@pytest.fixture(scope="module")
def namespace() -> dict[str, object]:
    """What the functions answer in a network namespace with two links and a default route."""
    program = (
        "import json\n"
        "from ipamd.interfaces import links, source_address\n"
        "def shown(version):\n"
        "    return [[l.name, *map(str, l.addresses)] for l in links(version)]\n"
        "print(json.dumps({'4': shown(4), '6': shown(6),\n"
        "    'reach': str(source_address('203.0.113.9', 4)),\n"
        "    'near': str(source_address('10.77.5.9', 4))}))\n"
    )
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-c", f'{SETUP}\nexec "$@"', "sh", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_every_ipv4_address_of_a_link_is_found_with_its_own_prefix_length(namespace):
    by_name = {name: addresses for name, *addresses in namespace["4"]}

    assert list(by_name) == ["lo", "up1", "up0"]  # by index: the peer of a pair is made first
    assert by_name["up0"][0] == "10.0.0.11/24"
    assert set(by_name["up0"]) == {"10.0.0.11/24", "10.0.0.12/24", "10.9.0.1/16", "10.9.0.9/30"}


def test_more_addresses_than_fit_at_first_are_found(namespace):
    (up1,) = [addresses for name, *addresses in namespace["4"] if name == "up1"]

    assert up1 == [f"10.77.{i}.1/25" for i in range(1, 101)]


def test_ipv6_addresses_are_found(namespace):
    by_name = {name: addresses for name, *addresses in namespace["6"]}

    assert "fd00::11/64" in by_name["up0"]


def test_the_address_to_a_place_is_that_of_the_route_to_it(namespace):
    assert (namespace["reach"], namespace["near"]) == ("10.0.0.11", "10.77.5.1")


@pytest.mark.parametrize("host", ["a..b", "fd00::1"])
def test_a_host_that_cannot_be_found_is_named(host):
    with pytest.raises(Unavailable, match=f"node address: can-reach={host}: "):
        source_address(host, 4)


async def test_a_detector_finds_by_the_method_of_the_family():
    config = read_config(
        {"NODENAME": "node-1", "IP_AUTODETECTION_METHOD": "can-reach=127.0.0.1"}, ""
    )
    loopback = [a for link in links(4) for a in link.addresses if str(a.ip) == "127.0.0.1"]

    assert [await detector(config)(4)] == loopback


async def test_a_detector_does_not_wait_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = Access("127.0.0.1", silent.getsockname()[1], is_tls=False)
        node = NodeInKubernetes(api, "node-1")
        config = read_config({"NODENAME": "node-1"}, "")
        method, _ = parse_method("IP6_AUTODETECTION_METHOD", "kubernetes-internal-ip", 6)
        sources = (config.sources[0], AddressSource(6, None, ALWAYS, method))
        detect = detector(replace(config, sources=sources, kubernetes=node), timeout_s=0.05)

        with pytest.raises(Unavailable, match=r"kubernetes-internal-ip: no answer within 0\.05 s"):
            await detect(6)
