"""What the CNI server's metrics show, over HTTP as Prometheus reads it."""

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cni_plugin import cni_error
from cni_plugin.meter import BUG, OUTCOMES, STEPS, UNDELIVERED, VERBS, VETH, Meter, outcome_of
from cni_plugin.metrics import Metrics
from cni_plugin.spool import Spool
from datamodel.attachment import Attachment
from health_api.web import WebServer

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ANYWHERE = ("127.0.0.1", 0)


class Shown:
    """One answer to Prometheus."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        self.families = {f.name: f for f in text_string_to_metric_families(text)}
        self.samples = {
            (s.name, tuple(sorted(s.labels.items()))): s.value
            for family in self.families.values()
            for s in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"ocicat_cni_{name}", tuple(sorted(labels.items()))))


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(str(tmp_path / "spool"))


@pytest.fixture
def metrics(spool) -> Metrics:
    return Metrics(spool.__len__)


@pytest.fixture
def server(metrics) -> Iterator[WebServer]:
    server = WebServer("OCICAT_CNI_METRICS", ANYWHERE, metrics.registry, {})
    yield server
    server.stop()


def test_calls_are_counted_by_verb_and_outcome(metrics, server):
    metrics.count_call("ADD", "ok", 0.003)
    metrics.count_call("ADD", "exhausted", 0.3)
    metrics.count_call("DEL", "ok", 0.03)

    shown = Shown(server.port)

    assert shown.value("calls_total", verb="ADD", outcome="ok") == 1
    assert shown.value("calls_total", verb="ADD", outcome="exhausted") == 1
    assert shown.value("call_duration_seconds_count", verb="ADD") == 2
    assert shown.value("call_duration_seconds_bucket", verb="ADD", le="0.005") == 1
    assert shown.value("call_duration_seconds_sum", verb="DEL") == 0.03


def test_a_verb_that_a_caller_invents_is_no_series_of_its_own(metrics, server):
    for verb in ("add", "UPDATE", "x" * 1000):
        metrics.count_call(verb, "invalid", 0.001)

    assert Shown(server.port).value("calls_total", verb="other", outcome="invalid") == 3


def test_a_step_is_measured_however_it_ends(metrics, server):
    with metrics.step(VETH):
        pass
    with pytest.raises(ZeroDivisionError), metrics.step(VETH):
        _ = 1 / 0

    assert Shown(server.port).value("step_duration_seconds_count", step=VETH) == 2


def test_links_that_go_together_are_one_deletion(metrics, server):
    metrics.count_deletion(1)
    metrics.count_deletion(110)

    shown = Shown(server.port)

    assert shown.value("deletion_links_count") == 2
    assert shown.value("deletion_links_sum") == 111
    assert shown.value("deletion_links_bucket", le="64.0") == 1


def test_rollbacks_are_counted_by_cause(metrics, server):
    metrics.count_rollback(UNDELIVERED)

    shown = Shown(server.port)

    assert shown.value("rollbacks_total", cause="undelivered") == 1
    assert shown.value("rollbacks_total", cause="failed") == 0


def test_the_spool_is_counted_when_somebody_asks(spool, server):
    assert Shown(server.port).value("spooled_releases") == 0

    spool.put(Attachment("net", "c1", "eth0"), None)
    spool.put(Attachment("net", "c2", "eth0"), None)

    assert Shown(server.port).value("spooled_releases") == 2


def test_every_step_is_there_from_the_start(server):
    shown = Shown(server.port)

    assert [shown.value("step_duration_seconds_count", step=step) for step in STEPS] == [0.0] * 6
    assert "process_open_fds" in shown.families


def test_every_code_has_an_outcome():
    codes = {
        value
        for name, value in vars(cni_error).items()
        if name.isupper() and isinstance(value, int)
    }

    assert codes - OUTCOMES.keys() == {cni_error.INTERNAL}
    assert outcome_of(cni_error.INTERNAL) == BUG
    assert outcome_of(cni_error.TRY_AGAIN_LATER) == "unavailable"


def test_what_keeps_no_numbers_measures_all_the_same():
    meter = Meter()

    meter.count_call("ADD", "ok", 1)
    meter.count_deletion(1)
    meter.count_rollback("failed")
    with meter.step(VETH):
        pass


@pytest.mark.parametrize("module", ["prometheus_client", "http.client", "yaml"])
def test_a_process_for_one_call_does_not_import_what_it_does_not_need(module):
    program = "import sys, cni_plugin.__main__; print(sys.argv[1] in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program, module], capture_output=True, check=True)

    assert done.stdout == b"False\n"


def test_the_page_describes_every_series_there_is(metrics, server):
    metrics.count_call(VERBS[0], "ok", 1)
    ours = {name for name in Shown(server.port).families if name.startswith("ocicat_")}

    documented = re.findall(r"^\| `(ocicat_cni_\w+)`", PAGE.read_text(), re.MULTILINE)

    assert {name.removesuffix("_total") for name in documented} == ours
