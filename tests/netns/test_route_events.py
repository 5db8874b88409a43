"""The ears of the benchmark of routes: whoever hears late or nothing would measure nonsense."""

import subprocess
import time
import uuid
from ipaddress import ip_network

import pytest

from bench.route_events import RouteEvents
from datamodel.errors import Unavailable

BLOCKS = [ip_network("10.65.0.0/24"), ip_network("10.65.1.0/24")]


@pytest.fixture
def spaces():
    """Two namespaces."""
    names = [f"ocicat-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def add_route(space, block):
    command = f"ip -n {space} route add blackhole {block}"
    subprocess.run(command.split(), check=True)
    return time.monotonic()


def test_each_namespace_is_timed_when_its_last_route_came(spaces):
    first, second = spaces
    with RouteEvents(spaces) as events:
        before = time.monotonic()
        for space in spaces:
            add_route(space, BLOCKS[0])
        add_route(first, BLOCKS[1])
        add_route(second, BLOCKS[1])

        arrived = events.wait(BLOCKS, timeout_s=5)

    assert arrived.keys() == {first, second}
    assert all(before < at <= time.monotonic() for at in arrived.values())


def test_a_namespace_that_gets_no_route_is_named(spaces):
    first, second = spaces
    with RouteEvents(spaces) as events:
        add_route(first, BLOCKS[0])

        with pytest.raises(Unavailable, match=f"not in {second} after"):
            events.wait(BLOCKS[:1], timeout_s=0.2)
