"""Grammar and help of ``ocicatctl ipam``; what they answer is in the tests of their parts."""

import subprocess
import sys
from ipaddress import ip_address

import click
import pytest
from click.testing import CliRunner

from datamodel.attachment import Pod
from ocicatctl import arguments
from ocicatctl.__main__ import ocicatctl

COMMANDS = ["show", "explain", "history", "check", "release", "configure"]


def run(line: str):
    return CliRunner().invoke(ocicatctl, ["ipam", *line.split()])


def test_the_group_lists_its_commands_and_explains_itself_with_examples():
    result = run("--help")

    assert result.exit_code == 0
    assert "Examples:\n    ocicatctl ipam show --show-blocks" in result.stdout
    assert all(f"  {command} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command):
    result = run(f"{command} --help")

    assert result.exit_code == 0
    assert f"Examples:\n    ocicatctl ipam {command}" in result.stdout


@pytest.mark.parametrize(
    "line",
    [
        "bogus",
        "show extra",
        "show --ip=nonsense",
        "show --ip=10.0.0.0/24",
        "show --ip=fe80::1%eth0",
        "show --ip=10.0.0.1 --show-blocks",
        "show --show-borrowed --show-configuration",
        "show -o xml",
        "configure",
        "configure --strictaffinity=",
        "configure --strictaffinity=yes",
        "configure --strictaffinity=maybe",
        "configure --max-blocks-per-host=-1",
        "configure --max-blocks-per-host=2147483648",
        "configure --max-blocks-per-host=1.5",
        "configure --ip-cooldown-seconds=1201",
        "configure --auto-allocate-blocks=",
        "configure --kubevirt-ip-persistence=true",
        "configure true",
        "release",
        "release --force",
        "release --ip=x",
        "release --from-report=/does/not/exist",
        "release --from-report=/",
        "explain",
        "explain 10.0.0.1 --node node-1",
        "explain a/b/c",
        "explain 10.0.0.300",
        "explain 10.0.0.0/24",
        "explain fd00::/64",
        "explain /web-0",
        "explain web-0/",
        "explain ..",
        "explain --node a/b",
        "explain --node=",
        "explain 10.0.0.1 --pool main",
        "explain 10.0.0.1 --namespace-labels a=b",
        "explain --node node-1 --namespace-labels a",
        "explain --node node-1 --namespace-labels =b",
        "history",
        "history 10.0.0.1 --container c",
        "history --container c --handle h",
        "history --container a/b",
        "history --handle=",
        "history a/b/c",
    ],
)
def test_wrong_usage_has_status_2(line):
    result = run(line)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


def test_release_takes_either_addresses_or_reports(tmp_path):
    (tmp_path / "r.json").write_text("{}")

    assert run(f"release --ip=10.0.0.1 --from-report={tmp_path}/r.json").exit_code == 2


def test_a_file_that_is_no_report_is_named(tmp_path):
    (tmp_path / "r.json").write_text("{}")

    result = run(f"release --from-report={tmp_path}/r.json")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"ocicatctl: report {tmp_path}/r.json: has no 'version'")


def test_an_address_is_told_from_a_pod():
    assert arguments.address_or_pod("10.0.0.1") == ip_address("10.0.0.1")
    assert arguments.address_or_pod("fd00::1") == ip_address("fd00::1")
    assert arguments.address_or_pod("web-0") == Pod("default", "web-0")
    assert arguments.address_or_pod("kube-system/dns.a") == Pod("kube-system", "dns.a")
    assert arguments.address_or_pod("0") == Pod("default", "0")
    with pytest.raises(click.BadParameter, match="neither an IP address nor POD"):
        arguments.address_or_pod("a b")
    with pytest.raises(click.BadParameter, match=r"'10\.0\.0\.300' is not an IP address"):
        arguments.address_or_pod("10.0.0.300")


def test_help_imports_no_grpc():
    program = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from ocicatctl.__main__ import ocicatctl\n"
        f"for command in {COMMANDS}:\n"
        "    result = CliRunner().invoke(ocicatctl, ['ipam', command, '--help'])\n"
        "    assert result.exit_code == 0\n"
        "print('grpc' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "False\n", done.stderr
