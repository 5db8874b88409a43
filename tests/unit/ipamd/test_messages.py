"""What ipamd makes of a request that somebody filled in wrongly."""

from typing import Any

import pytest

from datamodel.errors import Invalid
from ipam_api import ipam_pb2
from ipamd.messages import allocate_of
from tests.ipam import STAMP

MAC = "02:00:5e:10:00:01"


def a_request(**fields: Any) -> ipam_pb2.AllocateRequest:
    attachment = ipam_pb2.Attachment(network="net", container_id="c1", ifname="eth0")
    return ipam_pb2.AllocateRequest(**{"attachment": attachment, "ipv4": True, **fields})


def test_every_mistake_of_a_request_is_told_at_once():
    request = a_request(
        ipv4=False,
        addresses=["web", "10.0.0.1", "10.0.0.2"],
        pod=ipam_pb2.Pod(namespace="default", name="a/b"),
        endpoint=ipam_pb2.Endpoint(interface_name="cali/1", mac="no"),
    )

    with pytest.raises(Invalid) as raised:
        allocate_of(request, STAMP)

    assert str(raised.value).split("; ") == [
        "address 'web': is neither IPv4 nor IPv6",
        "pod: name 'a/b' is not valid",
        "use letters, digits, '_', '.' and '-'",
        "endpoint: interface_name 'cali/1' is not valid",
        "use 1 to 15 bytes without '/', ':', spaces",
        "mac 'no' is not valid",
        f"write it like {MAC}",
        "neither an IPv4 nor an IPv6 address is wanted",
        "address 10.0.0.1, 10.0.0.2: no IPv4 address is wanted",
        "addresses 10.0.0.1, 10.0.0.2: one of each family is possible",
    ]


@pytest.mark.parametrize("mac", ["", MAC, MAC.upper()])
def test_the_link_of_an_endpoint_is_read(mac):
    endpoint = ipam_pb2.Endpoint(interface_name="cali0123456789a", mac=mac, profiles=["kns.x"])

    link = allocate_of(a_request(endpoint=endpoint), STAMP).link

    assert link is not None
    assert (link.interface_name, link.mac, link.profiles) == ("cali0123456789a", mac, ("kns.x",))


@pytest.mark.parametrize("mac", ["02:00:5e:10:00", f"{MAC}\n", "02-00-5e-10-00-01"])
def test_another_text_is_no_mac(mac):
    endpoint = ipam_pb2.Endpoint(interface_name="cali1", mac=mac)

    with pytest.raises(Invalid, match=r"endpoint: mac .* is not valid"):
        allocate_of(a_request(endpoint=endpoint), STAMP)


def test_a_field_of_a_newer_client_is_passed_over():
    unknown = b"\xf8\x3f\x05\xfa\x3f\x03abc"
    request = ipam_pb2.AllocateRequest.FromString(a_request().SerializeToString() + unknown)

    assert allocate_of(request, STAMP) == allocate_of(a_request(), STAMP)
