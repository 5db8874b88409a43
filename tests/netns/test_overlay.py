"""Three nodes in two subnets, joined by a router: pods reach each other by real VXLAN tunnels."""

import asyncio
import json
import statistics
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from datamodel.errors import Unavailable
from datamodel.pool import Pool
from kernel_api.netlink import Netlink
from kernel_api.rtnetlink import NLM_F_CREATE, RTM_NEWROUTE, UnicastRoute, route
from route_distributor.overlay.part import OverlayPart
from route_distributor.overlay.remote import Remote
from route_distributor.part import Applied
from tests.netns.namespaces import eventually, inside, ip, namespaces, run_in
from tests.overlay import NODES, REMOTE, UNDERLAY, UNDERLAY_V6, a_pool, a_snapshot

POD = {name: f"10.233.{i}.10" for i, name in enumerate(NODES, start=1)}
POD_V6 = {name: f"fd01::{i}:10" for i, name in enumerate(NODES, start=1)}
V6_POOL = "fd01::/64"
MAC = {"node-1": "66:b3:68:28:39:8e", "node-3": "66:87:de:de:c9:2e"}
VTEP = {name: str(node.vxlan_ipv4) for name, node in NODES.items()}

VTEP_V6 = str(NODES["node-1"].vxlan_ipv6)
TUNNELLED = f"10.233.3.0/24 via {VTEP['node-3']} dev vxlan.calico onlink"


class Node:
    """A node's namespace, a pod on it, and the part at work as the agent has it work."""

    def __init__(self, name: str, netns: str, pod: str) -> None:
        self.name, self.netns, self.pod = name, netns, pod
        self.applied: list[Applied] = []
        self.pools: tuple[Pool, ...] = ()
        self.remote = REMOTE
        self._loop = asyncio.new_event_loop()
        self._change = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._main.cancel)
            self._thread.join()

    def _run(self) -> None:
        with inside(self.netns):  # threads that are started in here are there as well
            self._main = self._loop.create_task(self._follow())
            with suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._main)
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _follow(self) -> None:
        part = OverlayPart(lambda: self.remote)
        try:
            while True:
                with suppress(Unavailable):
                    self.applied.append(await part.apply(a_snapshot(*self.pools, node=self.name)))
                causes = [asyncio.ensure_future(part.disturbed())]
                causes.append(asyncio.ensure_future(self._change.wait()))
                try:
                    await asyncio.wait(causes, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for cause in causes:
                        cause.cancel()
                    await asyncio.gather(*causes, return_exceptions=True)
                self._change.clear()
        finally:
            part.close()

    def tell(self, *pools: Pool, remote: Remote | None = None) -> None:
        """Let the part know of a change, and wait until it has acted."""
        self.pools, self.remote = pools, remote or self.remote
        passes = len(self.applied)
        self._loop.call_soon_threadsafe(self._change.set)
        eventually(lambda: len(self.applied) > passes)

    def ip(self, *arguments: object) -> str:
        return ip("-n", self.netns, *arguments)

    def routes(self, *more: object) -> list[str]:
        return [line.strip() for line in self.ip("route", "show", *more).splitlines()]

    def ping(self, other: str, *options: str, to: Mapping[str, str] = POD) -> bool:
        """Whether the pod reaches the other node's."""
        command = ["ip", "netns", "exec", self.pod, "ping", "-c", "1", "-W", "1", *options]
        done = subprocess.run([*command, to[other]], capture_output=True, check=False)
        return done.returncode == 0


@contextmanager
def nodes_of_two_subnets() -> Iterator[tuple[Node, ...]]:
    names = [f"n{i}" for i in (1, 2, 3)] + [f"p{i}" for i in (1, 2, 3)]
    with namespaces("router", *names) as (router, *spaces), ExitStack() as undo:
        run_in(router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for number in (1, 2):
            ip("-n", router, "link", "add", f"switch{number}", "up", "type", "bridge")
            ip("-n", router, "addr", "add", f"10.{number}.0.1/24", "dev", f"switch{number}")
            there = ("dev", f"switch{number}", "nodad")
            ip("-n", router, "addr", "add", f"fd00:{number}::1/64", *there)
        nodes = []
        for i, (name, address) in enumerate(UNDERLAY.items()):
            node = Node(name, spaces[i], spaces[i + 3])
            subnet = address.split(".")[1]
            cable = ("type", "veth", "peer", "name", "eth0", "netns", node.netns)
            ip("-n", router, "link", "add", name, *cable)
            ip("-n", router, "link", "set", name, "up", "master", f"switch{subnet}")
            node.ip("link", "set", "eth0", "up")
            node.ip("addr", "add", f"{address}/24", "dev", "eth0")
            node.ip("addr", "add", f"{UNDERLAY_V6[name]}/64", "dev", "eth0", "nodad")
            node.ip("route", "add", "default", "via", f"10.{subnet}.0.1")
            node.ip("-6", "route", "add", "default", "via", f"fd00:{subnet}::1")
            add_pod(node)
            undo.callback(node.stop)
            node.start()
            nodes.append(node)
        yield tuple(nodes)


def add_pod(node: Node) -> None:
    cable = ("type", "veth", "peer", "name", "eth0", "netns", node.pod)
    node.ip("link", "add", "cali1", "mtu", "1450", *cable)
    node.ip("link", "set", "cali1", "up", "address", "ee:ee:ee:ee:ee:ee")
    node.ip("route", "add", POD[node.name], "dev", "cali1", "scope", "link")
    ip("-n", node.pod, "link", "set", "eth0", "up", "mtu", "1450")
    ip("-n", node.pod, "addr", "add", POD[node.name], "dev", "eth0")
    ip("-n", node.pod, "route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "onlink")
    node.ip("-6", "route", "add", POD_V6[node.name], "dev", "cali1")
    ip("-n", node.pod, "addr", "add", POD_V6[node.name], "dev", "eth0", "nodad")
    ip("-n", node.pod, "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
    mac = json.loads(ip("-j", "-n", node.pod, "link", "show", "eth0"))[0]["address"]
    for address in (POD[node.name], POD_V6[node.name]):
        node.ip("neigh", "add", address, "lladdr", mac, "dev", "cali1")
    for address in ("169.254.1.1", "fe80::1"):
        known = ("lladdr", "ee:ee:ee:ee:ee:ee", "dev", "eth0")
        ip("-n", node.pod, "neigh", "add", address, *known)


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Node, ...]]:
    with nodes_of_two_subnets() as nodes:
        yield nodes


def use(nodes: tuple[Node, ...], *pools: Pool) -> None:
    for node in nodes:
        node.tell(*pools)


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet"])
def test_pods_reach_each_other_whatever_the_size_of_packets(nodes, mode):
    use(nodes, a_pool(vxlan=mode))

    for node in nodes:
        for other in NODES.keys() - {node.name}:
            assert node.ping(other)
            assert node.ping(other, "-s", str(1450 - 28), "-M", "do")
            assert node.ping(other, "-s", "4000")
    assert all(not applied.problems for node in nodes for applied in node.applied)


def test_tunnels_are_used_where_the_mode_says_so(nodes):
    one = nodes[0]
    use(nodes, a_pool(vxlan="Always"))

    assert one.routes("proto", "80") == [
        f"10.233.{i}.0/24 via {VTEP[name]} dev vxlan.calico onlink"
        for i, name in ((2, "node-2"), (3, "node-3"))
    ]

    use(nodes, a_pool(vxlan="CrossSubnet"))

    assert one.routes("proto", "80") == [
        "10.233.2.0/24 via 10.1.0.12 dev eth0 onlink",
        TUNNELLED,
    ]
    (link,) = json.loads(one.ip("-j", "-d", "link", "show", "vxlan.calico"))
    data = link["linkinfo"]["info_data"]
    assert (link["mtu"], link["address"]) == (1450, MAC["node-1"])
    assert (data["id"], data["port"], data["local"], data["link"], data["learning"]) == (
        (4096, 4789, "10.1.0.11", "eth0", False)
    )


@pytest.mark.parametrize("mode", ["Always", "CrossSubnet"])
def test_the_same_for_ipv6(nodes, mode):
    use(nodes, a_pool(vxlan=mode, cidr=V6_POOL))
    one = nodes[0]
    for node in nodes:
        ip("-n", node.pod, "link", "set", "eth0", "mtu", "1430")

    direct = {
        "Always": "fd01::2:0/122 via fd01::2:2 dev vxlan-v6.calico metric 1024 onlink pref medium",
        "CrossSubnet": "fd01::2:0/122 via fd00:1::12 dev eth0 metric 1024 onlink pref medium",
    }
    assert one.ip("-6", "route", "show", "proto", "80").splitlines() == [
        direct[mode],
        "fd01::3:0/122 via fd01::3:2 dev vxlan-v6.calico metric 1024 onlink pref medium",
    ]
    for other in ("node-2", "node-3"):
        # The first one also waits for what IPv6 asks for on links that have just come up.
        eventually(lambda other=other: one.ping(other, to=POD_V6))
        assert one.ping(other, "-s", str(1430 - 48), "-M", "do", to=POD_V6)
        assert one.ping(other, "-s", "4000", to=POD_V6)
    for change in (
        "ip -6 route flush proto 80",
        "ip link set vxlan-v6.calico down",
        "ip -6 addr flush dev vxlan-v6.calico",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
    ):
        before, passes = kernel_v6(one), len(one.applied)
        run_in(one.netns, "sh", "-c", change)
        eventually(lambda was=before, n=passes: len(one.applied) > n and kernel_v6(one) == was)
        assert one.ping("node-2", to=POD_V6)
        assert one.ping("node-3", to=POD_V6)
    for node in nodes:
        ip("-n", node.pod, "link", "set", "eth0", "mtu", "1450")


def kernel_v6(node: Node) -> list[str]:
    return [
        node.ip("-6", "route", "show", "proto", "80"),
        *(line for line in node.ip("-6", "addr").splitlines() if VTEP_V6 in line),
        run_in(node.netns, "sysctl", "net.ipv6.conf.all.forwarding"),
    ]


def test_a_borrowed_address_is_reached_where_it_is_and_one_here_goes_before(nodes):
    one, two, three = nodes
    use(nodes, a_pool(vxlan="Always"))
    borrowed = "10.233.1.99"  # of node-1's block
    ip("-n", three.pod, "addr", "add", borrowed, "dev", "eth0")
    three.ip("route", "add", borrowed, "dev", "cali1", "scope", "link")
    remote = replace(REMOTE, borrowed=((ip_address(borrowed), "node-3"),))

    for node in nodes:
        node.tell(a_pool(vxlan="Always"), remote=remote)

    assert one.ping("there", to={"there": borrowed})
    assert two.ping("there", to={"there": borrowed})
    one.ip("route", "add", borrowed, "dev", "cali1", "scope", "link")  # as the plugin does it
    assert f"{borrowed} dev cali1" in one.ip("route", "get", borrowed)
    one.ip("route", "del", borrowed, "dev", "cali1")
    for node in nodes:
        node.tell(a_pool(vxlan="Always"), remote=REMOTE)
    assert borrowed not in two.ip("route")
    three.ip("route", "del", borrowed)


def test_a_mode_that_changes_under_traffic_loses_nothing(nodes):
    use(nodes, a_pool(vxlan="Always"))
    one = nodes[0]
    command = ["ip", "netns", "exec", one.pod, "ping", "-q", "-i", "0.01", "-w", "3", "-s", "1000"]
    streams = [
        subprocess.Popen([*command, POD[other]], stdout=subprocess.PIPE, text=True)
        for other in ("node-2", "node-3")
    ]

    while any(stream.poll() is None for stream in streams):
        for mode in ("CrossSubnet", "Always"):
            use(nodes, a_pool(vxlan=mode))

    said = [stream.communicate()[0] for stream in streams]
    assert all(" 0% packet loss" in text for text in said), said


def test_with_the_last_pool_the_device_goes_and_all_that_was_ours(nodes):
    use(nodes, a_pool(vxlan="Always"))
    one = nodes[0]
    before = one.ip("addr", "show", "eth0")

    use(nodes, a_pool())

    assert "vxlan.calico" not in one.ip("link")
    assert one.routes("proto", "80") == []
    assert one.ip("addr", "show", "eth0") == before


CHANGES = {
    "route-removed": "ip route del 10.233.2.0/24",
    "route-replaced": "ip route replace 10.233.3.0/24 via 10.1.0.1 dev eth0",
    "route-to-nowhere": "ip route replace blackhole 10.233.3.0/24 proto 80",
    "routes-flushed": "ip route flush proto 80",
    "neighbour-removed": f"ip neigh del {VTEP['node-3']} dev vxlan.calico",
    "neighbour-changed": f"ip neigh replace {VTEP['node-3']} lladdr 66:00:00:00:00:01 "
    "dev vxlan.calico nud permanent",
    "neighbour-not-for-good": f"ip neigh change {VTEP['node-3']} dev vxlan.calico nud stale",
    "forwarding-removed": f"bridge fdb del {MAC['node-3']} dev vxlan.calico dst 10.2.0.13",
    "forwarding-changed": f"bridge fdb replace {MAC['node-3']} dev vxlan.calico dst 10.2.0.99",
    "address-removed": f"ip addr del {VTEP['node-1']}/32 dev vxlan.calico",
    "address-added": "ip addr add 192.0.2.1/32 dev vxlan.calico",
    "addresses-flushed": "ip addr flush dev vxlan.calico",
    "device-removed": "ip link del vxlan.calico",
    "device-down": "ip link set vxlan.calico down",
    "device-mtu": "ip link set vxlan.calico mtu 1300",
    "device-mac": "ip link set vxlan.calico address 66:00:00:00:00:02",
    "device-learns": "ip link set vxlan.calico type vxlan learning",
    "forwarding-off": "sysctl -qw net.ipv4.ip_forward=0",
    "forwarding-off-on-device": "sysctl -qw net/ipv4/conf/vxlan.calico/forwarding=0",
    "reverse-path-filter": "sysctl -qw net/ipv4/conf/vxlan.calico/rp_filter=1",
    "uplink-down-and-up": "ip link set eth0 down; ip link set eth0 up; "
    "ip route add default via 10.1.0.1",
    "uplink-flushed": "ip addr flush dev eth0; ip addr add 10.1.0.11/24 dev eth0; "
    "ip route add default via 10.1.0.1",
}


def kernel(node: Node) -> list[str]:
    """All that is ours, as the kernel's own tools show it."""
    (link,) = json.loads(node.ip("-j", "-d", "link", "show", "vxlan.calico") or "[{}]")
    with suppress(KeyError):
        del link["ifindex"], link["stats64"]
    return [
        json.dumps({k: link.get(k) for k in ("flags", "mtu", "address", "linkinfo")}),
        *node.routes("proto", "80"),
        *node.routes("10.233.3.0/24"),
        *sorted(node.ip("neigh", "show", "dev", "vxlan.calico", "nud", "permanent").splitlines()),
        *sorted(run_in(node.netns, "bridge", "fdb", "show", "dev", "vxlan.calico").splitlines()),
        *(line for line in node.ip("-4", "addr", "show").splitlines() if "inet " in line),
        run_in(
            node.netns,
            "sysctl",
            "net/ipv4/conf/vxlan.calico/rp_filter",
            "net/ipv4/conf/vxlan.calico/forwarding",
            "net/ipv4/ip_forward",
        ),
    ]


def has(node: Node, wanted: list[str]) -> bool:
    with suppress(subprocess.CalledProcessError):  # the device is not there
        return kernel(node) == wanted
    return False


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_else_changes_is_put_right(nodes, change):
    use(nodes, a_pool(vxlan="CrossSubnet"))
    one = nodes[0]
    before, passes = kernel(one), len(one.applied)

    run_in(one.netns, "sh", "-c", CHANGES[change])

    eventually(lambda: len(one.applied) > passes and has(one, before))
    assert sum(applied.changed for applied in one.applied[passes:]) >= 1
    assert one.ping("node-2")
    assert one.ping("node-3")


def test_that_takes_no_second(nodes):
    use(nodes, a_pool(vxlan="Always"))
    one = nodes[0]

    took = []
    for _ in range(5):
        one.ip("route", "flush", "proto", "80")
        took.append(eventually(lambda: len(one.routes("proto", "80")) == 2))

    assert statistics.median(took) < 1


def test_the_mtu_follows_the_uplink(nodes):
    use(nodes, a_pool(vxlan="Always"))
    one = nodes[0]

    for uplink, tunnel in ((1400, 1350), (1500, 1450)):
        one.ip("link", "set", "eth0", "mtu", str(uplink))
        eventually(lambda mtu=tunnel: f"mtu {mtu} " in one.ip("link", "show", "vxlan.calico"))


def test_nothing_foreign_is_removed_and_its_coming_and_going_is_nothing_to_us(nodes):
    use(nodes, a_pool(vxlan="CrossSubnet"))
    one = nodes[0]
    one.tell(a_pool(vxlan="CrossSubnet"))
    before = kernel(one)
    eventually(lambda: one.applied[-1].changed == 0)
    passes = len(one.applied)

    run_in(
        one.netns,
        "sh",
        "-c",
        """
        ip link add cali2 type veth peer name peer2; ip link set cali2 up
        ip route add 10.233.1.11 dev cali2 scope link
        ip route add 10.233.1.12 dev cali2 scope link proto 80
        ip neigh add 10.233.1.11 lladdr 02:00:00:00:00:01 dev cali2
        ip route add 198.51.100.0/24 via 10.1.0.1
        ip route add 10.233.3.0/24 via 10.1.0.1 metric 50
        ip neigh add 10.1.0.99 lladdr 02:00:00:00:00:02 dev eth0
        bridge fdb add 02:00:00:00:00:03 dev eth0 self permanent
        ip addr add 192.0.2.7/32 dev eth0
        ip link add other type vxlan id 5 dstport 8472 dev eth0
        """,
    )
    one.tell(a_pool(vxlan="CrossSubnet"))

    assert len(one.applied) == passes + 1
    assert one.applied[-1].changed == 0
    table, neighbours = one.routes(), one.ip("neigh")
    assert "10.233.1.11 dev cali2 scope link linkdown" in table
    assert "10.233.1.12 dev cali2 proto 80 scope link linkdown" in table
    assert "198.51.100.0/24 via 10.1.0.1 dev eth0" in table
    assert "10.233.3.0/24 via 10.1.0.1 dev eth0 metric 50" in table
    assert "10.1.0.99 dev eth0 lladdr 02:00:00:00:00:02 PERMANENT" in neighbours
    assert "02:00:00:00:00:03" in run_in(one.netns, "bridge", "fdb", "show", "dev", "eth0")
    assert "192.0.2.7/32" in one.ip("addr", "show", "eth0")
    assert before[0] == kernel(one)[0]


def test_before_it_is_known_what_others_have_devices_are_made_and_nothing_goes(nodes):
    one = nodes[0]
    use(nodes, a_pool())
    with inside(one.netns):
        asyncio.run(apply_without_knowledge(a_pool(vxlan="Always")))
    assert "vxlan.calico" in one.ip("link")

    use(nodes, a_pool(vxlan="Always"))
    before = kernel(one)
    with inside(one.netns):
        asyncio.run(apply_without_knowledge(a_pool()))
    assert kernel(one) == before


async def apply_without_knowledge(*pools: Pool) -> None:
    with (
        closing(OverlayPart(lambda: None)) as part,
        pytest.raises(Unavailable, match="not yet said"),
    ):
        await part.apply(a_snapshot(*pools))


def test_announcements_that_went_missing_count_as_a_disturbance():
    with namespaces("alone") as (netns,), inside(netns):
        asyncio.run(overflow())


async def overflow() -> None:
    with closing(OverlayPart(lambda: REMOTE)) as part, Netlink() as netlink:
        for i in range(40):
            somewhere = [ip_network(((198 << 24) + 500 * i + j, 32)) for j in range(500)]
            netlink.execute(
                *(route(RTM_NEWROUTE, NLM_F_CREATE, UnicastRoute(net, 1)) for net in somewhere)
            )
        async with asyncio.timeout(5):
            await part.disturbed()


def test_a_kernel_without_ipip_is_named_and_the_rest_goes_on(nodes):
    one = nodes[0]

    one.tell(a_pool(vxlan="Always"), a_pool(ipip="Always", cidr="10.234.0.0/16"))

    if "tunl0" in one.ip("link"):
        pytest.skip("the kernel has IPIP")
    assert one.applied[-1].problems == (
        "tunl0: the kernel has no IPIP (module ipip); load it or use vxlanMode",
    )
    assert "vxlan.calico" in one.ip("link")


def test_a_link_of_that_name_which_is_somebody_elses_stays_until_it_is_removed(nodes):
    use(nodes, a_pool())
    one = nodes[0]
    one.ip("link", "add", "vxlan.calico", "type", "bridge")

    one.tell(a_pool(vxlan="Always"))

    assert one.applied[-1].problems == (
        "link vxlan.calico: exists and is no vxlan device; remove it",
    )
    one.ip("link", "del", "vxlan.calico")
    eventually(lambda: TUNNELLED in one.routes("proto", "80"))
