"""In processes of their own, since how Python logs is one thing for a whole process."""

import re
import subprocess
import sys

import pytest

from cni_plugin.call_log import trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"

BEGINNING = f"""
import logging, sys, threading
from cni_plugin import call_log
from cni_plugin.log_conf import LogConf
call_log.set_up("INFO")
log = logging.getLogger("cni_plugin.skel")
environment = {{"TRACEPARENT": "{TRACEPARENT}"}}
a, b = LogConf(sys.argv[1] + "/a.log"), LogConf(sys.argv[1] + "/b.log", level="DEBUG")
"""


def run(program: str, directory) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program, directory],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_calls_lines_carry_its_trace_on_stderr_and_in_its_file(tmp_path):
    program = """
log.info("before")
with call_log.following(environment):
    log.info("without a file yet")
    call_log.log_to(a)
    log.info("DEL done")
log.info("after")
"""
    stdout, stderr = run(program, tmp_path)

    assert stdout == ""
    assert stderr.splitlines() == [
        "INFO cni_plugin.skel before",
        f"INFO cni_plugin.skel without a file yet trace={TRACE}",
        f"INFO cni_plugin.skel DEL done trace={TRACE}",
        "INFO cni_plugin.skel after",
    ]
    [line] = (tmp_path / "a.log").read_text().splitlines()
    stamp, _, text = line.partition(" INFO ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", stamp)
    assert text == f"cni_plugin.skel DEL done trace={TRACE}"


def test_a_file_may_be_told_more_or_less_than_stderr(tmp_path):
    program = """
from dataclasses import replace
with call_log.following(environment):
    call_log.log_to(b)
    log.debug("detail")
    call_log.log_to(replace(a, level="ERROR"))
    log.info("line")
    log.error("trouble")
"""
    _, stderr = run(program, tmp_path)

    assert [line.split()[2] for line in stderr.splitlines()] == ["line", "trouble"]
    assert "DEBUG cni_plugin.skel detail" in (tmp_path / "b.log").read_text()
    assert "trouble" in (tmp_path / "a.log").read_text()
    assert "line" not in (tmp_path / "a.log").read_text()


def test_a_message_is_one_line_whatever_is_in_it(tmp_path):
    program = """
with call_log.following(environment):
    call_log.log_to(a)
    log.info("ADD container=%s", "c1\\nINFO forged")
"""
    _, stderr = run(program, tmp_path)

    assert stderr == f"INFO cni_plugin.skel ADD container=c1\\nINFO forged trace={TRACE}\n"
    assert len((tmp_path / "a.log").read_text().splitlines()) == 1


def test_calls_at_once_have_their_own_files_and_traces(tmp_path):
    program = """
gate = threading.Barrier(2)
def serve(conf):
    with call_log.following({}):
        call_log.log_to(conf)
        gate.wait()
        log.info("of %s", conf.path)
threads = [threading.Thread(target=serve, args=(conf,)) for conf in (a, b)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    run(program, tmp_path)

    (first,) = (tmp_path / "a.log").read_text().splitlines()
    (second,) = (tmp_path / "b.log").read_text().splitlines()
    assert "of " in first
    assert first.partition("trace=")[2] != second.partition("trace=")[2]
    assert f"of {tmp_path}/a.log trace=" in first
    assert f"of {tmp_path}/b.log trace=" in second


def test_a_file_that_cannot_be_written_fails_no_call(tmp_path):
    program = """
with call_log.following(environment):
    call_log.log_to(LogConf(sys.argv[1] + "/a.log/b"))
    log.info("first")
    log.info("second")
"""
    (tmp_path / "a.log").write_text("")

    _, stderr = run(program, tmp_path)

    told = f"log file {tmp_path}/a.log/b: cannot be written: Not a directory trace={TRACE}"
    assert sorted(line.split(" ", 2)[2] for line in stderr.splitlines()) == [
        f"first trace={TRACE}",
        told,
        f"second trace={TRACE}",
    ]


@pytest.mark.parametrize("traceparent", [TRACEPARENT, f"01-{TRACE}-00f067aa0ba902b7-00-more"])
def test_the_trace_is_the_runtimes(traceparent):
    assert trace_id_of(traceparent) == TRACE


@pytest.mark.parametrize(
    "traceparent",
    ["", "x", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-01", f"{TRACEPARENT}\nx", TRACE],
)
def test_without_one_a_call_has_a_trace_of_its_own(traceparent):
    first, second = trace_id_of(traceparent), trace_id_of(traceparent)

    assert first != second
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert first != TRACE
