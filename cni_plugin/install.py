"""Installs the launcher into a CNI bin directory: written whole, renamed, and proved by a call.

Edge: files, subprocess. Several installations (labs, tests) live side by side: each launcher knows
its own server.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from cni_plugin.config import Config, read_config
from datamodel.errors import OcicatError, Unavailable

LAUNCHER = Path(__file__).with_name("launcher.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PROOF_TIMEOUT_S = 10


def main() -> None:
    """Install as the command line and the OCICAT_ environment say."""
    parser = argparse.ArgumentParser(prog="python -m cni_plugin.install", description=__doc__)
    parser.add_argument("directory", help="CNI bin directory, usually /opt/cni/bin")
    parser.add_argument("names", nargs="*", default=["ocicat"], help="names to install under")
    arguments = parser.parse_args()
    try:
        config = read_config(os.environ)
        for name in arguments.names or ["ocicat"]:
            install(Path(arguments.directory) / name, config)
    except OcicatError as error:
        sys.exit(f"install: {error}")


def install(target: Path, config: Config) -> None:
    """Put a launcher for the server of *config* at *target*, replacing what is there.

    Raises:
        Unavailable: the launcher does not run; what was there before stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_text(launcher(config))
    temporary.chmod(0o755)
    try:
        _prove(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def launcher(config: Config) -> str:
    """The launcher's source for one installation."""
    in_process = [sys.executable, "-I", "-m", "cni_plugin"]
    constants = {
        'SERVER = ""': f"SERVER = {config.socket!r}",
        "IN_PROCESS: list[str] = []": f"IN_PROCESS = {in_process!r}",
        "SETTINGS: dict[str, str] = {}": f"SETTINGS = {_settings(config)!r}",
    }
    source = LAUNCHER.read_text()
    for line, filled in constants.items():
        if source.count(line) != 1:
            raise AssertionError(f"{LAUNCHER.name} has no single line {line!r}")
        source = source.replace(line, filled)
    # -I: nothing of the caller's environment or directory; -S: no site-packages. 5 ms to start.
    return f"#!{_interpreter()} -IS\n{source}"


def _settings(config: Config) -> dict[str, str]:
    return {
        "OCICAT_CNI_SOCKET": config.socket,
        "OCICAT_IPAM_SOCKET": config.ipam_socket,
        "OCICAT_SPOOL_DIR": config.spool,
        "OCICAT_ADD_TIMEOUT_S": str(config.add_timeout_s),
    }


def _interpreter() -> str:
    """The interpreter for the launcher: the distribution's, which has the modules built in."""
    if os.access(SYSTEM_PYTHON, os.X_OK):
        return SYSTEM_PYTHON
    return os.path.realpath(sys.executable)


def _prove(path: Path) -> None:
    """Run VERSION through the launcher: only one that works is put in place."""
    try:
        done = subprocess.run(
            [path],
            env={"CNI_COMMAND": "VERSION"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROOF_TIMEOUT_S,
            check=True,
        )
        json.loads(done.stdout)["supportedVersions"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise Unavailable(f"launcher {path}: does not answer VERSION: {error}") from error


if __name__ == "__main__":
    main()
