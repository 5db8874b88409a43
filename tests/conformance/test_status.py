"""STATUS: whether an ADD could be served now, said soon and without side effects."""

import signal
import time
from contextlib import contextmanager

import pytest

from ocicatctl.lab import daemons, system
from tests.conformance.plugin import Outcome
from tests.conformance.rules import rule

pytestmark = pytest.mark.since("1.1.0")

LATEST = {"cniVersion": "1.1.0"}
SOON_S = 5.0


def status(node, **how) -> Outcome:
    """STATUS as libcni calls it: the variables of a container are there and empty."""
    empty = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}
    return node.call("STATUS", conf=LATEST, environment=empty, **how)


@contextmanager
def paused(spec, daemon):
    """The daemon hangs within the block."""
    daemons.kill(spec, daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        daemons.kill(spec, daemon, signal.SIGCONT)


@rule("T1", "R10")
def test_all_is_well_and_nothing_is_said(node, before):
    outcome = status(node)

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("T1")
def test_the_variables_of_a_container_may_be_absent(node, before):
    outcome = node.call("STATUS", conf=LATEST)

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("T1")
def test_status_works_without_the_server(node, before, in_process):
    assert status(node).is_silent_success


@rule("T1", "A5")
def test_what_is_attached_is_not_touched(node, pod):
    node.added(pod)
    before = node.snapshot()

    assert status(node).is_silent_success

    assert node.snapshot() == before


@rule("I1")
def test_status_reads_its_configuration(node, before):
    node.call("STATUS", stdin="{").assert_refused(6)

    assert node.snapshot() == before


@rule("T2")
@pytest.mark.parametrize("name", ["ipamd", "etcd"])
def test_what_is_down_is_named_and_it_is_not_available(node, spec, name):
    with node.without(name):
        outcome = status(node)

    assert outcome.document["code"] in (50, 51), outcome
    assert name in outcome.document["msg"]
    # A connection that was refused is tried again after half a second.
    system.wait_until(lambda: status(node).is_silent_success, "STATUS", 5)


@rule("T3", "T2")
def test_it_answers_soon_though_ipamd_hangs(node, spec):
    begun = time.monotonic()
    with paused(spec, "ipamd"):
        outcome = status(node)

    assert time.monotonic() - begun < SOON_S
    assert outcome.document["code"] in (50, 51), outcome


@rule("T3")
def test_it_answers_soon_though_an_add_hangs(node, pod, spec):
    with paused(spec, "ipamd"):
        adding = node.started("ADD", pod)
        begun = time.monotonic()
        status(node)
        took_s = time.monotonic() - begun
    adding.wait(timeout=30)

    assert took_s < SOON_S


@rule("T4")
def test_add_works_though_status_never_came(node, pod):
    result = node.added(pod, conf=LATEST)

    assert node.checked(pod, result, **LATEST).is_silent_success


@rule("T4")
def test_add_works_again_as_soon_as_ipamd_does(node, pod, spec):
    with node.without("ipamd"):
        status(node)

    node.added(pod, conf=LATEST)
