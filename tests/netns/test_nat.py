"""NAT as the outside world sees it, and our table among those of others."""

import asyncio
import socket
import subprocess
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from datamodel.errors import Unavailable
from datamodel.node import Node
from kernel_api.nfnetlink import NftablesWatch
from route_distributor import process
from route_distributor.nat.nft import Nft
from route_distributor.nat.part import NatPart
from route_distributor.snapshot import ClusterSnapshot, cluster_snapshot
from tests.cluster import NODE, Pair, a_pool, stored
from tests.netns.namespaces import inside, ip, namespaces, run_in

POOL = a_pool("default", "10.233.0.0/16", nat_outgoing=True)
IPV6_POOL = a_pool("six", "fd00:233::/48", nat_outgoing=True)
OUTSIDE, NATIVE = "192.0.2.9", "10.233.88.9"  # addresses of the outside world; of another node
PORT = 7001
RULE = "ip saddr @masqueraded4"


def seen(*pools: Pair) -> ClusterSnapshot:
    return cluster_snapshot(NODE, stored(*pools))


class CountingNft(Nft):
    """The real one, and how often it was called."""

    calls = 0

    async def _run(self, *arguments: str, stdin: str = ""):
        self.calls += 1
        return await super()._run(*arguments, stdin=stdin)


class Host:
    """A node's namespace, and NAT as the distributor would do it there."""

    def __init__(self, netns: str, part: NatPart, nft: CountingNft) -> None:
        self.netns = netns
        self.part = part
        self.nft = nft

    def run(self, work: Coroutine):
        with inside(self.netns):
            return asyncio.run(work)

    def apply(self, *pools: Pair) -> int:
        return self.run(self.part.apply(seen(*pools))).changed

    def heal(self, *pools: Pair) -> tuple[int, float]:
        """Wait for a disturbance and mend it; how much that was, and how long it took."""
        started = time.monotonic()

        async def work() -> int:
            async with asyncio.timeout(5):
                await self.part.disturbed()
            return (await self.part.apply(seen(*pools))).changed

        return self.run(work()), time.monotonic() - started

    def is_disturbed(self) -> bool:
        async def work() -> bool:
            try:
                async with asyncio.timeout(0.05):
                    await self.part.disturbed()
            except TimeoutError:
                return False
            return True

        return self.run(work())

    def nft_list(self, *what: str) -> str:
        return run_in(self.netns, "nft", "list", *what)

    def nft_do(self, *what: str) -> None:
        run_in(self.netns, "nft", *what)

    @property
    def table(self) -> str:
        return self.nft_list("table", "inet", "ocicat")


@contextmanager
def nat_in(netns: str, nft: CountingNft | None = None, **watch: int) -> Iterator[Host]:
    nft = nft or CountingNft()
    with closing(NatPart(nft, lambda: NftablesWatch(**watch))) as part:
        yield Host(netns, part, nft)


@pytest.fixture
def node() -> Iterator[Host]:
    with namespaces("node") as (name,), nat_in(name) as made:
        yield made


@pytest.fixture
def cluster() -> Iterator[tuple[Host, str, str]]:
    """A node with a pod; beyond it one namespace that is the outside world and another node."""
    with namespaces("node", "pod", "world") as (name, pod, world), nat_in(name) as made:
        for other, inner in ((pod, "eth0"), (world, "eth1")):
            peer = ["peer", "name", inner, "netns", other]
            ip("-n", name, "link", "add", f"to-{inner}", "type", "veth", *peer)
            for where, link in ((name, f"to-{inner}"), (other, inner)):
                ip("netns", "exec", where, "sysctl", "-qw", f"net.ipv6.conf.{link}.accept_dad=0")
                ip("-n", where, "link", "set", link, "up")
        ip("-n", name, "addr", "add", "10.0.0.11/24", "dev", "to-eth1")
        ip("-n", name, "addr", "add", "fd99::11/64", "dev", "to-eth1")
        ip("-n", name, "addr", "add", "169.254.1.1/32", "dev", "to-eth0")
        ip("-n", name, "addr", "add", "fe80::1/64", "dev", "to-eth0")
        for text in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            run_in(name, "sysctl", "-qw", text)
        for family, address, gateway in (
            ("-4", "10.233.77.2", "169.254.1.1"),
            ("-6", "fd00:233::2", "fe80::1"),
        ):
            ip("-n", pod, "addr", "add", address, "dev", "eth0")
            ip("-n", name, family, "route", "add", address, "dev", "to-eth0")
            onlink = ["via", gateway, "dev", "eth0", "onlink"]
            ip("-n", pod, family, "route", "add", "default", *onlink)
        for family, peer, targets in (
            ("-4", "10.0.0.9", (OUTSIDE, NATIVE)),
            ("-6", "fd99::9", ("2001:db8::9", "fd00:233:0:9::9")),
        ):
            length = "24" if family == "-4" else "64"
            ip("-n", world, "addr", "add", f"{peer}/{length}", "dev", "eth1")
            for target in targets:
                ip("-n", world, "addr", "add", target, "dev", "lo")
                ip("-n", name, family, "route", "add", target, "via", peer)
        ip("-n", world, "route", "add", "10.233.77.0/24", "via", "10.0.0.11")
        ip("-n", world, "-6", "route", "add", "fd00:233::/64", "via", "fd99::11")
        yield made, pod, world


def source_seen(pod: str, world: str, target: str, source: str = "") -> str:
    """Send a packet from the pod; return the address from which *target* sees it come."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with inside(world):
        receiver = socket.socket(family, socket.SOCK_DGRAM)
    with inside(pod):
        sender = socket.socket(family, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.settimeout(5)
        receiver.bind((target, PORT))
        if source:
            sender.bind((source, 0))
        sender.sendto(b"x", (target, PORT))
        return receiver.recvfrom(10)[1][0]


# ---- what the world sees -----------------------------------------------------------------------


def test_the_world_sees_the_nodes_address_and_pods_see_the_pods(cluster):
    node, pod, world = cluster
    assert source_seen(pod, world, OUTSIDE) == "10.233.77.2"

    node.apply(POOL)

    assert source_seen(pod, world, OUTSIDE) == "10.0.0.11"
    assert source_seen(pod, world, NATIVE) == "10.233.77.2"
    assert source_seen(world, pod, "10.233.77.2") == "10.0.0.9"  # nothing is done to what comes in


def test_the_same_with_ipv6(cluster):
    node, pod, world = cluster

    node.apply(POOL, IPV6_POOL)

    assert source_seen(pod, world, "2001:db8::9") == "fd99::11"
    assert source_seen(pod, world, "fd00:233:0:9::9") == "fd00:233::2"


def test_a_disabled_pool_of_the_outside_world_is_one_that_sees_the_pods(cluster):
    node, pod, world = cluster

    node.apply(POOL, a_pool("outside", f"{OUTSIDE}/32", disabled=True))

    assert source_seen(pod, world, OUTSIDE) == "10.233.77.2"


def test_a_connection_goes_on_while_the_table_is_replaced(cluster):
    node, pod, world = cluster
    node.apply(POOL)
    with inside(world):
        listener = socket.create_server((OUTSIDE, PORT))
    with inside(pod):
        client = socket.create_connection((OUTSIDE, PORT), timeout=5)
    with listener, client:
        server, (address, *_) = listener.accept()
        with server:
            for i in range(5):
                node.apply(POOL, a_pool("more", f"10.{i}.0.0/16"))
                client.sendall(b"x")
                assert server.recv(1) == b"x"

    assert address == "10.0.0.11"


def test_the_host_sends_into_a_tunnel_under_the_tunnels_address_and_pods_under_their_own(cluster):
    node, pod, world = cluster
    far = "10.233.99.9"  # behind the tunnel
    peer = ["peer", "name", "tunnel", "netns", world]
    ip("-n", node.netns, "link", "add", "tunl0", "type", "veth", *peer)
    ip("-n", node.netns, "link", "set", "tunl0", "up")
    ip("-n", world, "link", "set", "tunnel", "up")
    ip("-n", node.netns, "addr", "add", "10.233.77.1/32", "dev", "tunl0")
    ip("-n", world, "addr", "add", f"{far}/32", "dev", "lo")
    ip("-n", node.netns, "route", "add", far, "dev", "tunl0")
    ip("-n", world, "route", "add", "10.233.77.1", "dev", "tunnel")
    own = Node(NODE, ipip_address=IPv4Address("10.233.77.1"))
    assert source_seen(node.netns, world, far, "10.0.0.11") == "10.0.0.11"

    node.run(node.part.apply(replace(seen(POOL), own=own)))

    assert source_seen(node.netns, world, far, "10.0.0.11") == "10.233.77.1"
    assert source_seen(node.netns, world, far, "10.233.77.1") == "10.233.77.1"
    assert source_seen(pod, world, far) == "10.233.77.2"


# ---- among others ------------------------------------------------------------------------------

LEGACY = ("-t", "nat", "-A", "POSTROUTING", "-s", "172.16.0.0/12", "-j", "MASQUERADE")


def test_rules_of_others_are_as_before_whatever_we_do(node):
    run_in(node.netns, "iptables-nft", *LEGACY)
    run_in(node.netns, "iptables-legacy", *LEGACY)
    node.nft_do("add table inet somebody { chain c { type filter hook forward priority 0; }; }")
    legacy = run_in(node.netns, "iptables-legacy", "-t", "nat", "-S")
    before = node.nft_list("ruleset")
    assert "172.16.0.0/12" in legacy

    node.apply(POOL)
    node.apply(POOL, IPV6_POOL)
    assert "inet ocicat" in node.nft_list("ruleset")
    node.apply()

    assert node.nft_list("ruleset") == before
    assert run_in(node.netns, "iptables-legacy", "-t", "nat", "-S") == legacy


def test_a_change_of_somebody_elses_rules_is_no_disturbance(node):
    node.apply(POOL)
    calls = node.nft.calls

    run_in(node.netns, "iptables-nft", *LEGACY)
    node.nft_do("add table ip ocicat")  # of another family

    assert not node.is_disturbed()
    assert node.apply(POOL) == 0
    assert node.nft.calls == calls


def test_without_a_pool_that_asks_for_it_nothing_is_made(node):
    assert node.apply(a_pool("default", "10.233.0.0/16")) == 0

    assert node.nft_list("ruleset") == ""


def test_what_a_predecessor_left_is_removed_when_nobody_asks_for_it_any_more(node):
    node.apply(POOL)

    with nat_in(node.netns) as successor:
        assert successor.apply() > 0

    assert node.nft_list("ruleset") == ""


# ---- calm and healing --------------------------------------------------------------------------


def test_our_own_change_is_no_disturbance_and_the_same_again_asks_nobody(node):
    assert node.apply(POOL) == 1
    calls = node.nft.calls

    assert not node.is_disturbed()
    assert node.apply(POOL) == 0
    assert node.apply(POOL, a_pool("six", "fd00:1::/48")) == 0  # no NAT of its family
    assert node.nft.calls == calls


CLUSTERS = (
    (),
    (POOL,),
    (POOL, IPV6_POOL),
    (IPV6_POOL, a_pool("more", "10.99.0.0/16")),
    (a_pool("one", "10.0.0.0/9", nat_outgoing=True), a_pool("two", "10.128.0.0/9")),
)


@pytest.mark.parametrize("last", CLUSTERS, ids=range(len(CLUSTERS)))
def test_the_table_is_that_of_the_last_snapshot_whatever_came_before(node, last):
    for cluster in (*CLUSTERS, *reversed(CLUSTERS)):
        node.apply(*cluster)
    node.apply(*last)
    after = node.nft_list("ruleset")

    with namespaces("other") as (name,), nat_in(name) as other:
        other.apply(*last)
        assert other.nft_list("ruleset") == after


DAMAGE = {
    "an element": "delete element inet ocicat pools4 { 10.233.0.0/16 }",
    "an element too many": "add element inet ocicat pools4 { 192.0.2.0/24 }",
    "a rule": "flush chain inet ocicat postrouting",
    "a rule too many": "insert rule inet ocicat postrouting accept",
    "the table": "delete table inet ocicat",
    "everything": "flush ruleset",
    "the switch": "add table inet ocicat { flags dormant; }",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_somebody_does_to_our_table_is_undone_at_once(node, damage, record_property):
    node.apply(POOL)
    before = node.table

    node.nft_do(damage)
    assert damage == DAMAGE["everything"] or node.nft_list("ruleset") != before
    healed, took = node.heal(POOL)

    assert healed >= 1
    record_property("healed_s", round(took, 3))  # 50 ms; a busy machine takes as long as it takes
    assert node.table == before
    assert not node.is_disturbed()


def test_damage_that_was_taken_back_is_none(node):
    node.apply(POOL)
    node.nft_do("add element inet ocicat pools4 { 192.0.2.0/24 }")
    node.nft_do("delete element inet ocicat pools4 { 192.0.2.0/24 }")

    healed, _ = node.heal(POOL)

    assert healed == 0


def test_a_table_of_our_name_is_ours_even_if_we_want_none(node):
    node.apply()
    node.nft_do("add table inet ocicat")

    healed, _ = node.heal()

    assert healed == 1
    assert node.nft_list("ruleset") == ""


class DisturbedNft(CountingNft):
    """Somebody comes between our change and our look at what came of it."""

    async def table(self):
        if self.calls == 1:
            await process.run("nft", DAMAGE["a rule"], package="nftables")
        return await super().table()


def test_damage_between_our_change_and_our_look_at_it_is_noticed(node):
    with nat_in(node.netns, DisturbedNft()) as ours:
        ours.apply(POOL)
        assert RULE not in ours.table

        healed, _ = ours.heal(POOL)

        assert healed == 1
        assert RULE in ours.table
        assert not ours.is_disturbed()


def test_damage_is_noticed_even_if_there_is_more_to_hear_than_can_be_kept(node):
    with nat_in(node.netns, buffer=4096) as ours:
        ours.apply(POOL)
        node.nft_do("add table ip other")
        flood = "".join(f"add chain ip other c{i}\n" for i in range(200))
        with inside(node.netns):
            subprocess.run(["nft", "-f", "-"], input=flood, text=True, check=True)
        node.nft_do(DAMAGE["a rule"])

        healed, _ = ours.heal(POOL)

        assert healed == 1
        assert RULE in node.table


class RefusedNft(CountingNft):
    """Something of the kernel is missing, the first time."""

    async def transact(self, text):
        await super().transact(text if self.calls else "add rule inet nobody nothing accept\n")


def test_a_refusal_is_told_in_nfts_words_and_the_next_time_it_is_tried_again(node):
    with nat_in(node.netns, RefusedNft()) as ours:
        with pytest.raises(Unavailable, match=r"table inet ocicat: nft refuses: .*No such file"):
            ours.apply(POOL)

        assert ours.apply(POOL) == 1
        assert RULE in ours.table


def test_nft_that_is_not_installed_is_named(node):
    with (
        nat_in(node.netns, CountingNft("/nowhere/nft")) as ours,
        pytest.raises(Unavailable, match=r"/nowhere/nft: cannot be started: .*package nftables"),
    ):
        ours.apply(POOL)
