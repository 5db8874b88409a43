"""What goes to stdout, in the form of each version."""

import json
from ipaddress import IPv4Address

import pytest

from cni_plugin.podnet import HOST_MAC, plan, plan_links
from cni_plugin.result import add_result, error_result, printed, version_result
from datamodel.attachment import Attachment, Pod

NETNS = "/var/run/netns/x"
LINKS = plan_links(Attachment("net", "c1", "eth0"), Pod("default", "mypod"), None)
NETWORK = plan(LINKS, (IPv4Address("10.233.64.5"),), False)
VERSIONS = ("0.3.1", "0.4.0", "1.0.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_lists_the_host_side_and_then_the_pods(version):
    result = add_result(NETWORK, NETNS, version, None)

    assert result["cniVersion"] == version
    assert result["interfaces"] == [
        {"name": "cali4e199eba087", "mac": HOST_MAC},
        {"name": "eth0", "mac": LINKS.pod.mac, "sandbox": NETNS},
    ]
    assert result["dns"] == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_address_belongs_to_the_interface_in_the_sandbox(version):
    result = add_result(NETWORK, NETNS, version, None)

    [ip] = result["ips"]
    assert ip["address"] == "10.233.64.5/32"
    assert result["interfaces"][ip["interface"]]["sandbox"] == NETNS


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0"])
def test_before_one_point_zero_an_address_tells_its_family(version):
    assert add_result(NETWORK, NETNS, version, None)["ips"][0]["version"] == "4"


def test_since_one_point_zero_an_address_does_not_tell_its_family():
    assert "version" not in add_result(NETWORK, NETNS, "1.0.0", None)["ips"][0]


def test_the_sandbox_is_echoed_byte_for_byte():
    result = add_result(NETWORK, "/proc/1/../1/ns/net", "1.0.0", None)

    assert result["interfaces"][1]["sandbox"] == "/proc/1/../1/ns/net"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_of_plugins_before_us_comes_first(version):
    before = {
        "cniVersion": version,
        "interfaces": [{"name": "br0"}, {"name": "veth1"}, {"name": "net0", "sandbox": NETNS}],
        "ips": [{"address": "10.9.9.9/24", "interface": 2}, {"address": "10.9.9.8/24"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.9.9.1"}],
        "dns": {"nameservers": ["10.0.0.53"]},
        "theirs": 1,
    }

    result = add_result(NETWORK, NETNS, version, before)

    assert result["interfaces"][:3] == before["interfaces"]
    assert [i["name"] for i in result["interfaces"][3:]] == ["cali4e199eba087", "eth0"]
    assert result["ips"][:2] == before["ips"]
    assert result["ips"][2]["interface"] == 4
    assert result["routes"] == before["routes"]
    assert result["dns"] == before["dns"]
    assert result["theirs"] == 1


def test_a_previous_result_is_not_changed():
    before = {"interfaces": [{"name": "br0"}], "ips": []}

    add_result(NETWORK, NETNS, "1.0.0", before)

    assert before == {"interfaces": [{"name": "br0"}], "ips": []}


@pytest.mark.parametrize("before", [{}, {"interfaces": None, "ips": None, "dns": None}])
def test_an_empty_previous_result_is_none(before):
    result = add_result(NETWORK, NETNS, "1.0.0", before)

    assert result == add_result(NETWORK, NETNS, "1.0.0", None)


def test_version_tells_what_we_speak():
    assert version_result() == {
        "cniVersion": "1.0.0",
        "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"],
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
