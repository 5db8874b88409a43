"""ADD: what it makes, what it refuses, and that it makes all or nothing."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.rules import rule


@rule("A1")
def test_the_interface_is_there_with_its_addresses(node, pod):
    result = node.added(pod)

    link = node.links(pod)[pod.ifname]
    assert "UP" in link["flags"]
    assert node.addresses_in(pod) == [ip["address"].split("/")[0] for ip in result["ips"]]
    assert node.ip("route", "show", "default", pod=pod)


@rule("A1", "A5")
def test_nothing_else_on_the_node_changes(node, pod, before):
    result = node.added(pod)

    changes = node.snapshot() - before
    ours = (node.host_end(pod), pod.id, *node.addresses_in(pod))
    elsewhere = [change for change in changes if change.startswith(("+ node", "- node"))]
    assert [change for change in elsewhere if not any(word in change for word in ours)] == []
    assert [change for change in elsewhere if change.startswith("-")] == []
    assert result["interfaces"]


@rule("A13")
def test_the_host_s_side_is_ready_when_add_returns(node, pod):
    node.added(pod)

    host = node.host_end(pod)
    (address,) = node.addresses_in(pod)
    assert node.snapshot().about("node: route", f" {address} ", f"dev {host}")
    assert "UP" in node.links()[host]["flags"]
    assert node.links()[host]["operstate"] == "UP"
    assert node.snapshot().about("node: sysctl net/ipv4/ip_forward = 1")


@rule("A2", "A4")
@pytest.mark.parametrize("kind", ["veth", "bridge"])
def test_an_interface_that_exists_is_an_error_and_stays(node, pod, kind):
    extra = ("peer", "name", "other") if kind == "veth" else ()
    node.ip("link", "add", pod.ifname, "type", kind, *extra, pod=pod)
    before = node.snapshot()

    outcome = node.call("ADD", pod)

    outcome.assert_refused(None, pod.ifname, our_code=7)
    assert node.snapshot() == before


@rule("A3")
def test_a_second_add_is_an_error_and_the_first_one_stays(node, pod):
    result = node.added(pod)
    before = node.snapshot()

    node.call("ADD", pod).assert_refused(None, our_code=7)

    assert node.snapshot() == before
    assert node.checked(pod, result).is_silent_success


@rule("A3")
def test_a_second_add_into_another_namespace_is_an_error_and_the_first_one_stays(node, pod):
    result = node.added(pod)
    elsewhere = pod.but(netns=node.pod().netns)
    before = node.snapshot()

    node.call("ADD", elsewhere).assert_refused(None, our_code=7)

    assert node.snapshot() == before
    assert node.checked(pod, result).is_silent_success


@rule("A6")
def test_the_first_packet_is_answered_at_once(node, pod):
    node.added(pod)
    (address,) = node.addresses_in(pod)

    assert node.ping(node.address, source=pod)
    assert node.ping(address)


@rule("A6")
def test_containers_reach_each_other_at_once(node, pod):
    other = node.pod()
    node.added(pod)
    node.added(other)

    assert node.ping(node.addresses_in(other)[0], source=pod)
    assert node.ping(node.addresses_in(pod)[0], source=other)


@rule("A7")
@pytest.mark.parametrize("mtu", [576, 1280, 1500, 5000, 9000])
def test_the_mtu_of_the_configuration_is_used(node, pod, mtu):
    result = node.added(pod, conf={"mtu": mtu})

    assert node.links(pod)[pod.ifname]["mtu"] == mtu
    assert node.links()[node.host_end(pod)]["mtu"] == mtu
    assert node.checked(pod, result, mtu=mtu).is_silent_success


# ---- what is asked for -----------------------------------------------------------------------

MAC = "02:00:5e:10:00:01"
WAYS_TO_ASK_FOR_A_MAC = {
    "capability": {"conf": {"runtimeConfig": {"mac": MAC}}},
    "args": {"conf": {"args": {"cni": {"mac": MAC}}}},
    "CNI_ARGS": {"environment": {"CNI_ARGS": f"IgnoreUnknown=1;MAC={MAC}"}},
}


@rule("A8", "R5")
@pytest.mark.capability("mac")
@pytest.mark.parametrize("way", WAYS_TO_ASK_FOR_A_MAC)
def test_a_mac_that_is_asked_for_is_used(node, pod, way):
    result = node.added(pod, **WAYS_TO_ASK_FOR_A_MAC[way])

    assert node.links(pod)[pod.ifname]["address"] == MAC
    assert result["interfaces"][1]["mac"] == MAC
    assert node.links()[node.host_end(pod)]["address"] != MAC
    assert node.ping(node.addresses_in(pod)[0])


@rule("A8", "A4")
@pytest.mark.capability("mac")
@pytest.mark.parametrize(
    "mac", ["nonsense", "02:00:5e:10:00", "01:00:5e:00:00:01", "00:00:00:00:00:00"]
)
def test_a_mac_that_cannot_be_is_refused(node, pod, before, mac):
    node.call("ADD", pod, conf={"runtimeConfig": {"mac": mac}}).assert_refused(None, our_code=7)

    assert node.snapshot() == before


def asking(way, address):
    """The ways to ask for an address; with or without a prefix length."""
    return {
        "capability": {"conf": {"runtimeConfig": {"ips": [f"{address}/24"]}}},
        "capability without length": {"conf": {"runtimeConfig": {"ips": [address]}}},
        "args": {"conf": {"args": {"cni": {"ips": [address]}}}},
        "CNI_ARGS": {"environment": {"CNI_ARGS": f"IgnoreUnknown=1;IP={address}"}},
    }[way]


WAYS = ["capability", "capability without length", "args", "CNI_ARGS"]


@rule("A9")
@pytest.mark.capability("ips")
@pytest.mark.parametrize("way", WAYS)
def test_an_address_that_is_asked_for_is_given(node, pod, way):
    wanted = node.unused_address()

    result = node.added(pod, **asking(way, wanted))

    assert node.addresses_in(pod) == [wanted]
    assert [ip["address"].split("/")[0] for ip in result["ips"]] == [wanted]


@rule("A9")
@pytest.mark.capability("ips")
def test_the_same_address_asked_for_in_two_ways_is_given(node, pod):
    wanted = node.unused_address()
    how = {**asking("capability", wanted), **asking("CNI_ARGS", wanted)}

    node.added(pod, **how)

    assert node.addresses_in(pod) == [wanted]


@rule("A10", "A4")
@pytest.mark.capability("ips")
@pytest.mark.parametrize("way", WAYS)
def test_an_address_that_is_taken_is_an_error(node, pod, way):
    wanted = node.unused_address()
    node.added(node.pod(), **asking(way, wanted))
    before = node.snapshot()

    node.call("ADD", pod, **asking(way, wanted)).assert_refused(None)

    assert node.snapshot() == before


@rule("A10", "A4")
@pytest.mark.capability("ips")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("address", ["198.51.100.7", "nonsense"])
def test_an_address_in_no_range_is_an_error(node, pod, before, way, address):
    node.call("ADD", pod, **asking(way, address)).assert_refused(None)

    assert node.snapshot() == before


@rule("A9", "D1")
@pytest.mark.capability("ips")
def test_an_address_that_was_asked_for_is_free_after_del(node, pod, before):
    how = asking("capability", node.unused_address())
    other = node.pod()

    node.added(pod, **how)
    assert node.call("DEL", pod).is_silent_success
    node.added(other, **how)
    assert node.call("DEL", other).is_silent_success

    node.assert_as_before()


# ---- interfaces, families --------------------------------------------------------------------


@rule("A11", "D6")
def test_a_second_interface_is_for_itself(node, pod):
    second = pod.but(ifname="net1")
    results = {pod: node.added(pod), second: node.added(second, conf=node.further)}

    assert node.addresses_in(pod) != node.addresses_in(second)
    for attachment, result in results.items():
        assert node.checked(attachment, result).is_silent_success
    assert node.call("DEL", second).is_silent_success
    assert "net1" not in node.links(pod)
    assert node.checked(pod, results[pod]).is_silent_success
    assert node.ping(node.addresses_in(pod)[0])


@rule("A11", "D6")
def test_the_first_interface_may_go_before_the_second(node, pod):
    second = pod.but(ifname="net1")
    node.added(pod)
    result = node.added(second, conf=node.further)

    assert node.call("DEL", pod).is_silent_success

    assert pod.ifname not in node.links(pod)
    assert node.addresses_in(second) == [ip["address"].split("/")[0] for ip in result["ips"]]


@rule("A11")
def test_interfaces_of_two_networks_are_each_for_itself(node, pod):
    second = pod.but(ifname="net1")
    other = {**node.further, "name": "another-network"}
    result = node.added(pod)
    node.added(second, conf=other)

    assert node.call("DEL", second, conf=other).is_silent_success

    assert "net1" not in node.links(pod)
    assert node.checked(pod, result).is_silent_success


@rule("A12")
def test_both_families_work_when_add_returns(node, pod):
    result = node.added(pod, conf=node.dual_stack)

    ipv4, ipv6 = node.addresses_in(pod)
    assert node.ping(ipv4)
    assert node.ping(ipv6)
    assert "tentative" not in node.ip("-6", "addr", pod=pod)
    assert node.ip("-6", "route", "show", "default", pod=pod)
    assert node.checked(pod, result, **node.dual_stack).is_silent_success


@rule("A12", "D1")
def test_both_families_go(node, pod, before):
    node.added(pod, conf=node.dual_stack)

    assert node.call("DEL", pod, conf=node.dual_stack).is_silent_success

    assert node.snapshot() == before


@rule("A12")
@pytest.mark.capability("ips")
def test_an_address_of_each_family_may_be_asked_for(node, pod):
    ipv4, ipv6 = node.unused_address(), node.unused_address(6)
    wanted = {"runtimeConfig": {"ips": [f"{ipv4}/32", f"{ipv6}/128"]}}

    node.added(pod, conf={**node.dual_stack, **wanted})

    assert node.addresses_in(pod) == [ipv4, ipv6]


@rule("A15")
@pytest.mark.parametrize("allowed", [True, False])
def test_the_container_forwards_if_it_is_allowed_to(node, pod, allowed):
    conf = {"container_settings": {"allow_ip_forwarding": allowed}}

    result = node.added(pod, conf=conf)

    value = 1 if allowed else 0
    assert node.snapshot().about(f"pod: sysctl net/ipv4/ip_forward = {value}")
    assert node.checked(pod, result, **conf).is_silent_success


# ---- settings --------------------------------------------------------------------------------

READ_ONLY_SYSCTLS = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$0" "$@"',
)


@rule("A14")
def test_the_node_s_sysctls_may_be_read_only_when_they_are_right(node, pod, in_process):
    outcome = node.call("ADD", pod, wrapper=READ_ONLY_SYSCTLS)

    if outcome.status:  # those of a link that is new cannot be right already
        outcome.assert_refused(None)
        node.tidy()
        node.assert_as_before()
    else:
        assert node.checked(pod, outcome.document).is_silent_success


# ---- at the same time ------------------------------------------------------------------------


@rule("A16")
def test_adds_at_the_same_time_get_addresses_of_their_own(node):
    pods = [node.pod() for _ in range(8)]

    with ThreadPoolExecutor(len(pods)) as pool:
        results = list(pool.map(node.added, pods))

    addresses = [ip["address"] for result in results for ip in result["ips"]]
    assert len(set(addresses)) == len(pods)
    for pod, result in zip(pods, results, strict=True):
        assert node.checked(pod, result).is_silent_success


@rule("A16", "A3")
def test_of_the_same_add_made_many_times_at_once_one_succeeds(node, pod):
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: node.call("ADD", pod), range(6)))

    (result,) = [outcome.document for outcome in outcomes if outcome.status == 0]
    assert node.checked(pod, result).is_silent_success
    assert json.dumps(result).count("address") == len(result["ips"])
