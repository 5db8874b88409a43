"""What a real kernel says of routes, next hops and neighbours."""

import os
import subprocess
import uuid
from ipaddress import ip_address, ip_network

import pytest

from cni_plugin import netns
from ocicatctl.routes.here import ask_kernel


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, timeout=10)


@pytest.fixture(scope="module")
def space():
    """A namespace with routes of every kind."""
    name = f"ocicat-{uuid.uuid4().hex[:8]}"
    ip("netns", "add", name)
    try:
        inside = ("-n", name)
        ip(*inside, "link", "add", "eth0", "up", "type", "veth", "peer", "name", "eth1")
        ip(*inside, "link", "set", "eth1", "up")
        ip(*inside, "addr", "add", "10.0.0.11/24", "dev", "eth0")
        ip(*inside, "addr", "add", "fd99::11/64", "dev", "eth0", "nodad")
        for route in (
            "blackhole 10.5.0.0/24 proto bird",
            "10.6.0.0/24 via 10.0.0.12 dev eth0 proto bird onlink metric 7",
            "10.7.0.0/24 proto 80 nexthop via 10.0.0.12 nexthop via 10.0.0.13",
            "10.8.0.0/24 via inet6 fd99::12 dev eth0",
            "unreachable fd05::/64 proto bird",
            "fd06::/64 via fd99::12 proto bird",
        ):
            family = ("-6",) if route.split()[1].startswith("fd") or route[:2] == "fd" else ()
            ip(*inside, *family, "route", "add", *route.split())
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        ip("netns", "del", name)


def asked(space, address=None):
    with netns.entered(space):
        return ask_kernel(ip_address(address) if address else None)


def test_routes_read_as_with_ip_route(space):
    kernel, _, _ = asked(space)

    lines = {str(route) for route in kernel.routes}
    assert lines >= {
        "10.0.0.0/24 dev eth0 proto kernel",
        "10.5.0.0/24 blackhole proto bird",
        "10.6.0.0/24 via 10.0.0.12 dev eth0 onlink proto bird metric 7",
        "10.7.0.0/24 via 10.0.0.12 dev eth0 and via 10.0.0.13 dev eth0 proto 80",
        "10.8.0.0/24 via fd99::12 dev eth0 proto boot",
        "fd05::/64 unreachable dev lo proto bird metric 1024",
        "fd06::/64 via fd99::12 dev eth0 proto bird metric 1024",
    }
    assert (kernel.links["eth0"], kernel.links["lo"]) == (True, False)


@pytest.mark.parametrize(
    ("address", "network", "kind"),
    [
        ("10.6.0.1", "10.6.0.0/24", "unicast"),
        ("10.0.0.11", "10.0.0.11/32", "local"),
        ("fd06::1", "fd06::/64", "unicast"),
    ],
)
def test_one_address_is_looked_up_as_the_kernel_does_it(space, address, network, kind):
    _, used, refusal = asked(space, address)

    assert used is not None
    assert (used.network, used.kind, refusal) == (ip_network(network), kind, "")


@pytest.mark.parametrize("address", ["10.5.0.1", "fd05::1", "192.0.2.1", "2001:db8::1"])
def test_where_the_kernel_sends_nothing_it_says_so(space, address):
    _, used, refusal = asked(space, address)

    assert used is None
    assert refusal


def test_a_neighbour_that_did_not_answer_is_told(space):
    with netns.entered(space):
        ip("neigh", "replace", "10.0.0.12", "dev", "eth0", "nud", "failed")
        kernel, _, _ = ask_kernel()

    assert kernel.silent == {("eth0", ip_address("10.0.0.12"))}
