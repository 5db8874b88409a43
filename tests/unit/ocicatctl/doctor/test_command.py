"""What the doctor prints, its exit status, and the page about it."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ocicatctl.__main__ import ocicatctl
from ocicatctl.doctor.check import run
from ocicatctl.doctor.launcher_text import fallback, interpreter, is_ours, program, socket
from ocicatctl.doctor.registry import CHECKS
from ocicatctl.doctor.settings import read_settings
from ocicatctl.doctor.text import as_text, document
from ocicatctl.install import launcher
from tests.installation import snapshot
from tests.unit.ocicatctl.doctor.healthy import HOST, NETWORK, SYSCTLS, facts

PAGE = Path(__file__).parents[4] / "docs" / "doctor.md"
UNFORWARDED = replace(NETWORK, sysctls={**SYSCTLS, "net/ipv4/ip_forward": "0"})
UNSYNCHRONISED = replace(HOST, is_synchronised=False)


def call(*arguments: str, **environment: str):
    return CliRunner().invoke(ocicatctl, ["doctor", *arguments], env=environment)


def test_the_page_lists_every_check_as_the_table_does():
    table = PAGE.read_text().partition("## Checks")[2]

    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)

    assert rows == [(check.name, check.what, check.why) for check in CHECKS]


def test_findings_are_grouped_with_the_command_on_a_line_of_its_own():
    text = as_text(run(CHECKS, facts(UNFORWARDED, UNSYNCHRONISED)))

    assert "Kernel's network\n  WRONG ip-forward        net.ipv4.ip_forward: is 0, and" in text
    assert f"\n{'':26}$ sysctl -w net.ipv4.ip_forward=1\n" in text
    assert "  warn  clock             clock: nobody keeps it right (NTP)\n" in text
    assert "  ok    bird              BIRD: 1 BGP sessions established\n" in text
    assert text.endswith("\n1 wrong, 1 to be warned of, 0 not looked at, 39 fine\n")


def test_in_brief_what_is_fine_is_left_out():
    text = as_text(run(CHECKS, facts(UNFORWARDED)), is_brief=True)

    assert text.splitlines()[0] == "Kernel's network"
    assert " ok " not in text


def test_what_somebody_wrote_somewhere_does_not_get_to_the_terminal():
    odd = replace(facts(), settings=replace(facts().settings, mistakes=("NODENAME: \x1b[2J",)))

    assert "\x1b" not in as_text(run(CHECKS, odd))


def test_for_programs_every_finding_has_the_same_fields():
    told = document(run(CHECKS, facts(UNFORWARDED)), "node-1")

    (wrong,) = [one for one in told["findings"] if one["status"] == "wrong"]
    assert wrong == {
        "check": "ip-forward",
        "group": "Kernel's network",
        "status": "wrong",
        "what": "net.ipv4.ip_forward: is 0, and there are pods",
        "why": "the node drops every packet between pods and elsewhere",
        "mend": "sysctl -w net.ipv4.ip_forward=1",
    }
    assert (told["node"], told["wrong"], told["unknown"]) == ("node-1", 1, 0)


@pytest.fixture
def bare(tmp_path):
    """A node's file system with nothing on it but a configuration of somebody else's."""
    conf = tmp_path / "etc/cni/net.d"
    conf.mkdir(parents=True)
    (conf / "10-x.conflist").write_text('{"plugins": [{"type": "flannel"}]}')
    (tmp_path / "etc/ocicat").mkdir()
    (tmp_path / "etc/ocicat/ocicat.env").write_text('ETCD_ENDPOINTS="http://127.0.0.1:9"\n')
    return tmp_path


def test_a_bare_file_system_without_any_daemon_is_judged_and_nothing_is_changed(bare):
    before = snapshot(bare)

    done = call("--root", str(bare), "-o", "json")

    assert done.exit_code == 1, done.output
    by_check = {}
    for finding in json.loads(done.stdout)["findings"]:
        by_check.setdefault(finding["check"], []).append(finding)
    assert by_check.keys() == {check.name for check in CHECKS}
    assert "10-x.conflist: is the one that a runtime uses" in by_check["conflist"][0]["what"]
    assert by_check["ipamd"][0]["status"] == "wrong"
    assert "http://127.0.0.1:9" in by_check["etcd-endpoints"][0]["what"]
    assert by_check["routes"][0]["what"] == "not looked at: no etcd answers"
    assert "the check failed" not in done.stdout
    assert "the look failed" not in done.stdout
    assert snapshot(bare) == before


def test_only_what_is_asked_for_is_told_and_warnings_alone_are_no_failure(bare):
    done = call("--root", str(bare), "--only", "python", "--only", "kernel", "-o", "yaml")

    assert done.exit_code == 0
    statuses = {one["check"]: one["status"] for one in yaml.safe_load(done.stdout)["findings"]}
    assert statuses == {"kernel": "fine", "python": "warning"}


def test_the_checks_can_be_listed():
    done = call("--list")

    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == len(CHECKS)


def test_a_check_that_does_not_exist_is_wrong_usage():
    assert call("--only", "nope").exit_code == 2


def test_a_launcher_is_known_by_its_text_whatever_its_settings():
    one = launcher.text({"OCICAT_CNI_SOCKET": "/run/one.sock"})
    other = launcher.text({})

    assert is_ours(one)
    assert not is_ours("#!/bin/sh\n")
    assert socket(one) == "/run/one.sock"
    assert interpreter(one) == "/usr/bin/python3"
    assert fallback(one).endswith("python") or "python3" in fallback(one)
    assert program(one) == program(other) != program(one.replace("PATIENCE_S = 60", ""))


def test_of_another_file_system_the_sockets_are_there():
    here = read_settings({}, "Host", Path("/"))
    there = read_settings({}, "Host", Path("/host"))

    assert here.node == "host"
    assert here.socket(here.cni) == "/run/ocicat/cni.sock"
    assert there.socket(there.cni) == "/host/run/ocicat/cni.sock"
