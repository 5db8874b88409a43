"""What is read from the kernel, with real links in network namespaces of the test's own."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from cni_plugin import dataplane, pod_rtnetlink
from cni_plugin.podnet import HOST_MAC, LINK_GROUP, plan, plan_links
from cni_plugin.report import read_report
from datamodel.attachment import ALIAS_MAX_BYTES, Attachment, Pod
from ipam_api import ipam_pb2
from ipam_api.messages import attachment_of, kernel_of
from kernel_api.netlink import Netlink
from tests.fake_ipamd import FakeIpamd, serving
from tests.netns.namespaces import inside, ip

POD = Pod("default", "web-0")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def an_attachment(container_id: str = "c1") -> Attachment:
    return Attachment("k8s-pod-network", container_id, "eth0")


@pytest.fixture
def namespaces(node_and_pods: list[str]) -> tuple[str, str]:
    """A node's namespace and a pod's."""
    return node_and_pods[0], node_and_pods[1]


@pytest.fixture
def node(namespaces: tuple[str, str]) -> str:
    return namespaces[0]


def batch(node: str, *lines: str) -> None:
    """Many commands of ip(8) in one process."""
    subprocess.run(
        ["ip", "-n", node, "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60
    )


def a_link(name: str, alias: str, group: int = LINK_GROUP) -> list[str]:
    lines = [f"link add {name} group {group} type veth peer name p-{name}"]
    alias_lines = [f"link set {name} alias '{alias}'"] if alias else []
    return [*lines, *alias_lines, f"link set {name} up"]


def test_what_an_add_makes_is_reported(namespaces):
    node, pod = namespaces
    attachment, address = an_attachment(), IPv4Address("10.233.64.5")
    links = plan_links(attachment, POD, None)
    with inside(node), open(f"/run/netns/{pod}", "rb") as namespace:
        dataplane.create_pair(links, namespace.fileno())
        without_address = read_report()
        dataplane.setup(plan(links, (address,), False), namespace.fileno())
        report = read_report()
        dataplane.delete(attachment, (links.host.name,))
        afterwards = read_report()

    [link] = report.links
    assert (link.attachment, link.pod) == (attachment, POD)
    assert link.attachment_digest == attachment.digest
    assert link.interface_name == links.host.name
    assert link.addresses == (address,)
    assert link.mac == links.pod.mac
    assert [link.addresses for link in without_address.links] == [()]
    assert afterwards.links == ()
    assert report.is_complete


def test_the_kernel_is_the_threads_own(node):
    with inside(node):
        report = read_report()
    outside = read_report()

    assert report.kernel.boot_id == BOOT_ID
    assert report.kernel.netns == str(os.stat(f"/run/netns/{node}").st_ino)
    assert outside.kernel.boot_id == BOOT_ID
    assert outside.kernel.netns == str(os.stat("/proc/self/ns/net").st_ino)


def test_a_namespace_without_any_route_is_reported(node):
    name = f"{node}-new"
    ip("netns", "add", name)
    try:
        with inside(name):
            report = read_report()
    finally:
        ip("netns", "del", name)

    assert report.is_complete
    assert report.links == ()


def test_only_our_links_with_an_owner_are_reported(node):
    ours = an_attachment("c1").alias(POD)
    batch(
        node,
        *a_link("cali1", ours),
        *a_link("killed", ""),  # an ADD was killed over it
        *a_link("uplink", "uplink", group=0),
        *a_link("text", "see ocicat:a/b/c/-", group=0),
        *a_link("moved", an_attachment("c2").alias(None), group=7),
    )

    with inside(node):
        report = read_report()

    assert sorted(link.interface_name for link in report.links) == ["cali1", "moved"]
    assert [link.pod for link in report.links] == [POD, None]


def test_an_alias_may_be_as_long_as_the_kernel_allows(node):
    attachment = Attachment("net", "c" * 64, "eth0")
    room = ALIAS_MAX_BYTES - len(attachment.alias(Pod("n", "")))
    fits, too_long = Pod("n", "p" * room), Pod("n", "p" * (room + 1))
    longest = Attachment("n" * 130, "c" * 130, "eth0")
    batch(
        node,
        *a_link("cali1", attachment.alias(fits)),
        *a_link("cali2", attachment.alias(too_long)),
        *a_link("cali3", ""),
    )
    ip("-n", node, "link", "set", "cali3", "alias", longest.alias(fits))  # "#" ends a batch's line

    with inside(node):
        report = read_report()

    found = {link.interface_name: link for link in report.links}
    assert (found["cali1"].attachment, found["cali1"].pod) == (attachment, fits)
    assert (found["cali2"].attachment, found["cali2"].pod) == (attachment, None)
    assert (found["cali3"].attachment, found["cali3"].pod) == (None, None)
    assert found["cali3"].attachment_digest == longest.digest


def test_every_single_address_in_the_main_table_counts_and_nothing_else(node):
    batch(
        node,
        *a_link("cali1", an_attachment("c1").alias(POD)),
        *a_link("cali2", an_attachment("c2").alias(POD)),
        "link set p-cali1 up",
        "link set p-cali2 up",
        "route add 10.1.0.9/32 dev cali1",
        "route add 10.1.0.5/32 dev cali1",
        "route add 2001:db8::5/128 dev cali1",
        "route add 10.1.0.6/32 dev cali2 metric 50",
        "route add 10.1.0.6/32 dev cali2 metric 51",
        "route add 10.2.0.0/24 dev cali2",
        "route add 2001:db8:1::/64 dev cali2",
        "route add 10.3.0.1/32 dev cali2 table 100",
        "route add blackhole 10.4.0.1/32",
        "neigh add 10.1.0.5 lladdr 02:00:5e:10:00:01 dev cali1 nud permanent",
        "neigh add 10.9.0.9 lladdr 02:00:5e:10:00:09 dev cali1 nud permanent",
        "neigh add 10.1.0.6 lladdr 02:00:5e:10:00:02 dev cali2 nud stale",
        "neigh add 10.3.0.1 lladdr 02:00:5e:10:00:03 dev cali2 nud reachable",
    )

    with inside(node):
        found = {link.interface_name: link for link in read_report().links}

    assert found["cali1"].addresses == (
        IPv4Address("10.1.0.5"),
        IPv4Address("10.1.0.9"),
        IPv6Address("2001:db8::5"),
    )
    assert found["cali2"].addresses == (IPv4Address("10.1.0.6"),)
    assert found["cali1"].mac == "02:00:5e:10:00:01"
    assert found["cali2"].mac == "02:00:5e:10:00:02"


@contextmanager
def churn(node: str) -> Iterator[None]:
    """Links come and go all the time."""
    stop = threading.Event()

    def run() -> None:
        come, go = (pod_rtnetlink.NewLink(name, HOST_MAC, None) for name in ("come", "go"))
        with inside(node), Netlink() as netlink, open(f"/run/netns/{node}", "rb") as here:
            while not stop.is_set():
                netlink.execute(pod_rtnetlink.create_veth(come, go, here.fileno()))
                dataplane.delete_link(socket.if_nametoindex("come"))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_dump_that_is_interrupted_is_known_as_such(node):
    ours = [a_link(f"cali{i}", an_attachment(f"c{i}").alias(POD)) for i in range(200)]
    batch(node, *(line for lines in ours for line in lines))
    outcomes = set()

    with inside(node), Netlink() as netlink, churn(node):
        for _ in range(3000):
            outcomes.add(netlink.dump(pod_rtnetlink.veths(), tries=1).is_complete)
            if outcomes == {True, False}:
                break
        again = netlink.dump(pod_rtnetlink.veths(), tries=100)
    with inside(node):
        quiet = read_report()

    assert outcomes == {True, False}
    assert again.is_complete
    assert quiet.is_complete
    assert len(quiet.links) == 200


@pytest.fixture
def call(namespaces, tmp_path):
    """Calls the plugin as its launcher does without the server."""
    node, pod = namespaces
    environment = {
        "PATH": os.environ["PATH"],
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.233.64.5",
        "OCICAT_IPAM_SOCKET": str(tmp_path / "ipamd.sock"),
        "OCICAT_SPOOL_DIR": str(tmp_path / "releases"),
    }

    def run(command: str, **conf: object) -> str:
        usual = {"cniVersion": "1.0.0", "name": "k8s-pod-network", "type": "ocicat"}
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{node}", sys.executable, "-m", "cni_plugin", "ocicat"],
            input=json.dumps({**usual, **conf}),
            env={**environment, "CNI_COMMAND": command},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    return run


def test_a_plugin_without_its_server_reports_beside_its_add(node, call, tmp_path):
    with serving(FakeIpamd("10.233.64.5"), tmp_path / "ipamd.sock") as ipamd:
        result = json.loads(call("ADD"))
        reported = ipamd.reports.get(timeout=5)
        request = ipamd.requests["Allocate"]
        with inside(node):
            afterwards = read_report()

        ipamd.answers["Get"] = ipam_pb2.GetResponse(
            addresses=[ipam_pb2.Address(address="10.233.64.5", block="10.233.64.0/24")],
            endpoint=request.endpoint,
        )
        call("CHECK", prevResult=result)
        call("DEL")
        with inside(node):
            in_the_end = read_report()

    ip_of_pod = {"address": "10.233.64.5/32", "gateway": "169.254.1.1", "interface": 1}
    assert result["ips"] == [ip_of_pod]
    assert attachment_of(request.attachment) == an_attachment()
    assert list(request.addresses) == ["10.233.64.5"]
    assert kernel_of(request.endpoint) == reported.kernel == afterwards.kernel
    [link] = afterwards.links
    assert (link.attachment, link.pod) == (an_attachment(), POD)
    assert link.addresses == (IPv4Address("10.233.64.5"),)
    assert link.mac == request.endpoint.mac
    assert attachment_of(ipamd.requests["Release"].attachment) == an_attachment()
    assert ipamd.reports.empty()  # of an ADD alone
    assert in_the_end.links == ()
