"""A call from its beginning to its end, whatever happens to runtime, server and ipamd meanwhile."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from ocicatctl.lab import daemons, show, system
from ocicatctl.lab.pidfile import PidFile
from tests.lab.call import CONF, Call
from tests.lab.load import WORKERS, load

SOON_S = 1.0  # within which a killed ADD is taken back


@pytest.fixture
def container(lab):
    name = lab.spec.pod_namespace("life")
    system.add_namespace(name)
    yield name
    system.remove_namespaces([name])


@pytest.fixture
def call(node, container):
    yield (call := Call(node, netns=str(system.NETNS / container)))
    call.command = "DEL"
    assert call.run().status == 0


def is_link_there(node):
    return "calic0ffee" in system.run("ip", "-o", "link", namespace=node.namespace).stdout


def begun(node, call):
    """The call as a process that can be killed."""
    process = subprocess.Popen(
        ["nsenter", f"--net={system.NETNS / node.namespace}", "--", node.bin / "ocicat"],
        env={
            "CNI_COMMAND": call.command,
            "CNI_CONTAINERID": call.container_id,
            "CNI_NETNS": call.netns,
            "CNI_IFNAME": call.ifname,
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdin.write(json.dumps(CONF).encode())
    process.stdin.close()
    return process


def test_an_add_that_waits_for_ipamd_is_taken_back_soon_after_the_kill(lab, node, call):
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    try:
        add = begun(node, call)
        system.wait_until(lambda: is_link_there(node), "veth pair", 5)
        add.kill()
        add.wait()
        took = system.wait_until(lambda: not is_link_there(node), "its removal", 10)
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)
        add.stdout.close()

    assert took < SOON_S
    system.wait_until(lambda: not show.leftovers(lab).found, "the address being back", 20)


def test_a_del_that_overtakes_its_add_wins(lab, node, call):
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    try:
        add = begun(node, call)
        system.wait_until(lambda: is_link_there(node), "veth pair", 5)
        answers = []
        delete = replace(call, command="DEL")
        thread = threading.Thread(target=lambda: answers.append(delete.run()))
        thread.start()
        time.sleep(0.3)  # the DEL has begun to wait for the ADD
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)
    thread.join()
    with add.stdout as stdout:
        stdout.read()
    add.wait()

    assert answers[0].status == 0
    assert not is_link_there(node)
    assert show.leftovers(lab).found == ()


def test_the_server_keeps_no_namespace_open(lab, node, call, container):
    assert call.run().status == 0
    pid = PidFile(node.directory, "cni-server").read()

    open_now = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]

    inode = (system.NETNS / container).stat().st_ino
    assert f"net:[{inode}]" not in open_now


def test_deadlines_are_kept_by_those_who_wait_for_others(lab, node, call):
    """An ADD and a DEL of one attachment wait in line while ipamd hangs: both end in time."""
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    started = time.monotonic()
    calls = [call, replace(call, command="DEL"), replace(call, command="ADD")]
    try:
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(Call.run, calls))
        took = time.monotonic() - started
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)

    assert took < 30
    assert all(a.status == 0 or a.document["code"] == 11 for a in answers)
    call.command = "DEL"
    assert call.run().status == 0
    system.wait_until(lambda: not show.leftovers(lab).found, "late answers taken back", 20)


# ---- the server is replaced under load ---------------------------------------------------------


def upgrade(node):
    """Start a successor, which takes the name over, and then end the old one."""
    pid_file = PidFile(node.directory, "cni-server")
    old = pid_file.read()
    socket = Path(node.environment["OCICAT_CNI_SOCKET"])
    before = socket.stat().st_ino
    (node.directory / "cni-server.pid").unlink()
    daemons.start(node, "cni-server")
    system.wait_until(lambda: socket.exists() and socket.stat().st_ino != before, "the name", 30)
    os.kill(old, signal.SIGTERM)
    system.wait_until(lambda: not system.is_alive(old), "the old server's end", 30)


def restart(node):
    """End the server and start it again."""
    old = PidFile(node.directory, "cni-server").read()
    os.kill(old, signal.SIGTERM)
    system.wait_until(lambda: not system.is_alive(old), "the server's end", 30)
    daemons.start(node, "cni-server")


@pytest.fixture
def waiting(node, tmp_path):
    """A launcher as beside a server in a container: nobody can serve in the server's place."""
    command = (sys.executable, "-m", "cni_plugin.install", "--waits", tmp_path, "ocicat")
    system.run(*command, environment=node.environment)
    return tmp_path / "ocicat"


def test_no_call_fails_while_the_servers_container_is_replaced(lab, node, waiting):
    with load(lab, node, waiting) as answers:
        for _ in range(2):
            restart(node)

    assert len(answers) >= 2 * WORKERS
    assert [answer for answer in answers if answer.status] == []
    assert show.leftovers(lab).found == ()


@pytest.mark.parametrize("replacement", [upgrade, restart])
def test_no_call_fails_while_the_server_is_replaced(lab, node, replacement):
    with load(lab, node) as answers:
        for _ in range(2):
            replacement(node)

    assert len(answers) > 2 * WORKERS
    assert [answer for answer in answers if answer.status] == []
    assert show.leftovers(lab).found == ()
