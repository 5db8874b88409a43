"""What ADD makes of the kernel and how CHECK reads it back, in namespaces of the test's own."""

import json
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from cni_plugin import dataplane
from cni_plugin.dataplane import LinkTaken, PodLinkExists
from cni_plugin.podnet import (
    NEXT_HOP,
    NEXT_HOP_V6,
    differences,
    plan,
    plan_links,
    remainder,
    with_overhead,
)
from datamodel.attachment import Attachment, Pod
from datamodel.errors import Invalid, Unavailable
from kernel_api.sysctl import read_sysctl, write_sysctl
from tests.netns.namespaces import inside, ip, run_in

V4 = (IPv4Address("10.233.64.5"), IPv4Address("10.233.64.6"))
V6 = (IPv6Address("fd00:10:233::5"), IPv6Address("fd00:10:233::6"))
NODE = {4: "192.0.2.1", 6: "2001:db8::1"}
FAMILIES = {"IPv4": (V4,), "IPv6": (V6,), "dual stack": (V4, V6)}


def an_attachment(number=1, ifname="eth0", network="k8s-pod-network"):
    return Attachment(network, f"c{number}", ifname)


def a_plan(addresses, number=1, ifname="eth0", mtu=None, mac=""):
    attachment = an_attachment(number, ifname)
    links = plan_links(attachment, Pod("default", f"web-{number}"), mtu, mac)
    return plan(links, addresses, False)


def attach(node, pod, network):
    """ADD in one go."""
    with inside(node), open(f"/run/netns/{pod}", "rb") as namespace:
        dataplane.create_pair(network, namespace.fileno())
        dataplane.setup(network, namespace.fileno())
    return network


def observe(node, pod, network):
    with inside(node), open(f"/run/netns/{pod}", "rb") as namespace:
        return dataplane.observe(network, namespace.fileno())


def all_differences(node, pod, network):
    host, container = observe(node, pod, network)
    return [
        *differences(network.host, host, "on the host"),
        *differences(network.pod, container, "in the container"),
    ]


def first_packet(pod, address):
    """Send one packet; it is answered or the test fails."""
    run_in(pod, "ping", "-c1", "-W5", str(address))


@pytest.fixture
def node(node_and_pods):
    node = node_and_pods[0]
    for address in NODE.values():
        ip("-n", node, "addr", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    return node


@pytest.fixture
def pod(node_and_pods):
    return node_and_pods[1]


@pytest.fixture
def other(node_and_pods):
    return node_and_pods[2]


def a_link(namespace, name, mtu=1500):
    """One that is none of ours, and up."""
    ip("-n", namespace, "link", "add", name, "mtu", mtu, "type", "veth", "peer", f"p-{name}"[:15])
    for end in (name, f"p-{name}"[:15]):
        ip("-n", namespace, "link", "set", end, "up")


# ---- packets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("families", FAMILIES.values(), ids=FAMILIES)
def test_the_first_packet_passes_when_both_pods_are_set_up(families, node, pod, other):
    attach(node, other, a_plan(tuple(family[1] for family in families), number=2))

    attach(node, pod, a_plan(tuple(family[0] for family in families)))

    for family in families:
        first_packet(pod, family[1])
        first_packet(node, family[0])
        first_packet(pod, NODE[family[0].version])


@pytest.mark.parametrize("families", FAMILIES.values(), ids=FAMILIES)
def test_what_was_prepared_before_the_address_is_not_done_again(families, node, pod):
    addresses = tuple(family[0] for family in families)
    links = plan_links(an_attachment(), None, None)
    prepared = plan(links, (), False, [address.version for address in addresses])
    whole = plan(links, addresses, False)

    with inside(node), open(f"/run/netns/{pod}", "rb") as namespace:
        dataplane.create_pair(links, namespace.fileno())
        dataplane.setup(prepared, namespace.fileno())
        dataplane.setup(remainder(whole, prepared), namespace.fileno())

    assert all_differences(node, pod, whole) == []


def test_an_mtu_that_is_known_with_the_address_comes_with_it(node, pod):
    links = plan_links(an_attachment(), None, 1500)
    prepared = plan(links, (), False, (4, 6))
    whole = plan(with_overhead(links, 70), (V4[0], V6[0]), False)

    with inside(node), open(f"/run/netns/{pod}", "rb") as namespace:
        dataplane.create_pair(links, namespace.fileno())
        dataplane.setup(remainder(prepared, links), namespace.fileno())
        assert all_differences(node, pod, prepared) == []
        dataplane.setup(remainder(whole, prepared), namespace.fileno())

    assert (whole.host.mtu, whole.pod.mtu) == (1430, 1430)
    assert all_differences(node, pod, whole) == []


@pytest.mark.parametrize("mode", ["0", "1", "3"])
def test_the_next_hop_is_there_however_the_kernel_makes_link_local_addresses(mode, node, pod):
    with inside(node):
        write_sysctl("net/ipv6/conf/default/addr_gen_mode", mode)

    attach(node, pod, a_plan(V6[:1]))

    first_packet(pod, f"{NEXT_HOP_V6}%eth0")
    first_packet(node, V6[0])


def test_ipv6_is_usable_in_a_namespace_where_it_was_off(node, pod):
    for namespace in (node, pod):
        with inside(namespace):
            for which in ("all", "default"):
                write_sysctl(f"net/ipv6/conf/{which}/disable_ipv6", "1")

    network = attach(node, pod, a_plan((V4[0], V6[0])))

    first_packet(node, V6[0])
    assert all_differences(node, pod, network) == []


def test_ipv6_stays_off_in_an_ipv4_pod(node, pod):
    with inside(pod):
        for which in ("all", "default"):
            write_sysctl(f"net/ipv6/conf/{which}/disable_ipv6", "1")

    attach(node, pod, a_plan(V4[:1]))

    with inside(pod):
        for which in ("all", "default", "lo", "eth0"):
            assert read_sysctl(f"net/ipv6/conf/{which}/disable_ipv6") == "1"


def test_the_host_heeds_no_router_that_a_pod_claims_to_be(node, pod):
    with inside(node):
        write_sysctl("net/ipv6/conf/default/accept_ra", "2")

    network = attach(node, pod, a_plan(V4[:1]))

    with inside(node):
        assert read_sysctl(f"net/ipv6/conf/{network.host.name}/accept_ra") == "0"


def test_an_interface_name_may_have_a_dot(node, pod):
    network = attach(node, pod, a_plan((V4[0], V6[0]), ifname="eth0.7"))

    assert all_differences(node, pod, network) == []
    first_packet(node, V4[0])


def test_mac_and_mtu_are_those_that_were_asked_for(node, pod):
    network = attach(node, pod, a_plan(V4[:1], mac="0a:58:0a:01:02:03", mtu=5000))

    host, container = observe(node, pod, network)

    assert (container.mac, container.mtu) == ("0a:58:0a:01:02:03", 5000)
    assert (host.mac, host.mtu) == ("ee:ee:ee:ee:ee:ee", 5000)


# ---- a MAC that a later plugin sets --------------------------------------------------------------

ANOTHER_MAC = "02:00:5e:10:00:07"


def neighbours(namespace, link):
    return {
        n["dst"]: n
        for n in json.loads(ip("-n", namespace, "-j", "-s", "neigh", "show", "dev", link))
    }


def test_the_host_sends_to_a_pod_without_asking_it_first(node, pod):
    network = attach(node, pod, a_plan((V4[0], V6[0])))

    known = neighbours(node, network.host.name)

    assert [known[str(address)]["state"] for address in (V4[0], V6[0])] == [["REACHABLE"]] * 2


@pytest.mark.parametrize("families", FAMILIES.values(), ids=FAMILIES)
def test_a_pod_is_reached_and_reaches_others_at_once_when_its_mac_is_changed(
    families, node, pod, other
):
    a_link(node, "uplink")
    ip("-n", node, "route", "add", "default", "dev", "uplink")  # the host answers ARP by it
    attach(node, other, a_plan(tuple(family[1] for family in families), number=2))
    network = attach(node, pod, a_plan(tuple(family[0] for family in families)))

    ip("-n", pod, "link", "set", "eth0", "address", ANOTHER_MAC)

    known = neighbours(node, network.host.name)
    for family in families:
        assert known[str(family[0])]["lladdr"] == ANOTHER_MAC
        first_packet(node, family[0])
        first_packet(pod, family[1])


def test_a_pod_that_does_not_answer_arp_is_not_given_up(node, pod):
    network = attach(node, pod, a_plan(V4[:1]))
    link = network.host.name
    with inside(pod):
        write_sysctl("net/ipv4/conf/eth0/arp_ignore", "8")  # as if by a strict rp_filter
    with inside(node):
        write_sysctl(f"net/ipv4/neigh/{link}/retrans_time_ms", "10")
    ip("-n", node, "neigh", "change", V4[0], "dev", link, "nud", "probe", "extern_learn")

    deadline = time.monotonic() + 20
    while neighbours(node, link)[str(V4[0])].get("probes", 0) <= 10:  # the kernel's limit is 3
        assert time.monotonic() < deadline
        first_packet(node, V4[0])

    assert all_differences(node, pod, network) == []


# ---- refusals ----------------------------------------------------------------------------------


def test_what_the_kernel_refuses_is_an_error_that_names_it(node, pod):
    with pytest.raises(Unavailable, match=r"veth pair cali.*–eth0: .*: Invalid argument"):
        attach(node, pod, a_plan(V4[:1], mtu=1 << 20))
    with pytest.raises(Unavailable, match=r"veth pair cali.*–.*: Attribute failed policy valid"):
        attach(node, pod, a_plan(V4[:1], ifname="i" * 16))


def test_a_link_of_our_name_is_not_touched(node, pod):
    network = a_plan(V4[:1])
    a_link(node, network.host.name)
    ip("-n", node, "link", "set", network.host.name, "alias", "mine")
    before = ip("-n", node, "-d", "link")

    with pytest.raises(LinkTaken, match="mine"):
        attach(node, pod, network)

    assert ip("-n", node, "-d", "link") == before
    assert "eth0" not in ip("-n", pod, "link")


def test_an_interface_that_the_pod_has_is_not_touched(node, pod):
    a_link(pod, "eth0")

    with pytest.raises(PodLinkExists, match="CNI_IFNAME eth0"):
        attach(node, pod, a_plan(V4[:1]))

    assert "cali" not in ip("-n", node, "link")


@pytest.mark.parametrize("address", [V4[0], V6[0]])
def test_an_address_that_is_routed_elsewhere_is_named(address, node, pod):
    a_link(node, "elsewhere")
    ip("-n", node, "route", "add", address, "dev", "elsewhere")

    with pytest.raises(Invalid, match=f"route {address}/.*: exists already"):
        attach(node, pod, a_plan((address,)))


# ---- /proc/sys ---------------------------------------------------------------------------------

ATTACH = """
import sys
from ipaddress import ip_address
from cni_plugin import dataplane
from cni_plugin.podnet import plan, plan_links
from datamodel.attachment import Attachment

links = plan_links(Attachment("net", "c1", "eth0"), None, None)
network = plan(links, (ip_address(sys.argv[2]),), False)
with open(sys.argv[1], "rb") as namespace:
    dataplane.create_pair(network, namespace.fileno())
    dataplane.setup(network, namespace.fileno())
"""


def attach_after(command, node, pod, address):
    """ADD in a mount namespace of its own, after a shell command in it."""
    script = f'{command} && exec "$@"'
    return subprocess.run(
        [
            *(
                "nsenter",
                f"--net=/run/netns/{node}",
                "unshare",
                "--mount",
                "sh",
                "-c",
                script,
                "sh",
            ),
            *(sys.executable, "-c", ATTACH, f"/run/netns/{pod}", str(address)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_sysctls_that_are_right_are_not_written(node, pod):
    for namespace, value in ((node, "1"), (pod, "0")):
        with inside(namespace):
            write_sysctl("net/ipv4/ip_forward", value)

    done = attach_after("mount -o bind,ro /proc/sys /proc/sys", node, pod, V4[0])

    assert done.returncode == 0, done.stderr
    first_packet(node, V4[0])


def test_a_sysctl_that_cannot_be_set_is_named(node, pod):
    with inside(node):
        write_sysctl("net/ipv4/ip_forward", "0")

    done = attach_after("mount -o bind,ro /proc/sys /proc/sys", node, pod, V4[0])

    assert "/proc/sys/net/ipv4/ip_forward" in done.stderr.splitlines()[-1]
    assert "Read-only file system" in done.stderr.splitlines()[-1]


NO_IPV6 = (
    "mount -t tmpfs none /proc/sys/net && mkdir /proc/sys/net/ipv4 && "
    "echo 1 > /proc/sys/net/ipv4/ip_forward"
)


def test_a_kernel_without_ipv6_serves_ipv4(node, pod):
    for namespace, value in ((node, "1"), (pod, "0")):
        with inside(namespace):
            write_sysctl("net/ipv4/ip_forward", value)

    done = attach_after(NO_IPV6, node, pod, V4[0])

    assert (done.returncode, done.stderr) == (0, "")


def test_ipv6_on_a_kernel_without_it_is_refused(node, pod):
    done = attach_after(NO_IPV6, node, pod, V6[0])

    assert "the kernel has no IPv6" in done.stderr.splitlines()[-1]


# ---- looking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("families", FAMILIES.values(), ids=FAMILIES)
def test_what_was_made_differs_in_nothing(families, node, pod):
    network = attach(node, pod, a_plan(tuple(family[0] for family in families), mtu=1400))

    assert all_differences(node, pod, network) == []


TAMPERING = [
    ("pod", f"addr del {V6[0]}/128 dev eth0", f"address {V6[0]}/128"),
    ("pod", "route del default", f"route 0.0.0.0/0 via {NEXT_HOP}"),
    ("pod", "-6 route del default", f"route ::/0 via {NEXT_HOP_V6}"),
    ("pod", f"neigh del {NEXT_HOP} dev eth0", f"neighbour {NEXT_HOP}"),
    ("pod", f"neigh del {NEXT_HOP_V6} dev eth0", f"neighbour {NEXT_HOP_V6}"),
    ("pod", "link set eth0 mtu 1300", "MTU 1300 instead of 1400"),
    ("node", f"route del {V4[0]}/32", f"route {V4[0]}/32"),
    ("node", f"route del {V6[0]}/128", f"route {V6[0]}/128"),
    ("node", f"neigh del {V4[0]} dev cali", f"neighbour {V4[0]}"),
    ("node", f"neigh del {V6[0]} dev cali", f"neighbour {V6[0]}"),
    ("node", f"addr del {NEXT_HOP_V6}/64 dev cali", f"address {NEXT_HOP_V6}/64"),
]


@pytest.mark.parametrize(("where", "command", "words"), TAMPERING, ids=[t[1] for t in TAMPERING])
def test_what_was_taken_away_is_named(where, command, words, node, pod):
    network = attach(node, pod, a_plan((V4[0], V6[0]), mtu=1400))
    arguments = command.replace("dev cali", f"dev {network.host.name}").split()

    ip("-n", pod if where == "pod" else node, *arguments)

    found = all_differences(node, pod, network)
    assert len(found) == 1
    assert words in found[0]


def test_routes_of_the_pod_may_have_been_moved_to_a_table_of_their_own(node, pod):
    network = attach(node, pod, a_plan((V4[0], V6[0])))

    for route in network.pod.routes:
        via = ["via", route.via] if route.via else ["scope", "link"]
        where = [route.destination, *via, "dev", "eth0"]
        ip("-n", pod, "-6" if ":" in route.destination else "-4", "route", "del", *where)
        ip("-n", pod, "route", "add", *where, "table", "100")

    assert all_differences(node, pod, network) == []


def test_a_route_to_the_pod_counts_in_the_main_table_only(node, pod):
    network = attach(node, pod, a_plan(V4[:1]))

    ip("-n", node, "route", "del", V4[0])
    ip("-n", node, "route", "add", V4[0], "dev", network.host.name, "table", "100")

    assert len(all_differences(node, pod, network)) == 1


def test_sysctls_that_were_changed_are_named(node, pod):
    network = attach(node, pod, a_plan((V4[0], V6[0])))
    changed = []
    for side, namespace in ((network.host, node), (network.pod, pod)):
        for path, value in side.sysctls:
            # Those of a kind change the others, and one is a switch.
            if "/all/" not in path and "ip_forward" not in path and "disable" not in path:
                with inside(namespace):
                    write_sysctl(path, "100" if value == "0" else "0")
                changed.append(path)

    text = "; ".join(all_differences(node, pod, network))

    assert [path for path in changed if f"sysctl {path} is " not in text] == []
    assert len(changed) == 11


def test_without_its_links_there_is_nothing_to_see(node, pod):
    assert observe(node, pod, a_plan(V4[:1])) == (None, None)


# ---- the node's own links ----------------------------------------------------------------------


def test_the_default_mtu_is_that_of_the_best_default_routes_link(node):
    for name, mtu in (("slow", 1200), ("fast", 9000)):
        a_link(node, name, mtu)
    ip("-n", node, "route", "add", "default", "dev", "slow", "metric", "200")
    ip("-n", node, "route", "add", "default", "dev", "fast", "metric", "100")

    with inside(node):
        assert dataplane.default_mtu() == 9000


def test_the_default_mtu_of_several_next_hops_is_the_first_ones(node):
    for name, mtu in (("one", 1400), ("two", 1500)):
        a_link(node, name, mtu)
    hops = ["nexthop", "dev", "one", "nexthop", "dev", "two"]
    ip("-n", node, "route", "add", "default", *hops)

    with inside(node):
        assert dataplane.default_mtu() == 1400


def test_the_default_mtu_may_be_of_ipv6_alone(node):
    a_link(node, "uplink", 1340)
    ip("-n", node, "-6", "route", "add", "default", "dev", "uplink")

    with inside(node):
        assert dataplane.default_mtu() == 1340


def test_without_a_default_route_there_is_no_default_mtu(node):
    a_link(node, "uplink", 1340)
    ip("-n", node, "route", "add", "blackhole", "default")

    with inside(node):
        assert dataplane.default_mtu() is None


def test_the_attachments_of_one_network_are_listed(node, pod):
    for number, ifname, network in ((1, "eth0", "a"), (2, "net1", "a"), (3, "net2", "b")):
        attachment = an_attachment(number, ifname, network)
        attach(node, pod, plan(plan_links(attachment, None, None), (V4[0] + number,), False))

    with inside(node):
        assert set(dataplane.attachments_of("a")) == {
            an_attachment(1, "eth0", "a"),
            an_attachment(2, "net1", "a"),
        }
        assert dataplane.attachments_of("c") == ()
