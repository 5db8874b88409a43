"""GC removes what the runtime does not list, of its own network and nothing else."""

import signal
import threading

import pytest

from cni_plugin.podnet import LINK_GROUP
from ocicatctl.lab import daemons, etcd, show, system
from tests.lab.call import CONF, Call, traces

NEWEST = {**CONF, "cniVersion": "1.1.0"}
NONE = {"cni.dev/valid-attachments": []}


@pytest.fixture
def calls(lab, node):
    """Makes an ADD for a container of that name; what is left of it is deleted after the test."""
    made = []

    def add(name, network="k8s-pod-network", conf=NEWEST):
        namespace = lab.spec.pod_namespace(f"gc-{name}")
        system.add_namespace(namespace)
        netns = str(system.NETNS / namespace)
        call = Call(node, netns=netns, container_id=name, conf={**conf, "name": network})
        made.append((call, namespace))
        return call

    yield add
    for call, namespace in made:
        call.command = "DEL"
        assert call.run().status == 0
        system.remove_namespaces([namespace])


def gc(node, network="k8s-pod-network", **keys):
    conf = {**NEWEST, "name": network, **keys}
    blank = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    return Call(node, command="GC", conf=conf, environment=blank).run()


def handles(lab):
    return {key.rpartition("/")[2] for key in etcd.keys(lab.spec, "/calico/ipam/v2/handle/")}


def test_what_is_listed_stays_and_the_rest_goes(lab, node, calls):
    kept, stale, other = calls("kept"), calls("stale"), calls("other", "other-network")
    assert [call.run().status for call in (kept, stale, other)] == [0, 0, 0]
    valid = [{"containerID": "kept", "ifname": "eth0"}, {"containerID": "nobody", "ifname": "x"}]

    answer = gc(node, **{"cni.dev/valid-attachments": valid})

    assert (answer.status, answer.stdout) == (0, "")
    assert handles(lab) == {"k8s-pod-network.kept", "other-network.other"}
    links = system.run("ip", "-o", "link", namespace=node.namespace).stdout
    assert "calikept" in links
    assert "caliother" in links
    assert "calistale" not in links


@pytest.mark.parametrize(
    "keys", [NONE, {"cni.dev/valid-attachments": None}, {"cni.dev/attachments": []}]
)
def test_an_empty_list_means_that_nothing_is_valid(lab, node, calls, keys):
    before = traces(lab, node)
    call = calls("stale")
    assert call.run().status == 0

    assert gc(node, **keys).status == 0

    assert traces(lab, node) == before


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"cni.dev/valid-attachments": "all"},
        {"cni.dev/valid-attachments": [{"containerID": "kept"}]},
    ],
)
def test_without_a_right_list_nothing_is_touched(lab, node, calls, keys):
    call = calls("kept")
    assert call.run().status == 0
    before = traces(lab, node)

    answer = gc(node, **keys)

    assert answer.status == 1
    assert answer.document["code"] == 7
    assert "cni.dev/valid-attachments" in answer.document["msg"]
    assert traces(lab, node) == before


def test_an_attachment_whose_link_is_gone_loses_its_address(lab, node, calls):
    call = calls("stale")
    assert call.run().status == 0
    system.run("ip", "link", "del", "calistale", namespace=node.namespace)

    assert gc(node, **NONE).status == 0

    assert handles(lab) == set()


def test_without_ipamd_the_links_go_and_the_addresses_follow(lab, node, calls):
    call = calls("stale")
    assert call.run().status == 0
    daemons.kill(node, "ipamd")

    answer = gc(node, **NONE)
    links = system.run("ip", "-o", "link", namespace=node.namespace).stdout
    daemons.start(node, "ipamd")
    system.wait_until(lambda: not show.leftovers(lab).found, "delivery of the release", 20)

    assert answer.status == 1
    assert answer.document["code"] == 11
    assert "ipamd" in answer.document["msg"]
    assert "calistale" not in links


def test_an_add_under_way_is_left_alone(lab, node, calls):
    call = calls("young")
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    answers = []
    add = threading.Thread(target=lambda: answers.append(call.run()))
    try:
        add.start()

        def is_link_there():
            return "caliyoung" in system.run("ip", "-o", "link", namespace=node.namespace).stdout

        system.wait_until(is_link_there, "the link of the ADD", 5)
        collected = gc(node, **NONE)
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)
    add.join()

    assert collected.status == 1  # ipamd did not say who holds addresses
    assert answers[0].status == 0
    assert handles(lab) == {"k8s-pod-network.young"}


@pytest.mark.parametrize("version", ["1.0.0", "0.4.0", ""])
def test_it_needs_a_version_that_knows_it(node, version):
    answer = gc(node, cniVersion=version, **NONE)

    assert answer.document["code"] == 1
    assert answer.document["msg"] == "config version does not allow GC"


def test_a_link_that_a_killed_add_left_without_an_owner_goes(node):
    kind = ("type", "veth", "peer", "name", "other")
    system.run("ip", "link", "add", "calileft", *kind, namespace=node.namespace)
    system.run("ip", "link", "set", "calileft", "group", str(LINK_GROUP), namespace=node.namespace)

    assert gc(node, **NONE).status == 0

    assert "calileft" not in system.run("ip", "-o", "link", namespace=node.namespace).stdout
