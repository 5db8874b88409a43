"""What is done to a kernel in any state, modelled so that order and outcome can be seen."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from hypothesis import given
from hypothesis import strategies as st

from route_distributor.overlay.desired import overlay
from route_distributor.overlay.difference import Difference, difference, place
from route_distributor.overlay.items import (
    ALIAS,
    DEVICES,
    VERSIONS,
    Device,
    Forwarding,
    Found,
    FoundDevice,
    Item,
    Neighbour,
    Overlay,
    OwnAddress,
    Route,
    Vxlan,
    version_of,
)
from tests.overlay import NODES, REMOTE, UPLINKS, a_pool, a_snapshot

MODES = ("Never", "Always", "CrossSubnet")
MAC = "66:00:00:00:00:01"
KINDS = {name: "ipip" if name == "tunl0" else "vxlan" for name in DEVICES}


def device_of(wanted: Device, index: int) -> FoundDevice:
    alias = "" if wanted.vxlan else ALIAS
    return FoundDevice(index, wanted.kind, True, wanted.mtu, wanted.mac, alias, wanted.vxlan)


@st.composite
def overlays(draw: st.DrawFn) -> Overlay:
    """Of any pools, with any of the nodes and perhaps without an uplink."""
    mode = st.sampled_from(MODES)
    pools = [
        a_pool(vxlan=draw(mode)),
        replace(a_pool(ipip=draw(mode), cidr="10.234.0.0/16"), name="ipip"),
        a_pool(vxlan=draw(mode), cidr="fd01::/64"),
    ]
    names = draw(st.sets(st.sampled_from(["node-2", "node-3"])))
    nodes = [NODES[name] for name in ("node-1", *sorted(names))]
    versions = draw(st.sets(st.sampled_from((4, 6))))
    return overlay(a_snapshot(*pools, nodes=nodes), REMOTE, {v: UPLINKS[v] for v in versions})


ADDRESSES = st.sampled_from([ip_address(f"10.233.{i}.2") for i in range(4)])
NETWORKS = st.sampled_from([ip_network(f"10.233.{i}.0/24") for i in range(4)])
VXLANS = st.sampled_from(["vxlan.calico", "vxlan-v6.calico"])
DEVIATIONS = st.one_of(
    st.builds(OwnAddress, st.sampled_from(DEVICES), ADDRESSES.map(ip_interface)),
    st.builds(Neighbour, VXLANS, ADDRESSES, st.just(MAC)),
    st.builds(Forwarding, VXLANS, st.just(MAC), ADDRESSES, st.booleans()),
    st.builds(
        Route,
        NETWORKS,
        st.sampled_from(["vxlan.calico", "eth0", "link 9"]),
        ADDRESSES,
        st.sampled_from([0, 50]),
    ),
)


@st.composite
def kernels(draw: st.DrawFn) -> Found:
    """Some of what an overlay wants, some of it otherwise, and links of others by our names."""
    base = draw(overlays())
    devices = {}
    for i, name in enumerate(DEVICES):
        vxlan = Vxlan(ip_address("10.1.0.11"), 3)
        wanted = base.devices.get(name, Device(name, 1400, vxlan if "vx" in name else None, MAC))
        right = device_of(wanted, 10 + i)
        other = st.sampled_from(
            [
                replace(right, is_up=False),
                replace(right, mtu=1300),
                replace(right, mac=MAC),
                replace(right, alias=""),
                replace(right, kind="bridge", vxlan=None),
                replace(right, vxlan=right.vxlan and replace(right.vxlan, vni=7)),
            ]
        )
        found = draw(st.one_of(st.none(), st.just(right), other))
        if found is not None:
            devices[name] = found
    here = {n for n, device in devices.items() if device.kind == KINDS[n]}
    possible = {*draw(st.sets(DEVIATIONS)), *draw(st.sets(st.sampled_from([*base.items, MISSING])))}
    items = {place(i): i for i in possible - {MISSING} if i.device in here | {"eth0", "link 9"}}
    sysctls = {path: draw(st.sampled_from("01")) for path in base.sysctls}
    return Found(devices, frozenset(items.values()), sysctls)


MISSING = OwnAddress("tunl0", ip_interface("192.0.2.254/32"))  # stands for nothing


def done(todo: Difference, found: Found) -> Found:
    """What a kernel is afterwards; it refuses what cannot be done."""
    devices, items = {**found.devices}, {place(item): item for item in found.items}

    def drop(name: str) -> None:
        del devices[name]
        for key in [key for key, item in items.items() if item.device == name]:
            del items[key]

    for name in todo.remove_first:
        drop(name)
    for device in todo.make:
        assert device.name not in devices
        devices[device.name] = replace(device_of(device, 99), is_up=False, alias="")
    for device in todo.change:
        assert devices[device.name].kind == device.kind
        alias = devices[device.name].alias if device.vxlan else ALIAS
        devices[device.name] = replace(device_of(device, 99), alias=alias)
    for item in todo.put:
        assert item.device not in VERSIONS or devices[item.device].is_up
        items[place(item)] = item
    for item in todo.remove:
        assert items.pop(place(item)) == item
    for name in todo.release:
        devices[name] = replace(devices[name], is_up=False, alias="")
    for name in todo.remove_last:
        drop(name)
    return Found(devices, frozenset(items.values()), {**found.sysctls, **dict(todo.sysctls)})


def others(wanted: Overlay, found: Found) -> tuple[dict[str, FoundDevice], set[Item]]:
    """What must stay as it is: links that are not ours, and all of what nobody knows."""
    kept = {
        name: device
        for name, device in found.devices.items()
        if device.kind != KINDS[name]
        or VERSIONS[name] in wanted.unknown
        or (name == "tunl0" and name not in wanted.devices and device.alias != ALIAS)
    }
    items = {i for i in found.items if version_of(i) in wanted.unknown or i.device in kept}
    return kept, {i for i in items if not isinstance(i, Route)}


@given(wanted=overlays(), found=kernels())
def test_any_kernel_becomes_what_it_should_be_and_what_is_not_ours_stays(wanted, found):
    after = done(difference(wanted, found), found)

    kept, items = others(wanted, found)
    assert {n: d for n, d in after.devices.items() if n in kept} == kept
    assert items <= after.items
    usable = {n for n in wanted.devices if n not in kept}
    free = set() if "tunl0" in wanted.devices else {"tunl0"}  # it cannot be removed
    assert after.devices.keys() - kept.keys() - free == usable
    expected = {i for i in wanted.items if i.device in usable or i.device not in VERSIONS}
    ours = {i for i in after.items if version_of(i) not in wanted.unknown and i not in items}
    assert ours == expected
    assert {path: after.sysctls.get(path) for path in wanted.sysctls if not on(path, kept)} == {
        path: value for path, value in wanted.sysctls.items() if not on(path, kept)
    }


def on(path: str, devices: dict[str, FoundDevice]) -> bool:
    return any(f"/{name}/" in path for name in devices)


@given(wanted=overlays(), found=kernels())
def test_done_again_it_is_nothing(wanted, found):
    after = done(difference(wanted, found), found)

    again = difference(wanted, after)

    assert again == Difference()


@given(wanted=overlays(), found=kernels())
def test_a_link_in_the_way_is_named(wanted, found):
    todo = difference(wanted, found)

    bridges = {name for name, device in found.devices.items() if device.kind == "bridge"}
    in_the_way = bridges & wanted.devices.keys()
    assert {problem.split()[1].rstrip(":") for problem in todo.problems} == in_the_way


def test_ways_come_before_the_routes_that_use_them_and_go_after_them():
    always = overlay(a_snapshot(a_pool(vxlan="Always")), REMOTE, UPLINKS)
    never = overlay(a_snapshot(a_pool()), REMOTE, UPLINKS)
    kinds = [OwnAddress, Neighbour, Neighbour, Forwarding, Forwarding, Route, Route]

    assert [type(item) for item in difference(always, Found()).put] == kinds
    device = device_of(always.devices["vxlan.calico"], 5)
    across = overlay(a_snapshot(a_pool(vxlan="CrossSubnet")), REMOTE, UPLINKS)
    found = Found({"vxlan.calico": device}, across.items, {})
    todo = difference(never, found)
    assert [item.device for item in todo.remove] == ["eth0"]  # the rest goes with the device
    assert todo.remove_last == ("vxlan.calico",)
