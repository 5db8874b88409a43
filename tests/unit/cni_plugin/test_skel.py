"""The frame: what is answered before a command runs, and how a failure is answered."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from cni_plugin import versions
from cni_plugin.args import Invocation
from cni_plugin.cni_error import CniError
from cni_plugin.meter import Meter
from cni_plugin.parts import Parts
from cni_plugin.skel import Answer, failed, run
from cni_plugin.spool import Spool
from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable, Unsupported
from ipam_api.client import IpamClient


@pytest.fixture
def parts(tmp_path):
    """A client without a daemon and an empty spool: nothing here gets as far as using them."""
    ipam = IpamClient(str(tmp_path / "ipamd.sock"))
    yield Parts(ipam, Spool(str(tmp_path / "releases")))
    ipam.close()


def document(answer: Answer) -> dict[str, object]:
    assert answer.stderr == b""
    return json.loads(answer.stdout)


def a_call(command: str, stdin: bytes = b'{"cniVersion":"1.0.0","name":"net"}', **environment: str):
    usual = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/gone", "CNI_IFNAME": "eth0"}
    return Invocation(
        {"CNI_COMMAND": command, **usual, **environment},
        stdin,
        netns_mistake="cannot be opened: No such file or directory",
    )


@pytest.mark.parametrize("environment", [{}, {"CNI_COMMAND": ""}])
def test_without_a_command_we_say_who_we_are(parts, environment):
    answer = run(Invocation(environment, b""), parts)

    assert (answer.exit_code, answer.stdout) == (0, b"")
    assert b"CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, " in answer.stderr


def test_version_needs_neither_stdin_nor_names(parts):
    answer = run(
        Invocation({"CNI_COMMAND": "VERSION"}, b"junk", stdin_mistake="cannot be read"), parts
    )

    assert answer.exit_code == 0
    assert document(answer)["supportedVersions"] == list(versions.SUPPORTED)


@pytest.mark.parametrize("command", ["add", "Add", "UPDATE", "ADD "])
def test_an_unknown_command_is_named(parts, command):
    answer = run(a_call(command), parts)

    assert answer.exit_code == 1
    assert document(answer) == {
        "cniVersion": "1.0.0",
        "code": 4,
        "msg": f"unknown CNI_COMMAND: {command}",
    }


def test_a_mistake_in_the_call_is_answered_with_its_code_and_details(parts):
    answer = run(a_call("ADD", CNI_CONTAINERID="a/b"), parts)

    assert answer.exit_code == 1
    assert document(answer) == {
        "cniVersion": "1.0.0",
        "code": 4,
        "msg": "CNI_CONTAINERID: invalid characters in containerID",
        "details": "a/b",
    }


def test_a_mistake_in_the_configuration_is_answered_with_its_code(parts):
    answer = run(a_call("ADD", b'{"cniVersion":"1.0.0","name":"net","mtu":"x"}'), parts)

    assert document(answer)["code"] == 7
    assert document(answer)["msg"] == "network net: mtu: 'x' is not a number"


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_a_namespace_that_is_gone_is_a_mistake_of_the_call(parts, command):
    answer = run(a_call(command), parts)

    assert document(answer)["code"] == 4
    assert document(answer)["msg"] == (
        "CNI_NETNS /gone: cannot be opened: No such file or directory"
    )


def test_an_environment_with_bytes_that_are_no_text_is_answered(parts):
    answer = run(a_call("ADD", CNI_CONTAINERID="\udce9"), parts)

    assert document(answer)["code"] == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("x"), 7),
        (Exhausted("x"), 101),
        (Unavailable("x"), 11),
        (Unsupported("x"), 2),
        (CniError(5, "x"), 5),
        (OcicatError("x"), 999),
        (ZeroDivisionError("x"), 999),
    ],
)
def test_a_failure_is_one_document_with_a_code(error, code):
    answer = failed(error)

    assert answer.exit_code == 1
    assert document(answer) == {"cniVersion": "1.1.0", "code": code, "msg": "x"}


def test_a_failure_without_words_is_named_after_its_kind():
    assert document(failed(KeyError()))["msg"] == "KeyError"


# ---- what is told of a call --------------------------------------------------------------------


class Counted(Meter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.steps: list[str] = []

    def count_call(self, verb: str, outcome: str, seconds: float) -> None:
        self.calls.append((verb, outcome))

    def observe_step(self, step: str, seconds: float) -> None:
        self.steps.append(step)


def test_every_call_is_counted_with_its_outcome(parts):
    counted = Counted()
    parts = replace(parts, meter=counted)
    for invocation in (
        a_call("VERSION"),
        a_call("UPDATE"),
        a_call("ADD"),
        a_call("STATUS", b'{"cniVersion":"1.1.0","name":"net"}'),
        Invocation({}, b""),
    ):
        run(invocation, parts)

    assert counted.calls == [
        ("VERSION", "ok"),
        ("UPDATE", "invalid"),
        ("ADD", "invalid"),
        ("STATUS", "unavailable"),
    ]
    assert counted.steps == ["wait"]  # of the ADD alone: the others are about no container


LOGGED = """
import json, sys
from cni_plugin import call_log, skel
from cni_plugin.args import Invocation
from cni_plugin.parts import Parts
from cni_plugin.spool import Spool
from ipam_api.client import IpamClient
call_log.set_up("INFO")
parts = Parts(IpamClient(sys.argv[1] + "/ipamd.sock"), Spool(sys.argv[1] + "/releases"))
for number, name in enumerate(("a", "b", "a")):
    conf = {"cniVersion": "1.0.0", "name": "net", "log_file_path": f"{sys.argv[1]}/{name}.log"}
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": f"c{number}", "CNI_NETNS": "/gone"}
    environment["CNI_IFNAME"] = "eth0"
    environment["TRACEPARENT"] = f"00-{number + 1:032x}-00f067aa0ba902b7-01"
    with call_log.following(environment):
        skel.run(Invocation(environment, json.dumps(conf).encode()), parts)
with call_log.following({}):
    skel.run(Invocation({"CNI_COMMAND": "DEL"}, b"junk"), parts)
"""


def test_each_call_is_one_line_with_its_trace_in_the_file_of_its_configuration(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LOGGED, tmp_path], capture_output=True, text=True, check=True
    )

    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 4
    first, third = (tmp_path / "a.log").read_text().splitlines()
    (second,) = (tmp_path / "b.log").read_text().splitlines()
    for line, number in ((first, 0), (second, 1), (third, 2)):
        assert f"INFO cni_plugin.skel ADD container=c{number} ifname=eth0 took_ms=" in line
        assert "code=4 'CNI_NETNS /gone: " in line
        assert line.endswith(f" trace={number + 1:032x}")
