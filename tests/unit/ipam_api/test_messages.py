"""Values pass the socket and are the same afterwards."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.endpoint import Port, Workload
from datamodel.errors import Invalid
from datamodel.report import Report, ReportedLink
from ipam_api import ipam_pb2
from ipam_api.messages import (
    address_of,
    attachment_message,
    attachment_of,
    kernel_message,
    kernel_of,
    pod_message,
    pod_of,
    report_message,
    report_of,
    workload_message,
    workload_of,
)

ATTACHMENT = Attachment("k8s-pod-network", "4f0c9a5d2b", "eth0")
POD = Pod("default", "mypod")
KERNEL = Kernel("7d0c35ad-2c15-4f93-a2f3-3a3a8a3a5b4e", "4026531840")

names = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,9}", fullmatch=True)
attachments = st.builds(Attachment, names, names, names)
addresses = st.lists(st.ip_addresses(), max_size=3).map(tuple)


@st.composite
def links(draw):
    attachment = draw(attachments)
    return ReportedLink(
        interface_name=draw(names),
        attachment=draw(st.sampled_from([attachment, None])),
        attachment_digest=attachment.digest,
        pod=draw(st.none() | st.builds(Pod, names, names)),
        addresses=draw(addresses),
        mac=draw(st.sampled_from(["", "02:00:5e:10:00:01"])),
    )


reports = st.builds(
    Report, st.just(KERNEL), st.booleans(), st.lists(links(), max_size=3).map(tuple)
)


workloads = st.builds(
    Workload,
    labels=st.dictionaries(names, names, max_size=2),
    service_account=names,
    generate_name=st.just("") | names,
    ports=st.lists(
        st.builds(Port, st.integers(1, 65535), names, st.just("UDP"), st.integers(0, 9), names),
        max_size=2,
    ).map(tuple),
    floating_ips=addresses,
)


@given(st.none() | workloads)
def test_what_kubernetes_says_is_read_back(workload):
    sent = ipam_pb2.Endpoint(workload=workload_message(workload))

    assert workload_of(ipam_pb2.Endpoint.FromString(sent.SerializeToString())) == workload


def test_a_floating_ip_that_is_no_address_is_named():
    endpoint = ipam_pb2.Endpoint(workload=ipam_pb2.Workload(floating_ips=["here"]))

    with pytest.raises(Invalid, match="address 'here': is neither IPv4 nor IPv6"):
        workload_of(endpoint)


@given(reports)
def test_a_report_is_read_back(report):
    passed = ipam_pb2.ReportRequest.FromString(report_message(report).SerializeToString())

    assert report_of(passed) == report


def test_what_is_absent_stays_absent():
    request = ipam_pb2.GetRequest(attachment=attachment_message(ATTACHMENT), pod=pod_message(None))
    endpoint = ipam_pb2.Endpoint(kernel=kernel_message(None))

    assert attachment_of(request.attachment) == ATTACHMENT
    assert pod_of(request) is None
    assert kernel_of(endpoint) is None


def test_what_is_there_is_read():
    request = ipam_pb2.GetRequest(pod=pod_message(POD))
    endpoint = ipam_pb2.Endpoint(kernel=kernel_message(KERNEL))

    assert pod_of(request) == POD
    assert kernel_of(endpoint) == KERNEL


def test_both_families_are_addresses():
    assert address_of("10.233.64.5") == IPv4Address("10.233.64.5")
    assert address_of("2001:db8::5") == IPv6Address("2001:db8::5")


@pytest.mark.parametrize("text", ["", "10.233.64.5/32", "web"])
def test_another_text_is_no_address(text):
    with pytest.raises(Invalid, match="is neither IPv4 nor IPv6"):
        address_of(text)


def test_every_wrong_name_of_an_attachment_is_named():
    with pytest.raises(Invalid, match=r"attachment: network 'a/b' .*; container_id '' .*; ifname"):
        attachment_of(ipam_pb2.Attachment(network="a/b", container_id="", ifname="a" * 16))


def test_a_wrong_pod_is_refused():
    with pytest.raises(Invalid, match="pod: namespace '' is not valid"):
        pod_of(ipam_pb2.GetRequest(pod=ipam_pb2.Pod(name="web")))


@pytest.mark.parametrize(
    ("message", "mistake"),
    [
        (ipam_pb2.ReportRequest(), "does not say of which kernel"),
        (ipam_pb2.ReportRequest(kernel=ipam_pb2.Kernel(boot_id="x")), "one is missing"),
        (
            ipam_pb2.ReportRequest(
                kernel=kernel_message(KERNEL), links=[ipam_pb2.ReportedLink(addresses=["web"])]
            ),
            "address 'web'",
        ),
    ],
)
def test_a_report_that_is_none_is_refused(message, mistake):
    with pytest.raises(Invalid, match=mistake):
        report_of(message)
