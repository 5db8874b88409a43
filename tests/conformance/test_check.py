"""CHECK: silent when all is as ADD made it, an error when it is not, and never a change."""

import pytest

from tests.conformance.plugin import Pod
from tests.conformance.rules import rule


@pytest.fixture
def attached(node, pod):
    """The result of the container's ADD."""
    return node.added(pod)


def tamper(node, pod: Pod, where: str, command: str) -> None:
    """Run an ip(8) command on the node or in the container, with the attachment's names in it."""
    words = command.format(
        host=node.host_end(pod), address=node.addresses_in(pod)[0], ifname=pod.ifname
    )
    node.ip(*words.split(), pod=pod if where == "container" else None)


@rule("C1", "C7", "R10")
def test_all_is_well_right_after_add(node, pod, attached):
    before = node.snapshot()

    outcomes = [node.checked(pod, attached) for _ in range(3)]

    assert [outcome.is_silent_success for outcome in outcomes] == [True] * 3, outcomes
    assert node.snapshot() == before


@rule("C1")
def test_all_is_well_with_both_families(node, pod):
    result = node.added(pod, conf=node.dual_stack)

    assert node.checked(pod, result, **node.dual_stack).is_silent_success


@rule("C2", "C7")
@pytest.mark.parametrize("different", [{}, {"prevResult": {}}], ids=["absent", "empty"])
def test_the_result_of_add_is_needed(node, pod, attached, different):
    before = node.snapshot()

    node.call("CHECK", pod, conf=different).assert_refused(None)

    assert node.snapshot() == before


@rule("C2")
@pytest.mark.parametrize("value", ["text", [], 7])
def test_a_result_that_is_none_is_refused(node, pod, attached, value):
    node.call("CHECK", pod, conf={"prevResult": value}).assert_refused(None, our_code=7)


@rule("C8")
def test_a_container_that_was_never_added_is_an_error(node, pod, before):
    other = node.pod()
    result = node.added(other)
    result["interfaces"][1]["sandbox"] = pod.netns
    attached = node.snapshot()

    node.checked(pod, result).assert_refused(None)

    assert node.snapshot() == attached


@rule("C8")
def test_after_del_it_is_an_error(node, pod, attached):
    assert node.call("DEL", pod).is_silent_success
    before = node.snapshot()

    node.checked(pod, attached).assert_refused(None)

    assert node.snapshot() == before


# ---- differences -----------------------------------------------------------------------------

IN_THE_CONTAINER = {
    "address removed": ("container", "addr flush dev {ifname}"),
    "link down": ("container", "link set {ifname} down"),
    "link removed": ("container", "link del {ifname}"),
    "MAC changed": ("container", "link set {ifname} address 02:00:00:00:00:77"),
    "default route removed": ("container", "route del default"),
}


@rule("C3", "C7")
@pytest.mark.parametrize("what", IN_THE_CONTAINER)
def test_what_is_wrong_in_the_container_is_an_error(node, pod, attached, what):
    tamper(node, pod, *IN_THE_CONTAINER[what])
    before = node.snapshot()

    node.checked(pod, attached).assert_refused(None)

    assert node.snapshot() == before


@rule("C3")
def test_a_renamed_interface_is_an_error(node, pod, attached):
    for command in ("link set {ifname} down", "link set {ifname} name other"):
        node.ip(*command.format(ifname=pod.ifname).split(), pod=pod)

    node.checked(pod, attached).assert_refused(None)
    node.ip("link", "set", "other", "name", pod.ifname, pod=pod)


@rule("C3")
def test_a_namespace_that_is_gone_is_an_error(node, pod, attached):
    node.remove_namespace(pod)

    node.checked(pod, attached).assert_refused(None, our_code=4)


@rule("C3")
def test_another_namespace_is_an_error(node, pod, attached):
    node.checked(node.pod().but(id=pod.id), attached).assert_refused(None)


@rule("C3")
def test_a_result_that_lists_another_address_is_an_error(node, pod, attached):
    attached["ips"][0]["address"] = "192.0.2.9/32"

    node.checked(pod, attached).assert_refused(None)


@rule("C3")
def test_an_address_that_ipam_does_not_hold_is_an_error(node, pod, attached):
    node.release_behind_its_back(pod)

    node.checked(pod, attached).assert_refused(None)


ON_THE_HOST = {
    "link down": ("link set {host} down", "down"),
    "link removed": ("link del {host}", "{host}"),
    "route removed": ("route del {address}/32 dev {host}", "{address}"),
    "neighbour removed": ("neigh del {address} dev {host}", "{address}"),
    "MTU changed": ("link set {host} mtu 1234", "1234"),
    "alias changed": ("link set {host} alias somebody-else", "somebody-else"),
}


@rule("C4", "C7", "C9")
@pytest.mark.parametrize("what", ON_THE_HOST)
def test_what_is_wrong_on_the_host_is_named(node, pod, what):
    conf = {"mtu": 1400}
    result = node.added(pod, conf=conf)
    command, word = ON_THE_HOST[what]
    named = word.format(host=node.host_end(pod), address=node.addresses_in(pod)[0])
    alias = node.links()[node.host_end(pod)].get("ifalias", "")
    tamper(node, pod, "node", command)
    before = node.snapshot()

    node.checked(pod, result, **conf).assert_refused(None, named)

    assert node.snapshot() == before
    if what == "alias changed":  # so that DEL knows it again
        tamper(node, pod, "node", "link set {host} alias " + alias)


@rule("C4", "C9")
@pytest.mark.parametrize("setting", ["ipv4/conf/{host}/forwarding", "ipv4/conf/{host}/proxy_arp"])
def test_a_setting_that_changed_is_named(node, pod, attached, setting):
    path = setting.format(host=node.host_end(pod))
    node.set_sysctl(path, "0")

    node.checked(pod, attached).assert_refused(None, path)


@rule("C4", "C9")
def test_a_next_hop_that_nobody_answers_for_is_named(node, pod, attached):
    tamper(node, pod, "container", "neigh del 169.254.1.1 dev {ifname}")

    node.checked(pod, attached).assert_refused(None, "169.254.1.1")


@rule("C9")
def test_all_differences_are_named_at_once(node, pod, attached):
    (address,), host = node.addresses_in(pod), node.host_end(pod)
    tamper(node, pod, "container", "neigh del 169.254.1.1 dev {ifname}")
    tamper(node, pod, "node", "route del {address}/32 dev {host}")
    tamper(node, pod, "node", "link set {host} down")

    outcome = node.checked(pod, attached)

    outcome.assert_refused(None, f"link {host} on the host is down", "169.254.1.1", address)


# ---- no differences --------------------------------------------------------------------------

LATER = {
    "an address": ("container", "addr add 192.0.2.9/32 dev {ifname}"),
    "a route": ("container", "route add 198.51.100.0/24 dev {ifname}"),
    "a route in another table": ("container", "route add default dev {ifname} table 100"),
    "a rule": ("container", "rule add from 192.0.2.9 lookup 100"),
    "a link": ("container", "link add net1 type veth peer name net2"),
    "a neighbour": ("container", "neigh add 192.0.2.8 lladdr 02:00:00:00:00:08 dev {ifname}"),
    "a queue length": ("container", "link set {ifname} txqueuelen 50"),
    "promiscuous mode": ("container", "link set {ifname} promisc on"),
    "an address on the loopback": ("container", "addr add 192.0.2.10/32 dev lo"),
    "a route on the host": ("node", "route add 198.51.100.0/24 dev {host}"),
}


@rule("C5", "C7")
@pytest.mark.parametrize("what", LATER)
def test_what_was_added_later_is_no_error(node, pod, attached, what):
    tamper(node, pod, *LATER[what])
    before = node.snapshot()

    outcome = node.checked(pod, attached)

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("C5", "N4")
def test_interfaces_of_later_plugins_in_the_result_are_no_error(node, pod, attached):
    attached["interfaces"].append({"name": "bwp0123456789", "mac": "02:00:00:00:00:03"})

    assert node.checked(pod, attached).is_silent_success


@rule("C5", "N4")
def test_interfaces_of_earlier_plugins_in_the_result_are_no_error(node, pod, attached):
    attached["interfaces"].insert(0, {"name": "other0", "mac": "02:00:00:00:00:03"})
    for ip in attached["ips"]:
        ip["interface"] += 1

    assert node.checked(pod, attached).is_silent_success


@rule("C5")
def test_routes_and_dns_of_later_plugins_in_the_result_are_no_error(node, pod, attached):
    tamper(node, pod, "container", "route add 198.51.100.0/24 dev {ifname}")
    attached.setdefault("routes", []).append({"dst": "198.51.100.0/24"})
    attached["dns"] = {"nameservers": ["192.0.2.53"]}

    assert node.checked(pod, attached).is_silent_success


@rule("C6")
def test_a_mac_that_tuning_changed_is_no_error(node, pod, attached):
    mac = "02:00:00:00:00:77"
    tamper(node, pod, "container", f"link set {{ifname}} address {mac}")
    attached["interfaces"][1]["mac"] = mac

    assert node.checked(pod, attached).is_silent_success


@rule("C6")
@pytest.mark.since("1.1.0")
def test_an_mtu_that_tuning_changed_is_no_error(node, pod):
    conf = {"cniVersion": "1.1.0", "mtu": 1400}
    result = node.added(pod, conf=conf)
    tamper(node, pod, "container", "link set {ifname} mtu 1300")
    result["interfaces"][1]["mtu"] = 1300

    assert node.checked(pod, result, **conf).is_silent_success


@rule("C6")
def test_a_default_route_that_multus_removed_is_no_error(node, pod, attached):
    tamper(node, pod, "container", "route del default")
    attached["routes"] = [r for r in attached.get("routes", ()) if r["dst"] != "0.0.0.0/0"]
    for ip in attached["ips"]:
        ip.pop("gateway", None)

    assert node.checked(pod, attached).is_silent_success
