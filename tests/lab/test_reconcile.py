"""Store and kernel are brought to agree again, whatever was done to either of them."""

import shutil

import pytest

from ocicatctl.lab import daemons, etcd, show, system
from tests.lab.call import held

HEAL_S = 30.0


def handle_key(pod):
    return f"/calico/ipam/v2/handle/k8s-pod-network.{pod.container.id}"


def is_held(lab, pod):
    return handle_key(pod) in held(lab)


@pytest.fixture
def pod_link(lab):
    """Find the host end of a pod's pair by its route."""

    def find(node, pod):
        route = system.run("ip", "-o", "route", "get", pod.address, namespace=node.namespace).stdout
        return route.split(" dev ")[1].split()[0]

    return find


def test_an_address_without_a_link_is_freed_and_no_other(lab, node, pod_link):
    lost, kept = lab.add_pod(node, "lost"), lab.add_pod(node, "kept")

    system.run("ip", "link", "del", pod_link(node, lost), namespace=node.namespace)

    system.wait_until(lambda: not is_held(lab, lost), "the leak to be freed", HEAL_S)
    assert is_held(lab, kept)
    assert show.ping(show.place_of_pod(kept), show.place_of_pod(lab.add_pod(node, "next")))


def test_a_node_without_any_link_keeps_its_addresses_and_says_so(lab, node, pod_link):
    """A report that is suddenly empty may be wrong; nobody's address is given away over it."""
    lost = lab.add_pod(node, "lost")
    daemons.kill(node, "ipamd")
    daemons.start(node, "ipamd")

    system.run("ip", "link", "del", pod_link(node, lost), namespace=node.namespace)
    log = node.directory / "ipamd.log"
    system.wait_until(lambda: "no link at all" in log.read_text(), "the warning", HEAL_S)

    assert is_held(lab, lost)


def test_what_a_backup_does_not_know_is_recorded_again_and_never_given_twice(lab, node):
    data, backup = (lab.spec.directory / "etcd" / name for name in ("data", "backup"))
    before = lab.add_pod(node, "before")
    etcd.kill(lab.spec)
    shutil.copytree(data, backup)
    etcd.start(lab.spec)
    after = lab.add_pod(node, "after")

    etcd.kill(lab.spec)
    shutil.rmtree(data)
    backup.rename(data)
    etcd.start(lab.spec)

    system.wait_until(lambda: is_held(lab, after), "the record", HEAL_S)
    more = [lab.add_pod(node, f"more-{i}") for i in range(3)]
    assert len({pod.address for pod in (before, after, *more)}) == 5
    assert show.ping(show.place_of_pod(more[0]), show.place_of_pod(after))


def test_no_address_is_given_out_before_the_links_are_known(lab, node):
    """With neither server nor report there is nobody to say what is in use."""
    pod = lab.add_pod(node, "first")
    daemons.kill(node, "cni-server")
    daemons.kill(node, "ipamd")
    for key in (handle_key(pod), "/calico/ipam/v2/assignment/"):
        etcd.etcdctl(lab.spec, "del", "--prefix", key)
    etcd.etcdctl(lab.spec, "del", "--prefix", "/calico/ipam/v2/host/")
    daemons.start(node, "ipamd")

    second = lab.add_pod(node, "second")  # the launcher serves by itself and reports first

    assert second.address != pod.address
    assert is_held(lab, pod)
