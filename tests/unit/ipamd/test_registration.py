"""What a node writes when it starts, on the store in memory."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface, ip_network

import pytest

from datamodel.errors import Invalid, Unavailable
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change, Committed, Rejected, Store
from ipamd.config import ALWAYS, IF_MISSING, NEVER, AddressSource, Config, read_config
from ipamd.registration import Registration
from tests.cluster import STAMP
from tests.consistency import assert_consistent
from tests.virtual_time import in_virtual_time

ADDRESS = IPv4Interface("10.0.0.11/24")
DETECTED = IPv4Interface("192.168.7.1/16")
ADDRESS6 = IPv6Interface("fd00::11/64")
KEY = keys.node("node-1")


def a_config(node: str = "node-1", ipv4=ADDRESS, ipv6=None, **rest) -> Config:
    """Addresses are set; ``ALWAYS``, ``IF_MISSING`` and ``NEVER`` say how they are detected."""
    config = read_config({"ETCD_ENDPOINTS": "http://127.0.0.1:2379", "NODENAME": node}, "host")
    sources = tuple(
        AddressSource(version, None, value or NEVER)
        if value in (None, ALWAYS, IF_MISSING, NEVER)
        else AddressSource(version, value)
        for version, value in ((4, ipv4), (6, ipv6))
    )
    return replace(config, **{"sources": sources, **rest})


async def must_not_detect(version: int):
    raise AssertionError("the address is known")


def detecting(*found: str) -> Callable[[int], Awaitable[IPv4Interface | IPv6Interface]]:
    """Find these addresses one after the other, then the last one for ever; "" finds none."""
    answers = itertools.chain(found, itertools.repeat(found[-1]))

    async def detect(version: int) -> IPv4Interface | IPv6Interface:
        text = next(answers)
        if not text:
            raise Invalid("node address: no link has a usable one")
        return ip_interface(text)

    return detect


async def register(store: Store, config: Config, detect=must_not_detect) -> Registration:
    registration = Registration(store, config, detect)
    await registration.register()
    return registration


async def content(store: Store) -> dict[str, bytes]:
    return {key: entry.value for key, entry in (await store.read("/")).entries.items()}


async def node_in(store: Store, name: str = "node-1") -> Node:
    key = keys.node(name)
    return codec.decode_node(key, (await content(store))[key])


async def put(store: Store, *nodes: Node) -> None:
    values = {keys.node(node.name): codec.encode_node(node, STAMP) for node in nodes}
    await store.commit(Change(put=values))


def a_pool(name: str, cidr: str, block_size: int) -> Change:
    pool = Pool(name, ip_network(cidr), block_size)
    return Change(put={keys.pool(name): codec.encode_pool(pool, STAMP)})


class HastyStore(MemoryStore):
    """Somebody else writes just before our first commit."""

    def __init__(self, first: Change):
        super().__init__()
        self.first: Change | None = first

    async def commit(self, change):
        if self.first:
            first, self.first = self.first, None
            await super().commit(first)
        return await super().commit(change)


@in_virtual_time
async def test_an_empty_store_gets_all_that_calicoctl_needs():
    store = MemoryStore()

    await register(store, a_config())

    entries = await content(store)
    assert entries.keys() == {
        keys.CLUSTER_INFORMATION,
        keys.IPAM_CONFIG,
        keys.KUBE_CONTROLLERS_CONFIGURATION,
        keys.pool("default-ipv4-ippool"),
        keys.node("node-1"),
    }
    assert_consistent(entries)
    information = json.loads(entries[keys.CLUSTER_INFORMATION])
    assert information["spec"]["datastoreReady"] is True
    assert len(information["spec"]["clusterGUID"]) == 32
    assert information["spec"].get("calicoVersion", "") == ""
    assert entries[keys.IPAM_CONFIG] == codec.DEFAULT_IPAM_CONFIG
    assert json.loads(entries[keys.KUBE_CONTROLLERS_CONFIGURATION])["spec"] == {"controllers": {}}


@in_virtual_time
async def test_registering_again_writes_nothing():
    store = MemoryStore()
    await register(store, a_config())
    before = store.revision

    await register(store, a_config())

    assert store.revision == before


@in_virtual_time
async def test_five_nodes_at_once_make_one_cluster_and_one_pool():
    store = MemoryStore()
    await asyncio.gather(
        *(register(store, a_config(f"node-{i}", ip_interface(f"10.0.0.{i}/24"))) for i in range(5))
    )

    entries = await content(store)
    written: list[str] = []
    async with aclosing(store.watch(frozenset({"/calico/"}), after=1)) as told:
        async for events in told:
            written += events.entries
            if events.revision == store.revision:
                break
    assert sorted(written) == sorted(entries)  # each of them once
    assert len([key for key in entries if key.startswith(keys.POOLS)]) == 1
    assert len([key for key in entries if key.startswith(keys.NODES)]) == 5
    assert_consistent(entries)


@in_virtual_time
async def test_cluster_information_that_another_node_wrote_first_stays():
    theirs = codec.encode_cluster_information("0" * 32, STAMP)
    store = HastyStore(Change(put={keys.CLUSTER_INFORMATION: theirs}))

    await register(store, a_config())

    entries = await content(store)
    assert entries[keys.CLUSTER_INFORMATION] == theirs
    assert_consistent(entries)


@in_virtual_time
async def test_a_node_keeps_what_others_wrote_into_it():
    key = keys.node("node-1")
    stored = {
        "kind": "Node",
        "apiVersion": "projectcalico.org/v3",
        "metadata": {
            "name": "node-1",
            "uid": "its-uid",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"rack": "r1"},
        },
        "spec": {
            "bgp": {
                "ipv4Address": "10.0.0.99/24",
                "ipv4IPIPTunnelAddr": "10.233.64.1",
                "routeReflectorClusterID": "1.0.0.1",
            },
            "orchRefs": [{"nodeName": "node-1", "orchestrator": "k8s"}],
        },
        "status": {"podCIDRs": ["10.1.0.0/24"]},
    }
    store = MemoryStore()
    await store.commit(Change(put={key: json.dumps(stored).encode()}))

    await register(store, a_config(as_number=64999))

    after = json.loads((await content(store))[key])
    bgp = {**stored["spec"]["bgp"], "ipv4Address": "10.0.0.11/24", "asNumber": 64999}
    assert after == {**stored, "spec": {**stored["spec"], "bgp": bgp}}


@in_virtual_time
async def test_a_new_node_that_nobody_knows_is_not_put_into_the_store():
    store = MemoryStore()

    async def nobody_knows_it() -> None:
        raise Invalid("node node-1: Kubernetes knows no node of this name")

    with pytest.raises(Invalid, match="Kubernetes knows no node of this name"):
        await Registration(store, a_config(), must_not_detect, nobody_knows_it).register()

    assert await content(store) == {}


@in_virtual_time
async def test_a_new_node_that_somebody_knows_is():
    store = MemoryStore()

    async def nothing_is_wrong() -> None:
        return

    await Registration(store, a_config(), must_not_detect, nothing_is_wrong).register()

    assert KEY in await content(store)


@in_virtual_time
async def test_nobody_is_asked_of_a_node_that_is_in_the_store():
    store = MemoryStore()
    await register(store, a_config())

    async def must_not_be_asked() -> None:
        raise AssertionError("the API may be away")

    await Registration(store, a_config(), must_not_detect, must_not_be_asked).register()


@in_virtual_time
async def test_by_which_name_kubernetes_knows_the_node_is_recorded():
    store = MemoryStore()
    await register(store, a_config())
    key = keys.node("node-1")
    assert codec.decode_kubernetes_names(key, (await content(store))[key]) == ()

    await register(store, a_config(kubernetes_name="ip-10-0-0-11"))
    await register(store, a_config())  # who is not told any more takes nothing back

    assert codec.decode_kubernetes_names(key, (await content(store))[key]) == ("ip-10-0-0-11",)


# ---- default pools -----------------------------------------------------------------------------

BOTH = (
    Pool("default-ipv4-ippool", ip_network("10.233.64.0/18"), 24),
    Pool("default-ipv6-ippool", ip_network("fd00:10:233::/64"), 122),
)


async def pools_made(store: Store, *wanted: Pool) -> list[str]:
    """Register, and say which pools there are afterwards."""
    await register(store, a_config(default_pools=wanted))
    entries = await content(store)
    assert_consistent(entries)
    return [key.removeprefix(keys.POOLS) for key in entries if key.startswith(keys.POOLS)]


@in_virtual_time
async def test_without_default_pools_none_is_made():
    assert await pools_made(MemoryStore()) == []


@in_virtual_time
async def test_default_pools_of_both_families_are_made():
    assert await pools_made(MemoryStore(), *BOTH) == [pool.name for pool in BOTH]


@pytest.mark.parametrize(
    ("theirs", "made"),
    [
        (("mine", "10.1.0.0/16", 24), ["default-ipv6-ippool", "mine"]),
        (("mine", "fd01::/64", 122), ["default-ipv4-ippool", "mine"]),
    ],
)
def test_where_a_family_has_a_pool_no_other_is_made(theirs, made):
    @in_virtual_time
    async def story():
        store = MemoryStore()
        await store.commit(a_pool(*theirs))

        assert await pools_made(store, *BOTH) == made

    story()


@in_virtual_time
async def test_an_operators_first_pool_at_the_same_moment_is_not_joined_by_a_default_one():
    class Overtaken(MemoryStore):
        async def commit(self, change: Change) -> Committed | Rejected:
            if not (await self.read(keys.POOLS)).entries:
                await super().commit(a_pool("mine", "10.233.64.0/20", 24))
            return await super().commit(change)

    assert await pools_made(Overtaken(), *BOTH) == ["default-ipv6-ippool", "mine"]


@in_virtual_time
async def test_a_pool_that_nobody_can_read_may_be_of_either_family():
    store = MemoryStore()
    await store.commit(Change(put={keys.pool("mine"): b"{}"}))

    await register(store, a_config(default_pools=BOTH))

    assert [k for k in await content(store) if k.startswith(keys.POOLS)] == [keys.pool("mine")]


@in_virtual_time
async def test_an_ipam_config_that_is_there_stays():
    store = MemoryStore()
    await store.commit(Change(put={keys.IPAM_CONFIG: b'{"strict_affinity":true}'}))

    await register(store, a_config())

    assert (await content(store))[keys.IPAM_CONFIG] == b'{"strict_affinity":true}'


# ---- the node's addresses ----------------------------------------------------------------------


@in_virtual_time
async def test_the_address_of_the_settings_counts_most():
    store = MemoryStore()
    await put(store, Node("node-1", IPv4Interface("10.0.0.12/24")))

    await register(store, a_config(ipv4=ADDRESS))

    assert (await node_in(store)).ipv4 == ADDRESS


@in_virtual_time
async def test_both_families_are_registered():
    store = MemoryStore()

    await register(store, a_config(ipv4=ADDRESS, ipv6=ALWAYS), detecting("fd00::11/64"))

    node = await node_in(store)
    assert (node.ipv4, node.ipv6) == (ADDRESS, ADDRESS6)


@pytest.mark.parametrize("source", [IF_MISSING, NEVER])
def test_a_stored_address_stays_unless_it_is_always_detected(source):
    @in_virtual_time
    async def story():
        store = MemoryStore()
        await put(store, Node("node-1", ADDRESS, ADDRESS6))

        await register(store, a_config(ipv4=source, ipv6=source))

        node = await node_in(store)
        assert (node.ipv4, node.ipv6) == (ADDRESS, ADDRESS6)

    story()


@in_virtual_time
async def test_an_address_that_is_missing_is_detected():
    store = MemoryStore()

    await register(store, a_config(ipv4=IF_MISSING), detecting(str(DETECTED)))

    assert (await node_in(store)).ipv4 == DETECTED


@in_virtual_time
async def test_an_address_that_is_not_to_be_detected_may_be_missing():
    store = MemoryStore()

    await register(store, a_config(ipv4=NEVER, ipv6=NEVER))

    node = await node_in(store)
    assert (node.ipv4, node.ipv6) == (None, None)


@in_virtual_time
async def test_an_address_is_always_detected_whatever_is_stored():
    store = MemoryStore()
    await put(store, Node("node-1", ADDRESS))

    await register(store, a_config(ipv4=ALWAYS), detecting(str(DETECTED)))

    assert (await node_in(store)).ipv4 == DETECTED


@in_virtual_time
async def test_without_any_address_nothing_is_written():
    store = MemoryStore()

    with pytest.raises(Invalid, match="node address"):
        await register(store, a_config(ipv4=IF_MISSING), detecting(""))

    assert await content(store) == {}


@in_virtual_time
async def test_where_none_is_detected_the_stored_address_stays(caplog):
    store = MemoryStore()
    await put(store, Node("node-1", ADDRESS))

    await register(store, a_config(ipv4=ALWAYS), detecting(""))

    assert (await node_in(store)).ipv4 == ADDRESS
    assert "the node keeps 10.0.0.11/24" in caplog.text


@in_virtual_time
async def test_an_as_number_that_is_not_set_leaves_the_stored_one():
    store = MemoryStore()
    await register(store, a_config(as_number=64999))

    await register(store, a_config(as_number=None))

    assert (await node_in(store)).as_number == 64999


@pytest.mark.parametrize("applied", [False, True])
def test_a_registration_without_an_answer_may_be_repeated(applied):
    @in_virtual_time
    async def story():
        store = MemoryStore()
        store.fail_next(1, applied=applied)
        registration = Registration(store, a_config(), must_not_detect)

        with pytest.raises(Unavailable):
            await registration.register()
        await registration.register()

        assert_consistent(await content(store))
        assert (await node_in(store)).ipv4 == ADDRESS

    story()


@in_virtual_time
async def test_a_node_that_was_deleted_may_register_again():
    store = MemoryStore()
    await register(store, a_config())
    await store.commit(Change(delete=frozenset({KEY})))

    await register(store, a_config())

    assert (await node_in(store)).ipv4 == ADDRESS


# ---- no two nodes have one address -------------------------------------------------------------


class WatchedStore(MemoryStore):
    """Remembers what is read; may fail, or let others write, before it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[str, ...]] = []
        self.before_read: Callable[[int], Awaitable[None]] | None = None  # with the list's number

    @property
    def lists(self) -> int:
        return sum(keys.NODES in ranges for ranges in self.reads)

    async def read(self, *ranges, keys_only=False):
        self.reads.append(ranges)
        if keys.NODES in ranges and self.before_read:
            await self.before_read(self.lists)
        return await super().read(*ranges, keys_only=keys_only)


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        (Node("node-2", IPv4Interface("10.0.0.11/16")), "10.0.0.11 is that of node node-2"),
        (Node("node-2", None, IPv6Interface("fd00::11/128")), "fd00::11 is that of node node-2"),
    ],
)
def test_an_address_of_another_node_is_refused(theirs, text):
    @in_virtual_time
    async def story():
        store = MemoryStore()
        await put(store, theirs, Node("node-3", IPv4Interface("10.0.0.13/24")))
        before = await content(store)

        with pytest.raises(Invalid, match=f"node node-1: its address {text}; set IP"):
            await register(store, a_config(ipv4=ADDRESS, ipv6=ADDRESS6))

        assert await content(store) == before

    story()


@in_virtual_time
async def test_a_changed_address_is_compared_too():
    store = MemoryStore()
    await put(store, Node("node-1", ADDRESS), Node("node-2", DETECTED))

    with pytest.raises(Invalid, match=r"192\.168\.7\.1 is that of node node-2"):
        await register(store, a_config(ipv4=ALWAYS), detecting(str(DETECTED)))

    assert (await node_in(store)).ipv4 == ADDRESS


@in_virtual_time
async def test_whoever_wants_it_may_have_the_address_of_another_node():
    store = WatchedStore()
    await put(store, Node("node-2", ADDRESS))

    await register(store, a_config(ipv4=ADDRESS, checks_addresses=False))

    assert (await node_in(store)).ipv4 == ADDRESS
    assert store.lists == 0


@pytest.mark.parametrize("prefix", [24, 16])
def test_a_restart_reads_no_other_node(prefix):
    @in_virtual_time
    async def story():
        store = WatchedStore()
        await put(store, Node("node-1", ADDRESS), Node("node-2", DETECTED))

        await register(store, a_config(ipv4=IPv4Interface(f"10.0.0.11/{prefix}")))

        assert store.lists == 0
        assert (await node_in(store)).ipv4 == IPv4Interface(f"10.0.0.11/{prefix}")

    story()


@in_virtual_time
async def test_many_nodes_are_read_in_portions_and_not_twice():
    store = WatchedStore()
    for i in range(250):
        await put(store, Node(f"other-{i}", ip_interface(f"10.1.{i}.1/24")))

    await register(store, a_config())

    assert max(len(ranges) for ranges in store.reads) <= 100
    assert len([k for r in store.reads for k in r if k.startswith(keys.node("other-"))]) == 250


@in_virtual_time
async def test_a_node_that_nobody_can_read_keeps_no_address(caplog):
    store = MemoryStore()
    await store.commit(Change(put={keys.node("node-2"): b"spoilt"}))

    await register(store, a_config())

    assert (await node_in(store)).ipv4 == ADDRESS
    assert f"not compared: etcd key {keys.node('node-2')}" in caplog.text


@in_virtual_time
async def test_a_node_that_finds_another_one_afterwards_is_gone_again():
    """The other one registered between our look and our write."""
    theirs = {keys.node("node-2"): codec.encode_node(Node("node-2", ADDRESS), STAMP)}
    store = HastyStore(Change(put=theirs))

    with pytest.raises(Invalid, match="that of node node-2"):
        await register(store, a_config())

    assert keys.node("node-1") not in await content(store)


@in_virtual_time
async def test_a_node_that_finds_another_one_afterwards_has_its_old_address_again():
    theirs = {keys.node("node-2"): codec.encode_node(Node("node-2", ADDRESS), STAMP)}
    store = HastyStore(Change())
    await put(store, Node("node-1", DETECTED, as_number=64999))
    before = await content(store)
    store.first = Change(put=theirs)

    with pytest.raises(Invalid, match="that of node node-2"):
        await register(store, a_config())

    assert (await content(store))[KEY] == before[KEY]


@in_virtual_time
async def test_what_others_write_meanwhile_survives_taking_an_address_back():
    store = WatchedStore()
    await put(store, Node("node-1", DETECTED))

    async def others_write(number: int) -> None:
        if number == 2:  # our address is written and is about to be looked at again
            document = json.loads((await content(store))[KEY])
            document["metadata"]["labels"] = {"rack": "r1"}
            document["spec"]["bgp"]["ipv4IPIPTunnelAddr"] = "10.0.0.9"
            await store.commit(Change(put={KEY: json.dumps(document).encode()}))
            await put(store, Node("node-2", ADDRESS))

    store.before_read = others_write

    with pytest.raises(Invalid, match="that of node node-2"):
        await register(store, a_config())

    node = await node_in(store)
    assert (node.ipv4, node.labels) == (DETECTED, {"rack": "r1"})
    assert node.ipip_address == IPv4Address("10.0.0.9")


@in_virtual_time
async def test_a_second_look_that_failed_is_made_up_for():
    store = WatchedStore()

    async def fail(number: int) -> None:
        if number == 2:
            await put(store, Node("node-2", ADDRESS))
            raise Unavailable("etcd: does not answer")

    store.before_read = fail
    registration = Registration(store, a_config(), must_not_detect)

    with pytest.raises(Unavailable):
        await registration.register()
    assert (await node_in(store)).ipv4 == ADDRESS
    with pytest.raises(Invalid, match="that of node node-2"):
        await registration.register()

    assert KEY not in await content(store)


@pytest.mark.parametrize("applied", [False, True])
def test_taking_back_without_an_answer_is_made_up_for(applied):
    @in_virtual_time
    async def story():
        theirs = {keys.node("node-2"): codec.encode_node(Node("node-2", ADDRESS), STAMP)}
        store = WatchedStore()

        async def write_and_fail(number: int) -> None:
            if number == 2:
                await store.commit(Change(put=theirs))
                store.fail_next(1, applied=applied)

        store.before_read = write_and_fail
        registration = Registration(store, a_config(), must_not_detect)

        with pytest.raises(Unavailable):
            await registration.register()
        with pytest.raises(Invalid, match="that of node node-2"):
            await registration.register()

        assert KEY not in await content(store)

    story()


class SlowStore(MemoryStore):
    """Every call takes a time that is drawn."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def read(self, *ranges, keys_only=False):
        await asyncio.sleep(self._random.random())
        answer = await super().read(*ranges, keys_only=keys_only)
        await asyncio.sleep(self._random.random())
        return answer

    async def commit(self, change):
        await asyncio.sleep(self._random.random())
        answer = await super().commit(change)
        await asyncio.sleep(self._random.random())
        return answer


def test_of_nodes_that_register_at_once_at_most_one_gets_the_address():
    @in_virtual_time
    async def story(seed: int) -> int:
        store = SlowStore(seed)
        await asyncio.gather(
            *(register(store, a_config(f"node-{i}")) for i in range(3)), return_exceptions=True
        )
        nodes = [value for k, value in (await content(store)).items() if k.startswith(keys.NODES)]
        return len([value for value in nodes if b"10.0.0.11" in value])

    assert {story(seed) for seed in range(200)} <= {0, 1}


# ---- an address that changes -------------------------------------------------------------------


async def following(store: Store, config: Config, detect, until: float) -> None:
    """Register, and follow the address for so many seconds."""
    registration = await register(store, config, detect)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(until):
            await registration.follow_address()


@in_virtual_time
async def test_a_detected_address_is_followed():
    store = MemoryStore()
    detect = detecting("10.0.0.11/24", "10.0.0.11/24", "10.0.0.12/24")

    await following(store, a_config(ipv4=ALWAYS, poll_interval_s=30), detect, 61)

    assert (await node_in(store)).ipv4 == IPv4Interface("10.0.0.12/24")


@in_virtual_time
async def test_an_address_that_stays_writes_nothing():
    store = WatchedStore()
    config = a_config(ipv4=ALWAYS, poll_interval_s=30)
    registration = await register(store, config, detecting("10.0.0.11/24"))
    before, lists = store.revision, store.lists

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(100):
            await registration.follow_address()

    assert (store.revision, store.lists) == (before, lists)


@in_virtual_time
async def test_nothing_is_followed_where_nothing_is_always_detected():
    registration = await register(MemoryStore(), a_config(ipv4=ADDRESS))

    await registration.follow_address()  # returns


@in_virtual_time
async def test_a_moment_without_address_changes_nothing(caplog):
    store = MemoryStore()
    detect = detecting("10.0.0.11/24", "", "10.0.0.12/24")

    await following(store, a_config(ipv4=ALWAYS, poll_interval_s=30), detect, 31)
    assert (await node_in(store)).ipv4 == ADDRESS
    assert "the node keeps 10.0.0.11/24" in caplog.text

    await following(store, a_config(ipv4=ALWAYS, poll_interval_s=30), detect, 31)
    assert (await node_in(store)).ipv4 == IPv4Interface("10.0.0.12/24")


@in_virtual_time
async def test_an_address_is_not_followed_to_that_of_another_node(caplog):
    store = MemoryStore()
    await put(store, Node("node-2", IPv4Interface("10.0.0.12/24")))
    detect = detecting("10.0.0.11/24", "10.0.0.12/24")

    await following(store, a_config(ipv4=ALWAYS, poll_interval_s=30), detect, 31)

    assert (await node_in(store)).ipv4 == ADDRESS
    assert "its address 10.0.0.12 is that of node node-2" in caplog.text


@in_virtual_time
async def test_a_node_that_was_deleted_is_not_made_again():
    store = MemoryStore()
    config = a_config(ipv4=ALWAYS, poll_interval_s=30)
    registration = await register(store, config, detecting("10.0.0.11/24", "10.0.0.12/24"))
    await store.commit(Change(delete=frozenset({KEY})))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(100):
            await registration.follow_address()

    assert KEY not in await content(store)
