"""Grammar and help; what the commands answer is in the tests of their pure parts."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ocicatctl.__main__ import ocicatctl

COMMANDS = [
    "get",
    "ipam",
    "node",
    "get ippool",
    "get node",
    "get workloadendpoint",
    "ipam show",
    "node status",
    "routes",
    "topology",
]


def run(line: str):
    return CliRunner().invoke(ocicatctl, line.split())


@pytest.mark.parametrize("line", ["", *COMMANDS])
def test_every_command_explains_itself_with_examples(line):
    result = run(f"{line} --help")

    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert f"  ocicatctl {line}".rstrip() in result.stdout


@pytest.mark.parametrize(
    "alias",
    [
        *("ippool", "ippools", "pool", "pools", "IPPools"),
        *("node", "nodes", "no"),
        *("workloadendpoint", "workloadendpoints", "wep", "weps"),
    ],
)
def test_calicoctls_spellings_of_a_kind_are_known(alias):
    assert run(f"get {alias} --help").exit_code == 0


def test_a_kind_that_does_not_exist_is_told_with_those_that_do():
    result = run("get bogus")

    assert "There is no kind 'bogus'; there are IPPool, IPReservation, Node, " in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        "bogus",
        "get bogus",
        "get ippool -o table",
        "get ippool -n default",
        "get wep -n default -a",
        "ipam show extra",
        "node status -o ps",
    ],
)
def test_wrong_usage_has_status_2(line):
    result = run(line)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


def test_wrong_settings_are_all_told_line_by_line():
    environment = {"ETCD_ENDPOINTS": "ftp://x", "OCICAT_BOGUS": "1"}

    result = CliRunner(env=environment).invoke(ocicatctl, ["get", "node"])

    assert result.exit_code == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("ocicatctl: ETCD_ENDPOINTS: 'ftp://x' is not")
    assert lines[1].startswith("ocicatctl: OCICAT_BOGUS is not a setting")


def test_a_full_disk_is_told_in_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ocicatctl", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert done.returncode == 1
    assert done.stderr == "ocicatctl: standard output: No space left on device\n"


def test_help_imports_neither_grpc_nor_the_lab():
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from ocicatctl.__main__ import ocicatctl\n"
        "for line in (['--help'], ['get', 'node', '--help'], ['ipam', 'show', '--help']):\n"
        "    assert CliRunner().invoke(ocicatctl, line).exit_code == 0\n"
        "print([m for m in ('grpc', 'ocicatctl.lab.cli') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "[]\n", done.stderr
