"""STATUS says whether an ADD could be served, fast, whatever happened to those it depends on."""

import signal
import time
import urllib.error
import urllib.request

import pytest

from ocicatctl.lab import daemons, etcd, system
from tests.lab.call import CONF, Call
from tests.netns.namespaces import inside


@pytest.fixture
def status(node):
    blank = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    return Call(node, command="STATUS", conf={**CONF, "cniVersion": "1.1.0"}, environment=blank)


def test_all_is_well(status):
    answer = status.run()

    assert (answer.status, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_without_ipamd_no_add_can_be_served_and_it_says_so_soon(node, status, number):
    daemons.kill(node, "ipamd", number)
    begun = time.monotonic()
    try:
        answer = status.run()
    finally:
        if number == signal.SIGSTOP:
            daemons.kill(node, "ipamd", signal.SIGCONT)

    assert time.monotonic() - begun < 3
    assert answer.status == 1
    assert answer.document["code"] == 50
    assert "ipamd" in answer.document["msg"]


def test_without_etcd_at_the_start_no_add_can_be_served(lab, node, status):
    daemons.kill(node, "ipamd")
    etcd.kill(lab.spec)
    try:
        daemons.start(node, "ipamd", wait=False)

        def does_ipamd_say_so():
            answer = status.run()
            return answer.status == 1 and "etcd" in answer.document["msg"]

        system.wait_until(does_ipamd_say_so, "STATUS naming etcd", 10)
        answer = status.run()
    finally:
        etcd.start(lab.spec)

    assert answer.document["code"] == 50
    system.wait_until(lambda: status.run().status == 0, "STATUS being content again", 20)


def test_a_configuration_that_no_add_would_take_is_not_served(status):
    status.conf = {**status.conf, "mtu": "large"}

    assert status.run().document["code"] == 7


def test_etcd_that_dies_is_noticed(lab, status):
    etcd.kill(lab.spec)
    try:
        system.wait_until(lambda: status.run().status == 1, "STATUS noticing it", 10)
        answer = status.run()
    finally:
        etcd.start(lab.spec)

    assert answer.document["code"] == 50
    assert "etcd" in answer.document["msg"]
    system.wait_until(lambda: status.run().status == 0, "STATUS being content again", 20)


# ---- over HTTP, as kubelet asks ----------------------------------------------------------------

PORTS = {"ipamd": 9098, "cni-server": 9097}


@pytest.fixture
def asked(node):
    """A node whose ipamd and CNI server say over HTTP how they are."""
    restart(node, "ipamd", OCICAT_IPAMD_METRICS=f"127.0.0.1:{PORTS['ipamd']}")
    restart(node, "cni-server", OCICAT_CNI_METRICS=f"127.0.0.1:{PORTS['cni-server']}")
    yield node
    for daemon in PORTS:
        restart(node, daemon)


def restart(node, daemon, **settings):
    daemons.kill(node, daemon)
    daemons.start(node, daemon, settings=settings)


def get(node, daemon, path):
    where = f"http://127.0.0.1:{PORTS[daemon]}{path}"
    try:
        with inside(node.namespace), urllib.request.urlopen(where, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_both_are_alive_and_ready_as_long_as_an_add_could_be_served(lab, asked):
    def is_ready():
        return all(get(asked, daemon, "/readiness") == (200, "ok\n") for daemon in PORTS)

    system.wait_until(is_ready, "readiness", 20)
    etcd.kill(lab.spec)
    try:
        system.wait_until(
            lambda: all(get(asked, daemon, "/readiness")[0] == 503 for daemon in PORTS),
            "unreadiness",
            20,
        )
        reasons = [get(asked, daemon, "/readiness")[1] for daemon in PORTS]
        alive = [get(asked, daemon, "/liveness") for daemon in PORTS]
    finally:
        etcd.start(lab.spec)

    assert all("etcd" in reason for reason in reasons)
    assert alive == [(200, "ok\n")] * 2
    system.wait_until(is_ready, "readiness", 20)


def test_a_server_without_ipamd_is_alive_and_not_ready(asked):
    daemons.kill(asked, "ipamd")

    try:
        status, reason = get(asked, "cni-server", "/readiness")
        alive = get(asked, "cni-server", "/liveness")
    finally:
        daemons.start(asked, "ipamd")

    assert status == 503
    assert "ipamd" in reason
    assert alive == (200, "ok\n")


@pytest.mark.parametrize("daemon", PORTS)
def test_a_frozen_daemon_does_not_answer(asked, daemon):
    daemons.kill(asked, daemon, signal.SIGSTOP)
    try:
        with (
            inside(asked.namespace),
            pytest.raises(TimeoutError),
            urllib.request.urlopen(f"http://127.0.0.1:{PORTS[daemon]}/liveness", timeout=0.5),
        ):
            pass
    finally:
        daemons.kill(asked, daemon, signal.SIGCONT)
