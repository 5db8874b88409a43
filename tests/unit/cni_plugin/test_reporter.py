"""Reports reach ipamd whenever it wants them, whatever happened before."""

import logging
import threading
import time
from contextlib import contextmanager

import pytest

from cni_plugin.config import read_config
from cni_plugin.health import Pulse
from cni_plugin.parts import Parts
from cni_plugin.report import read_report, this_kernel
from cni_plugin.reporter import FIRST_PAUSE_S, MAX_PAUSE_S, Reporter, reporting
from cni_plugin.server import serve
from cni_plugin.spool import Spool
from datamodel.attachment import Kernel
from datamodel.errors import Unavailable
from datamodel.report import Report
from ipam_api.client import IpamClient
from tests.fake_ipamd import FakeIpamd, serving

TIMEOUT_S = 5.0
REPORT = Report(Kernel("boot", "1"), True, ())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ipamd.sock"


@pytest.fixture
def client(path):
    client = IpamClient(str(path))
    yield client
    client.close()


class Kernels:
    """Something to report; refuses the first few times."""

    def __init__(self, refusals=0):
        self.refusals = refusals
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.reads <= self.refusals:
            raise Unavailable("links: cannot be listed: No buffer space available")
        return REPORT


@contextmanager
def running(reporter):
    thread = threading.Thread(target=reporter.run)
    thread.start()
    try:
        yield
    finally:
        reporter.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def test_the_first_report_is_sent_at_once_and_then_one_per_wish(client, path):
    with serving(FakeIpamd(), path) as ipamd, running(Reporter(client, Kernels().read)):
        assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT
        ipamd.want_report()
        assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT
        assert ipamd.reports.empty()


def test_an_ipamd_that_comes_later_gets_its_report(client, path):
    with running(Reporter(client, Kernels().read)):
        for _ in range(2):  # and so does its successor
            with serving(FakeIpamd(), path) as ipamd:
                begun = time.monotonic()
                assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT
                assert time.monotonic() - begun < 2 * MAX_PAUSE_S


def test_a_report_that_cannot_be_made_is_made_later(client, path):
    kernels = Kernels(refusals=2)

    with serving(FakeIpamd(), path) as ipamd, running(Reporter(client, kernels.read)):
        assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT

    assert kernels.reads == 3


def test_a_report_that_is_refused_is_sent_again(client, path):
    with serving(FakeIpamd(), path) as ipamd:
        ipamd.refusal = Unavailable("etcd: does not answer")
        kernels = Kernels()
        with running(Reporter(client, kernels.read)):
            while kernels.reads < 2:
                time.sleep(FIRST_PAUSE_S / 10)
            ipamd.refusal = None
            assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT


def test_only_a_change_is_logged(client, path, caplog):
    caplog.set_level(logging.INFO, "cni_plugin.reporter")
    kernels = Kernels(refusals=3)

    with serving(FakeIpamd(), path) as ipamd, running(Reporter(client, kernels.read)):
        for _ in range(2):
            ipamd.reports.get(timeout=TIMEOUT_S)
            ipamd.want_report()

    texts = [(r.levelname, r.getMessage()) for r in caplog.records]
    assert texts == [
        (
            "WARNING",
            "no report to ipamd: links: cannot be listed: No buffer space available",
        ),
        ("INFO", "ipamd gets reports again"),
    ]


def test_a_mistake_of_ours_does_not_end_it(client, path, caplog):
    turns = iter([ZeroDivisionError("x"), REPORT])

    def read():
        turn = next(turns)
        if isinstance(turn, Exception):
            raise turn
        return turn

    with serving(FakeIpamd(), path) as ipamd, running(Reporter(client, read)):
        assert ipamd.reports.get(timeout=TIMEOUT_S) == REPORT

    assert [r.getMessage() for r in caplog.records] == ["bug"]


def test_without_ipamd_it_ends_as_soon_as_with_it(client):
    begun = time.monotonic()

    with reporting(client):
        pass

    assert time.monotonic() - begun < MAX_PAUSE_S
    assert not [t for t in threading.enumerate() if t.name == "reporter"]


def test_the_server_reports_as_long_as_it_serves(client, path, tmp_path):
    environment = {"OCICAT_CNI_SOCKET": str(tmp_path / "cni.sock")}
    parts = Parts(client, Spool(str(tmp_path / "releases")))
    stop = threading.Event()
    arguments = (read_config(environment), parts, stop, Pulse(60))
    server = threading.Thread(target=serve, args=arguments)

    with serving(FakeIpamd(), path) as ipamd:
        server.start()
        assert ipamd.reports.get(timeout=TIMEOUT_S).kernel == this_kernel()
        ipamd.want_report()
        assert ipamd.reports.get(timeout=TIMEOUT_S).kernel == this_kernel()
        stop.set()
        server.join(TIMEOUT_S)

    assert not server.is_alive()
    assert not [t for t in threading.enumerate() if t.name == "reporter"]


def test_by_default_the_kernel_is_reported(client, path):
    with serving(FakeIpamd(), path) as ipamd, reporting(client):
        report = ipamd.reports.get(timeout=TIMEOUT_S)

    assert report.kernel == this_kernel() == read_report().kernel
