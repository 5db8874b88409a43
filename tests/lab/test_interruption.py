"""Daemons are killed while pods talk: traffic goes on, and the next call works."""

import signal
import time

import pytest

from ocicatctl.lab import daemons, etcd, show, system
from ocicatctl.lab.daemons import DAEMONS, established
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.runtime import PluginError
from tests.lab.load import WORKERS, load
from tests.ping import PingStream


@pytest.mark.parametrize("daemon", DAEMONS)
def test_killing_a_daemon_drops_no_packet_and_the_next_call_works(lab, daemon):
    first, second = lab.nodes[:2]
    near, far = lab.add_pod(first, "near"), lab.add_pod(second, "far")
    with PingStream(near.namespace, far.address) as stream:
        daemons.kill(first, daemon)
        time.sleep(1)
        daemons.start(first, daemon)
        added = lab.add_pod(first, "later")
        answer = show.ping(show.place_of_pod(added), show.place_of_pod(far))
        lab.delete_pod("later")
        time.sleep(1)

        sent, received = stream.stop()

    assert sent > 50
    assert received == sent
    assert answer is not None
    system.wait_until(lambda: established(first) == 2, "sessions", 30)


def restart(node, daemon):
    """What systemd does on a restart: end it, wait for that, start it."""
    pid = PidFile(node.directory, daemon).read()
    if daemon == "bird":
        system.run("birdc", "-s", node.environment["OCICAT_BIRD_SOCKET"], "graceful", "restart")
    else:
        daemons.kill(node, daemon, signal.SIGTERM)
    system.wait_until(lambda: not system.is_alive(pid), f"{daemon}'s end", 30)
    daemons.start(node, daemon)


def test_an_upgrade_of_every_daemon_fails_no_call_and_drops_no_packet(lab, node):
    near, far = lab.add_pod(node, "near"), lab.add_pod(lab.nodes[1], "far")
    with (
        PingStream(near.namespace, far.address) as there,
        PingStream(far.namespace, near.address) as back,
    ):
        with load(lab, node) as answers:
            for daemon in DAEMONS:
                restart(node, daemon)
                after = len(answers) + 2 * WORKERS  # each worker has begun meanwhile, and ended
                system.wait_until(lambda after=after: len(answers) >= after, "calls", 30)

        lost = [sent - received for sent, received in (there.stop(), back.stop())]

    assert [answer for answer in answers if answer.status] == []
    assert lost == [0, 0]
    system.wait_until(lambda: established(node) == 2, "sessions", 30)


def test_without_the_server_the_launcher_serves_by_itself(lab, node):
    daemons.kill(node, "cni-server")

    pod = lab.add_pod(node, "alone")
    lab.runtime(node).check(pod.container, pod.result)
    lab.delete_pod("alone")

    assert show.leftovers(lab).found == ()


def test_a_pod_is_deleted_without_ipamd_and_its_address_comes_back_later(lab, node):
    lab.add_pod(node, "web")
    daemons.kill(node, "ipamd")

    lab.delete_pod("web")
    waiting = show.leftovers(lab).found
    daemons.start(node, "ipamd")
    system.wait_until(lambda: not show.leftovers(lab).found, "delivery of the release", 20)

    assert any("undelivered release" in found for found in waiting)
    assert not any(" link " in found or " route " in found for found in waiting)


def test_a_pod_is_deleted_without_etcd_and_its_address_comes_back_later(lab, node):
    lab.add_pod(node, "web")
    etcd.kill(lab.spec)

    try:
        lab.delete_pod("web")
    finally:
        etcd.start(lab.spec)

    system.wait_until(lambda: not show.leftovers(lab).found, "delivery of the release", 20)


def test_a_frozen_ipamd_makes_an_add_fail_in_time_and_leaves_nothing(lab, node):
    daemons.kill(node, "ipamd", signal.SIGSTOP)
    begun = time.monotonic()

    try:
        with pytest.raises(PluginError) as caught:
            lab.add_pod(node, "late")
        took = time.monotonic() - begun
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)

    assert caught.value.document["code"] == 11
    # At most 10 s for ADD, then 3 s for the DEL of the runtime.
    assert took < 15
    system.wait_until(lambda: not show.leftovers(lab).found, "late answer taken back", 20)
