"""What the container image has is what the project has: its commands, and what it installs."""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
CONTAINERFILE = (ROOT / "deploy/Containerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, set[str]]:
    """Requirement -> its hashes."""
    found: dict[str, set[str]] = {}
    requirement = ""
    for line in (ROOT / name).read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+==\S+)", line):
            requirement = match[1]
            found[requirement] = set()
        elif match := re.search(r"--hash=(\S+)", line):
            found[requirement].add(match[1])
    return found


def test_every_console_script_is_a_command_of_the_image(tmp_path):
    scripts = tmp_path / "opt/ocicat/bin"
    scripts.mkdir(parents=True)
    for name in PROJECT["scripts"]:
        (scripts / name).touch()
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    (step,) = re.findall(r"^RUN (for script in .*?done)$", CONTAINERFILE, re.DOTALL | re.MULTILINE)

    local = step.replace("/opt/ocicat", f"{tmp_path}/opt/ocicat").replace(
        "/usr/local", f"{tmp_path}/usr/local"
    )
    subprocess.run(["sh", "-ec", local.replace("\\\n", "\n")], check=True)

    commands = {path.name: path.readlink().name for path in (tmp_path / "usr/local/bin").iterdir()}
    assert {"install-cni", "cni-server", "ipamd", "route-distributor"} <= commands.keys()
    assert commands["ocicatctl"] == "ocicatctl"
    assert sorted(commands.values()) == sorted(PROJECT["scripts"])


def test_what_is_in_the_image_is_what_was_tested():
    whole, run = locked("requirements.lock"), locked("requirements-run.lock")

    assert {name: whole.get(name) for name in run} == run
    assert all(run.values())


def test_the_image_has_what_the_packages_need_and_no_tools_of_ours():
    needed = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in PROJECT["dependencies"]}
    dev = PROJECT["optional-dependencies"]["dev"]
    tools = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in dev}

    names = {requirement.partition("==")[0] for requirement in locked("requirements-run.lock")}

    assert needed <= names
    assert not tools & names
