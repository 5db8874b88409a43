"""Links that a killed ADD left before it could say whose they are."""

import pytest

from cni_plugin import dataplane
from cni_plugin.leftovers import Leftovers
from cni_plugin.podnet import LINK_GROUP
from tests.netns.namespaces import inside, ip, namespaces


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def node():
    with namespaces("node") as [name]:
        yield name


def make(node, name, *, group=LINK_GROUP, alias=""):
    ip("-n", node, "link", "add", name, "type", "veth", "peer", "name", f"p{name}"[:15])
    ip("-n", node, "link", "set", name, "group", group)
    if alias:
        ip("-n", node, "link", "set", name, "alias", alias)


def links(node):
    return {
        line.split()[1].partition("@")[0].rstrip(":")
        for line in ip("-n", node, "-o", "link").splitlines()
    }


def test_one_that_stays_is_removed_and_nothing_else(node):
    make(node, "left")
    make(node, "ours", alias="ocicat:net/c1/eth0/-")
    make(node, "foreign", group=7)
    clock = Clock()
    leftovers = Leftovers(5, clock)

    with inside(node):
        assert leftovers.collect()
        clock.now += 4.9
        assert leftovers.collect()
        assert "left" in links(node)
        clock.now += 0.1
        assert not leftovers.collect()

    assert links(node) == {"lo", "ours", "pours", "foreign", "pforeign"}


def test_one_that_gets_its_owner_meanwhile_stays(node):
    make(node, "young")
    clock = Clock()
    leftovers = Leftovers(5, clock)

    with inside(node):
        assert leftovers.collect()
        ip("-n", node, "link", "set", "young", "alias", "ocicat:net/c1/eth0/-")
        clock.now += 10
        assert not leftovers.collect()

    assert "young" in links(node)


def test_it_is_looked_at_once_more_before_it_is_deleted(node):
    make(node, "young")

    with inside(node):
        [index] = dataplane.ownerless()
        ip("-n", node, "link", "set", "young", "alias", "ocicat:net/c1/eth0/-")
        dataplane.delete_ownerless(index)
        dataplane.delete_ownerless(9999)

    assert "young" in links(node)
