"""What the client puts into messages and makes of the answers, over a real socket."""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.endpoint import Port, Workload
from datamodel.errors import Exhausted, Invalid, Unavailable
from datamodel.report import Report, ReportedLink
from ipam_api import ipam_pb2
from ipam_api.answers import History, Holding, LastReport, NodeStatus, OwnBlock
from ipam_api.client import RETRY_PAUSE_S, IpamClient, NotReached, Recorded, Wanted
from ipam_api.messages import report_message
from ipam_api.trace import KEY, trace_of
from tests.fake_ipamd import FakeIpamd, serving

ATTACHMENT = Attachment("k8s-pod-network", "4f0c9a5d2b", "eth0")
POD = Pod("default", "mypod")
KERNEL = Kernel("7d0c35ad-2c15-4f93-a2f3-3a3a8a3a5b4e", "4026531840")
MAC = "02:00:5e:10:00:01"
REPORT = Report(
    KERNEL,
    True,
    (
        ReportedLink(
            "cali0123456789a", ATTACHMENT, ATTACHMENT.digest, POD, (IPv4Address("10.1.0.5"),), MAC
        ),
    ),
)
TIMEOUT_S = 5.0


@pytest.fixture
def ipamd(tmp_path):
    with serving(FakeIpamd(), tmp_path / "ipamd.sock") as serving_now:
        yield serving_now


@pytest.fixture
def client(tmp_path):
    client = IpamClient(str(tmp_path / "ipamd.sock"))
    yield client
    client.close()


def test_everything_that_is_wanted_is_asked_for(ipamd, client):
    wanted = Wanted(
        versions=(4, 6),
        ipv4_pools=("default-ipv4-ippool", "10.1.0.0/16"),
        ipv6_pools=("default-ipv6-ippool",),
        addresses=(IPv4Address("10.1.0.5"), IPv6Address("2001:db8::5")),
        namespace_labels={"team": "red"},
    )
    workload = Workload({"app": "web"}, "default", "web-", (Port(80, "http"),))
    endpoint = Recorded("cali0123456789a", MAC, ("kns.default",), KERNEL, workload)
    client.report(REPORT)

    client.allocate(ATTACHMENT, POD, endpoint, wanted, TIMEOUT_S).wait()

    request = ipamd.requests["Allocate"]
    assert request == ipam_pb2.AllocateRequest(
        attachment=ipam_pb2.Attachment(
            network="k8s-pod-network", container_id="4f0c9a5d2b", ifname="eth0"
        ),
        pod=ipam_pb2.Pod(namespace="default", name="mypod"),
        endpoint=ipam_pb2.Endpoint(
            interface_name="cali0123456789a",
            mac=MAC,
            profiles=["kns.default"],
            kernel=ipam_pb2.Kernel(boot_id=KERNEL.boot_id, netns=KERNEL.netns),
            workload=ipam_pb2.Workload(
                labels={"app": "web"},
                service_account="default",
                generate_name="web-",
                ports=[ipam_pb2.Port(number=80, name="http", protocol="TCP")],
            ),
        ),
        ipv4=True,
        ipv6=True,
        ipv4_pools=["default-ipv4-ippool", "10.1.0.0/16"],
        ipv6_pools=["default-ipv6-ippool"],
        addresses=["10.1.0.5", "2001:db8::5"],
        namespace_labels={"team": "red"},
    )


def test_by_default_one_ipv4_address_of_any_pool_is_wanted(ipamd, client):
    client.report(REPORT)

    allocation = client.allocate(ATTACHMENT, None, None, Wanted(), TIMEOUT_S).wait()

    request = ipamd.requests["Allocate"]
    assert (request.ipv4, request.ipv6, list(request.ipv4_pools)) == (True, False, [])
    assert not request.HasField("endpoint")
    assert not request.HasField("pod")
    assert allocation.addresses == (IPv4Address("10.233.64.5"),)
    assert allocation.node == "node-1"
    assert allocation.overhead == 0


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_the_trace_of_a_call_goes_along_with_each_of_its_requests(ipamd, tmp_path):
    with contextlib.closing(IpamClient(str(tmp_path / "ipamd.sock"), lambda: TRACE)) as client:
        client.report(REPORT)
        client.allocate(ATTACHMENT, None, None, Wanted(), TIMEOUT_S).wait()
        client.get(ATTACHMENT, None, TIMEOUT_S)
        client.status(TIMEOUT_S)
        client.list_attachments("net", TIMEOUT_S)
        client.release(ATTACHMENT, None, TIMEOUT_S)

    told = dict.fromkeys(("Allocate", "Get", "Status", "ListAttachments", "Release"), TRACE)
    assert ipamd.traces == {"Report": "", **told}


def test_outside_of_a_call_there_is_no_trace(ipamd, client):
    client.status(TIMEOUT_S)

    assert ipamd.traces == {"Status": ""}


@pytest.mark.parametrize("value", ["", TRACE.upper(), f"{TRACE}0", "x" * 32, b"\xff" * 32])
def test_a_trace_that_is_none_is_not_taken(value):
    assert trace_of([("other", TRACE), (KEY, value)]) == ""


def test_of_both_families_the_larger_overhead_counts(ipamd, client):
    addresses = [
        ipam_pb2.Address(address="10.1.0.5", block="10.1.0.0/24", overhead=20),
        ipam_pb2.Address(address="2001:db8::5", block="2001:db8::/122", overhead=70),
    ]
    ipamd.answers["Allocate"] = ipam_pb2.AllocateResponse(addresses=addresses)
    client.report(REPORT)

    assert client.allocate(ATTACHMENT, None, None, Wanted(), TIMEOUT_S).wait().overhead == 70


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get(ATTACHMENT, POD, TIMEOUT_S),
        lambda client: client.status(TIMEOUT_S, is_patient=True),
    ],
    ids=["get", "status"],
)
def test_who_only_asks_waits_for_a_daemon_that_restarts(client, tmp_path, ask):
    with ThreadPoolExecutor(1) as executor:
        asked = executor.submit(ask, client)
        time.sleep(3 * RETRY_PAUSE_S)
        assert not asked.done()
        with serving(FakeIpamd(), tmp_path / "ipamd.sock"):
            asked.result(timeout=TIMEOUT_S)


def test_a_daemon_that_stays_away_is_not_waited_for_any_longer_than_is_said(client):
    begun = time.monotonic()

    with pytest.raises(NotReached):
        client.get(ATTACHMENT, POD, 3 * RETRY_PAUSE_S)

    assert time.monotonic() - begun < TIMEOUT_S


def test_nor_if_nobody_wants_the_answer_any_more(client):
    asked = itertools.count()

    with pytest.raises(NotReached):
        client.get(ATTACHMENT, POD, 100 * TIMEOUT_S, lambda: next(asked) < 2)

    assert next(asked) == 3


def test_a_daemon_that_comes_late_is_waited_for(client, tmp_path):
    pending = client.allocate(ATTACHMENT, POD, None, Wanted(), TIMEOUT_S)
    with serving(FakeIpamd(has_report=True), tmp_path / "ipamd.sock"):
        assert pending.wait().addresses == (IPv4Address("10.233.64.5"),)


def test_what_is_held_is_told(ipamd, client):
    ipamd.answers["Get"] = ipam_pb2.GetResponse(
        addresses=[ipam_pb2.Address(address="10.1.0.5", block="10.1.0.0/24")],
        endpoint=ipam_pb2.Endpoint(interface_name="cali0123456789a"),
    )

    held = client.get(ATTACHMENT, POD, TIMEOUT_S)

    assert held.addresses == (IPv4Address("10.1.0.5"),)
    assert held.interface_name == "cali0123456789a"
    assert ipamd.requests["Get"].pod.name == "mypod"


def test_a_release_names_attachment_and_pod(ipamd, client):
    client.release(ATTACHMENT, POD, TIMEOUT_S)

    assert ipamd.requests["Release"].attachment.container_id == "4f0c9a5d2b"
    assert ipamd.requests["Release"].pod.name == "mypod"


def test_who_holds_addresses_is_told(ipamd, client):
    ipamd.answers["ListAttachments"] = ipam_pb2.ListAttachmentsResponse(
        attachments=[ipam_pb2.Attachment(network="net", container_id="c1", ifname="eth0")]
    )

    assert client.list_attachments("net", TIMEOUT_S) == (Attachment("net", "c1", "eth0"),)
    assert ipamd.requests["ListAttachments"].network == "net"


def test_an_answer_that_is_not_wanted_any_more_is_not_waited_for(ipamd, client):
    pending = client.allocate(ATTACHMENT, POD, None, Wanted(), TIMEOUT_S)  # waits for a report
    begun = time.monotonic()

    with pytest.raises(Unavailable, match="not wanted any more") as caught:
        pending.wait(lambda: False)

    assert time.monotonic() - begun < 1
    assert not isinstance(caught.value, NotReached)
    with pytest.raises(Unavailable, match="not wanted any more"):
        pending.wait()


def test_an_absent_daemon_is_waited_for_only_while_the_answer_is_wanted(client):
    pending = client.allocate(ATTACHMENT, POD, None, Wanted(), TIMEOUT_S)
    begun = time.monotonic()

    with pytest.raises(NotReached):
        pending.wait(lambda: False)

    assert time.monotonic() - begun < 1


def test_a_report_arrives_as_it_was_made(ipamd, client):
    client.report(REPORT)

    assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT


def test_the_last_report_is_told_with_its_age(ipamd, client):
    ipamd.answers["GetReport"] = ipam_pb2.GetReportResponse(
        report=report_message(REPORT), age_s=1.5
    )

    assert client.get_report(fresh=True) == LastReport(REPORT, 1.5)
    assert ipamd.requests["GetReport"].fresh


def test_before_the_first_report_there_is_none(ipamd, client):
    assert client.get_report() is None
    assert not ipamd.requests["GetReport"].fresh


def test_the_status_is_told(ipamd, client):
    ipamd.answers["Status"] = ipam_pb2.StatusResponse(
        node="node-1",
        blocks=[ipam_pb2.Block(cidr="10.1.0.0/24", size=256, in_use=3)],
        revision=42,
        waits_for="a report",
        findings=["10.1.0.7: has two holders"],
    )

    assert client.status() == NodeStatus(
        node="node-1",
        blocks=(OwnBlock(IPv4Network("10.1.0.0/24"), 256, 3),),
        revision=42,
        waits_for="a report",
        findings=("10.1.0.7: has two holders",),
    )


def test_the_history_of_an_address_is_told(ipamd, client):
    ipamd.answers["GetHistory"] = ipam_pb2.GetHistoryResponse(
        holdings=[
            ipam_pb2.Holding(address="10.1.0.5", handle_id="net.c1", node="node-1", to_s=7.5),
            ipam_pb2.Holding(
                address="10.1.0.5",
                handle_id="net.c2",
                pod=ipam_pb2.Pod(namespace="default", name="mypod"),
                node="node-1",
                from_s=8.5,
            ),
        ],
        begins_s=3.5,
    )

    history = client.get_history(address=IPv4Address("10.1.0.5"))

    address = IPv4Address("10.1.0.5")
    assert history == History(
        (
            Holding(address, "net.c1", None, "node-1", 0, 7.5),
            Holding(address, "net.c2", POD, "node-1", 8.5, 0),
        ),
        3.5,
    )
    assert ipamd.requests["GetHistory"] == ipam_pb2.GetHistoryRequest(address="10.1.0.5")


@pytest.mark.parametrize(
    ("query", "request_fields"),
    [
        ({"pod": POD}, {"pod": ipam_pb2.Pod(namespace="default", name="mypod")}),
        ({"container_id": "c1"}, {"container_id": "c1"}),
        ({"handle_id": "net.c1"}, {"handle_id": "net.c1"}),
    ],
)
def test_a_history_is_asked_for_by_one_thing(ipamd, client, query, request_fields):
    assert client.get_history(**query) == History((), 0)
    assert ipamd.requests["GetHistory"] == ipam_pb2.GetHistoryRequest(**request_fields)


@pytest.mark.parametrize("error", [Invalid("x: is none"), Exhausted("x: is full")])
def test_a_refusal_is_ipamds_own_error(ipamd, client, error):
    ipamd.refusal = error

    with pytest.raises(type(error), match=str(error)):
        client.report(REPORT)


@pytest.mark.parametrize("text", ["%" * 100_000, "\U0001f40e" * 100_000, "\x00" * 100_000])
def test_a_refusal_of_any_length_is_told_as_far_as_it_fits(ipamd, client, text):
    """As that of a pod for which none of a thousand pools is."""
    ipamd.refusal = Exhausted(f"no addresses: {text}")

    with pytest.raises(Exhausted) as raised:
        client.report(REPORT)

    told = str(raised.value)
    assert told.startswith(f"no addresses: {text[:100]}")
    assert told.endswith("… (ipamd's log has all of it)")


def test_a_refusal_over_a_key_that_is_no_text_is_told(ipamd, client):
    ipamd.refusal = Invalid(f"etcd key /ippools/{os.fsdecode(b'a-' + bytes([255]))}: is wrong")

    with pytest.raises(Invalid, match=r"^etcd key /ippools/a-\\udcff: is wrong$"):
        client.report(REPORT)


def test_without_a_daemon_every_call_says_so(client):
    for call in (
        lambda: client.report(REPORT),
        lambda: client.status(),
        lambda: client.get_report(),
        lambda: client.get_history(container_id="c1"),
        lambda: list(client.watch_reports()),
    ):
        with pytest.raises(NotReached, match="does not answer"):
            call()


def test_each_wish_for_a_report_is_one_turn(ipamd, client):
    watch = client.watch_reports()
    wishes = iter(watch)

    next(wishes)
    ipamd.want_report()
    next(wishes)

    watch.cancel()


def test_a_watch_ends_when_it_is_cancelled(ipamd, client):
    watch = client.watch_reports()
    wishes = iter(watch)
    next(wishes)
    threading.Timer(0.05, watch.cancel).start()

    with pytest.raises(Unavailable):
        next(wishes)


def test_a_watch_breaks_when_ipamd_ends(client, tmp_path):
    with serving(FakeIpamd(), tmp_path / "ipamd.sock"):
        wishes = iter(client.watch_reports())
        next(wishes)

    with pytest.raises(Unavailable):
        next(wishes)


@contextmanager
def _sluggish(path: Path, target: Path, delay_s: float) -> Iterator[None]:
    """A socket at *path* whose connections reach *target*, each only after a while."""
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as opened:
        listening.bind(str(path))
        listening.listen()

        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65_536):
                    sink.sendall(data)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, far = listening.accept()[0], socket.socket(socket.AF_UNIX)
                    opened.callback(near.close)
                    opened.callback(far.close)
                    time.sleep(delay_s)
                    far.connect(str(target))
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.usefixtures("ipamd")
def test_a_busy_machine_on_which_connecting_takes_a_while_is_waited_for(tmp_path):
    with _sluggish(tmp_path / "slow.sock", tmp_path / "ipamd.sock", delay_s=0.3):
        client = IpamClient(str(tmp_path / "slow.sock"))

        client.release(ATTACHMENT, POD, TIMEOUT_S)

        client.close()
