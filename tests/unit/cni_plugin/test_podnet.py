"""Names, addresses and routes of a pod, and how a difference is put into words."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.podnet import (
    HOST_MAC,
    Neighbour,
    Route,
    differences,
    host_names,
    plan,
    plan_links,
    remainder,
    with_overhead,
)
from datamodel.attachment import Attachment, Pod

POD = Pod("default", "mypod")
ATTACHMENT = Attachment("k8s-pod-network", "4f0c9a5d2b77", "eth0")
ADDRESS = IPv4Address("10.233.64.5")
ADDRESS_V6 = IPv6Address("fd00:10:233::5")
NEXT_HOP_V6 = "fe80::ecee:eeff:feee:eeee"


def a_plan(mtu=None, allows_ip_forwarding=False):
    return plan(plan_links(ATTACHMENT, POD, mtu), (ADDRESS,), allows_ip_forwarding)


# ---- names -------------------------------------------------------------------------------------


def test_a_pods_link_has_calicos_name():
    assert host_names(ATTACHMENT, POD) == ("cali4e199eba087",)


def test_outside_kubernetes_the_name_is_the_container_ids_beginning():
    usual, other = host_names(ATTACHMENT, None)

    assert usual == "cali4f0c9a5d2b7"
    assert other.startswith("cali")
    assert other != usual


def test_a_short_container_id_is_used_whole():
    assert host_names(Attachment("net", "c1", "eth0"), None)[0] == "calic1"


def test_container_ids_that_begin_alike_have_another_name_to_go_to():
    a = host_names(Attachment("net", "default-pod1x", "eth0"), None)
    b = host_names(Attachment("net", "default-pod1y", "eth0"), None)

    assert a[0] == b[0]
    assert a[1] != b[1]


@pytest.mark.parametrize("pod", [POD, None])
def test_a_further_interface_of_a_pod_has_a_name_of_its_own(pod):
    [first] = host_names(Attachment("net", "c1", "net1"), pod)
    [second] = host_names(Attachment("net", "c1", "net2"), pod)

    assert len({first, second, *host_names(Attachment("net", "c1", "eth0"), pod)}) >= 3


@given(
    st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,30}", fullmatch=True),
    st.sampled_from(["eth0", "net1"]),
    st.sampled_from([POD, None]),
)
def test_every_name_is_one_that_the_kernel_takes(container_id, ifname, pod):
    for name in host_names(Attachment("net", container_id, ifname), pod):
        assert len(name.encode()) <= 15
        assert not set(name) & set("/:% ")


# ---- the plan ----------------------------------------------------------------------------------


def test_the_links_are_known_before_the_address():
    links = plan_links(ATTACHMENT, POD, 1480)

    assert (links.host.name, links.host.mac) == ("cali4e199eba087", HOST_MAC)
    assert links.pod.name == "eth0"
    assert links.host.mtu == links.pod.mtu == 1480
    assert links.alias == ATTACHMENT.alias(POD)


@pytest.mark.parametrize(("mtu", "expected"), [(9000, 8950), (None, 1450)])
def test_both_ends_leave_room_for_the_headers_of_a_tunnel(mtu, expected):
    links = with_overhead(plan_links(ATTACHMENT, POD, mtu), 50)

    assert links.host.mtu == links.pod.mtu == expected


def test_without_a_tunnel_the_links_stay_as_they_are():
    links = plan_links(ATTACHMENT, POD, None)

    assert with_overhead(links, 0) == links


def test_an_mtu_is_set_up_again_only_if_it_is_another():
    links = plan_links(ATTACHMENT, POD, 1500)

    assert remainder(plan(links, (), False), links).pod.mtu is None
    assert remainder(plan(with_overhead(links, 20), (), False), links).pod.mtu == 1480


def test_the_pods_mac_is_local_and_the_same_each_time():
    mac = plan_links(ATTACHMENT, POD, None).pod.mac

    assert mac == plan_links(ATTACHMENT, None, None).pod.mac
    assert mac.startswith("02:")
    assert len(mac) == 17
    assert mac != plan_links(Attachment("net", "other", "eth0"), POD, None).pod.mac


def test_the_pod_reaches_everything_through_calicos_next_hop():
    pod = a_plan().pod

    assert pod.addresses == (IPv4Interface("10.233.64.5/32"),)
    assert pod.routes == (Route("169.254.1.1/32"), Route("0.0.0.0/0", "169.254.1.1"))
    assert pod.neighbours == (Neighbour("169.254.1.1", HOST_MAC),)


def test_the_host_reaches_the_pod_by_a_route_of_its_own():
    network = a_plan()

    assert network.host.addresses == ()
    assert network.host.routes == (Route("10.233.64.5/32"),)
    assert network.host.neighbours == (
        Neighbour("10.233.64.5", network.pod.mac, is_permanent=False),
    )


def test_the_hosts_sysctls_are_calicos_and_no_pod_is_given_up():
    sysctls = dict(a_plan().host.sysctls)

    assert sysctls == {
        "net/ipv4/ip_forward": "1",
        "net/ipv4/conf/cali4e199eba087/forwarding": "1",
        "net/ipv4/conf/cali4e199eba087/proxy_arp": "1",
        "net/ipv4/conf/cali4e199eba087/route_localnet": "1",
        "net/ipv4/neigh/cali4e199eba087/proxy_delay": "0",
        "net/ipv4/neigh/cali4e199eba087/ucast_solicit": "1073741824",
    }


@pytest.mark.parametrize(("allows", "value"), [(True, "1"), (False, "0")])
def test_forwarding_in_the_pod_is_as_configured(allows, value):
    assert dict(a_plan(allows_ip_forwarding=allows).pod.sysctls)["net/ipv4/ip_forward"] == value


def test_the_alias_and_the_names_do_not_change_with_the_address():
    links, network = plan_links(ATTACHMENT, POD, None), a_plan()

    assert network.alias == links.alias
    assert (network.host.name, network.pod.mac) == (links.host.name, links.pod.mac)


def test_a_requested_mac_is_the_pods():
    links = plan_links(ATTACHMENT, POD, None, mac="0A:58:0A:01:02:03")

    assert links.pod.mac == "0a:58:0a:01:02:03"
    assert links.host.mac == HOST_MAC


def test_an_ipv6_pod_has_a_next_hop_that_depends_on_no_kernel_setting():
    network = plan(plan_links(ATTACHMENT, POD, None), (ADDRESS_V6,), False)

    assert network.host.addresses == (IPv6Interface(f"{NEXT_HOP_V6}/64"),)
    assert network.host.routes == (Route("fd00:10:233::5/128"),)
    assert network.host.neighbours == (
        Neighbour("fd00:10:233::5", network.pod.mac, is_permanent=False),
    )
    assert network.pod.addresses == (IPv6Interface("fd00:10:233::5/128"),)
    assert network.pod.routes == (Route("::/0", NEXT_HOP_V6),)
    assert network.pod.neighbours == (Neighbour(NEXT_HOP_V6, HOST_MAC),)
    assert not [path for path, _ in network.host.sysctls + network.pod.sysctls if "ipv4" in path]


def test_a_dual_stack_pod_has_what_each_family_needs():
    links = plan_links(ATTACHMENT, POD, None)
    v4, v6 = (plan(links, (address,), True) for address in (ADDRESS, ADDRESS_V6))

    both = plan(links, (ADDRESS, ADDRESS_V6), True)

    for side in ("host", "pod"):
        for what in ("addresses", "routes", "neighbours", "sysctls"):
            parts = [getattr(getattr(network, side), what) for network in (v4, v6, both)]
            assert parts[0] + parts[1] == parts[2]


def test_nothing_of_ipv6_is_touched_for_an_ipv4_pod():
    network = a_plan()

    assert not [path for path, _ in network.host.sysctls + network.pod.sysctls if "ipv6" in path]


def test_ipv6_is_switched_on_in_a_pod_that_has_an_address_of_it():
    sysctls = dict(plan(plan_links(ATTACHMENT, POD, None), (ADDRESS_V6,), False).pod.sysctls)

    for which in ("all", "default", "lo", "eth0"):
        assert sysctls[f"net/ipv6/conf/{which}/disable_ipv6"] == "0"
    assert sysctls["net/ipv6/conf/all/forwarding"] == "0"


@pytest.mark.parametrize("addresses", [(ADDRESS,), (ADDRESS_V6,), (ADDRESS, ADDRESS_V6)])
def test_before_the_addresses_are_known_all_is_prepared_that_needs_none(addresses):
    links = plan_links(ATTACHMENT, POD, None)
    whole = plan(links, addresses, False)
    families = {address.version for address in addresses}

    rest = remainder(whole, plan(links, (), False, families))

    assert rest.pod.addresses == whole.pod.addresses
    assert rest.host.routes == whole.host.routes
    assert rest.host.neighbours == whole.host.neighbours
    for nothing in (rest.pod.routes, rest.pod.neighbours, rest.pod.sysctls):
        assert nothing == ()
    assert rest.host.addresses == rest.host.sysctls == ()


def test_an_interface_name_may_have_a_dot():
    sysctls = plan(
        plan_links(Attachment("net", "c1", "eth0.7"), POD, None), (ADDRESS_V6,), False
    ).pod.sysctls

    assert ("net/ipv6/conf/eth0.7/disable_ipv6", "0") in sysctls


# ---- differences -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [a_plan().host, a_plan(mtu=1480).pod, a_plan().pod])
def test_what_is_as_desired_differs_in_nothing(side):
    assert list(differences(side, side, "on the host")) == []


def test_what_is_there_besides_is_no_difference():
    side = a_plan().pod
    richer = replace(
        side,
        mtu=9000,
        addresses=(*side.addresses, IPv4Interface("10.9.9.9/24")),
        routes=(Route("192.168.0.0/16"), *side.routes),
        neighbours=(*side.neighbours, Neighbour("10.9.9.1", "02:00:00:00:00:01")),
        sysctls=(*side.sysctls, ("net/ipv4/conf/eth0/rp_filter", "1")),
    )

    assert list(differences(side, richer, "in the container")) == []


POD_SIDE = a_plan(mtu=1480).pod
HOST_SIDE = a_plan(mtu=1480).host


@pytest.mark.parametrize(
    ("desired", "actual", "words"),
    [
        (POD_SIDE, None, "link eth0 is missing X"),
        (POD_SIDE, replace(POD_SIDE, is_up=False), "link eth0 X is down"),
        (
            POD_SIDE,
            replace(POD_SIDE, mac="02:00:00:00:00:01"),
            f"link eth0 X has MAC 02:00:00:00:00:01 instead of {POD_SIDE.mac}",
        ),
        (POD_SIDE, replace(POD_SIDE, mtu=1500), "link eth0 X has MTU 1500 instead of 1480"),
        (
            POD_SIDE,
            replace(POD_SIDE, addresses=()),
            "address 10.233.64.5/32 of link eth0 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, addresses=(IPv4Interface("10.233.64.5/24"),)),
            "address 10.233.64.5/32 of link eth0 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, routes=POD_SIDE.routes[:1]),
            "route 0.0.0.0/0 via 169.254.1.1 of link eth0 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, routes=(POD_SIDE.routes[0], Route("0.0.0.0/0", "10.0.0.1"))),
            "route 0.0.0.0/0 via 169.254.1.1 of link eth0 X is missing",
        ),
        (
            HOST_SIDE,
            replace(HOST_SIDE, routes=()),
            "route 10.233.64.5/32 (link) of link cali4e199eba087 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, neighbours=()),
            "neighbour 169.254.1.1 at ee:ee:ee:ee:ee:ee of link eth0 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, neighbours=(Neighbour("169.254.1.1", HOST_MAC, False),)),
            "neighbour 169.254.1.1 at ee:ee:ee:ee:ee:ee of link eth0 X is missing",
        ),
        (
            HOST_SIDE,
            replace(HOST_SIDE, neighbours=(Neighbour("10.233.64.5", HOST_MAC, False),)),
            "neighbour 10.233.64.5 at 02:84:cb:68:7a:65 of link cali4e199eba087 X is missing",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, sysctls=(("net/ipv4/ip_forward", "1"), *POD_SIDE.sysctls[1:])),
            "sysctl net/ipv4/ip_forward is 1 instead of 0 X",
        ),
        (
            POD_SIDE,
            replace(POD_SIDE, sysctls=POD_SIDE.sysctls[1:]),
            "sysctl net/ipv4/ip_forward is None instead of 0 X",
        ),
    ],
)
def test_a_single_difference_is_named(desired, actual, words):
    assert list(differences(desired, actual, "X")) == [words]


def test_all_differences_are_named():
    wrong = replace(POD_SIDE, is_up=False, mac="x", mtu=1, addresses=(), routes=(), sysctls=())

    assert len(list(differences(POD_SIDE, wrong, "in the container"))) == 8


def test_a_permanent_neighbour_serves_where_none_is_asked_for():
    permanent = tuple(replace(n, is_permanent=True) for n in HOST_SIDE.neighbours)

    assert permanent != HOST_SIDE.neighbours
    assert not list(differences(HOST_SIDE, replace(HOST_SIDE, neighbours=permanent), "X"))


def test_an_mtu_that_was_not_asked_for_is_the_kernels():
    desired = a_plan(mtu=None).pod

    assert list(differences(desired, replace(desired, mtu=1500), "in the container")) == []
