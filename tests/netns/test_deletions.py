"""Deletions that are shared, and what is left of them when the server is killed."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cni_plugin import dataplane, pod_rtnetlink
from cni_plugin.deletions import BATCH_GROUPS, Deletions
from cni_plugin.observe import main_routes
from cni_plugin.podnet import LINK_GROUP, host_names, plan, plan_links
from cni_plugin.report import read_report
from datamodel.attachment import Attachment
from kernel_api import rtnetlink
from kernel_api.netlink import Netlink
from tests.netns.namespaces import inside, ip

FIRST = IPv4Address("10.233.64.0")


def an_attachment(number):
    return Attachment("net", f"c{number}", f"net{number}")


def attach(pod, numbers):
    """Attach them all to one pod; return the links' indexes."""
    indexes = []
    with open(f"/run/netns/{pod}", "rb") as namespace:
        for number in numbers:
            links = plan_links(an_attachment(number), None, None)
            indexes.append(dataplane.create_pair(links, namespace.fileno()))
            dataplane.setup(plan(links, (FIRST + number,), False), namespace.fileno())
    return indexes


def our_names():
    return {link.interface_name for link in read_report().links}


def names_of(numbers):
    return {host_names(an_attachment(number), None)[0] for number in numbers}


def routes():
    with Netlink() as netlink:
        return {found.route.destination for found in main_routes(netlink, rtnetlink.AF_INET)}


@pytest.fixture
def node(node_and_pods):
    """The node's namespace, with the thread in it."""
    with inside(node_and_pods[0]):
        yield node_and_pods[0]


@pytest.fixture
def pod(node_and_pods):
    return node_and_pods[1]


@pytest.fixture
def deletions(node):
    with Deletions() as deletions:
        yield deletions


@pytest.fixture
def in_node(node):
    """Threads in the node's namespace."""
    with ThreadPoolExecutor(120) as threads:
        list(threads.map(lambda _: time.sleep(0.01), range(120)))  # they start here
        yield threads


def test_a_link_is_gone_with_its_route_when_its_deletion_returns(deletions, pod):
    indexes = attach(pod, range(40))

    for number, index in enumerate(indexes):
        assert deletions.delete(index)
        assert f"{FIRST + number}/32" not in routes()
        assert names_of([number]).isdisjoint(our_names())
        with inside(pod):
            assert f"net{number}" not in [name for _, name in socket.if_nameindex()]

    assert our_names() == set()


def test_a_deletion_returns_before_the_kernel_acknowledges_it(deletions, pod):
    one, other = attach(pod, range(2)), attach(pod, range(2, 12))
    took = {"plain": [], "shared": []}

    for index in one + other[:4]:
        begun = time.monotonic()
        dataplane.delete_link(index)
        took["plain"].append(time.monotonic() - begun)
    for index in other[4:]:
        begun = time.monotonic()
        deletions.delete(index)
        took["shared"].append(time.monotonic() - begun)

    assert min(took["shared"]) < min(took["plain"]) / 2


def test_many_at_once_are_gone_and_nothing_else_is(deletions, in_node, node, pod):
    indexes = attach(pod, range(110))
    attach(pod, [110, 111])
    ip("link", "add", "foreign", "group", LINK_GROUP, "type", "veth", "peer", "foreign-peer")
    ip("link", "set", "dev", next(iter(names_of([111]))), "group", BATCH_GROUPS)

    gone = list(in_node.map(deletions.delete, indexes))

    assert all(gone)
    assert our_names() == names_of([110, 111])
    assert routes() == {f"{FIRST + 110}/32", f"{FIRST + 111}/32"}
    assert "foreign" in ip("link")


def test_what_is_not_there_is_no_error(deletions):
    assert not deletions.delete(123456)


def test_those_that_are_not_there_do_not_keep_the_others(deletions, in_node, pod):
    indexes = attach(pod, range(20))
    missing = [900_000 + i for i in range(20)]
    mixed = [index for pair in zip(indexes, missing, strict=True) for index in pair]

    gone = list(in_node.map(deletions.delete, mixed))

    assert gone == [True, False] * 20
    assert our_names() == set()


def test_several_may_ask_for_one_deletion(deletions, in_node, pod):
    [index] = attach(pod, [1])

    list(in_node.map(deletions.delete, [index] * 20))

    assert our_names() == set()


def test_what_another_deletes_meanwhile_is_gone(deletions, in_node, pod):
    indexes = attach(pod, range(30))

    shared = in_node.map(deletions.delete, indexes)
    plain = in_node.map(dataplane.delete_link, indexes)
    list(shared), list(plain)

    assert our_names() == set()


def test_links_of_others_may_come_and_go_meanwhile(deletions, in_node, node, pod):
    indexes = attach(pod, range(30))
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            ip("link", "add", "come", "type", "veth", "peer", "go")
            ip("link", "del", "come")

    churning = in_node.submit(churn)
    gone = list(in_node.map(deletions.delete, indexes))
    stop.set()
    churning.result()

    assert all(gone)
    assert our_names() == set()


def test_no_thread_is_left_at_the_end(node, pod):
    before = set(threading.enumerate())
    [index] = attach(pod, [1])
    with Deletions() as deletions:
        assert deletions.delete(index)  # one thread still waits for the acknowledgement

    assert set(threading.enumerate()) == before


# ---- killed in the middle ----------------------------------------------------------------------


def test_what_a_killed_batch_left_is_found_by_all_who_look(node, pod):
    attach(pod, range(3))
    with Netlink() as netlink:
        for index in indexes_of(range(3)):
            netlink.execute(pod_rtnetlink.set_link(index, group=BATCH_GROUPS | 7))

    assert our_names() == names_of(range(3))
    assert set(dataplane.attachments_of("net")) == {an_attachment(i) for i in range(3)}
    for number in range(2):
        attachment = an_attachment(number)
        names = host_names(attachment, None)
        assert dataplane.index_of(attachment, names) is not None
        assert dataplane.delete(attachment, names)
    dataplane.delete_named(*names_of([2]), an_attachment(2).alias(None))
    assert our_names() == set()


def indexes_of(numbers):
    return [
        dataplane.index_of(an_attachment(number), host_names(an_attachment(number), None))
        for number in numbers
    ]


def test_the_next_batch_does_not_delete_what_a_killed_one_left(deletions, in_node, pod):
    indexes = attach(pod, range(20))
    left, batch = indexes[:5], indexes[5:]
    with Netlink() as netlink:
        netlink.execute(*(pod_rtnetlink.set_link(index, group=BATCH_GROUPS | 7) for index in left))

    list(in_node.map(deletions.delete, batch))

    assert our_names() == names_of(range(5))


DELETE_ALL = """
import sys, threading
from cni_plugin.deletions import Deletions
deletions = Deletions()
for index in map(int, sys.argv[1:]):
    threading.Thread(target=deletions.delete, args=(index,), daemon=True).start()
print("started", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("seed", range(6))
def test_after_a_kill_every_link_is_whole_or_gone_and_a_second_del_removes_it(seed, node, pod):
    indexes = attach(pod, range(60))
    victim = subprocess.Popen(
        [sys.executable, "-c", DELETE_ALL, *map(str, indexes[:50])],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert victim.stdout is not None
    victim.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.03))
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()

    left = our_names()
    assert names_of(range(50, 60)) <= left
    assert routes() == {
        f"{FIRST + number}/32" for number in range(60) if names_of([number]) <= left
    }
    for number in range(50):
        dataplane.delete(an_attachment(number), host_names(an_attachment(number), None))
    assert our_names() == names_of(range(50, 60))


def test_without_the_right_to_it_nothing_is_deleted(node, pod):
    [index] = attach(pod, [1])
    done = subprocess.run(
        [
            *("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"),
            *(sys.executable, "-c", DELETE.replace("INDEX", str(index))),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert "PermissionError" in done.stderr
    assert our_names() == names_of([1])


DELETE = """
from cni_plugin.deletions import Deletions
with Deletions() as deletions:
    deletions.delete(INDEX)
"""
