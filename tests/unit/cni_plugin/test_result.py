"""What goes to stdout, in the form of each version."""

import json
from ipaddress import IPv4Address

import pytest

from cni_plugin.netconf import NetConf
from cni_plugin.podnet import HOST_MAC, plan, plan_links
from cni_plugin.previous import read_previous
from cni_plugin.result import add_result, error_result, printed, version_result
from datamodel.attachment import Attachment, Pod

NETNS = "/var/run/netns/x"
LINKS = plan_links(Attachment("net", "c1", "eth0"), Pod("default", "mypod"), 1450)
NETWORK = plan(LINKS, (IPv4Address("10.233.64.5"),), False)
WITH_INTERFACES = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
LEGACY = ("0.1.0", "0.2.0")


def made(version, previous=None, **more):
    if previous is not None:
        previous, mistakes = read_previous(previous, version)
        assert mistakes == []
    return add_result(NETWORK, NETNS, NetConf(version, "net", prev_result=previous, **more))


@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_a_result_lists_the_host_side_and_then_the_pods(version):
    result = made(version)

    mtu = {"mtu": 1450} if version == "1.1.0" else {}
    assert result["cniVersion"] == version
    assert result["interfaces"] == [
        {"name": "cali4e199eba087", "mac": HOST_MAC, **mtu},
        {"name": "eth0", "mac": LINKS.pod.mac, **mtu, "sandbox": NETNS},
    ]
    assert result["dns"] == {}


@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_the_address_belongs_to_the_interface_in_the_sandbox(version):
    result = made(version)

    [ip] = result["ips"]
    assert ip["address"] == "10.233.64.5/32"
    assert result["interfaces"][ip["interface"]]["sandbox"] == NETNS


@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_gateway_and_default_route_are_told(version):
    """``sbr`` makes its default route of the gateway; Multus looks for the default route."""
    result = made(version)

    assert result["ips"][0]["gateway"] == "169.254.1.1"
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}]


@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_before_one_point_zero_an_address_tells_its_family(version):
    [ip] = made(version)["ips"]

    assert ip.get("version") == ("4" if version < "1" else None)


@pytest.mark.parametrize("version", LEGACY)
def test_the_oldest_versions_know_one_address_of_each_family(version):
    assert made(version) == {
        "cniVersion": version,
        "ip4": {
            "ip": "10.233.64.5/32",
            "gateway": "169.254.1.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        },
        "dns": {},
    }


def test_the_sandbox_is_echoed_byte_for_byte():
    result = add_result(NETWORK, "/proc/1/../1/ns/net", NetConf("1.0.0", "net"))

    assert result["interfaces"][1]["sandbox"] == "/proc/1/../1/ns/net"


# ---- plugins before us -------------------------------------------------------------------------


@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_a_result_of_plugins_before_us_comes_first(version):
    family = {"version": "4"} if version < "1" else {}
    before = {
        "cniVersion": version,
        "interfaces": [{"name": "br0"}, {"name": "veth1"}, {"name": "net0", "sandbox": NETNS}],
        "ips": [
            {"address": "10.9.9.9/24", "interface": 2, **family},
            {"address": "10.9.9.8/24", "interface": 0, **family},
            {"address": "10.9.9.7/24", **family},
        ],
        "routes": [{"dst": "10.8.0.0/16", "gw": "10.9.9.1"}],
        "dns": {"nameservers": ["10.0.0.53"]},
        "theirs": 1,
    }

    result = made(version, before)

    assert result["interfaces"][:3] == before["interfaces"]
    assert [i["name"] for i in result["interfaces"][3:]] == ["cali4e199eba087", "eth0"]
    assert result["ips"][:3] == before["ips"]
    assert result["ips"][3]["interface"] == 4
    assert result["routes"][0] == before["routes"][0]
    assert result["dns"] == before["dns"]
    assert result["theirs"] == 1


@pytest.mark.parametrize("version", LEGACY)
def test_an_older_result_keeps_its_address_and_what_else_there_is_room_for(version):
    before = {"cniVersion": "0.2.0", "ip6": {"ip": "2001:db8::5/64", "gateway": "2001:db8::1"}}

    result = made(version, before)

    assert result["cniVersion"] == version
    assert result["ip6"] == before["ip6"]
    assert result["ip4"]["ip"] == "10.233.64.5/32"


def test_of_two_addresses_of_a_family_the_oldest_versions_know_the_first():
    before = {"ip4": {"ip": "10.9.9.9/24", "routes": [{"dst": "10.8.0.0/16"}]}}

    result = made("0.2.0", before)

    assert result["ip4"]["ip"] == "10.9.9.9/24"
    assert {"dst": "10.8.0.0/16"} in result["ip4"]["routes"]


@pytest.mark.parametrize(
    ("version", "theirs"), [("1.0.0", "1.1.0"), ("1.1.0", "1.0.0"), ("0.4.0", "0.3.0")]
)
def test_a_previous_result_may_be_of_another_version_of_the_same_form(version, theirs):
    assert made(version, {"cniVersion": theirs})["cniVersion"] == version


@pytest.mark.parametrize(
    ("version", "theirs"), [("1.0.0", "0.4.0"), ("0.3.1", "0.2.0"), ("0.2.0", "1.0.0")]
)
def test_a_previous_result_of_another_form_is_refused(version, theirs):
    _, [mistake] = read_previous({"cniVersion": theirs}, version)

    assert "could not parse prevResult" in mistake


@pytest.mark.parametrize(
    ("previous", "mistake"),
    [
        ({"interfaces": 5}, "prevResult.interfaces: 5 is not a list of objects"),
        ({"ips": ["x"]}, "prevResult.ips: ['x'] is not a list of objects"),
        ({"ips": [{"address": "10.0.0.5"}]}, "prevResult.ips[0].address: '10.0.0.5' is not"),
        ({"ips": [{"address": "x/y"}]}, "prevResult.ips[0].address: 'x/y' is not"),
        ({"ips": [{}]}, "prevResult.ips[0].address: None is not"),
        ({"ips": [{"address": "10.0.0.5/24", "interface": "1"}]}, "ips[0].interface: '1' is not"),
        ({"dns": []}, "prevResult.dns: [] is not an object"),
    ],
)
def test_a_previous_result_that_cannot_be_passed_on_is_refused(previous, mistake):
    _, mistakes = read_previous(previous, "1.0.0")

    assert mistake in "; ".join(mistakes)


def test_a_previous_result_is_not_changed():
    before = {"interfaces": [{"name": "br0"}], "ips": []}

    made("1.0.0", before)

    assert before == {"interfaces": [{"name": "br0"}], "ips": []}


@pytest.mark.parametrize("before", [{}, {"interfaces": None, "ips": None, "dns": None}])
@pytest.mark.parametrize("version", [*LEGACY, *WITH_INTERFACES])
def test_an_empty_previous_result_is_none(before, version):
    assert made(version, before) == made(version)


def test_keys_of_a_previous_result_match_in_any_case():
    before = {"CNIVersion": "1.0.0", "Interfaces": [{"Name": "br0"}], "IPs": []}

    assert made("1.0.0", before)["interfaces"][0] == {"name": "br0"}


@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        (None, {"nameservers": ["10.0.0.53"]}),
        ({"nameservers": []}, {"nameservers": []}),
        ({"search": ["x"]}, {"search": ["x"]}),
    ],
)
def test_resolver_settings_of_the_list_replace_those_of_plugins_before_us(dns, expected):
    before = {"dns": {"nameservers": ["10.0.0.53"]}}

    assert made("1.0.0", before, dns=dns)["dns"] == expected


def test_version_tells_what_we_speak():
    assert version_result() == {
        "cniVersion": "1.1.0",
        "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_an_error_has_code_and_message():
    assert error_result(7, "missing network name", "", "1.0.0") == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": "missing network name",
    }


def test_an_error_has_details_if_there_are_any():
    assert error_result(4, "invalid characters", "a/b", "1.0.0")["details"] == "a/b"


def test_what_is_printed_is_one_json_document_in_ascii():
    data = printed({"msg": "é \udce9"})

    assert data.isascii()
    assert data.endswith(b"}\n")
    assert json.loads(data) == {"msg": "é \udce9"}
