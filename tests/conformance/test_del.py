"""DEL: what it removes, and that nothing that is missing or wrong can keep it from that."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.rules import rule


@rule("D1", "R10")
def test_everything_that_add_made_goes(node, pod, before):
    node.added(pod)

    outcome = node.call("DEL", pod)

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("D1")
def test_the_address_is_free_again(node, pod):
    node.added(pod)
    (address,) = node.addresses_in(pod)

    assert node.call("DEL", pod).is_silent_success

    assert node.snapshot().about(address) == node.baseline.about(address)


@rule("D1")
def test_add_works_again_afterwards(node, pod):
    node.added(pod)
    assert node.call("DEL", pod).is_silent_success

    result = node.added(pod)

    assert node.checked(pod, result).is_silent_success


@rule("D2")
def test_del_may_be_repeated(node, pod, before):
    result = node.added(pod)

    first = node.call("DEL", pod, conf={"prevResult": result})
    again = [node.call("DEL", pod) for _ in range(2)]

    assert [outcome.is_silent_success for outcome in (first, *again)] == [True] * 3
    assert node.snapshot() == before


@rule("D2")
def test_del_of_what_never_was_succeeds(node, pod, before):
    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("D2")
def test_del_at_the_same_time_succeeds(node, pod, before):
    node.added(pod)

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: node.call("DEL", pod), range(6)))

    assert [outcome.status for outcome in outcomes] == [0] * 6, outcomes
    assert node.snapshot() == before


@rule("D2")
def test_del_after_a_refused_add_succeeds(node, pod, before):
    node.call("ADD", pod, conf={"mtu": "big"})

    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("D2")
@pytest.mark.parametrize("side", ["host", "container"])
def test_del_succeeds_when_the_link_is_gone(node, pod, before, side):
    node.added(pod)
    if side == "host":
        node.ip("link", "del", node.host_end(pod))
    else:
        node.ip("link", "del", pod.ifname, pod=pod)

    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("D2")
def test_del_succeeds_when_the_address_is_gone(node, pod, before):
    node.added(pod)
    node.ip("addr", "flush", "dev", pod.ifname, pod=pod)

    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


# ---- namespace -------------------------------------------------------------------------------


@rule("D3")
def test_the_namespace_may_be_gone(node, pod):
    node.added(pod)
    node.remove_namespace(pod)

    assert node.call("DEL", pod).is_silent_success
    node.assert_as_before()


@rule("D3")
@pytest.mark.parametrize("netns", [None, ""], ids=["unset", "empty"])
def test_without_a_namespace_the_host_is_cleaned_all_the_same(node, pod, before, netns):
    node.added(pod)

    assert node.call("DEL", pod, environment={"CNI_NETNS": netns}).is_silent_success

    assert node.snapshot() == before


# ---- prevResult ------------------------------------------------------------------------------

OF_NO_USE = {
    "null": None,
    "empty": {},
    "without anything": {"cniVersion": "1.0.0"},
    "of another family": {"cniVersion": "0.2.0", "ip4": {"ip": "192.0.2.7/24"}},
    "of a version that is none": {"cniVersion": "nonsense"},
    "junk inside": {"cniVersion": "1.0.0", "interfaces": "x", "ips": [1, None]},
    "foreign": {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/other"}],
        "ips": [{"address": "192.0.2.7/24", "interface": 7}],
    },
}


@rule("D5")
@pytest.mark.parametrize("what", OF_NO_USE)
def test_prev_result_is_not_needed(node, pod, before, what):
    node.added(pod)
    conf = node.plugin.conf_with({}) | {"prevResult": OF_NO_USE[what]}

    outcome = node.call("DEL", pod, stdin=json.dumps(conf))

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("D5")
@pytest.mark.parametrize("value", ["text", [], 1])
def test_prev_result_that_is_no_object_does_not_hinder(node, pod, before, value):
    node.added(pod)

    outcome = node.call("DEL", pod, conf={"prevResult": value})

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


# ---- whose -----------------------------------------------------------------------------------


@rule("D6")
@pytest.mark.parametrize(
    "other", [{"ifname": "net1"}, {"id": "other"}, {"id": "other", "ifname": "net1"}]
)
def test_del_for_another_attachment_leaves_this_one(node, pod, other):
    result = node.added(pod)
    before = node.snapshot()

    assert node.call("DEL", pod.but(**{**other, "netns": ""})).is_silent_success

    assert node.snapshot() == before
    assert node.checked(pod, result).is_silent_success


@rule("D6")
def test_a_shortened_container_id_is_another_container(node, pod):
    result = node.added(pod)
    before = node.snapshot()

    assert node.call("DEL", pod.but(id=pod.id[:11], netns="")).is_silent_success

    assert node.snapshot() == before
    assert node.checked(pod, result).is_silent_success


@rule("D6")
def test_del_for_another_pod_leaves_this_one(node, pod):
    other = node.pod()
    result = node.added(pod)
    node.added(other)

    assert node.call("DEL", other).is_silent_success

    assert node.checked(pod, result).is_silent_success
    assert node.ping(node.addresses_in(pod)[0])


@rule("D6")
def test_an_address_of_somebody_else_in_prev_result_is_not_freed(node, pod):
    other = node.pod()
    result = node.added(pod)
    before = node.snapshot()

    assert node.call("DEL", other, conf={"prevResult": result}).is_silent_success

    assert node.snapshot() == before
    assert node.checked(pod, result).is_silent_success


# ---- configuration ---------------------------------------------------------------------------

CHANGED = {
    "mtu": {"mtu": 1300},
    "mtu that cannot be": {"mtu": "big"},
    "no ipam": {"ipam": None},
    "another ipam": {"ipam": {"type": "host-local"}},
    "ipam that cannot be": {"ipam": 7},
    "a pool that is gone": {"ipam": {"type": "ocicat-ipam", "ipv4_pools": ["gone"]}},
    "runtimeConfig that cannot be": {"runtimeConfig": {"ips": ["nonsense"], "mac": 1}},
    "args that cannot be": {"args": "text"},
    "everything else gone": {"type": None, "policy": None, "capabilities": None},
}


@rule("D7")
@pytest.mark.parametrize("what", CHANGED)
def test_the_configuration_may_have_changed(node, pod, before, what):
    node.added(pod)

    outcome = node.call("DEL", pod, conf=CHANGED[what])

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("D7")
def test_the_version_may_have_changed(node, pod, before):
    node.added(pod, conf={"cniVersion": "0.4.0"})

    assert node.call("DEL", pod, conf={"cniVersion": "1.0.0"}).is_silent_success
    assert node.snapshot() == before
