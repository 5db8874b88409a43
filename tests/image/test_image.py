"""What is in the image, and what is not."""

import tomllib

import pytest

from tests.image.containers import IMAGE, ROOT, podman

MAX_SIZE_MB = 200


def inside(*command: str, user: int = 0) -> str:
    """Run something in a container that has nothing of this machine."""
    options = ("--rm", "--network", "none", "--cap-drop", "all", "--user", str(user))
    return podman("run", *options, IMAGE, *command)


def test_its_commands_are_the_console_scripts_and_bird():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert set(inside("ls", "/usr/local/bin").split()) == {
        name.removeprefix("ocicat-") for name in scripts
    }
    for program in ("bird", "birdc", "ip", "nft"):
        assert inside("which", program)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/gcc",
        "/usr/bin/pip",
        "/opt/ocicat/bin/pip",
        "/opt/ocicat/lib/python3.*/site-packages/setuptools",
        "/opt/ocicat/lib/python3.*/site-packages/pytest",
        "/root/.cache",
        "/var/lib/apt/lists/*",
        "/var/cache/apt/archives/*.deb",
        "/run/secrets/*",
        "/etc/pip.conf",
        "/src",
    ],
)
def test_nothing_is_in_it_that_only_its_making_needs(path):
    assert inside("sh", "-c", f"ls -d {path} 2>/dev/null || true") == ""


def test_it_knows_nothing_of_the_host_that_built_it():
    environment = podman("image", "inspect", "--format", "{{.Config.Env}}", IMAGE)

    assert "proxy" not in environment.lower()
    assert "PIP" not in environment
    assert inside("sh", "-c", "grep -rliE 'proxy|index-url' /etc/apt /etc/pip* || true") == ""


def test_whoever_names_no_user_is_not_root():
    assert podman("run", "--rm", "--network", "none", IMAGE, "id", "-u") == "65532"
    assert "Usage: ocicatctl" in podman("run", "--rm", "--network", "none", IMAGE)


def test_it_is_small():
    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE))

    assert size < MAX_SIZE_MB * 1_000_000
