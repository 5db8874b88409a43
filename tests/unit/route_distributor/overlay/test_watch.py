from ipaddress import ip_address, ip_interface, ip_network

import pytest

from kernel_api import rtnetlink
from kernel_api.netlink import Message, attribute
from kernel_api.rtnetlink import INT, UINT, UnicastRoute
from route_distributor.overlay import messages
from route_distributor.overlay.desired import overlay
from route_distributor.overlay.items import (
    Device,
    Forwarding,
    Item,
    Neighbour,
    OwnAddress,
    Route,
    Uplink,
    version_of,
)
from route_distributor.overlay.watch import RTM_NEWNETCONF, Watched, is_disturbed
from tests.overlay import REMOTE, UPLINKS, a_pool, a_snapshot

POOLS = (a_pool(vxlan="CrossSubnet"), a_pool(vxlan="Always", cidr="fd01::/64"))
WANTED = overlay(a_snapshot(*POOLS), REMOTE, UPLINKS)
UPLINK, VXLAN, VXLAN6, CALI = 3, 10, 11, 20
INDEXES = {"eth0": UPLINK, "vxlan.calico": VXLAN, "vxlan-v6.calico": VXLAN6}
WATCHED = Watched(
    WANTED,
    {VXLAN: "vxlan.calico", VXLAN6: "vxlan-v6.calico"},
    (UPLINKS[4],),
    frozenset({ip_address("10.1.0.11")}),
)
ITEMS = sorted(WANTED.items, key=repr)
SOMEBODYS_MAC = "66:00:00:00:00:01"
DST = ip_network("10.233.3.0/24")
VTEP = ip_address("10.233.3.2")


def come(item: Item) -> Message:
    request = messages.put(item, INDEXES)
    return Message(request.kind, 0, 0, request.body)


def gone(item: Item) -> Message:
    """As the kernel says it: all of the item again."""
    body = messages.put(item, INDEXES).body
    return Message(messages.remove(item, INDEXES).kind, 0, 0, body)


def a_route(destination: str, index: int, kind: int = rtnetlink.RTM_NEWROUTE, **fields) -> Message:
    made = UnicastRoute(ip_network(destination), index, **fields)
    return Message(kind, 0, 0, rtnetlink.route(rtnetlink.RTM_NEWROUTE, 0, made).body)


def a_link(index: int, name: str, mtu: int = 1500, *, is_up: bool = True, gone: bool = False):
    flags = rtnetlink.IFF_UP if is_up else 0
    body = rtnetlink.LINK.pack(0, 0, index, flags, 0)
    body += attribute(rtnetlink.IFLA_IFNAME, rtnetlink.text_bytes(name))
    body += attribute(rtnetlink.IFLA_MTU, UINT.pack(mtu))
    body += attribute(rtnetlink.IFLA_GROUP, UINT.pack(0))
    return Message(rtnetlink.RTM_DELLINK if gone else rtnetlink.RTM_NEWLINK, 0, 0, body)


def a_device(device: Device, *, is_up: bool = True) -> Message:
    flags = rtnetlink.IFF_UP if is_up else 0
    body = messages.create_device(device).body[rtnetlink.LINK.size :]
    body += attribute(rtnetlink.IFLA_MTU, UINT.pack(device.mtu))
    body += attribute(rtnetlink.IFLA_GROUP, UINT.pack(0))
    head = rtnetlink.LINK.pack(0, 0, INDEXES[device.name], flags, 0)
    return Message(rtnetlink.RTM_NEWLINK, 0, 0, head + body)


def a_sysctl(index: int, kind: int, value: int, family: int = rtnetlink.AF_INET) -> Message:
    body = (
        bytes([family, 0, 0, 0]) + attribute(1, INT.pack(index)) + attribute(kind, INT.pack(value))
    )
    return Message(RTM_NEWNETCONF, 0, 0, body)


FORWARDING, RP_FILTER, ALL = 2, 3, -1


@pytest.mark.parametrize("item", ITEMS, ids=lambda i: f"{type(i).__name__}-{ITEMS.index(i)}")
def test_what_should_be_may_come_and_must_not_go(item):
    assert not is_disturbed(WATCHED, [come(item)])
    assert is_disturbed(WATCHED, [gone(item)])
    comes_back = is_disturbed(WATCHED, [gone(item), come(item)])
    assert comes_back == isinstance(item, OwnAddress)  # routes went with an address, silently


OTHERS: list[Item] = [
    OwnAddress("vxlan.calico", ip_interface("192.0.2.1/32")),
    Neighbour("vxlan.calico", ip_address("192.0.2.1"), SOMEBODYS_MAC),
    Neighbour("vxlan.calico", VTEP, SOMEBODYS_MAC),
    Forwarding("vxlan.calico", SOMEBODYS_MAC, ip_address("10.2.0.13")),
    Forwarding("vxlan.calico", "66:87:de:de:c9:2e", ip_address("10.2.0.99")),
    Route(ip_network("10.233.99.0/24"), "vxlan.calico", VTEP, 0),
    Route(ip_network("10.233.99.0/24"), "eth0", ip_address("10.1.0.12"), 0),
    Route(DST, "vxlan.calico", VTEP, 0, protocol=4),
    Route(DST, "vxlan.calico", VTEP, 0, is_onlink=False),
]


@pytest.mark.parametrize("item", OTHERS, ids=lambda i: f"{type(i).__name__}-{OTHERS.index(i)}")
def test_what_should_not_be_must_not_come_and_may_go(item):
    assert is_disturbed(WATCHED, [come(item)])
    assert not is_disturbed(WATCHED, [gone(item)])


POD_ADDRESS = rtnetlink.add_address(CALI, ip_interface("fe80::1/64"))
POD_NEIGHBOUR = rtnetlink.neighbour(
    rtnetlink.RTM_NEWNEIGH, 0, rtnetlink.Entry(2, CALI, ip_address("10.233.1.5"), SOMEBODYS_MAC)
)
OF_OTHERS = {
    "a pod's link": a_link(CALI, "cali1"),
    "a pod's link, gone": a_link(CALI, "cali1", gone=True),
    "a pod's route": a_route("10.233.1.5/32", CALI),
    "a pod's route by Felix": a_route("10.233.1.5/32", CALI, protocol=80),
    "a pod's route, gone": a_route("10.233.1.5/32", CALI, rtnetlink.RTM_DELROUTE),
    "a pod's address": Message(POD_ADDRESS.kind, 0, 0, POD_ADDRESS.body),
    "a pod's neighbour": Message(POD_NEIGHBOUR.kind, 0, 0, POD_NEIGHBOUR.body),
    "a pod's sysctl": a_sysctl(CALI, FORWARDING, 0),
    "BIRD's route": a_route("10.234.9.0/24", UPLINK, via=ip_address("10.1.0.12"), protocol=12),
    "the kernel's route": a_route("fe80::/64", VXLAN, protocol=2),
    "of another metric": a_route(str(DST), UPLINK, via=ip_address("10.1.0.1"), metric=50),
    "the uplink as it was": a_link(UPLINK, "eth0"),
    "forwarding on": a_sysctl(ALL, FORWARDING, 1),
    "a filter that is not ours": a_sysctl(ALL, RP_FILTER, 1),
    "what new links get": a_sysctl(-2, FORWARDING, 0),
    "something unheard of": Message(200, 0, 0, b""),
}


@pytest.mark.parametrize("what", OF_OTHERS)
def test_what_others_do_for_themselves_is_nothing_to_us(what):
    assert not is_disturbed(WATCHED, [OF_OTHERS[what]])


NODE_ADDRESS = Message(
    rtnetlink.RTM_NEWADDR, 0, 0, rtnetlink.add_address(3, ip_interface("10.1.0.11/24")).body
)
DEVICE = WANTED.devices["vxlan.calico"]
AGAINST_US = {
    "route replaced": a_route(str(DST), UPLINK, via=ip_address("10.1.0.1"), protocol=4),
    "forwarding off": a_sysctl(ALL, FORWARDING, 0),
    "forwarding off, IPv6": a_sysctl(ALL, FORWARDING, 0, rtnetlink.AF_INET6),
    "filter of the device": a_sysctl(VXLAN, RP_FILTER, 1),
    "device down": a_device(DEVICE, is_up=False),
    "device gone": a_link(VXLAN, "vxlan.calico", gone=True),
    "another device": a_device(Device("vxlan.calico", 1450, None, DEVICE.mac)),
    "uplink down": a_link(UPLINK, "eth0", is_up=False),
    "uplink of another MTU": a_link(UPLINK, "eth0", 1400),
    "uplink gone": a_link(UPLINK, "eth0", gone=True),
    "the node's address on another link": Message(
        rtnetlink.RTM_NEWADDR, 0, 0, rtnetlink.add_address(9, ip_interface("10.1.0.11/24")).body
    ),
    "the node's address, gone": Message(
        rtnetlink.RTM_DELADDR, 0, 0, rtnetlink.add_address(3, ip_interface("10.1.0.11/24")).body
    ),
}


@pytest.mark.parametrize("what", AGAINST_US)
def test_what_is_against_us_is_seen(what):
    assert is_disturbed(WATCHED, [AGAINST_US[what]])


@pytest.mark.parametrize(
    "messages_",
    [
        (a_device(DEVICE, is_up=False), a_device(DEVICE)),
        (a_link(UPLINK, "eth0", is_up=False), a_link(UPLINK, "eth0")),
        (AGAINST_US["the node's address, gone"], NODE_ADDRESS),
    ],
)
def test_what_went_and_came_back_took_routes_along(messages_):
    assert is_disturbed(WATCHED, messages_)
    assert not is_disturbed(WATCHED, messages_[1:])


def test_a_device_that_could_not_be_made_is_waited_for_by_its_name():
    watched = Watched(overlay(a_snapshot(a_pool(ipip="Always")), REMOTE, UPLINKS))

    assert is_disturbed(watched, [a_link(30, "tunl0", is_up=False)])
    assert not is_disturbed(watched, [a_link(31, "cali1")])


def test_what_nobody_knows_is_not_watched():
    unknown = Watched(
        overlay(a_snapshot(a_pool(vxlan="Always")), REMOTE, {}), {VXLAN: "vxlan.calico"}
    )

    of_ipv4 = [item for item in ITEMS if version_of(item) == 4]
    assert not any(is_disturbed(unknown, [come(item)]) for item in of_ipv4)
    assert not any(is_disturbed(unknown, [gone(item)]) for item in of_ipv4)


def test_before_anything_is_wanted_nothing_is_watched():
    assert not is_disturbed(Watched(), [gone(item) for item in ITEMS])


def test_the_uplinks_link_is_read_as_it_was_found():
    assert messages.parse_uplink(a_link(UPLINK, "eth0").payload) == Uplink(UPLINK, "eth0", 1500)
