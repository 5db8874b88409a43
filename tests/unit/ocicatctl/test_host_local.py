"""What host-local's files mean, what is reserved, and what speaks against taking over."""

import json
import sys
from ipaddress import ip_address, ip_network

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from datamodel.attachment import Attachment, Pod
from datamodel.block import Attribute, Block
from datamodel.errors import Invalid
from datamodel.pool import Pool
from datastore import codec, keys
from datastore.known import Known
from datastore.store import Entry
from ocicatctl.__main__ import ocicatctl
from ocicatctl.upgrade.containers import Cached, cached_of, containers_of, link_to, routes_of
from ocicatctl.upgrade.host_local import (
    CLOSED_CONTENT,
    MAX_CLOSED,
    Closed,
    Given,
    Stage,
    Stray,
    configuration_of,
    parse_file,
    uses_host_local,
)
from ocicatctl.upgrade.plan import (
    Stored,
    block_keys,
    decide_reserve,
    decide_unreserve,
    pools_in,
    problems,
    reservation,
    reserved_after,
    reserved_during,
    with_blocks,
)
from tests.unit.ocicatctl.addressing import STAMP

NETWORK = "pods"


def a_configuration(**ipam):
    return a_list([{"type": "ptp", "ipam": {"type": "host-local", **ipam}}])


def a_list(plugins, name=NETWORK):
    return json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": plugins}).encode()


def read(content):
    return configuration_of(content, "10-old.conflist", NETWORK)


def ranges_of(*texts):
    return read(a_configuration(ranges=[[text] for text in texts])).ranges


def addresses_of(range_set):
    return [str(address) for one in range_set for address in one.addresses()]


# ---- the configuration -------------------------------------------------------------------------


def test_a_range_goes_from_behind_the_gateway_to_before_the_broadcast_address():
    configuration = read(a_configuration(ranges=[[{"subnet": "10.1.0.0/29"}]]))

    assert addresses_of(configuration.range_sets[0]) == [f"10.1.0.{i}" for i in range(2, 7)]
    assert configuration.data_dir == "/var/lib/cni/networks"


def test_an_ipv6_range_has_no_broadcast_address():
    (one,) = ranges_of({"subnet": "fd00::/125"})

    assert addresses_of([one]) == [f"fd00::{i}" for i in range(2, 8)]


def test_the_old_form_of_a_range_comes_before_the_others():
    ipam = {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.5", "dataDir": "/run/ipam"}
    ranges = [[{"subnet": "10.2.0.0/30", "gateway": "10.2.0.2"}]]

    configuration = read(a_configuration(**ipam, ranges=ranges))

    assert [addresses_of(s) for s in configuration.range_sets] == [
        ["10.1.0.5", "10.1.0.6"],
        ["10.2.0.1"],
    ]
    assert configuration.data_dir == "/run/ipam"


def test_a_configuration_without_a_list_is_read():
    document = {"name": NETWORK, "ipam": {"type": "host-local", "subnet": "10.1.0.0/29"}}

    assert len(read(json.dumps(document).encode()).ranges) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "10-old.conflist: is not JSON"),
        (b"[]", "is not a JSON object"),
        (a_list([], name="other"), "is of network 'other', not of pods"),
        (a_list([{"type": "ptp", "ipam": {"type": "dhcp"}}]), "no plugin of it says which ranges"),
        (a_list([{"type": "flannel"}]), "the plugin that it hands over to says which ranges"),
        (a_configuration(), "host-local has no ranges"),
        (a_configuration(subnet="10.1.0.9/29"), "has host bits set"),
        (a_configuration(subnet="10.1.0.0/31"), "is too small for host-local"),
        (a_configuration(subnet="10.1.0.0/29", rangeEnd="10.1.0.9"), "is not in 10.1.0.0/29"),
        (a_configuration(subnet="10.1.0.0/29", gateway="fd00::1"), "is not in 10.1.0.0/29"),
        (
            a_configuration(subnet="10.1.0.0/29", rangeStart="10.1.0.5", rangeEnd="10.1.0.4"),
            "is not in 10.1.0.0/29",
        ),
        (a_configuration(ranges=[["10.1.0.0/29"]]), 'range "10.1.0.0/29"'),
        (
            a_list(
                [
                    {
                        "capabilities": {"ipRanges": True},
                        "ipam": {"type": "host-local", "subnet": "10.1.0.0/29"},
                    }
                ]
            ),
            "come from the runtime",
        ),
    ],
)
def test_a_configuration_that_does_not_say_the_ranges_is_refused(content, message):
    with pytest.raises(Invalid, match=message.replace(".", r"\.")):
        read(content)


def test_every_mistake_of_a_configuration_is_named():
    ranges = [[{"subnet": "10.1.0.0/31"}], [{"subnet": "nonsense"}]]

    with pytest.raises(Invalid) as caught:
        read(a_configuration(ranges=ranges))

    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (a_configuration(subnet="10.1.0.0/29"), True),
        (a_list([{"type": "flannel"}]), True),
        (a_list([{"type": "ocicat", "ipam": {"type": "ocicat-ipam"}}]), False),
        (a_list([{"type": "ptp", "ipam": {"type": "host-local"}}], name="other"), False),
        (b'{"name": "pods", "plugins": "nonsense"}', False),
    ],
)
def test_a_configuration_uses_host_local_or_not(content, expected):
    assert uses_host_local(content, "x", NETWORK) is expected


def test_the_smallest_range_sets_are_closed():
    configuration = read(
        a_configuration(
            ranges=[
                [{"subnet": "fd00::/64"}],
                [{"subnet": "10.1.0.0/24"}],
                [{"subnet": "10.2.0.0/29"}],
            ]
        )
    )

    assert [some[0].subnet.prefixlen for some in configuration.sets_to_close()] == [29, 24]


def test_no_more_files_are_made_than_are_bearable():
    two = [[{"subnet": "10.1.0.0/17"}], [{"subnet": "10.2.0.0/16"}]]
    sets = read(a_configuration(ranges=two)).sets_to_close()

    assert sum(len(addresses_of(some)) for some in sets) <= MAX_CLOSED
    with pytest.raises(Invalid, match=r"its smallest range set has .* rangeEnd"):
        read(a_configuration(subnet="fd00::/64")).sets_to_close()


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "container_id", "ifname"),
    [
        (b"c1\r\neth0", "c1", "eth0"),
        (b"c1\neth1\n", "c1", "eth1"),
        (b" c1 \r\n eth0 \r\n", "c1", "eth0"),
        (b"c1", "c1", "eth0"),
        (b"c1\r\n", "c1", "eth0"),
    ],
)
def test_a_file_says_who_has_the_address(content, container_id, ifname):
    attachment = Attachment(NETWORK, container_id, ifname)

    assert parse_file(NETWORK, "10.1.0.2", content) == Given(ip_address("10.1.0.2"), attachment)


def test_an_ipv6_address_is_a_name_as_well():
    found = parse_file(NETWORK, "fd00::1", b"c1\r\neth0")

    assert isinstance(found, Given)
    assert found.address == ip_address("fd00::1")


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("result", ["", "/var/lib/cni/results/pods-c1-eth0"])
def test_a_file_is_read_as_it_was_written(stage, result):
    attachment = Attachment(NETWORK, "c1", "eth0")
    one = Given(ip_address("10.1.0.2"), attachment, stage, result if stage.value else "")

    assert parse_file(NETWORK, "10.1.0.2", one.content) == one


@pytest.mark.parametrize("stage", [Stage.FROZEN, Stage.ADOPTED])
@pytest.mark.parametrize("result", ["", "/var/lib/cni/results/pods-c1-eth0"])
def test_host_local_does_not_find_what_is_frozen(stage, result):
    one = Given(ip_address("10.1.0.2"), Attachment(NETWORK, "c1", "eth0"), stage, result)

    assert one.content.strip() not in (b"c1\r\neth0", b"c1")


@pytest.mark.parametrize("content", [b"", b"\r\n", CLOSED_CONTENT])
def test_an_address_of_nobody_is_closed(content):
    assert parse_file(NETWORK, "10.1.0.2", content) == Closed(ip_address("10.1.0.2"))


@pytest.mark.parametrize("name", ["lock", "last_reserved_ip.0", "ocicat-upgrade.tmp"])
def test_some_files_are_of_no_address(name):
    assert parse_file(NETWORK, name, b"10.1.0.2") is None


@pytest.mark.parametrize("name", ["notes", "10.1.0.2.bak", "010.1.0.2", "FD00::1", "fe80::1%eth0"])
def test_what_host_local_would_not_find_is_a_stray(name):
    found = parse_file(NETWORK, name, b"c1\r\neth0")

    assert isinstance(found, Stray)
    assert found.address is None


@pytest.mark.parametrize(
    "content",
    [b"no such id!\r\neth0", b"c1\r\neth/0", b"c1\r\neth0\r\nmore", b"\xff\xfe", b"c1\n\n\n\nx"],
)
def test_an_address_whose_holder_cannot_be_told_is_a_stray(content):
    found = parse_file(NETWORK, "10.1.0.2", content)

    assert isinstance(found, Stray)
    assert found.address == ip_address("10.1.0.2")
    assert "nobody can tell whose it is" in found.mistake


@given(st.binary(max_size=60), st.text(max_size=20))
def test_no_file_is_too_strange_to_be_read(content, name):
    parse_file(NETWORK, name, content)
    parse_file(NETWORK, "10.1.0.2", content)


# ---- containers --------------------------------------------------------------------------------

RESULT = json.dumps(
    {
        "kind": "cniCacheV1",
        "cniArgs": [
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", "shop"],
            ["K8S_POD_NAME", "web-0"],
        ],
        "result": {
            "interfaces": [
                {"name": "veth1", "mac": "02:00:00:00:00:99"},
                {"name": "eth0", "mac": "02:00:00:00:00:AA", "sandbox": "/run/netns/x"},
            ]
        },
    }
).encode()


def test_a_cached_result_names_pod_and_mac():
    assert cached_of(RESULT, "eth0") == Cached(Pod("shop", "web-0"), "02:00:00:00:00:aa")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\0",
        b"[1]",
        b'{"cniArgs": {"a": 1}, "result": []}',
        b'{"cniArgs": [["K8S_POD_NAME"], 3], "result": {"interfaces": [1, {"sandbox": "x"}]}}',
        b'{"cniArgs": [["K8S_POD_NAMESPACE", "a/b"], ["K8S_POD_NAME", "c"]]}',
        b'{"cniVersion": "0.3.1", "ips": []}',
    ],
)
def test_a_cached_result_that_says_nothing_does_no_harm(content):
    assert cached_of(content, "eth0") == Cached()


def given_to(container_id, *addresses, time_ns=0, **rest):
    attachment = Attachment(NETWORK, container_id, "eth0")
    return [Given(ip_address(a), attachment, time_ns=time_ns, **rest) for a in addresses]


def containers(*files, result=("", b""), link=""):
    return containers_of(files, lambda _: result, lambda _: link)


def test_a_container_has_all_its_addresses_and_the_oldest_comes_first():
    newer = given_to("c2", "10.1.0.3", time_ns=2)
    older = given_to("c1", "fd00::2", "10.1.0.9", time_ns=1)

    found = containers(*newer, *older, result=("/results/x", RESULT), link="veth1")

    assert [c.attachment.container_id for c in found] == ["c1", "c2"]
    assert found[0].addresses == (ip_address("10.1.0.9"), ip_address("fd00::2"))
    assert found[0].title == "10.1.0.9, fd00::2 of shop/web-0 (container c1)"
    assert (found[0].profile, found[0].interface_name) == ("kns.shop", "veth1")


def test_a_container_is_gone_when_its_result_is():
    frozen = given_to("c1", "10.1.0.2", stage=Stage.FROZEN, result="/results/x")
    unknown = given_to("c1", "10.1.0.2", stage=Stage.FROZEN)

    assert containers(*frozen)[0].is_gone
    assert not containers(*frozen, result=("/results/x", b""))[0].is_gone
    assert not containers(*unknown)[0].is_gone


def test_a_container_is_taken_over_when_all_its_addresses_are():
    one = given_to("c1", "10.1.0.2", stage=Stage.ADOPTED)
    other = given_to("c1", "fd00::2", stage=Stage.FROZEN)

    assert containers(*one)[0].is_adopted
    assert not containers(*one, *other)[0].is_adopted


def hexadecimal(address):
    """As the kernel prints it: a number of this machine's byte order."""
    return f"{int.from_bytes(ip_address(address).packed, sys.byteorder):08X}"


HEADER = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
ROUTES = HEADER + "".join(
    f"{link} {hexadecimal(to)} 00000000 0001 0 0 0 {hexadecimal(mask)} 0 0 0\n"
    for link, to, mask in (
        ("eth0", "0.0.0.0", "0.0.0.0"),
        ("cni0", "10.1.0.0", "255.255.255.0"),
        ("veth7", "10.1.0.7", "255.255.255.255"),
        ("*", "10.1.0.0", "255.255.255.0"),
    )
)
ROUTES6 = """\
fd000000000000000000000000000007 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000400 00000001 00000000 00000001    veth7
fd000000000000000000000000000008 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
"""  # noqa: E501 - as the kernel writes them


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("10.1.0.7", "veth7"),
        ("10.1.0.8", "cni0"),
        ("10.2.0.1", ""),
        ("fd00::7", "veth7"),
        ("fd00::8", ""),
        ("fd00::9", ""),
    ],
)
def test_the_most_special_route_tells_the_link(address, link):
    assert link_to(ip_address(address), routes_of(ROUTES, ROUTES6)) == link


# ---- what is reserved --------------------------------------------------------------------------


def test_meanwhile_the_subnets_are_reserved():
    ranges = ranges_of({"subnet": "10.1.1.0/25"}, {"subnet": "10.1.1.128/25"}, {"subnet": "f::/64"})

    assert reserved_during(ranges) == ["10.1.1.0/24", "f::/64"]


def test_afterwards_what_lies_beside_the_ranges_is_reserved():
    assert reserved_after(ranges_of({"subnet": "10.1.1.0/24"})) == ["10.1.1.0/31", "10.1.1.255/32"]
    assert reserved_after(ranges_of({"subnet": "fd00::/64"})) == ["fd00::/127"]
    narrow = {"subnet": "10.1.1.0/28", "rangeStart": "10.1.1.4", "rangeEnd": "10.1.1.7"}
    assert reserved_after(ranges_of(narrow)) == ["10.1.1.0/30", "10.1.1.8/29"]


@given(st.integers(0, 31), st.integers(0, 31), st.integers(0, 31))
def test_what_is_reserved_afterwards_is_what_host_local_never_gave_out(first, last, gateway):
    subnet = ip_network("10.1.1.0/27")
    text = {
        "subnet": str(subnet),
        "rangeStart": str(subnet[min(first, last)]),
        "rangeEnd": str(subnet[max(first, last)]),
        "gateway": str(subnet[gateway]),
    }
    (one,) = ranges_of(text)

    reserved = {a for cidr in reserved_after([one]) for a in ip_network(cidr)}

    assert reserved == set(subnet) - set(one.addresses())


def known_as(resource, value):
    known = Known()
    entry = Entry(resource.key, codec.dump(value), 5) if value is not None else None
    known.learn(5, {resource.key: entry})
    return known


def test_a_reservation_is_written_and_read_back():
    resource = reservation("node-1", NETWORK, ["10.1.1.0/24"])

    change = decide_reserve(resource, STAMP, known_as(resource, None)).change

    key = f"{keys.RESERVATIONS}host-local-node-1"
    assert change.expect == {key: 0}
    assert codec.decode_reservation(key, change.put[key]) == ("10.1.1.0/24",)


def test_a_reservation_of_the_operator_is_taken_over_and_that_of_another_network_is_not():
    resource = reservation("node-1", NETWORK, ["10.1.1.0/24"])
    other = {"metadata": {"annotations": {"ocicat/host-local-network": "other"}}}

    assert decide_reserve(resource, STAMP, known_as(resource, {"metadata": {}})).change.put
    with pytest.raises(Invalid, match="is there for network other"):
        decide_reserve(resource, STAMP, known_as(resource, other))
    with pytest.raises(Invalid, match="is there for network other"):
        decide_unreserve(resource, known_as(resource, other))


# ---- what speaks against it --------------------------------------------------------------------

RANGES = ranges_of({"subnet": "10.1.1.0/24"}, {"subnet": "fd00:1::/64"})
POOL = Pool("p4", ip_network("10.1.0.0/16"), 24)
POOL6 = Pool("p6", ip_network("fd00:1::/48"), 122)
CIDR = ip_network("10.1.1.0/24")


def found(*files, pools=(POOL, POOL6), blocks=()):
    stored = Stored(tuple(pools), {block.cidr: block for block in blocks})
    return problems(stored, containers(*files), RANGES, "node-1")


def a_block(host="node-1", handle_id=None, **facts):
    block = Block.new(CIDR, host or "", 1)
    if handle_id:
        block = block.assign_address(ip_address("10.1.1.5"), Attribute(handle_id, facts))
    return block


def test_nothing_speaks_against_free_addresses_and_ones_that_are_held_already():
    c1 = given_to("c1", "10.1.1.5", "fd00:1::5")

    assert found(*c1) == []
    assert found(*c1, blocks=[a_block()]) == []
    assert found(*c1, blocks=[a_block(handle_id="pods.c1")]) == []


def test_a_range_in_no_pool_is_named_once():
    (problem,) = found(*given_to("c1", "10.1.1.5"), *given_to("c2", "10.1.1.6"), pools=[POOL6])

    assert problem == (
        "range 10.1.1.0/24: is in no enabled pool; create one that has it, "
        "with blockSize 24 or more"
    )


def test_the_ranges_of_a_node_without_pods_are_looked_at_too():
    wide = Pool("p4", ip_network("10.1.0.0/16"), 20)

    assert found() == []
    assert found(pools=[POOL]) == []
    assert [problem.partition(": is in no enabled pool")[0] for problem in found(pools=[])] == [
        "range 10.1.1.0/24",
        "range fd00:1::/64",
    ]
    assert "block 10.1.0.0/20 reaches beyond host-local's" in found(pools=[wide])[0]


def test_an_address_in_no_range_is_named():
    (problem,) = found(*given_to("c1", "172.16.0.1"))

    assert problem.startswith("172.16.0.1 (container c1): is in no enabled pool and in no range")


def test_a_block_that_reaches_beyond_the_range_is_refused():
    wide = Pool("p4", ip_network("10.1.0.0/16"), 20)

    (problem,) = found(*given_to("c1", "10.1.1.5"), pools=[wide])

    assert "block 10.1.0.0/20 reaches beyond host-local's 10.1.1.0/24, fd00:1::/64" in problem
    assert problem.endswith("with blockSize 24 or more")


def test_another_nodes_block_is_refused():
    (problem,) = found(*given_to("c1", "10.1.1.5"), blocks=[a_block("node-9")])

    assert problem.startswith("block 10.1.1.0/24: is node node-9's, and 10.1.1.5 (container c1)")


def test_an_address_that_another_holds_is_refused():
    facts = {"namespace": "shop", "pod": "new"}

    (problem,) = found(*given_to("c1", "10.1.1.5"), blocks=[a_block(handle_id="net.x", **facts)])

    assert problem == (
        "10.1.1.5 (container c1): is held by net.x, too (shop/new); delete one of the pods"
    )


def test_a_container_with_two_addresses_of_a_family_is_refused():
    (problem,) = found(*given_to("c1", "10.1.1.5", "10.1.1.6"))

    assert "has 2 IPv4 addresses" in problem


def test_only_enabled_pools_count_and_unreadable_values_are_named():
    pools = [
        Entry(keys.pool("p4"), codec.encode_pool(POOL, STAMP), 1),
        Entry(keys.pool("off"), codec.encode_pool(Pool("off", CIDR, 24, True), STAMP), 1),
        Entry(keys.pool("bad"), b"{", 1),
    ]
    stored = pools_in(pools)
    some = containers(*given_to("c1", "10.1.1.5"))
    key = keys.block(CIDR)

    assert [pool.name for pool in stored.pools] == ["p4"]
    assert block_keys(stored, some) == [key]
    stored = with_blocks(stored, [Entry(key, codec.encode_block(a_block()), 1)])
    assert list(stored.blocks) == [CIDR]
    (problem,) = problems(stored, some, RANGES, "node-1")
    assert problem.startswith(f"etcd key {keys.pool('bad')}")


# ---- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "upgrade host-local",
        "upgrade host-local --network=pods",
        "upgrade host-local --network=../x --finish",
        "upgrade host-local --network=pods --conf=x --finish --dry-run",
        "upgrade host-local --network=pods --conf=x --reserve --dry-run",
    ],
)
def test_wrong_usage_has_status_2(line):
    result = CliRunner().invoke(ocicatctl, line.split())

    assert result.exit_code == 2
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("line", ["upgrade", "upgrade host-local"])
def test_the_commands_explain_themselves_with_examples(line):
    result = CliRunner().invoke(ocicatctl, [*line.split(), "--help"])

    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert f"  ocicatctl {line}" in result.stdout
