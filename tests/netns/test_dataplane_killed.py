"""ADD killed before each of its system calls: DEL finds what there is of it and takes all away."""

import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from cni_plugin import dataplane
from cni_plugin.podnet import host_names, plan, plan_links
from datamodel.attachment import Attachment, Pod
from tests.netns.namespaces import inside, ip

ATTACHMENT = Attachment("net", "c1", "eth0")
POD = Pod("default", "web-0")
ADDRESSES = "10.233.64.5", "fd00:10:233::5"
MOST_CALLS = 200

# Ends itself before the n-th call that the kernel hears of.
ADD = f"""
import os, signal, sys
from ipaddress import ip_address
from cni_plugin import dataplane
from cni_plugin.podnet import plan, plan_links, remainder
from datamodel.attachment import Attachment, Pod

links = plan_links({ATTACHMENT!r}, {POD!r}, None)
prepared = plan(links, (), False, (4, 6))
whole = plan(links, tuple(map(ip_address, {ADDRESSES!r})), False)
left = int(sys.argv[2])

def count(frame, event, function):
    global left
    if event == "c_call" and function.__name__ in ("send", "open", "write", "setns", "close"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

with open(sys.argv[1], "rb") as namespace:
    sys.setprofile(count)
    dataplane.create_pair(links, namespace.fileno())
    dataplane.setup(prepared, namespace.fileno())
    dataplane.setup(remainder(whole, prepared), namespace.fileno())
    sys.setprofile(None)
"""


def add(node: str, pod: str, kill_before: int) -> int:
    done = subprocess.run(
        [
            *("nsenter", f"--net=/run/netns/{node}", sys.executable, "-c", ADD),
            *(f"/run/netns/{pod}", str(kill_before)),
        ],
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=30,
    )
    return done.returncode


def snapshot(namespace: str) -> dict[str, str]:
    """What there is, without what changes by itself."""
    commands = ("link", "addr", "-4 route", "-6 route", "neigh show nud permanent", "rule")
    found = {command: ip("-n", namespace, *command.split()) for command in commands}
    return {command: text.replace(" tentative", "") for command, text in found.items()}


@pytest.mark.parametrize("first", range(1, 5))
def test_del_takes_away_what_a_killed_add_left(first, node_and_pods):
    node, pod, other = node_and_pods
    links = plan_links(Attachment("net", "c2", "eth0"), Pod("default", "web-1"), None)
    with inside(node), open(f"/run/netns/{other}", "rb") as namespace:
        dataplane.create_pair(links, namespace.fileno())
        dataplane.setup(plan(links, (ip_address("10.233.64.6"),), False), namespace.fileno())
    before = [snapshot(name) for name in node_and_pods]

    killed = 0
    for kill_before in range(first, MOST_CALLS, 4):
        status = add(node, pod, kill_before)
        with inside(node):
            dataplane.delete(ATTACHMENT, host_names(ATTACHMENT, POD))
        assert [snapshot(name) for name in node_and_pods] == before, kill_before
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1

    assert status == 0  # the last one came through
    assert killed > 5
