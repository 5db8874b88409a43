"""STATUS says whether an ADD could be served, fast, whatever happened to those it depends on."""

import signal
import time

import pytest

from ocicatctl.lab import daemons, etcd, system
from tests.lab.call import CONF, Call


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
