"""An upgrade beside the real host-local, a real ipamd and a real etcd: nothing is given out twice,
whoever asks meanwhile and wherever the upgrade is killed.
"""

import contextlib
import fcntl
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import grpc
import pytest

from datamodel.attachment import Attachment, Pod
from datamodel.endpoint import EndpointId
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.etcd import EtcdStore
from datastore.store import Change
from ipam_api import ipam_pb2
from ocicatctl.upgrade.host_local import MARK, configuration_of
from tests.consistency import assert_consistent
from tests.etcd_proxy import LoopThread
from tests.etcd_server import EtcdServer
from tests.ipam import STAMP, a_foreign_block
from tests.ipamd_process import ROOT, IpamdProcess, allocate_request

HOST_LOCAL = "/usr/lib/cni/host-local"  # of Debian's containernetworking-plugins
NODE = "node-1"
TIMEOUT_S = 60


# ---- one node ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


@dataclass
class Stored:
    """The store past ipamd."""

    etcd: EtcdServer
    loop: LoopThread
    store: EtcdStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = EtcdStore(self.etcd.config)

    @property
    def content(self) -> dict[str, bytes]:
        entries = self.loop.run(self.store.read("/")).entries
        return {key: entry.value for key, entry in entries.items()}

    def put(self, **entries: bytes) -> None:
        self.loop.run(self.store.commit(Change(put=entries)))

    def add_pool(self, name: str, cidr: str, block_size: int) -> None:
        pool = Pool(name, ip_network(cidr), block_size)
        self.put(**{keys.pool(name): codec.encode_pool(pool, STAMP)})

    @property
    def holders(self) -> dict[str, str]:
        """Address -> handle."""
        found = {}
        for key, value in self.content.items():
            if key.startswith(keys.ALL_BLOCKS):
                block = codec.decode_block(key, value)
                for handle_id in {a.handle_id for a in block.attributes if a.handle_id}:
                    found |= dict.fromkeys(map(str, block.sequences_of(handle_id)), handle_id)
        return found

    def endpoint(self, container: str, pod: Pod | None, network: str):
        where = EndpointId.of(NODE, Attachment(network, container, "eth0"), pod)
        key = keys.endpoint(where.namespace, where.name)
        return codec.decode_endpoint(key, self.content[key])


@dataclass(frozen=True)
class Machine:
    """A node that runs ipamd, and whose runtime may use host-local as well."""

    stored: Stored
    ipamd: IpamdProcess

    def new_pod(self, container: str, *pools: str) -> str:
        """An ADD by our plugin: any free address."""
        request = allocate_request(container)
        request.attachment.network = "ours"
        request.ipv4_pools.extend(pools)
        return self.ipamd.stub.Allocate(request, timeout=10).addresses[0].address

    def release(self, network: str, container: str) -> list[str]:
        """A DEL by our plugin."""
        attachment = ipam_pb2.Attachment(network=network, container_id=container, ifname="eth0")
        request = ipam_pb2.ReleaseRequest(attachment=attachment)
        return [a.address for a in self.ipamd.stub.Release(request, timeout=10).addresses]


@pytest.fixture(scope="module")
def machine(loop: LoopThread) -> Iterator[Machine]:
    """Shared; every test has a network and a range of its own."""
    with EtcdServer() as etcd:
        stored = Stored(etcd, loop)
        ipamd = IpamdProcess([etcd.endpoint], NODE, environment={"NO_DEFAULT_POOLS": "true"})
        try:
            ipamd.start()
            yield Machine(stored, ipamd)
        finally:
            ipamd.__exit__()
            loop.run(stored.store.close())


_numbers = itertools.count()


@dataclass
class Old:
    """One network that the runtime has host-local give out addresses of."""

    machine: Machine
    directory: Path
    ipam: dict
    network: str = field(default_factory=lambda: f"net-{next(_numbers)}")

    def __post_init__(self) -> None:
        self.results = self.directory / "results"
        self.conf_dir = self.directory / "net.d"
        self.conf_dir.mkdir(exist_ok=True)
        self.conf = self.conf_dir / "10-old.conflist"
        plugin = {"type": "ptp", "ipam": {"type": "host-local", **self.ipam}}
        plugin["ipam"]["dataDir"] = str(self.directory / "networks")
        self.plugin = plugin | {"name": self.network, "cniVersion": "1.0.0"}
        self.conf.write_text(json.dumps({"name": self.network, "plugins": [plugin]}))

    @property
    def files(self) -> Path:
        return self.directory / "networks" / self.network

    @property
    def content(self) -> dict[str, bytes]:
        """What there is; temporary files may go while it is read."""
        found = {}
        for path in self.files.iterdir():
            with contextlib.suppress(FileNotFoundError):
                found[path.name] = path.read_bytes()
        return found

    def call(self, command: str, container: str, arguments: str = "") -> tuple[bool, str]:
        done = subprocess.run(
            [HOST_LOCAL],
            input=json.dumps(self.plugin),
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": container,
                "CNI_NETNS": "/proc/self/ns/net",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": "/usr/lib/cni",
                "CNI_ARGS": arguments,
            },
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return done.returncode == 0, done.stdout

    def add(self, container: str, arguments: str = "") -> list[str]:
        """ADD; no addresses if host-local refuses."""
        is_done, text = self.call("ADD", container, arguments)
        return (
            [ip["address"].partition("/")[0] for ip in json.loads(text)["ips"]] if is_done else []
        )

    def delete(self, container: str) -> None:
        is_done, text = self.call("DEL", container)
        assert is_done, text

    def cache(self, container: str, pod: Pod | None) -> Path:
        """What libcni keeps once the ADD is over."""
        self.results.mkdir(exist_ok=True)
        names = [["K8S_POD_NAMESPACE", pod.namespace], ["K8S_POD_NAME", pod.name]] if pod else []
        links = [{"name": "eth0", "mac": "02:00:00:00:00:07", "sandbox": "/run/netns/x"}]
        document = {"kind": "cniCacheV1", "cniArgs": names, "result": {"interfaces": links}}
        path = self.results / f"{self.network}-{container}-eth0"
        path.write_text(json.dumps(document))
        return path

    def command(self, *arguments: str) -> list[str]:
        return [
            *("upgrade", "host-local", f"--network={self.network}", f"--results={self.results}"),
            *arguments,
        ]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "ETCD_ENDPOINTS": self.machine.stored.etcd.endpoint,
            "OCICAT_IPAM_SOCKET": self.machine.ipamd.socket,
            "NODENAME": NODE,
        }

    def run(self, *arguments: str, program: tuple[str, ...] = ("-m", "ocicatctl")):
        return subprocess.run(
            [sys.executable, *program, *self.command(*arguments)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def upgrade(self, *arguments: str) -> str:
        done = self.run(f"--conf={self.conf}", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        done = self.run(f"--conf={self.conf}", *arguments)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def finish(self):
        networks = self.directory / "networks"
        return self.run("--finish", f"--directory={networks}", f"--conf-dir={self.conf_dir}")

    def handle(self, container: str) -> str:
        return Attachment(self.network, container, "eth0").handle_id

    @property
    def reserved(self) -> tuple[str, ...]:
        key = f"{keys.RESERVATIONS}host-local-{NODE}"
        value = self.machine.stored.content.get(key)
        return codec.decode_reservation(key, value) if value else ()


_subnets = itertools.count(1)


@pytest.fixture
def old(machine: Machine, tmp_path: Path) -> Iterator[Old]:
    """A network with 13 addresses, two containers, and a pool that has them."""
    number = next(_subnets)
    subnet = f"10.88.{number}.0/28"
    machine.stored.add_pool(f"pool-{number}", subnet, 28)
    made = Old(machine, tmp_path, {"ranges": [[{"subnet": subnet}]]})
    made.add("c1")
    made.add("c2")
    yield made
    forget(machine, f"pool-{number}")


def forget(machine: Machine, *pools: str) -> None:
    """Leave nothing to the next test that stands in its way."""
    stored = machine.stored
    for handle_id in set(stored.holders.values()):
        attachment = Attachment.of_handle(handle_id)
        machine.release(attachment.network, attachment.container_id)
    gone = frozenset({*map(keys.pool, pools), f"{keys.RESERVATIONS}host-local-{NODE}"})
    stored.loop.run(stored.store.commit(Change(delete=gone)))


def subnet_of(old: Old) -> str:
    return old.ipam["ranges"][0][0]["subnet"]


def first_of(old: Old) -> str:
    """The address of c1."""
    return str(ip_network(subnet_of(old))[2])


def second_of(old: Old) -> str:
    return str(ip_network(subnet_of(old))[3])


# ---- what we believe of host-local -------------------------------------------------------------


@pytest.mark.parametrize(
    "ipam",
    [
        {"ranges": [[{"subnet": "10.1.0.0/29"}]]},
        {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.7"},
        {"subnet": "10.1.0.0/29", "gateway": "10.1.0.4"},
        {"ranges": [[{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/30"}]]},
        {"ranges": [[{"subnet": "fd00::/125"}]]},
    ],
    ids=str,
)
def test_a_range_set_is_what_host_local_gives_out(ipam, machine, tmp_path):
    old = Old(machine, tmp_path, ipam)
    given = []

    while addresses := old.add(f"c{len(given)}"):
        given += addresses

    (range_set,) = configuration_of(old.conf.read_bytes(), "x", old.network).range_sets
    assert {*given} == {str(a) for one in range_set for a in one.addresses()}


# ---- the upgrade -------------------------------------------------------------------------------


def test_ipamd_holds_what_host_local_gave_out_and_host_local_gives_out_nothing(old):
    pod = Pod("shop", "web-0")
    old.cache("c1", pod)
    old.cache("c2", None)

    text = old.upgrade()

    stored = old.machine.stored
    held = {a: h for a, h in stored.holders.items() if h.startswith(old.network)}
    assert held == {first_of(old): old.handle("c1"), second_of(old): old.handle("c2")}
    endpoint = stored.endpoint("c1", pod, old.network)
    assert (endpoint.container_id, endpoint.mac) == ("c1", "02:00:00:00:00:07")
    assert endpoint.profiles == ("kns.shop",)
    assert stored.endpoint("c2", None, old.network).networks == (ip_network(second_of(old)),)
    assert_consistent(stored.content)
    assert f"took over {first_of(old)} of shop/web-0 (container c1)" in text
    assert old.add("c3") == []
    assert old.add("c3", f"IP={ip_network(subnet_of(old))[9]}") == []


def test_reconcile_never_frees_what_was_taken_over(old):
    old.upgrade()

    (attribute,) = (
        a
        for key, value in old.machine.stored.content.items()
        if key.startswith(keys.ALL_BLOCKS)
        for a in codec.decode_block(key, value).attributes
        if a.handle_id == old.handle("c1")
    )

    assert not {"boot", "netns"} & attribute.secondary.keys()


def test_a_del_by_our_plugin_gives_the_address_back(old):
    old.upgrade()

    assert old.machine.release(old.network, "c1") == [first_of(old)]
    assert first_of(old) not in old.machine.stored.holders


def test_a_del_by_the_old_plugin_gives_nobody_the_address(old):
    """Its runtime may still use the old configuration, as CRI-O does for every old pod."""
    old.upgrade()

    old.delete("c1")

    assert old.add("c3") == []
    assert old.machine.stored.holders[first_of(old)] == old.handle("c1")


def test_what_is_free_afterwards_is_given_out_by_ipamd_alone(old):
    old.upgrade()

    free = {str(a) for a in ip_network(subnet_of(old))} - {first_of(old), second_of(old)}
    free -= {str(ip_network(subnet_of(old))[i]) for i in (0, 1, 15)}  # beside the range
    pool = subnet_of(old)

    given = [old.machine.new_pod(f"{old.network}-{i}", pool) for i in range(11)]

    assert set(given) == free
    with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
        old.machine.new_pod(f"{old.network}-more", pool)


def test_both_families_are_taken_over_together(machine, tmp_path):
    ranges = [[{"subnet": "10.89.0.0/28"}], [{"subnet": "fd00:89::/64"}]]
    machine.stored.add_pool("dual-4", "10.89.0.0/28", 28)
    machine.stored.add_pool("dual-6", "fd00:89::/64", 122)
    old = Old(machine, tmp_path, {"ranges": ranges})
    old.add("c1")

    old.upgrade()

    held = {a for a, h in machine.stored.holders.items() if h == old.handle("c1")}
    assert held == {"10.89.0.2", "fd00:89::2"}
    assert old.add("c2") == []  # one full range is enough
    assert old.machine.release(old.network, "c1") == ["10.89.0.2", "fd00:89::2"]
    forget(machine, "dual-4", "dual-6")


def test_an_add_between_two_ranges_is_taken_over_with_both(machine, tmp_path):
    """It has its IPv4 address, waits for the lock, and gets one of the IPv6 range, which is too
    large to be closed. Another comes later and gets only the latter, for a moment.
    """
    ranges = [[{"subnet": "10.92.0.0/28"}], [{"subnet": "fd00:92::/64"}]]
    machine.stored.add_pool("between-4", "10.92.0.0/28", 28)
    machine.stored.add_pool("between-6", "fd00:92::/64", 122)
    old = Old(machine, tmp_path, {"ranges": ranges})
    old.add("c1")
    old.cache("c1", None)
    (old.files / "10.92.0.3").write_bytes(b"c2\r\neth0")

    upgrade = threading.Thread(target=old.upgrade)
    upgrade.start()
    wait_for(lambda: MARK.encode() in old.content.get("10.92.0.14", b""))
    (old.files / "fd00:92::3").write_bytes(b"c2\r\neth0")
    (old.files / "fd00:92::4").write_bytes(b"c3\r\neth0")
    old.cache("c2", None)
    old.cache("c3", None)
    upgrade.join()

    held = {a for a, h in machine.stored.holders.items() if h == old.handle("c2")}
    assert held == {"10.92.0.3", "fd00:92::3"}
    assert old.handle("c3") not in machine.stored.holders.values()
    old.delete("c3")
    assert "fd00:92::4" not in old.content
    forget(machine, "between-4", "between-6")


def test_what_is_done_is_not_done_again(old):
    old.upgrade()
    before, files = old.machine.stored.holders, old.content
    old.machine.release(old.network, "c1")  # its pod is gone, and our plugin was told
    address = old.machine.new_pod("later", subnet_of(old))

    old.upgrade()

    after = old.machine.stored.holders
    assert old.content == files
    assert after.pop(address) == "ours.later"
    assert after == {a: h for a, h in before.items() if h != old.handle("c1")}


def test_a_trial_changes_nothing(old):
    before, files = old.machine.stored.content, old.content

    text = old.upgrade("--dry-run")

    assert (old.machine.stored.content, old.content) == (before, files)
    assert f"would take over {first_of(old)} (container c1)" in text
    assert "11 free addresses would be closed" in text


def test_files_of_an_older_host_local_are_taken_over(old):
    (old.files / first_of(old)).write_bytes(b"c1")

    old.upgrade()

    assert old.machine.stored.holders[first_of(old)] == old.handle("c1")


def test_an_add_under_way_is_waited_for_so_that_its_pod_is_known(old):
    """It has its address and the runtime has not written its result yet."""
    old.cache("c2", None)
    pod = Pod("shop", "web-1")
    late = threading.Timer(1, lambda: old.cache("c1", pod))
    late.start()

    old.upgrade()

    assert old.machine.stored.endpoint("c1", pod, old.network).container_id == "c1"
    late.join()


# ---- what is refused: nothing is changed then but the reservation ------------------------------


@pytest.fixture
def unchanged(old) -> Iterator[Old]:
    """The network, which must be as it was when the test is over."""
    files, holders = {}, {}

    def remember() -> None:
        files.update(old.content)
        holders.update(old.machine.stored.holders)

    old.remember = remember
    remember()
    yield old
    assert old.content == files
    assert old.machine.stored.holders == holders
    assert old.reserved == (subnet_of(old),)


def test_a_range_in_no_pool_is_refused(unchanged):
    stored = unchanged.machine.stored
    pools = frozenset(key for key in stored.content if key.startswith(keys.POOLS))
    stored.loop.run(stored.store.commit(Change(delete=pools)))

    text = unchanged.refusal()

    subnet = subnet_of(unchanged)
    assert text.startswith(f"ocicatctl: range {subnet}: is in no enabled pool; create one")


def test_an_address_that_another_pod_has_is_refused(unchanged):
    """The pool was made without a reservation, and ipamd has given the address out."""
    machine = unchanged.machine
    given = {machine.new_pod(f"{unchanged.network}-{i}", subnet_of(unchanged)) for i in range(4)}
    assert {first_of(unchanged), second_of(unchanged)} <= given
    unchanged.remember()

    text = unchanged.refusal()

    assert f"{first_of(unchanged)} (container c1): is held by ours." in text
    assert f"{second_of(unchanged)} (container c2): is held by ours." in text
    assert text.count("delete one of the pods") == 2


def test_another_nodes_block_is_refused(unchanged):
    stored = unchanged.machine.stored
    block = a_foreign_block(ip_network(subnet_of(unchanged)), "node-9")
    stored.put(**block)

    assert "is node node-9's" in unchanged.refusal()

    stored.loop.run(stored.store.commit(Change(delete=frozenset(block))))


def test_a_file_whose_holder_cannot_be_told_is_refused(unchanged):
    name = str(ip_network(subnet_of(unchanged))[9])
    (unchanged.files / name).write_bytes(b"no such id!")
    (unchanged.files / "notes").write_bytes(b"by the operator")
    unchanged.remember()

    done = unchanged.run(f"--conf={unchanged.conf}")

    assert done.returncode == 1
    assert f"file {name}: nobody can tell whose it is" in done.stderr
    assert "file notes: is not a file of host-local; it is left alone" in done.stdout


def test_the_upgrade_of_another_network_must_be_over_first(old, tmp_path):
    old.upgrade("--reserve")
    other = Old(old.machine, tmp_path, old.ipam)

    text = other.refusal("--reserve")

    assert f"is there for network {old.network}; finish the upgrade of that first" in text


# ---- the reservation ---------------------------------------------------------------------------


def test_what_is_reserved_first_is_not_given_out_before_the_upgrade(machine, tmp_path):
    old = Old(machine, tmp_path, {"subnet": "10.90.0.0/28"})
    given = old.add("c1")
    old.upgrade("--reserve")
    machine.stored.add_pool("late", "10.90.0.0/28", 28)

    for i in range(3):
        with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
            machine.new_pod(f"early-{i}", "10.90.0.0/28")
    old.upgrade()

    assert [machine.stored.holders[a] for a in given] == [old.handle("c1")]
    assert machine.new_pod("late", "10.90.0.0/28") not in given
    assert old.reserved == ("10.90.0.0/31", "10.90.0.15/32")
    forget(machine, "late")


def test_a_reservation_needs_no_ipamd(old):
    ipamd = old.machine.ipamd
    ipamd.kill()

    text = old.upgrade("--reserve")

    assert text == f"IPReservation host-local-{NODE} reserves {subnet_of(old)}\n"
    ipamd.start()


# ---- the end -----------------------------------------------------------------------------------


def test_the_end_waits_for_the_old_configuration_and_the_last_old_pod(old):
    old.cache("c1", Pod("shop", "web-0"))
    cached = old.cache("c2", Pod("shop", "web-1"))
    old.upgrade()

    named = old.finish()
    old.conf.unlink()
    alive = old.finish()
    old.machine.release(old.network, "c1")
    cached.unlink()  # the old plugin deleted c2, and nobody told ipamd
    done = old.finish()
    again = old.finish()

    assert named.returncode == 1
    assert f"10-old.conflist: names host-local for network {old.network}" in named.stderr
    assert alive.returncode == 1
    assert "2 containers of the old plugin still run" in alive.stderr
    assert done.returncode == again.returncode == 0, done.stderr + again.stderr
    assert f"gave back {second_of(old)} (container c2): it is gone" in done.stdout
    assert not old.files.exists()
    assert old.reserved == ()
    assert not {first_of(old), second_of(old)} & old.machine.stored.holders.keys()
    assert not [key for key in old.machine.stored.content if key.startswith(keys.ENDPOINTS)]


def test_the_end_comes_not_before_the_upgrade(old):
    old.conf.unlink()

    done = old.finish()

    assert done.returncode == 1
    assert "(container c1): is not taken over; call this without --finish first" in done.stderr


def test_the_end_is_not_mistaken_over_the_directory(old):
    text = old.upgrade()
    old.conf.unlink()

    done = old.run("--finish", f"--directory={old.directory}", f"--conf-dir={old.conf_dir}")

    assert done.returncode == 1
    assert f"IPReservation(host-local-{NODE}) does; give --directory" in done.stderr
    assert old.reserved
    assert f"--directory={old.files.parent} --finish" in text


def test_the_end_leaves_what_is_the_operators(old):
    (old.files / "notes").write_bytes(b"by the operator")
    old.upgrade()
    old.conf.unlink()
    for container in ("c1", "c2"):
        old.machine.release(old.network, container)

    done = old.finish()

    assert done.returncode == 1
    assert "is not empty: notes" in done.stderr
    assert sorted(old.content) == ["lock", "notes"]


# ---- killed anywhere ---------------------------------------------------------------------------

# Counts what it does to files below a directory, and kills itself at the one that is asked for.
KILLED = """
import os, signal, sys
left, where = int(sys.argv.pop(1)), sys.argv.pop(1)

def strike(event, arguments):
    global left
    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
        writes = event != "open" or (arguments[2] or 0) & (os.O_WRONLY | os.O_CREAT)
        if writes and str(arguments[0]).startswith(where):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(strike)
from ocicatctl.__main__ import main
main()
"""
# Directory and lock, twice; three containers frozen and taken over (two each); 13 addresses closed.
WRITES = 2 + 3 * 2 + 13 + 2 + 3 * 2


def killed(old: Old, number: int, *arguments: str) -> bool:
    """Run it until its so-many-th write; tell whether it was killed."""
    program = ("-c", KILLED, str(number), str(old.files))
    done = old.run(*arguments, program=program)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def assert_nobody_shares(old: Old, alive: dict[str, str], ours: dict[str, str]) -> None:
    """Args: container -> address, of host-local's live ones and of those that ipamd gave one."""
    assert not set(alive.values()) & set(ours.values()), "an address was given out twice"
    assert len({*alive.values()}) == len(alive)
    holders = old.machine.stored.holders
    for container, address in alive.items():
        assert holders[address] == old.handle(container)
    for container, address in ours.items():
        assert holders[address] == f"ours.{container}"


def meanwhile(old: Old, alive: dict[str, str], ours: dict[str, str]) -> None:
    """What may happen between a kill and the next call: the runtime still uses host-local."""
    old.delete("c1")
    alive.pop("c1")
    for container in ("c8", "c9"):
        if addresses := old.add(container):
            alive[container] = addresses[0]
    for i in range(3):
        container = f"{old.network}-{i}"
        with contextlib.suppress(grpc.RpcError):
            ours[container] = old.machine.new_pod(container, subnet_of(old))


@pytest.mark.parametrize("number", range(1, WRITES + 1))
def test_it_may_be_killed_at_every_write(number, old):
    alive = {"c1": first_of(old), "c2": second_of(old), "c3": old.add("c3")[0]}
    ours: dict[str, str] = {}
    conf = f"--conf={old.conf}"

    assert killed(old, number, conf)
    meanwhile(old, alive, ours)
    assert not set(alive.values()) & set(ours.values())
    old.upgrade()

    ours |= {f"{old.network}-late": old.machine.new_pod(f"{old.network}-late", subnet_of(old))}
    assert_nobody_shares(old, alive, ours)
    assert old.add("c10") == []
    assert old.reserved != (subnet_of(old),)
    assert_consistent(old.machine.stored.content)


def test_these_are_all_writes(old):
    old.add("c3")

    assert not killed(old, WRITES + 1, f"--conf={old.conf}")


@pytest.mark.parametrize("number", [1, 2, 5, 17, 19, 20])
def test_the_end_may_be_killed_at_every_write(number, old):
    old.upgrade()
    old.conf.unlink()
    for container in ("c1", "c2"):
        old.machine.release(old.network, container)
    arguments = ("--finish", f"--directory={old.files.parent}", f"--conf-dir={old.conf_dir}")

    assert killed(old, number, *arguments)
    assert old.finish().returncode == 0

    assert not old.files.exists()
    assert old.reserved == ()


def test_it_may_be_killed_while_ipamd_works_for_it(old):
    """The request reaches ipamd, and is carried out when nobody waits for the answer any more."""
    ipamd = old.machine.ipamd
    upgrade = subprocess.Popen(
        [sys.executable, "-m", "ocicatctl", *old.command(f"--conf={old.conf}")],
        cwd=ROOT,
        env=old.environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        taken_over = old.files / first_of(old)  # there before and after: it is replaced
        wait_for(lambda: MARK.encode() in taken_over.read_bytes())
        ipamd.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        upgrade.kill()
        upgrade.wait()
    finally:
        ipamd.process.send_signal(signal.SIGCONT)
    old.delete("c1")
    assert first_of(old) not in old.add("c9")

    old.upgrade()

    held = {a for a, h in old.machine.stored.holders.items() if h.startswith(f"{old.network}.")}
    assert {first_of(old), second_of(old)} <= held


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


# ---- everybody at once -------------------------------------------------------------------------


@dataclass
class Ledger:
    """Who had which address from when to when, as the holders themselves saw it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    times: dict[str, list[list]] = field(default_factory=lambda: defaultdict(list))

    def got(self, address: str, who: str) -> None:
        with self.lock:
            self.times[address].append([time.monotonic(), float("inf"), who])

    def leaves(self, address: str, who: str) -> None:
        with self.lock:
            entry = next(e for e in self.times[address] if e[2] == who)
            entry[1] = time.monotonic()

    @property
    def overlaps(self) -> list[tuple[str, list, list]]:
        return [
            (address, one, other)
            for address, entries in self.times.items()
            for one, other in itertools.combinations(entries, 2)
            if one[0] < other[1] and other[0] < one[1]
        ]

    def of(self, kind: str) -> list[list]:
        return [e for entries in self.times.values() for e in entries if e[2].startswith(kind)]

    @property
    def alive(self) -> dict[str, str]:
        return {e[2]: a for a, entries in self.times.items() for e in entries if e[1] > 1e30}


def churn(
    name: str,
    stop: threading.Event,
    ledger: Ledger,
    add: Callable[[str], str | None],
    delete: Callable[[str], object],
) -> None:
    """ADD and DEL as long as nobody says stop."""
    rng = random.Random(name)
    mine: list[tuple[str, str]] = []
    for i in itertools.count():
        if stop.is_set():
            return
        if mine and (len(mine) > 20 or rng.random() < 0.4):
            container, address = mine.pop(rng.randrange(len(mine)))
            ledger.leaves(address, container)
            delete(container)
        elif address := add(f"{name}-{i}"):
            ledger.got(address, f"{name}-{i}")
            mine.append((f"{name}-{i}", address))


def test_nothing_is_given_out_twice_while_everybody_asks(machine, tmp_path):
    subnet = "10.91.0.0/24"
    old = Old(machine, tmp_path, {"subnet": subnet})
    ledger = Ledger()
    for i in range(30):
        (address,) = old.add(f"first-{i}")
        ledger.got(address, f"first-{i}")
    old.upgrade("--reserve")
    machine.stored.add_pool("busy", subnet, 26)

    with everybody(old, ledger):
        time.sleep(1)
        text = old.upgrade()
        time.sleep(2)

    assert ledger.overlaps == []
    holders = machine.stored.holders
    for container, address in ledger.alive.items():
        network = "ours" if container.startswith("new") else old.network
        assert holders[address] == f"{network}.{container}"
    assert text.count("took over") >= 30
    assert len(ledger.of("old")) > 30
    assert len(ledger.of("new")) > 30
    assert old.add("after") == []
    assert_consistent(machine.stored.content)
    forget(machine, "busy")


@contextlib.contextmanager
def everybody(old: Old, ledger: Ledger) -> Iterator[None]:
    """Three who use host-local and three who use ipamd."""
    stop = threading.Event()

    def old_add(container: str) -> str | None:
        return next(iter(old.add(container)), None)

    def new_add(container: str) -> str | None:
        try:
            return old.machine.new_pod(container, old.ipam["subnet"])
        except grpc.RpcError:
            time.sleep(0.005)
            return None

    churns = [("old", old_add, old.delete)] * 3 + [
        ("new", new_add, lambda c: old.machine.release("ours", c))
    ] * 3
    threads = [
        threading.Thread(target=churn, args=(f"{name}{i}", stop, ledger, add, delete))
        for i, (name, add, delete) in enumerate(churns)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_lock_is_host_locals_own(old):
    """Whoever has it makes both wait, host-local and the upgrade."""
    handle = os.open(old.files / "lock", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    threads = [threading.Thread(target=work) for work in (lambda: old.add("c3"), old.upgrade)]
    before = old.content
    for thread in threads:
        thread.start()
    wait_for(lambda: old.reserved == (subnet_of(old),))
    time.sleep(0.5)
    assert old.content == before

    os.close(handle)
    for thread in threads:
        thread.join()

    assert MARK.encode() in old.content[first_of(old)]
